//! Join strings that do not hold, and gateways that are not the one they name.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use crate::support::{AgentSetup, GatewaySetup, clock_off_by, upstream, wait_until};

#[test]
fn a_join_string_works_once_and_the_second_machine_is_told_so() {
    let gateway = GatewaySetup::new().start();
    let join_string = gateway.join_string("laptop", &[]);
    let first = AgentSetup::new(&join_string).start();
    let told = AgentSetup::new(&join_string).fails();
    assert!(told.contains("was used at"), "{told}");
    drop(first);
    assert_eq!(gateway.audited("enrolment-allowed").len(), 1);
    assert_eq!(gateway.audited("enrolment-refused").len(), 1);
}

#[test]
fn an_expired_join_string_says_when_it_expired() {
    let gateway = GatewaySetup::new().start();
    let created = gateway.ask(&[
        "join-string",
        "create",
        "--name",
        "laptop",
        "--expires-in",
        "1s",
    ]);
    let expires_at: jiff::Timestamp = created["expires_at"].as_str().unwrap().parse().unwrap();
    wait_until("the join string has expired", || {
        (jiff::Timestamp::now() > expires_at).then_some(())
    });
    let told = AgentSetup::new(created["join_string"].as_str().unwrap()).fails();
    assert!(told.contains("expired"), "{told}");
    assert!(
        told.contains(&expires_at.strftime("%H:%M:%S").to_string()),
        "{told}"
    );
}

#[test]
fn a_damaged_join_string_is_refused_before_anything_is_sent() {
    let gateway = GatewaySetup::new().start();
    let join_string = gateway.join_string("laptop", &[]);
    let cut = &join_string[..join_string.len() / 2];
    let told = AgentSetup::new(cut).fails();
    assert!(told.contains("error: "), "{told}");
    assert!(gateway.audited("enrolment-refused").is_empty());
}

#[test]
fn a_token_of_another_trust_domain_is_told_the_wrong_gateway() {
    let gateway = GatewaySetup::new().start();
    let other = GatewaySetup::new().trust_domain("other.test").start();
    let token = unpacked(&other.join_string("laptop", &[]))["token"].clone();
    let mut mixed = unpacked(&gateway.join_string("laptop", &[]));
    mixed["token"] = token;
    let told = AgentSetup::new(&packed(&mixed)).fails();
    assert!(
        told.contains("the join string is for another gateway"),
        "{told}"
    );
}

#[test]
fn a_token_that_was_tampered_with_is_unknown() {
    let gateway = GatewaySetup::new().start();
    let mut changed = unpacked(&gateway.join_string("laptop", &[]));
    let token = changed["token"].as_str().unwrap().to_owned();
    let (prefix, rest) = token.split_at(40);
    let other = if rest.starts_with('A') { 'B' } else { 'A' };
    changed["token"] = format!("{prefix}{other}{}", &rest[1..]).into();
    let told = AgentSetup::new(&packed(&changed)).fails();
    assert!(told.contains("the join string is not known here"), "{told}");
    assert_eq!(gateway.audited("enrolment-refused").len(), 1);
}

#[test]
fn a_gateway_other_than_the_join_strings_is_sent_nothing() {
    let gateway = GatewaySetup::new().start();
    let impostor = GatewaySetup::new().start();
    let told = gateway
        .agent("laptop")
        .key(&format!("gateway = \"127.0.0.1:{}\"", impostor.port))
        .fails();
    assert!(
        told.contains("what answers is not the gateway of the join string"),
        "{told}"
    );
    for event in ["enrolment-allowed", "enrolment-refused"] {
        assert!(impostor.audited(event).is_empty(), "{told}");
    }
}

#[test]
fn a_clock_ten_minutes_off_is_told_by_how_much() {
    let Some(ahead) = clock_off_by("+10m") else {
        return;
    };
    let gateway = GatewaySetup::new().start();
    let agent = gateway.agent("laptop").configure();
    let told = agent.launch_with(&ahead).log_of_failure();
    assert!(told.contains("clock"), "{told}");
    let seconds = ["599", "600", "601", "602", "10m", "10 min"];
    assert!(seconds.iter().any(|amount| told.contains(amount)), "{told}");
}

#[test]
fn a_name_in_use_is_replaced_only_when_the_join_string_says_so() {
    let gateway = GatewaySetup::new()
        .service("echo", upstream::echo(), "")
        .start();
    let first = gateway.agent("laptop").start();
    let refused = gateway
        .operate(&["join-string", "create", "--name", "laptop"])
        .failed();
    assert!(refused.contains("--replace"), "{refused}");
    let replacing = gateway.join_string("laptop", &["--replace"]);
    let second = AgentSetup::new(&replacing).start();
    wait_until("the first agent lost its channel", || {
        (!first.is_ready()).then_some(())
    });
    assert!(second.is_ready());
}

fn unpacked(join_string: &str) -> Value {
    let encoded = join_string.strip_prefix(PREFIX).expect("the prefix");
    let json = Base64UrlUnpadded::decode_vec(encoded).expect("base64url");
    serde_json::from_slice(&json).expect("JSON")
}

fn packed(document: &Value) -> String {
    format!(
        "{PREFIX}{}",
        Base64UrlUnpadded::encode_string(document.to_string().as_bytes())
    )
}

const PREFIX: &str = "countersign-join-v1.";
