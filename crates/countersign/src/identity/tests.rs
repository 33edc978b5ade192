use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use countersign_channel::Profile;
use countersign_paseto::{
    AnyKey, Key, KeyRing, KeySet, Public, Rules, TokenError, V4, V5, Verified, Window,
};
use countersign_policy::ChannelFacts;
use tempfile::TempDir;

use super::*;
use crate::audit::WhenUnwritable;
use crate::config::IdentityVersion;
use crate::custody::{Custody, CustodyConfig};

async fn custody() -> (TempDir, Custody) {
    let folder = tempfile::tempdir().unwrap();
    let custody = opened(&folder, start()).await;
    (folder, custody)
}

async fn opened(folder: &TempDir, now: Timestamp) -> Custody {
    let config = CustodyConfig {
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        gateway: "main".to_owned(),
        profiles: vec![Profile::HybridV1],
        identity: IdentityVersion::V4,
        keys: crate::config::KeysConfig::default(),
        store_file: folder.path().join("gateway.db"),
        root_key_file: folder.path().join("root.key"),
        audit_file: folder.path().join("audit.jsonl"),
        when_unaudited: WhenUnwritable::Refuse,
    };
    Custody::open(&config, now).await.unwrap()
}

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

fn after(seconds: i64) -> Timestamp {
    start() + SignedDuration::from_secs(seconds)
}

/// Tokens of a version, signed by keys that are drawn.
fn drawn(version: IdentityVersion) -> Signing {
    Signing::new(version, Vec::new()).unwrap()
}

/// Facts of an anonymous client that came from this address.
fn facts(last: u8) -> Facts {
    Facts::anonymous(ChannelFacts {
        stage: "hybrid".to_owned(),
        profile: "hybrid@1".to_owned(),
        group: "X25519MLKEM768".to_owned(),
        signature_scheme: None,
        suite: "TLS_AES_256_GCM_SHA384".to_owned(),
        sni: None,
        source: IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)),
        listener: "main".to_owned(),
        exception: None,
    })
}

fn call<'a>(facts: &'a Facts, service: &'a str) -> Call<'a> {
    Call {
        channel: &"6f1c2d3e4a5b6c7d",
        post_quantum: true,
        facts,
        service,
    }
}

/// What an upstream does: it has the published keys and nothing else.
fn verify(
    keys: &PublishedKeys,
    token: &str,
    service: &str,
    now: Timestamp,
) -> Result<Verified<serde_json::Value>, TokenError> {
    let ring = KeyRing::new(keys.keys.iter().fold(KeySet::new(), with));
    let rules = Rules::new()
        .issuer("spiffe://example.org")
        .audience(service)
        .maximum_lifetime(LIFETIME);
    ring.verify(token, b"", &rules, now)
}

fn with(set: KeySet, key: &published::IdentityKey) -> KeySet {
    let window = Window::new(key.not_before, key.not_after, key.not_after);
    let public: AnyKey = match key.paserk.starts_with("k5.") {
        false => Key::<V4, Public>::from_paserk(&key.paserk).unwrap().into(),
        true => Key::<V5, Public>::from_paserk(&key.paserk).unwrap().into(),
    };
    assert_eq!(public.id().to_string(), key.kid);
    set.with(public, window)
}

fn check_refused(keys: &PublishedKeys, token: &str, service: &str, now: Timestamp, why: &str) {
    let message = verify(keys, token, service, now).unwrap_err().to_string();
    assert!(message.starts_with(why), "{message}");
}

#[tokio::test]
async fn a_token_says_who_calls_which_service_on_what_channel() {
    let (_folder, custody) = custody().await;
    let facts = facts(7);
    let token = custody
        .identity
        .mint(call(&facts, "wiki"), start())
        .await
        .unwrap();
    assert!(token.starts_with("v4.public."));
    let keys = custody.identity.published(start());
    let verified = verify(&keys, &token, "wiki", start()).unwrap();
    let expected = serde_json::json!({
        "principal": { "kind": "anonymous" },
        "channel": {
            "id": "6f1c2d3e4a5b6c7d", "stage": "hybrid", "profile": "hybrid@1",
            "group": "X25519MLKEM768", "post_quantum": true,
        },
    });
    assert_eq!(*verified.claims(), expected);
    assert_eq!(verified.subject(), Some("anonymous"));
    assert_eq!(verified.expires_at(), Some(after(60)));
}

