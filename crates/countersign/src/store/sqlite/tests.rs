use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use countersign_channel::identity::SpkiHash;
use sqlx::{ConnectOptions, Connection};
use tempfile::TempDir;

use super::*;
use crate::report::Report;
use crate::store::{Agent, AgentChange, EntersBy};

fn folder() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.db");
    (folder, file)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn grant(service: &str) -> GrantRecord {
    GrantRecord {
        principal: "spiffe://example.org/agent/laptop".to_owned(),
        service: service.to_owned(),
        created_at: at(0),
        created_by: 1000,
    }
}

fn exception(id: &str, created_at: Timestamp, ends: Timestamp) -> ExceptionRecord {
    ExceptionRecord {
        exception: countersign_channel::server::Exception {
            id: id.to_owned(),
            owner: "ops".to_owned(),
            reason: "old scanner".to_owned(),
            ends,
            network: Some("10.20.0.0/16".parse().unwrap()),
            sni: None,
        },
        listener: Some("canary".to_owned()),
        created_at,
        created_by: 1000,
        ended_by: None,
    }
}

async fn raw(file: &Path) -> SqliteConnection {
    SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .connect()
        .await
        .unwrap()
}

async fn execute(file: &Path, statement: &'static str) {
    let mut connection = raw(file).await;
    sqlx::query(statement)
        .execute(&mut connection)
        .await
        .unwrap();
    connection.close().await.unwrap();
}

/// What opening says, with the path taken out, and whether it says what to do.
async fn refusal(file: &Path) -> String {
    let opened = SqliteStore::open_within(file, Duration::from_millis(20)).await;
    let error = opened.expect_err("the database must be refused");
    assert!(
        error.hint().is_some() || matches!(error, StoreError::File { .. }),
        "no remedy for: {error}"
    );
    error
        .to_string()
        .replace(&file.display().to_string(), "FILE")
}

#[tokio::test]
async fn a_new_database_is_private_and_opens_again() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    assert_eq!(store.add_grant(&grant("a")).await.unwrap(), Some(1));
    for name in [
        "gateway.db",
        "gateway.db-wal",
        "gateway.db-shm",
        "gateway.db.lock",
    ] {
        let mode = fs::metadata(file.with_file_name(name)).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{name}");
    }
    store.close().await.unwrap();
    drop(store);
    let contents = SqliteStore::open(&file)
        .await
        .unwrap()
        .load()
        .await
        .unwrap();
    assert_eq!((contents.revision, contents.grants), (1, vec![grant("a")]));
}

#[tokio::test]
async fn a_second_gateway_is_told_who_has_the_database() {
    let (_folder, file) = folder();
    let first = SqliteStore::open(&file).await.unwrap();
    let expected = format!(
        "the database `FILE` is in use by the gateway with process id {}",
        std::process::id()
    );
    assert_eq!(refusal(&file).await, expected);
    drop(first);
    SqliteStore::open(&file).await.unwrap();
}

