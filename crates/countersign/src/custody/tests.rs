use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;

/// A gateway of `example.org` whose files are in a folder.
pub(crate) fn config(folder: &TempDir) -> CustodyConfig {
    CustodyConfig {
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        gateway: "main".to_owned(),
        profiles: vec![Profile::HybridV1],
        identity: IdentityVersion::V4,
        keys: crate::config::KeysConfig::default(),
        store_file: folder.path().join("gateway.db"),
        root_key_file: folder.path().join("root.key"),
        audit_file: folder.path().join("audit.jsonl"),
        when_unaudited: WhenUnwritable::Refuse,
    }
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A gateway that was started once and stopped.
async fn stopped() -> (TempDir, CustodyConfig) {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    let custody = Custody::open(&config, now()).await.unwrap();
    custody.close().await.unwrap();
    (folder, config)
}

async fn check_refused(config: &CustodyConfig, expected: &str) {
    let error = Custody::open(config, now())
        .await
        .err()
        .expect("the start must be refused");
    let message = error.to_string();
    let folder = config.audit_file.parent().unwrap();
    assert_eq!(
        message.replace(&folder.display().to_string(), "DIR"),
        expected
    );
    assert!(error.hint().is_some(), "no remedy for: {message}");
}

#[tokio::test]
async fn a_start_finds_what_the_first_start_made() {
    let (_folder, config) = stopped().await;
    let custody = Custody::open(&config, now()).await.unwrap();
    let pin = custody.authority.pin();
    assert_eq!(custody.authority.trust().version(), 1);
    assert_eq!(custody.authority.trust().anchors().len(), 1);
    custody.close().await.unwrap();
    drop(custody);
    assert_eq!(
        Custody::open(&config, now()).await.unwrap().authority.pin(),
        pin
    );
}

#[tokio::test]
async fn a_lost_root_key_is_not_replaced() {
    let (_folder, config) = stopped().await;
    fs::remove_file(&config.root_key_file).unwrap();
    let expected = "the root key `DIR/root.key` is missing, and the database was sealed with it";
    check_refused(&config, expected).await;
    assert!(!config.root_key_file.exists());
}

#[tokio::test]
async fn another_root_key_opens_nothing() {
    let (_folder, config) = stopped().await;
    fs::remove_file(&config.root_key_file).unwrap();
    RootKey::create(&config.root_key_file, &crate::root_key::Protection::Mode).unwrap();
    let error = Custody::open(&config, now()).await.err().unwrap();
    let message = error.to_string();
    let expected = "the root key does not open the trust-domain-key `";
    assert!(message.starts_with(expected), "{message}");
}

#[tokio::test]
async fn a_root_key_that_others_can_read_is_refused() {
    let (_folder, config) = stopped().await;
    fs::set_permissions(&config.root_key_file, Permissions::from_mode(0o604)).unwrap();
    let expected = "the root key `DIR/root.key` has mode 0604, which lets others at it";
    check_refused(&config, expected).await;
}

#[tokio::test]
async fn another_trust_domain_is_named() {
    let (_folder, config) = stopped().await;
    let trust_domain = TrustDomain::parse("example.net").unwrap();
    let config = CustodyConfig {
        trust_domain,
        ..config
    };
    let expected =
        "the database `DIR/gateway.db` is of the trust domain `example.org`, not `example.net`";
    check_refused(&config, expected).await;
}

#[tokio::test]
async fn a_first_start_that_stopped_half_way_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(&folder);
    RootKey::create(&config.root_key_file, &crate::root_key::Protection::Mode).unwrap();
    SqliteStore::open(&config.store_file)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    Custody::open(&config, now()).await.unwrap();
}

#[tokio::test]
async fn the_gateways_certificate_is_renewed_at_half_life_with_a_fresh_key() {
    let folder = tempfile::tempdir().unwrap();
    let custody = Custody::open(&config(&folder), now()).await.unwrap();
    let mut renewals = custody.authority.renewals();
    renewals.mark_unchanged();
    let first = custody.authority.svid(Profile::HybridV1).unwrap();
    custody
        .maintain(now() + SignedDuration::from_mins(20))
        .await
        .unwrap();
    assert!(!renewals.has_changed().unwrap());
    let half = first.half_life();
    custody.maintain(half).await.unwrap();
    assert!(renewals.has_changed().unwrap());
    let second = custody.authority.svid(Profile::HybridV1).unwrap();
    assert_eq!(second.id().to_string(), "spiffe://example.org/gateway/main");
    assert_eq!(second.not_after(), half + SignedDuration::from_hours(1));
    assert_ne!(second.leaf().public_key(), first.leaf().public_key());
}

#[tokio::test]
async fn a_profile_with_another_anchor_makes_a_new_version_of_the_bundle() {
    let (_folder, config) = stopped().await;
    let custody = Custody::open(&config, now()).await.unwrap();
    assert!(custody.authority.svid(Profile::FipsHybridV1).is_none());
    custody
        .prepare(&[Profile::HybridHighV1], &Signing::default(), now())
        .await
        .unwrap();
    assert_eq!(
        custody.authority.trust().version(),
        1,
        "the same anchor issues for both"
    );
    custody
        .prepare(&[Profile::FipsHybridV1], &Signing::default(), now())
        .await
        .unwrap();
    let trust = custody.authority.trust();
    assert_eq!((trust.version(), trust.anchors().len()), (2, 2));
    assert!(custody.authority.svid(Profile::FipsHybridV1).is_some());
    custody.close().await.unwrap();
    drop(custody);
    let again = Custody::open(&config, now()).await.unwrap();
    assert_eq!(again.authority.trust().signed(), trust.signed());
}

#[tokio::test]
async fn no_secret_lies_in_the_database() {
    let (folder, config) = stopped().await;
    let custody = Custody::open(&config, now()).await.unwrap();
    let contents = fs::read(&config.store_file).unwrap();
    let has = |needle: &[u8]| {
        contents
            .windows(needle.len())
            .any(|window| window == needle)
    };
    assert!(has(b"v4.local."), "sealed secrets");
    assert!(!has(b"k4.local.") && !has(b"PRIVATE KEY"));
    assert!(!has(custody.root().to_paserk().as_bytes()));
    drop(folder);
}