#[tokio::test]
async fn a_token_is_for_one_service_and_one_minute() {
    let (_folder, custody) = custody().await;
    let facts = facts(7);
    let token = custody
        .identity
        .mint(call(&facts, "wiki"), start())
        .await
        .unwrap();
    let keys = custody.identity.published(start());
    check_refused(&keys, &token, "payroll", start(), "claim `aud` is ");
    assert!(verify(&keys, &token, "wiki", after(59)).is_ok());
    check_refused(&keys, &token, "wiki", after(60), "claim `exp` is ");
}

#[tokio::test]
async fn a_channels_token_is_minted_again_at_half_its_life() {
    let (_folder, custody) = custody().await;
    let (facts, cache) = (facts(7), IdentityCache::default());
    let at = async |seconds| {
        let header = cache.header(&custody.identity, call(&facts, "wiki"), after(seconds));
        header.await.unwrap()
    };
    let first = at(0).await;
    assert_eq!(at(29).await, first);
    let second = at(30).await;
    assert_ne!(second, first);
    assert_eq!(at(59).await, second);
    let later = at(3600).await;
    assert_ne!(
        at(60).await,
        later,
        "a clock that was set back keeps no token"
    );
}

#[tokio::test]
async fn each_service_and_principal_of_a_channel_has_a_token_of_its_own() {
    let (_folder, custody) = custody().await;
    let (one, other, cache) = (facts(7), facts(8), IdentityCache::default());
    let mut turns = Vec::new();
    for _ in 0..2 {
        let mut tokens = BTreeSet::new();
        for (facts, service) in [(&one, "wiki"), (&one, "payroll"), (&other, "wiki")] {
            let header = cache.header(&custody.identity, call(facts, service), start());
            tokens.insert(header.await.unwrap().to_str().unwrap().to_owned());
        }
        assert_eq!(tokens.len(), 3);
        turns.push(tokens);
    }
    assert_eq!(turns[0], turns[1]);
}

/// Three weeks in which a verifier asks for the keys as seldom as the rules for copies let it.
#[tokio::test]
async fn a_verifier_with_an_old_copy_of_the_keys_knows_every_key_that_signs() {
    let (_folder, custody) = custody().await;
    let facts = facts(7);
    let mut copy = custody.identity.published(start());
    let mut used = BTreeSet::new();
    for minute in (0..3 * 7 * 24 * 60).step_by(10) {
        let now = after(minute * 60);
        custody.identity.rotate(now).await.unwrap();
        let token = custody
            .identity
            .mint(call(&facts, "wiki"), now)
            .await
            .unwrap();
        let verified = verify(&copy, &token, "wiki", after(minute * 60 + 59)).unwrap();
        used.insert(verified.key_id().unwrap().to_string());
        if minute % (12 * 60) == 0 {
            copy = custody.identity.published(now);
        }
    }
    assert_eq!(used.len(), 3);
    assert!(copy.keys.len() <= 2, "keys that ended are dropped");
}

#[tokio::test]
async fn a_restart_signs_with_the_same_key() {
    let (folder, first) = custody().await;
    let facts = facts(7);
    let token = first
        .identity
        .mint(call(&facts, "wiki"), start())
        .await
        .unwrap();
    first.close().await.unwrap();
    drop(first);
    let again = opened(&folder, after(10)).await;
    let keys = again.identity.published(after(10));
    verify(&keys, &token, "wiki", after(10)).unwrap();
    assert_eq!(keys.keys.len(), 1);
}

#[tokio::test]
async fn another_version_signs_once_verifiers_could_fetch_its_key_and_the_one_before_is_back_at_once()
 {
    let (_folder, custody) = custody().await;
    let (identity, facts) = (&custody.identity, facts(7));
    let header = async |seconds| {
        let token = identity
            .mint(call(&facts, "wiki"), after(seconds))
            .await
            .unwrap();
        let keys = identity.published(after(seconds));
        verify(&keys, &token, "wiki", after(seconds)).unwrap();
        token[..10].to_owned()
    };
    identity
        .prepare(&drawn(IdentityVersion::V5), start())
        .await
        .unwrap();
    identity.sign_with(drawn(IdentityVersion::V5));
    let day = 24 * 60 * 60;
    for seconds in (0..day).step_by(60 * 60) {
        identity.rotate(after(seconds)).await.unwrap();
        assert_eq!(header(seconds).await, "v4.public.");
    }
    assert_eq!(header(day).await, "v5.public.");
    let added = identity
        .prepare(&drawn(IdentityVersion::V4), after(day))
        .await;
    assert_eq!(added.unwrap(), []);
    identity.sign_with(drawn(IdentityVersion::V4));
    assert_eq!(header(day).await, "v4.public.");
}