#[tokio::test]
async fn a_database_that_another_program_locks_is_named() {
    let (_folder, file) = folder();
    SqliteStore::open(&file)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let mut other = raw(&file).await;
    sqlx::query("PRAGMA locking_mode = EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    sqlx::query("BEGIN EXCLUSIVE")
        .execute(&mut other)
        .await
        .unwrap();
    assert_eq!(
        refusal(&file).await,
        "the database `FILE` is locked by another program"
    );
}

#[tokio::test]
async fn a_lock_taken_while_the_gateway_runs_fails_the_write_and_nothing_else() {
    let (_folder, file) = folder();
    let store = SqliteStore::open_within(&file, Duration::from_millis(20))
        .await
        .unwrap();
    store.add_grant(&grant("a")).await.unwrap();
    let mut other = raw(&file).await;
    sqlx::query("BEGIN IMMEDIATE")
        .execute(&mut other)
        .await
        .unwrap();
    let error = store.add_grant(&grant("b")).await.unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    assert_eq!(store.add_grant(&grant("b")).await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_full_disk_fails_the_write_and_loses_nothing() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    store.add_grant(&grant("a")).await.unwrap();
    sqlx::query("PRAGMA max_page_count = 1")
        .execute(&store.pool)
        .await
        .unwrap();
    let large = grant(&"x".repeat(100_000));
    let error = store.add_grant(&large).await.unwrap_err();
    assert!(matches!(error, StoreError::Full { .. }), "{error}");
    assert!(error.hint().unwrap().contains("nothing was lost"));
    sqlx::query("PRAGMA max_page_count = 1000000")
        .execute(&store.pool)
        .await
        .unwrap();
    assert_eq!(store.load().await.unwrap().grants, [grant("a")]);
    assert_eq!(store.add_grant(&large).await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_left_as_it_is() {
    let (_folder, file) = folder();
    let content = "not a database, but long enough to have a header: ".repeat(100);
    fs::write(&file, &content).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(
        refusal(&file).await,
        "`FILE` is not a database, or it is damaged"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), content);
}

#[tokio::test]
async fn a_damaged_database_is_named() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let mut bytes = fs::read(&file).unwrap();
    bytes[1000..].fill(0x5a);
    fs::write(&file, bytes).unwrap();
    assert_eq!(
        refusal(&file).await,
        "`FILE` is not a database, or it is damaged"
    );
}

#[tokio::test]
async fn the_database_of_another_program_is_not_written_to() {
    let (_folder, file) = folder();
    execute(&file, "CREATE TABLE bookmarks (url TEXT)").await;
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let expected = "`FILE` is the database of another program (application id 0x00000000)";
    assert_eq!(refusal(&file).await, expected);
    let mut connection = raw(&file).await;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(tables, 1);
}

#[tokio::test]
async fn a_newer_schema_names_both_versions() {
    let (_folder, file) = folder();
    SqliteStore::open(&file)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    execute(
        &file,
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
         VALUES (9000, 'later', true, x'00', 0)",
    )
    .await;
    let known = MIGRATIONS.iter().map(|one| one.version).max().unwrap();
    let expected =
        format!("the database `FILE` has schema version 9000, this program knows up to {known}");
    assert_eq!(refusal(&file).await, expected);
}

#[tokio::test]
async fn a_schema_that_was_altered_is_named() {
    let (_folder, file) = folder();
    SqliteStore::open(&file)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    execute(&file, "UPDATE _sqlx_migrations SET checksum = x'00'").await;
    let expected = "schema version 1 of the database `FILE` was changed after it was applied";
    assert_eq!(refusal(&file).await, expected);
}

#[tokio::test]
async fn a_database_that_others_can_read_is_refused() {
    let (_folder, file) = folder();
    SqliteStore::open(&file)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        refusal(&file).await,
        "`FILE` has mode 0644, which lets others at it"
    );
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("absent/gateway.db");
    let error = SqliteStore::open(&file).await.unwrap_err();
    let expected = format!("cannot open `{}.lock`", file.display());
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn a_value_that_this_program_never_writes_is_named() {
    let (_folder, file) = folder();
    SqliteStore::open(&file)
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    execute(
        &file,
        "INSERT INTO secrets VALUES ('diary', 'a', 'b', 0, NULL)",
    )
    .await;
    let error = SqliteStore::open(&file)
        .await
        .unwrap()
        .load()
        .await
        .unwrap_err();
    assert_eq!(
        error
            .to_string()
            .replace(&file.display().to_string(), "FILE"),
        "the database `FILE` holds a bad value in secrets.kind"
    );
}

#[tokio::test]
async fn a_trust_domain_is_written_once() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    let bundle = BundleDocument {
        version: 1,
        issued_at: at(0),
        document: b"{}".to_vec(),
    };
    let first = Initial {
        trust_domain: "example.org".to_owned(),
        secrets: Vec::new(),
        bundle,
    };
    assert_eq!(store.initialise(&first).await.unwrap(), 1);
    let error = store.initialise(&first).await.unwrap_err();
    assert!(
        matches!(error, StoreError::TrustDomainSet { .. }),
        "{error}"
    );
    assert_eq!(store.load().await.unwrap().revision, 1);
}

#[tokio::test]
async fn an_exception_is_ended_once_and_forgotten_long_after() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    let first = exception("x-1", at(0), at(100));
    assert_eq!(store.add_exception(&first).await.unwrap(), 1);
    let kept = store.load().await.unwrap().exceptions;
    assert_eq!(kept, std::slice::from_ref(&first));
    let end = async |id, second| store.end_exception(id, (7, at(second))).await.unwrap();
    assert_eq!(end("x-2", 10).await, None);
    assert_eq!(end("x-1", 10).await, Some(2));
    assert_eq!(end("x-1", 11).await, None);
    let ended = store.load().await.unwrap().exceptions;
    assert_eq!(
        (ended[0].exception.ends, ended[0].ended_by),
        (at(10), Some(7))
    );
    let later = at(100 * 24 * 3600);
    let second = exception("x-2", later, at(101 * 24 * 3600));
    store.add_exception(&second).await.unwrap();
    assert_eq!(store.load().await.unwrap().exceptions, [second]);
}

