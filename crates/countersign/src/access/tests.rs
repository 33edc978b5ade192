use std::collections::BTreeSet;

use countersign_channel::profile::TokenVersion;
use tempfile::TempDir;

use super::*;
use crate::audit::WhenUnwritable;
use crate::config::IdentityVersion;
use crate::custody::{Custody, CustodyConfig};

async fn custody(trust_domain: &str) -> (TempDir, Custody) {
    let folder = tempfile::tempdir().unwrap();
    let config = CustodyConfig {
        trust_domain: TrustDomain::parse(trust_domain).unwrap(),
        gateway: "main".to_owned(),
        profiles: vec![Profile::HybridV1, Profile::Cnsa2V1],
        identity: IdentityVersion::V4,
        keys: crate::config::KeysConfig::default(),
        store_file: folder.path().join("gateway.db"),
        root_key_file: folder.path().join("root.key"),
        audit_file: folder.path().join("audit.jsonl"),
        when_unaudited: WhenUnwritable::Refuse,
    };
    let custody = Custody::open(&config, start()).await.unwrap();
    (folder, custody)
}

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

fn mint(custody: &Custody, profile: Profile, now: Timestamp) -> AccessToken {
    let id = SpiffeId::parse("spiffe://example.org/agent/laptop").unwrap();
    let key = SpkiHash::from([7; 48]);
    custody
        .access
        .mint(
            Holder {
                id: &id,
                key: &key,
                profile,
            },
            Appraisal::software(now),
            42,
            now,
        )
        .unwrap()
}

fn check(custody: &Custody, token: &str, profile: Profile, now: Timestamp, expected: &str) {
    let error = custody.access.verify(token, profile, now).unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with(expected), "{message}");
}

#[tokio::test]
async fn a_token_says_who_it_is_for_and_on_which_key() {
    let (_folder, custody) = custody("example.org").await;
    for (profile, header) in [
        (Profile::HybridV1, "v4.local."),
        (Profile::Cnsa2V1, "v3.local."),
    ] {
        let token = mint(&custody, profile, start());
        assert!(token.expose_secret().starts_with(header));
        let verified = custody
            .access
            .verify(token.expose_secret(), profile, start())
            .unwrap();
        let registered = verified.registered();
        assert_eq!(
            registered.subject.as_deref(),
            Some("spiffe://example.org/agent/laptop")
        );
        assert_eq!(registered.audience.as_deref(), Some("example.org"));
        assert_eq!(registered.token_id.as_deref(), Some(token.id.as_str()));
        assert_eq!(registered.expires_at, Some(token.expires_at));
        assert_eq!(verified.key_id(), Some(&token.key_id));
        assert!(verified.cnf.is_for(&[7; 48]) && !verified.cnf.is_for(&[8; 48]));
        assert_eq!(
            (verified.profile.as_str(), verified.policy_revision),
            (profile.name(), 42)
        );
    }
}

#[tokio::test]
async fn a_token_is_good_for_ten_minutes() {
    let (_folder, custody) = custody("example.org").await;
    let token = mint(&custody, Profile::HybridV1, start());
    let text = token.expose_secret();
    custody
        .access
        .verify(text, Profile::HybridV1, after(599))
        .unwrap();
    check(
        &custody,
        text,
        Profile::HybridV1,
        after(605),
        "claim `exp` is ",
    );
    check(
        &custody,
        text,
        Profile::HybridV1,
        after(-60),
        "claim `nbf` is ",
    );
}

#[tokio::test]
async fn a_token_of_another_version_key_or_trust_domain_is_refused() {
    let (_folder, ours) = custody("example.org").await;
    let (_folder, theirs) = custody("example.net").await;
    let token = mint(&theirs, Profile::HybridV1, start());
    check(
        &ours,
        token.expose_secret(),
        Profile::HybridV1,
        start(),
        "no key `k4.lid.",
    );
    let token = mint(&ours, Profile::HybridV1, start());
    check(
        &ours,
        token.expose_secret(),
        Profile::Cnsa2V1,
        start(),
        "no key `k4.lid.",
    );
}

#[tokio::test]
async fn keys_take_turns_each_day_and_no_token_is_cut_off() {
    let (_folder, custody) = custody("example.org").await;
    let mut keys = BTreeSet::new();
    let mut tokens: Vec<AccessToken> = Vec::new();
    for minute in 0..(3 * 24 * 60) / 5 {
        let now = after(minute * 5 * 60);
        custody.maintain(now).await.unwrap();
        tokens.push(mint(&custody, Profile::HybridV1, now));
        for token in tokens.iter().rev().take(2) {
            custody
                .access
                .verify(token.expose_secret(), Profile::HybridV1, now)
                .unwrap();
        }
        keys.insert(tokens.last().unwrap().key_id.to_string());
    }
    assert_eq!(keys.len(), 3);
    let ended = &tokens[0];
    let text = ended.expose_secret();
    check(
        &custody,
        text,
        Profile::HybridV1,
        after(3 * 24 * 3600),
        "key `k4.lid.",
    );
    let ring = custody.access.rings().of(TokenVersion::V4).keys().keys();
    assert!(ring.windows().count() <= 2, "keys that ended are dropped");
}

#[tokio::test]
async fn a_gateway_that_was_off_for_a_week_mints_at_once() {
    let (_folder, custody) = custody("example.org").await;
    let week = after(7 * 24 * 3600);
    custody.maintain(week).await.unwrap();
    let token = mint(&custody, Profile::HybridV1, week);
    custody
        .access
        .verify(token.expose_secret(), Profile::HybridV1, week)
        .unwrap();
}

#[tokio::test]
async fn a_clock_that_was_set_back_gets_a_key_too() {
    let (_folder, custody) = custody("example.org").await;
    let before = after(-2 * 24 * 3600);
    custody.maintain(before).await.unwrap();
    let token = mint(&custody, Profile::HybridV1, before);
    custody
        .access
        .verify(token.expose_secret(), Profile::HybridV1, before)
        .unwrap();
}
