use tempfile::TempDir;

use super::*;
use crate::audit::WhenUnwritable;
use crate::config::IdentityVersion;
use crate::custody::{Custody, CustodyConfig};

async fn custody(trust_domain: &str) -> (TempDir, Custody) {
    let folder = tempfile::tempdir().unwrap();
    let custody = open(&folder, trust_domain, start()).await;
    (folder, custody)
}

async fn open(folder: &TempDir, trust_domain: &str, now: Timestamp) -> Custody {
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
    Custody::open(&config, now).await.unwrap()
}

async fn issue(custody: &Custody, version: TokenVersion, days: u64) -> IssuedBearer {
    let new = new("ci", version, Duration::from_secs(days * DAY));
    let issued = custody.bearers.issue(new, OPERATOR, start()).await;
    issued.unwrap()
}

fn new(subject: &str, version: TokenVersion, expires_in: Duration) -> NewBearer {
    NewBearer {
        subject: subject.to_owned(),
        service: "web".to_owned(),
        expires_in,
        version,
    }
}

/// What comes of a token on a channel with this profile.
fn check(custody: &Custody, text: &str, profile: Profile, now: Timestamp, expected: &str) {
    let verified = custody.bearers.verify(text, profile, now);
    let told = verified.map_or_else(|why| why.code(), |_| "good");
    assert_eq!(told, expected, "on {profile} at {now}");
}

#[tokio::test]
async fn a_token_says_whom_it_names_and_what_it_opens() {
    let (_folder, custody) = custody("example.org").await;
    for (version, header) in [
        (TokenVersion::V4, "v4.local."),
        (TokenVersion::V3, "v3.local."),
    ] {
        let issued = issue(&custody, version, 1).await;
        let text = issued.expose_secret();
        assert!(text.starts_with(header) && custody.bearers.owns(text));
        let verified = custody.bearers.verify(text, Profile::HybridV1, start());
        let verified = verified.unwrap();
        let registered = verified.registered();
        assert_eq!(registered.subject.as_deref(), Some("ci"));
        assert_eq!(registered.audience.as_deref(), Some("web"));
        assert_eq!(registered.token_id.as_deref(), Some(&*issued.token.id));
        assert_eq!(registered.expires_at, Some(issued.token.expires_at));
    }
}

#[tokio::test]
async fn a_token_holds_to_its_last_second_and_not_in_it() {
    let (_folder, custody) = custody("example.org").await;
    let issued = issue(&custody, TokenVersion::V4, 1).await;
    let (text, end) = (issued.expose_secret(), issued.token.expires_at);
    let nearly = end - SignedDuration::from_nanos(1);
    check(&custody, text, Profile::HybridV1, nearly, "good");
    check(&custody, text, Profile::HybridV1, end, "token_expired");
}

#[tokio::test]
async fn the_longest_token_outlives_the_turns_of_keys_and_is_known_to_have_ended() {
    let (_folder, custody) = custody("example.org").await;
    let issued = issue(&custody, TokenVersion::V4, 365).await;
    for month in 1..=12 {
        let now = start() + SignedDuration::from_hours(24 * 30 * month);
        custody.maintain(now).await.unwrap();
        check(
            &custody,
            issued.expose_secret(),
            Profile::HybridV1,
            now,
            "good",
        );
    }
    let over = issued.token.expires_at + SignedDuration::from_hours(1);
    custody.maintain(over).await.unwrap();
    check(
        &custody,
        issued.expose_secret(),
        Profile::HybridV1,
        over,
        "token_expired",
    );
}

#[tokio::test]
async fn what_a_profile_does_not_have_opens_nothing_under_it() {
    let (_folder, custody) = custody("example.org").await;
    let v4 = issue(&custody, TokenVersion::V4, 1).await;
    let v3 = issue(&custody, TokenVersion::V3, 1).await;
    for (token, profile, expected) in [
        (&v4, Profile::HybridV1, "good"),
        (&v4, Profile::Cnsa2V1, "token_invalid"),
        (&v3, Profile::HybridV1, "good"),
        (&v3, Profile::Cnsa2V1, "good"),
    ] {
        check(&custody, token.expose_secret(), profile, start(), expected);
    }
}

