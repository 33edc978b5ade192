use std::collections::{BTreeMap, BTreeSet};

use super::*;

/// One of each; [`each_event_has_an_example`] finds one that is missing.
fn examples() -> Vec<Event> {
    [
        of_the_gateway(),
        of_identities(),
        of_machines(),
        of_certificates(),
        of_keys(),
        of_bearer_tokens(),
        of_channels(),
        of_streams(),
    ]
    .concat()
}

fn text() -> String {
    "text".to_owned()
}

fn of_the_gateway() -> Vec<Event> {
    let (at, operator, file) = (Timestamp::UNIX_EPOCH, OPERATOR, PathBuf::from("file"));
    vec![
        Event::Start {
            version: text(),
            trust_domain: text(),
            gateway: text(),
        },
        Event::Stop { reason: text() },
        Event::ConfigurationLoaded {
            file: file.clone(),
            weakenings: Vec::new(),
        },
        Event::ConfigurationRefused {
            file: file.clone(),
            reason: text(),
        },
        Event::StageSet {
            listener: text(),
            stage: text(),
            profile: text(),
        },
        Event::GrantAdded {
            principal: text(),
            service: text(),
            operator,
        },
        Event::GrantRemoved {
            principal: text(),
            service: text(),
            operator,
        },
        Event::BackupCreated {
            file: file.clone(),
            operator,
        },
        Event::BackupRestored {
            file,
            created_at: at,
            operator,
        },
    ]
}

fn of_identities() -> Vec<Event> {
    let (at, operator, peer) = (Timestamp::UNIX_EPOCH, OPERATOR, peer());
    let key = SpkiHash::from([7; 48]);
    vec![
        Event::JoinStringCreated {
            name: text(),
            token_id: text(),
            expires_at: at,
            replaces: false,
            operator,
        },
        Event::EnrolmentAllowed {
            name: text(),
            spiffe_id: text(),
            key,
            token_id: Some(text()),
            ek_hash: Some(text()),
            peer,
            repeated: false,
        },
        Event::EnrolmentRefused {
            reason: text(),
            detail: text(),
            name: None,
            token_id: None,
            peer,
        },
        Event::CertificateRenewed {
            name: text(),
            key,
            serial: text(),
            expires_at: at,
            key_changed: false,
        },
        Event::RenewalRefused {
            name: text(),
            key,
            reason: text(),
        },
        Event::AgentRevoked {
            name: text(),
            key,
            reason: text(),
            operator,
        },
    ]
}

fn of_machines() -> Vec<Event> {
    let (operator, peer) = (OPERATOR, peer());
    vec![
        Event::EkAllowed {
            ek_hash: text(),
            name: text(),
            operator,
        },
        Event::EkForbidden {
            ek_hash: text(),
            operator,
        },
        Event::ReferenceSet {
            name: text(),
            reason: text(),
            changes: vec![text()],
            operator,
        },
        Event::MachineAppraised {
            name: text(),
            result: text(),
            reasons: vec![text()],
        },
        Event::EvidenceRefused {
            name: text(),
            reason: text(),
            peer,
        },
    ]
}

fn of_certificates() -> Vec<Event> {
    let (at, operator, key) = (Timestamp::UNIX_EPOCH, OPERATOR, SpkiHash::from([7; 48]));
    vec![
        Event::ServerCertificateTaken {
            listener: text(),
            names: vec![text()],
            key,
            expires_at: at,
            file: PathBuf::from("file"),
        },
        Event::ServerCertificateIssued {
            name: text(),
            directory: text(),
            key,
            expires_at: at,
        },
        Event::ServerCertificateRenewalAsked {
            name: text(),
            operator,
        },
    ]
}

fn of_keys() -> Vec<Event> {
    let (at, peer) = (Timestamp::UNIX_EPOCH, peer());
    vec![
        Event::TokenMinted {
            subject: text(),
            token_id: text(),
            key_id: text(),
            expires_at: at,
        },
        Event::TokenRefused {
            reason: text(),
            token_id: None,
            channel: None,
            peer,
        },
        Event::KeyRotated {
            kind: text(),
            key_id: text(),
        },
        Event::KeyTokenLost {
            token: text(),
            cause: text(),
        },
        Event::KeyTokenBack { token: text() },
        Event::TrustBundlePublished {
            version: 1,
            key: text(),
        },
    ]
}

