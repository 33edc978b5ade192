use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit, setrlimit};

use super::*;
use crate::audit::trail::queue::LIMIT;

fn stop(reason: &str) -> Event {
    Event::Stop {
        reason: reason.to_owned(),
    }
}

fn reasons(file: &Path) -> Vec<String> {
    let reason = |record: Record| match record.event {
        Event::Stop { reason } => reason,
        other => panic!("{other:?}"),
    };
    read(file).unwrap().into_iter().map(reason).collect()
}

/// A trail in a folder that can be taken away, which is what a failing disk looks like from here.
fn trail(when_unwritable: WhenUnwritable) -> (tempfile::TempDir, PathBuf, Audit) {
    let above = tempfile::tempdir().unwrap();
    let folder = above.path().join("audit");
    fs::create_dir(&folder).unwrap();
    let file = folder.join("audit.jsonl");
    let audit = Audit::open(&file, when_unwritable).unwrap();
    (above, file, audit)
}

#[tokio::test]
async fn events_are_lines_in_a_private_file() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    audit.record(stop("one"));
    audit.record_durably(stop("two")).await.unwrap();
    assert_eq!(reasons(&file), ["one", "two"]);
    assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
    let records = read(&file).unwrap();
    assert_ne!(records[0].id, records[1].id);
    assert!(records[0].at <= records[1].at);
}

#[tokio::test]
async fn a_line_that_a_crash_cut_short_spoils_no_other() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    audit.record_durably(stop("before")).await.unwrap();
    drop(audit);
    let cut = r#"{"at":"2026-11-23T00:00:00Z","id":"0","event":"st"#;
    OpenOptions::new()
        .append(true)
        .open(&file)
        .unwrap()
        .write_all(cut.as_bytes())
        .unwrap();
    let audit = Audit::open(&file, WhenUnwritable::Refuse).unwrap();
    audit.record_durably(stop("after")).await.unwrap();
    assert_eq!(reasons(&file), ["before", "after"]);
    assert!(
        fs::read_to_string(&file).unwrap().contains(cut),
        "nothing is taken out of the trail"
    );
}

#[tokio::test]
async fn a_trail_that_others_can_read_is_refused() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    drop(audit);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let error = Audit::open(&file, WhenUnwritable::Refuse).unwrap_err();
    assert_eq!(
        error
            .to_string()
            .replace(&file.display().to_string(), "FILE"),
        "the audit trail `FILE` has mode 0644, which lets others at it"
    );
    assert!(error.hint().unwrap().starts_with("run `chmod 0600 "));
}

#[tokio::test]
async fn while_the_trail_cannot_be_written_nothing_new_is_let_in_and_nothing_is_lost() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    audit.record_durably(stop("one")).await.unwrap();
    audit.ready().unwrap();
    let (folder, away) = (
        file.parent().unwrap(),
        file.parent().unwrap().with_extension("away"),
    );
    fs::rename(folder, &away).unwrap();
    let error = audit.record_durably(stop("two")).await.unwrap_err();
    assert!(
        matches!(error, AuditError::Unwritable { lost: 0, .. }),
        "{error}"
    );
    assert!(audit.ready().is_err());
    audit.record(stop("three"));
    fs::rename(&away, folder).unwrap();
    audit.flush().await.unwrap();
    audit.ready().unwrap();
    assert_eq!(reasons(&file), ["one", "two", "three"]);
    assert_eq!(audit.lost(), 0);
}

#[tokio::test]
async fn a_trail_may_be_told_to_count_what_it_cannot_keep() {
    let (_above, file, audit) = trail(WhenUnwritable::Allow);
    fs::remove_dir_all(file.parent().unwrap()).unwrap();
    for _ in 0..3 * LIMIT {
        audit.record(stop("lost"));
    }
    assert!(audit.flush().await.is_err());
    audit.ready().unwrap();
    assert!(audit.lost() > 0);
}

#[tokio::test]
async fn a_trail_that_was_moved_away_begins_anew() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    audit.record_durably(stop("old")).await.unwrap();
    let rotated = file.with_extension("1");
    fs::rename(&file, &rotated).unwrap();
    audit.record_durably(stop("new")).await.unwrap();
    assert_eq!(
        (reasons(&rotated), reasons(&file)),
        (vec!["old".into()], vec!["new".into()])
    );
}

/// Waits for lines as `tail` does: by looking.
fn tailed(file: &Path, expected: &[&str]) {
    let since = Instant::now();
    while reasons(file) != expected {
        assert!(since.elapsed() < PATIENCE, "{:?}", reasons(file));
        std::thread::yield_now();
    }
}

#[test]
fn a_reader_that_tails_sees_what_nobody_waits_for() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    for expected in [&["one"][..], &["one", "two"]] {
        audit.record(stop(expected.last().unwrap()));
        tailed(&file, expected);
    }
}

#[test]
fn what_was_recorded_last_is_written_though_the_trail_is_dropped() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    audit.record(stop("one"));
    audit.record(stop("two"));
    drop(audit);
    tailed(&file, &["one", "two"]);
}

#[tokio::test]
async fn a_trail_that_failed_while_nothing_was_to_be_written_recovers_by_itself() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    let away = file.parent().unwrap().with_extension("away");
    fs::rename(file.parent().unwrap(), &away).unwrap();
    audit.flush().await.unwrap_err();
    assert!(audit.ready().is_err());
    fs::rename(&away, file.parent().unwrap()).unwrap();
    let since = Instant::now();
    while audit.ready().is_err() {
        assert!(since.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

/// The limit is the process's, so the test runs itself again under one: the file takes a part of a batch, then no more.
#[test]
fn a_disk_that_fills_up_inside_a_batch_takes_all_of_it_later_and_nothing_twice() {
    if std::env::var_os(FULL).is_some() {
        return fill_a_disk();
    }
    let name = std::thread::current().name().unwrap().to_owned();
    let output = Command::new("sh")
        .args([
            "-c",
            r#"trap "" XFSZ; ulimit -S -f 8; exec "$0" --exact "$1""#,
        ])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(FULL, "yes")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("1 passed"), "{said}");
}

#[tokio::main(flavor = "current_thread")]
async fn fill_a_disk() {
    let (_above, file, audit) = trail(WhenUnwritable::Refuse);
    audit.record_durably(stop("first")).await.unwrap();
    let before = fs::read(&file).unwrap();
    let numbers: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    for number in &numbers {
        audit.record(stop(number));
    }
    audit.flush().await.unwrap_err();
    assert!(audit.ready().is_err());
    assert!(
        fs::read(&file).unwrap() == before,
        "a part of the batch is left behind"
    );
    let limit = getrlimit(Resource::Fsize);
    let lifted = rustix::process::Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Fsize, lifted).unwrap();
    audit.flush().await.unwrap();
    audit.ready().unwrap();
    assert_eq!(reasons(&file)[1..], numbers);
    assert_eq!(audit.lost(), 0);
}

const FULL: &str = "COUNTERSIGN_TEST_FULL_DISK";
const PATIENCE: Duration = Duration::from_secs(30);