#[tokio::test]
async fn a_token_of_another_trust_domain_or_kind_or_an_altered_one_is_not_ours_or_does_not_hold() {
    let (_folder, ours) = custody("example.org").await;
    let (_folder, theirs) = custody("example.net").await;
    let stranger = issue(&theirs, TokenVersion::V4, 1).await;
    assert!(!ours.bearers.owns(stranger.expose_secret()));
    check(
        &ours,
        stranger.expose_secret(),
        Profile::HybridV1,
        start(),
        "token_invalid",
    );
    for text in [
        "",
        "v4.local.",
        "v4.local.AAAA",
        "v4.public.AAAA.AAAA",
        "password",
    ] {
        assert!(!ours.bearers.owns(text));
        check(&ours, text, Profile::HybridV1, start(), "token_invalid");
    }
    let issued = issue(&ours, TokenVersion::V4, 1).await;
    let text = issued.expose_secret();
    let at = text.len() / 2;
    let other = if text.as_bytes()[at] == b'A' {
        "B"
    } else {
        "A"
    };
    let altered = format!("{}{other}{}", &text[..at], &text[at + 1..]);
    check(&ours, &altered, Profile::HybridV1, start(), "token_invalid");
}

#[tokio::test]
async fn a_revoked_token_stands_no_more_also_after_a_restart() {
    let (folder, custody) = custody("example.org").await;
    let issued = issue(&custody, TokenVersion::V4, 1).await;
    let id = issued.token.id.as_str();
    let standing = |custody: &Custody| {
        let why = standing(&custody.state.snapshot(), id);
        why.map_or_else(|why| why.to_string(), |()| String::new())
    };
    assert_eq!(standing(&custody), "");
    let revoked = custody
        .bearers
        .revoke(id, "leaked", OPERATOR, start())
        .await;
    assert_eq!(revoked.unwrap().subject, "ci");
    let told = format!("the bearer token was revoked at {}: leaked", start());
    assert_eq!(standing(&custody), told);
    let again = custody.bearers.revoke(id, "again", OPERATOR, start()).await;
    let again = again.unwrap_err().to_string();
    assert_eq!(
        again,
        format!("the bearer token `{id}` was revoked at {}", start())
    );
    custody.close().await.unwrap();
    drop(custody);
    let custody = open(&folder, "example.org", start()).await;
    assert_eq!(standing(&custody), told);
    check(
        &custody,
        issued.expose_secret(),
        Profile::HybridV1,
        start(),
        "good",
    );
}

#[tokio::test]
async fn a_token_that_the_state_does_not_know_stands_for_nothing() {
    let (_folder, custody) = custody("example.org").await;
    let snapshot = custody.state.snapshot();
    assert_eq!(standing(&snapshot, "other"), Err(UnfitBearer::Unknown));
    let revoked = custody
        .bearers
        .revoke("other", "why", OPERATOR, start())
        .await;
    let told = revoked.unwrap_err();
    assert_eq!(told.to_string(), "there is no bearer token `other`");
}

#[tokio::test]
async fn no_token_is_issued_for_too_long_or_for_a_pattern() {
    let (_folder, custody) = custody("example.org").await;
    let year = Duration::from_secs(365 * DAY);
    for (subject, expires_in, expected) in [
        (
            "ci",
            year + Duration::from_secs(1),
            "a bearer token lives from 1 second to 365 days, not 31536001 seconds",
        ),
        (
            "ci",
            Duration::ZERO,
            "a bearer token lives from 1 second to 365 days, not 0 seconds",
        ),
        (
            "*",
            year,
            "`*` cannot name a principal: `*` is a whole last segment or nothing",
        ),
        (
            "a b",
            year,
            "`a b` cannot name a principal: a name is letters, digits and `.-_@+:/~`",
        ),
    ] {
        let new = new(subject, TokenVersion::V4, expires_in);
        let refused = custody.bearers.issue(new, OPERATOR, start()).await;
        assert_eq!(refused.err().unwrap().to_string(), expected);
    }
    assert!(custody.state.snapshot().bearers.is_empty());
}

#[tokio::test]
async fn tokens_long_past_are_forgotten() {
    let (_folder, custody) = custody("example.org").await;
    issue(&custody, TokenVersion::V4, 1).await;
    let later = start() + SignedDuration::from_hours(24 * 60);
    custody.maintain(later).await.unwrap();
    let new = new("cd", TokenVersion::V4, Duration::from_secs(DAY));
    custody.bearers.issue(new, OPERATOR, later).await.unwrap();
    let snapshot = custody.state.snapshot();
    let subjects: Vec<_> = snapshot
        .bearers
        .values()
        .map(|token| &token.subject)
        .collect();
    assert_eq!(subjects, ["cd"]);
}

fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

const OPERATOR: Operator = Operator { uid: 1000 };
