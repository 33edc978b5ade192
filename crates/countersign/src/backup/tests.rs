use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use countersign_channel::Profile;
use tempfile::TempDir;

use super::*;
use crate::config::IdentityVersion;
use crate::custody::CustodyConfig;
use crate::enrolment::NewJoinString;

fn config(folder: &Path) -> CustodyConfig {
    CustodyConfig {
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        gateway: "main".to_owned(),
        profiles: vec![Profile::HybridV1],
        identity: IdentityVersion::V4,
        keys: crate::config::KeysConfig::default(),
        store_file: folder.join("gateway.db"),
        root_key_file: folder.join("root.key"),
        audit_file: folder.join("audit.jsonl"),
        when_unaudited: WhenUnwritable::Refuse,
    }
}

fn target(folder: &Path) -> RestoreTarget {
    let CustodyConfig {
        trust_domain,
        store_file,
        root_key_file,
        audit_file,
        ..
    } = config(folder);
    RestoreTarget {
        trust_domain,
        store_file,
        root_key_file,
        audit_file,
    }
}

fn passphrase(text: &str) -> Passphrase {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passphrase");
    fs::write(&file, text).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    Passphrase::read(&file).unwrap()
}

fn right() -> Passphrase {
    passphrase("correct horse battery\n")
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// A gateway with a join string that nobody used, and a backup of it.
async fn backed_up() -> (TempDir, Custody, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let custody = Custody::open(&config(folder.path()), now()).await.unwrap();
    let new = NewJoinString {
        name: "laptop".to_owned(),
        expires_in: crate::enrolment::DEFAULT_JOIN,
        replace: false,
        address: "gate.example.org:8443".parse().unwrap(),
        profile: Profile::HybridV1,
    };
    custody
        .enrolment
        .create_join_string(new, OPERATOR, now())
        .await
        .unwrap();
    let file = folder.path().join("backup");
    let done = create(&custody, &file, right(), OPERATOR, now())
        .await
        .unwrap();
    assert_eq!(done.trust_domain, "example.org");
    (folder, custody, file)
}

async fn check_refused(file: &Path, passphrase: Passphrase, expected: &str) {
    let folder = tempfile::tempdir().unwrap();
    let refused = restore(file, passphrase, &target(folder.path()), OPERATOR, now()).await;
    let message = refused.unwrap_err().to_string();
    assert_eq!(
        message.replace(&file.display().to_string(), "FILE"),
        expected
    );
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left, ["gateway.db.lock"], "nothing may be written");
}

#[tokio::test]
async fn a_restored_gateway_is_the_one_that_was_backed_up() {
    let (_folder, custody, file) = backed_up().await;
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let folder = tempfile::tempdir().unwrap();
    restore(&file, right(), &target(folder.path()), OPERATOR, now())
        .await
        .unwrap();
    let restored = Custody::open(&config(folder.path()), now()).await.unwrap();
    assert_eq!(restored.authority.pin(), custody.authority.pin());
    assert_eq!(
        restored.authority.trust().signed(),
        custody.authority.trust().signed()
    );
    for name in ["gateway.db", "root.key", "audit.jsonl"] {
        let mode = fs::metadata(folder.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{name}");
    }
    let trail = crate::audit::read(&folder.path().join("audit.jsonl")).unwrap();
    assert!(
        matches!(trail[0].event, Event::BackupRestored { created_at, .. } if created_at == now())
    );
}

#[tokio::test]
async fn join_strings_that_were_not_used_are_void_after_a_restore() {
    use sqlx::ConnectOptions;
    let (_folder, _custody, file) = backed_up().await;
    let folder = tempfile::tempdir().unwrap();
    restore(&file, right(), &target(folder.path()), OPERATOR, now())
        .await
        .unwrap();
    let database = folder.path().join("gateway.db");
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
    let mut connection = options.connect().await.unwrap();
    let count = sqlx::query_scalar::<_, i64>("SELECT count(*) FROM join_tokens");
    assert_eq!(count.fetch_one(&mut connection).await.unwrap(), 0);
}

#[tokio::test]
async fn another_passphrase_opens_nothing() {
    let (_folder, _custody, file) = backed_up().await;
    let expected = "the passphrase does not open `FILE`, or the file is damaged";
    check_refused(&file, passphrase("incorrect horse battery"), expected).await;
}

#[tokio::test]
async fn a_backup_with_one_bit_changed_opens_nothing() {
    let (_folder, _custody, file) = backed_up().await;
    let whole = fs::read(&file).unwrap();
    let expected = "the passphrase does not open `FILE`, or the file is damaged";
    let created_at = whole.windows(4).position(|bytes| bytes == b"2027").unwrap();
    for place in [created_at + 3, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        fs::write(&file, changed).unwrap();
        check_refused(&file, right(), expected).await;
    }
    fs::write(&file, &whole[..whole.len() - 1000]).unwrap();
    check_refused(&file, right(), expected).await;
}

#[tokio::test]
async fn what_is_no_backup_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    let header = |format: &str, key: &str| {
        let created_at = now();
        format!("{format}\n{{\"created_at\":\"{created_at}\",\"key\":\"{key}\"}}\nbody")
    };
    let key = Key::<V4, Local>::generate(&SystemRandom).unwrap();
    let costly = costly(&key.protect(b"passphrase", WORK, &SystemRandom).unwrap());
    let not_a_backup = "`FILE` is no backup of countersign".to_owned();
    let cases = [
        (String::new(), not_a_backup.clone()),
        ("\n\n\n".to_owned(), not_a_backup.clone()),
        ("x".repeat(10_000), not_a_backup.clone()),
        (header(FORMAT, "k4.local.AAAA"), not_a_backup),
        (
            header("countersign-backup-v2", "?"),
            "the backup `FILE` has the format `countersign-backup-v2`, this program reads `countersign-backup-v1`".to_owned(),
        ),
        (header(FORMAT, &costly), "the passphrase of `FILE` costs too much to check".to_owned()),
    ];
    for (content, expected) in cases {
        fs::write(&file, content).unwrap();
        check_refused(&file, right(), &expected).await;
    }
}