#[tokio::test]
async fn a_grant_is_added_and_removed_once() {
    let (_folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    let principal = grant("a").principal;
    assert_eq!(store.add_grant(&grant("a")).await.unwrap(), Some(1));
    assert_eq!(store.add_grant(&grant("a")).await.unwrap(), None);
    assert_eq!(
        store.remove_grant(&principal, "a", at(1)).await.unwrap(),
        Some(2)
    );
    assert_eq!(
        store.remove_grant(&principal, "a", at(1)).await.unwrap(),
        None
    );
}

fn spki(byte: u8) -> SpkiHash {
    SpkiHash::from([byte; 48])
}

fn join(id: &str, replaces: bool) -> JoinToken {
    JoinToken {
        id: id.to_owned(),
        name: "laptop".to_owned(),
        replaces,
        created_at: at(0),
        created_by: 0,
        expires_at: at(900),
    }
}

fn enrolment(id: &str, key: u8, now: i64) -> Enrolment {
    Enrolment {
        by: EntersBy::Token(id.to_owned(), None),
        name: "laptop".to_owned(),
        spiffe_id: "spiffe://example.org/agent/laptop".to_owned(),
        spki: spki(key),
        serial: "01".to_owned(),
        certificate_expires_at: at(now + 3600),
        now: at(now),
    }
}

fn renewal(from: u8, to: u8, now: i64) -> Renewal {
    Renewal {
        name: "laptop".to_owned(),
        from: spki(from),
        spki: spki(to),
        serial: "02".to_owned(),
        certificate_expires_at: at(now + 3600),
        now: at(now),
    }
}

async fn joined() -> (TempDir, SqliteStore) {
    let (folder, file) = folder();
    let store = SqliteStore::open(&file).await.unwrap();
    store.create_join(&join("first", false)).await.unwrap();
    let outcome = store.enrol(&enrolment("first", 1, 10)).await.unwrap();
    assert!(matches!(outcome, EnrolOutcome::Enrolled(_)));
    (folder, store)
}

async fn only_agent(store: &SqliteStore) -> Agent {
    store.load().await.unwrap().agents.pop().unwrap()
}

#[tokio::test]
async fn what_a_write_says_of_an_agent_is_what_the_store_keeps() {
    let (_folder, store) = joined().await;
    let entered = Agent::entered(&enrolment("first", 1, 10));
    assert_eq!(only_agent(&store).await, entered);
    let AgentChange { agent, .. } = store.renew(&renewal(1, 2, 1800)).await.unwrap().unwrap();
    assert_eq!(only_agent(&store).await, agent);
    let revocation = Revocation {
        at: at(1900),
        reason: "lost".to_owned(),
    };
    let AgentChange { agent, .. } = store.revoke("laptop", &revocation).await.unwrap().unwrap();
    assert_eq!(agent.revoked, Some(revocation));
    assert_eq!(only_agent(&store).await, agent);
}

#[tokio::test]
async fn the_key_before_a_renewal_holds_until_its_certificate_ends() {
    let (_folder, store) = joined().await;
    let agent = store
        .renew(&renewal(1, 2, 1800))
        .await
        .unwrap()
        .unwrap()
        .agent;
    assert!(agent.holds(&spki(1), at(3609)) && !agent.holds(&spki(1), at(3610)));
    assert!(agent.holds(&spki(2), at(99_999)) && !agent.holds(&spki(3), at(1800)));
    assert!(
        store.renew(&renewal(3, 3, 1900)).await.unwrap().is_none(),
        "a stranger's key"
    );
    let again = store
        .renew(&renewal(2, 2, 3700))
        .await
        .unwrap()
        .unwrap()
        .agent;
    assert_eq!(again.previous, None);
}

#[tokio::test]
async fn a_revoked_agent_neither_renews_nor_enrols_with_its_old_keys() {
    let (_folder, store) = joined().await;
    store.renew(&renewal(1, 2, 20)).await.unwrap();
    let revocation = Revocation {
        at: at(30),
        reason: "stolen".to_owned(),
    };
    store.revoke("laptop", &revocation).await.unwrap().unwrap();
    assert!(store.revoke("laptop", &revocation).await.unwrap().is_none());
    assert!(store.renew(&renewal(2, 2, 40)).await.unwrap().is_none());
    store.create_join(&join("second", true)).await.unwrap();
    for key in [1, 2] {
        let outcome = store.enrol(&enrolment("second", key, 50)).await.unwrap();
        assert_eq!(outcome, EnrolOutcome::KeyRevoked { at: at(30) });
    }
    let outcome = store.enrol(&enrolment("second", 3, 50)).await.unwrap();
    assert!(matches!(outcome, EnrolOutcome::Enrolled(_)), "{outcome:?}");
    assert_eq!(only_agent(&store).await.revoked, None);
}

#[tokio::test]
async fn seeing_an_agent_is_no_change_and_never_goes_back() {
    let (_folder, store) = joined().await;
    let before = store.load().await.unwrap().revision;
    for second in [500, 400] {
        store
            .seen(&[("laptop".to_owned(), at(second))], &[])
            .await
            .unwrap();
    }
    let contents = store.load().await.unwrap();
    assert_eq!(contents.agents[0].last_seen, Some(at(500)));
    assert_eq!(contents.revision, before);
}

#[tokio::test]
async fn a_copy_opens_by_itself_and_replaces_nothing() {
    let (folder, store) = joined().await;
    let copy = folder.path().join("copy.db");
    store.copy_to(&copy).await.unwrap();
    assert!(store.copy_to(&copy).await.is_err());
    fs::set_permissions(&copy, Permissions::from_mode(0o600)).unwrap();
    let copied = SqliteStore::open(&copy).await.unwrap();
    copied.check_integrity().await.unwrap();
    assert_eq!(
        copied.load().await.unwrap().agents,
        store.load().await.unwrap().agents
    );
}

/// The child of the test below: writes grants and says of each when the store has acknowledged it.
#[tokio::test]
async fn child_that_writes_until_it_is_killed() {
    let Some(file) = std::env::var_os("COUNTERSIGN_TEST_WRITE_TO") else {
        return;
    };
    let store = SqliteStore::open(Path::new(&file)).await.unwrap();
    let start = store.load().await.unwrap().grants.len();
    for number in start.. {
        store
            .add_grant(&grant(&format!("{number:08}")))
            .await
            .unwrap();
        std::io::stdout()
            .write_all(format!("ack {number}\n").as_bytes())
            .unwrap();
    }
}

#[tokio::test]
async fn sigkill_loses_nothing_that_was_acknowledged() {
    let (_folder, file) = folder();
    let mut acknowledged = 0;
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::sqlite::tests::child_that_writes_until_it_is_killed",
            ])
            .arg("--nocapture")
            .env("COUNTERSIGN_TEST_WRITE_TO", &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let mut numbers = lines.filter_map(|line| line.split_once("ack ")?.1.parse::<usize>().ok());
        for number in numbers.by_ref().take(round * 7) {
            acknowledged = number + 1;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = numbers.last().map_or(acknowledged, |number| number + 1);
        let store = SqliteStore::open(&file).await.unwrap();
        store.check_integrity().await.unwrap();
        let contents = store.load().await.unwrap();
        assert!(contents.grants.len() >= acknowledged, "round {round}");
        assert_eq!(
            usize::try_from(contents.revision).unwrap(),
            contents.grants.len()
        );
        store.close().await.unwrap();
    }
    assert!(acknowledged >= 28);
}