fn of_bearer_tokens() -> Vec<Event> {
    vec![
        Event::BearerTokenIssued {
            token_id: text(),
            subject: text(),
            service: text(),
            key_id: text(),
            expires_at: Timestamp::UNIX_EPOCH,
            operator: OPERATOR,
        },
        Event::BearerTokenRevoked {
            token_id: text(),
            subject: text(),
            service: text(),
            reason: text(),
            operator: OPERATOR,
        },
    ]
}

fn of_channels() -> Vec<Event> {
    let (operator, peer, record) = (OPERATOR, peer(), serde_json::json!({}));
    vec![
        Event::ExceptionUsed {
            exception: text(),
            owner: text(),
            channel: text(),
            peer,
        },
        Event::ExceptionAdded {
            exception: text(),
            owner: text(),
            reason: text(),
            ends: Timestamp::UNIX_EPOCH,
            source: None,
            sni: Some(text()),
            listener: None,
            operator,
        },
        Event::ExceptionEnded {
            exception: text(),
            owner: text(),
            operator: None,
        },
        Event::ChannelOpened {
            channel: text(),
            principal: text(),
            record: record.clone(),
        },
        Event::ChannelsRefused {
            listener: text(),
            number: 1,
        },
        Event::ChannelRefused {
            peer,
            reason: text(),
            record,
        },
        Event::ChannelClosed {
            channel: text(),
            principal: text(),
            reason: text(),
            streams: 0,
        },
        Event::SessionClosed {
            channel: text(),
            principal: text(),
            operator,
        },
    ]
}

fn of_streams() -> Vec<Event> {
    vec![
        Event::StreamAllowed {
            channel: text(),
            stream: text(),
            principal: text(),
            token_id: None,
            service: text(),
            rule: text(),
            bundle: text(),
            policy_revision: 1,
            decision: text(),
        },
        Event::StreamDenied {
            channel: text(),
            principal: text(),
            service: text(),
            rule: text(),
            bundle: text(),
            policy_revision: 1,
            decision: text(),
        },
        Event::StreamClosed {
            channel: text(),
            stream: text(),
            service: text(),
            end: text(),
            sent: 0,
            received: 0,
            last_hop: None,
        },
        Event::StreamCut {
            channel: text(),
            stream: text(),
            principal: text(),
            service: text(),
            reason: text(),
            last_hop: None,
        },
    ]
}

fn peer() -> SocketAddr {
    ([192, 0, 2, 7], 40000).into()
}

const OPERATOR: Operator = Operator { uid: 1000 };

fn name_and_fields(event: &Event) -> (String, BTreeSet<String>) {
    let serde_json::Value::Object(mut fields) = serde_json::to_value(event).unwrap() else {
        panic!("an event is an object");
    };
    let name = fields.remove("event").unwrap();
    (
        name.as_str().unwrap().to_owned(),
        fields.into_iter().map(|(field, _)| field).collect(),
    )
}

/// The words in backticks of a table's cell.
fn quoted(cell: &str) -> BTreeSet<String> {
    cell.split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_page_lists_each_event_with_its_fields() {
    let page = include_str!("../../../../../docs/audit.md");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let documented: BTreeMap<String, BTreeSet<String>> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').collect();
            (quoted(cells[1]).pop_first().unwrap(), quoted(cells[2]))
        })
        .collect();
    assert_eq!(documented, examples().iter().map(name_and_fields).collect());
}

#[test]
fn each_event_has_an_example() {
    // serde lists the variants where it finds one that it does not know.
    let error = serde_json::from_str::<Event>(r#"{"event":"no-such-event"}"#).unwrap_err();
    let message = error.to_string();
    let (_, list) = message.split_once("expected one of ").unwrap();
    let examples: BTreeSet<String> = examples()
        .iter()
        .map(|event| name_and_fields(event).0)
        .collect();
    let (list, _) = list.split_once(" at line").unwrap_or((list, ""));
    assert_eq!(quoted(list), examples);
}

#[test]
fn an_event_reads_back_as_it_was_written() {
    for event in examples() {
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }
}