/// The same key, asking for 4 GiB: the memory stands after the salt of 16 bytes.
fn costly(protected: &str) -> String {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let (header, data) = protected.rsplit_once('.').unwrap();
    let mut data = Base64UrlUnpadded::decode_vec(data).unwrap();
    data[16..24].copy_from_slice(&(4u64 << 30).to_be_bytes());
    format!("{header}.{}", Base64UrlUnpadded::encode_string(&data))
}

#[tokio::test]
async fn nothing_is_overwritten() {
    let (folder, custody, file) = backed_up().await;
    let again = create(&custody, &file, right(), OPERATOR, now()).await;
    assert!(matches!(again, Err(BackupError::Exists { .. })));
    let running = restore(&file, right(), &target(folder.path()), OPERATOR, now()).await;
    assert!(matches!(
        running,
        Err(BackupError::Store(StoreError::InUse { .. }))
    ));
    for existing in ["gateway.db", "gateway.db-wal", "root.key"] {
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join(existing), "precious").unwrap();
        let refused = restore(&file, right(), &target(elsewhere.path()), OPERATOR, now()).await;
        assert!(
            matches!(refused, Err(BackupError::Exists { .. })),
            "{existing}"
        );
        assert_eq!(
            fs::read(elsewhere.path().join(existing)).unwrap(),
            b"precious"
        );
    }
}

#[tokio::test]
async fn the_state_of_another_trust_domain_is_named() {
    let (_folder, _custody, file) = backed_up().await;
    let folder = tempfile::tempdir().unwrap();
    let trust_domain = TrustDomain::parse("example.net").unwrap();
    let target = RestoreTarget {
        trust_domain,
        ..target(folder.path())
    };
    let error = restore(&file, right(), &target, OPERATOR, now())
        .await
        .unwrap_err();
    let expected = "the backup is of the trust domain `example.org`, not `example.net`";
    assert_eq!(error.to_string(), expected);
    assert!(!target.store_file.exists());
}

#[test]
fn a_passphrase_is_private_and_long_enough() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("passphrase");
    let check = |content: &str, mode, expected: &str| {
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let message = Passphrase::read(&file).unwrap_err().to_string();
        assert_eq!(
            message.replace(&file.display().to_string(), "FILE"),
            expected
        );
    };
    check(
        "secret\n",
        0o600,
        "the passphrase has 6 bytes, it needs at least 12",
    );
    let lets_others = "`FILE` has mode 0644, which lets others at a secret";
    check("correct horse battery", 0o644, lets_others);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        format!("{:?}", Passphrase::read(&file).unwrap()),
        "Passphrase"
    );
}

const OPERATOR: Operator = Operator { uid: 1000 };
