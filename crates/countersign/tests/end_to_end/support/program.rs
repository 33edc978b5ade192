//! Finding the programs that a test needs, and saying so when one is missing.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that is installed, or nothing after the name of what is missing was printed.
#[track_caller]
pub(crate) fn installed(name: &str) -> Option<PathBuf> {
    let found = folders()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file());
    found.or_else(|| missing(name))
}

/// A program that `./test` puts into `.cache/`.
#[track_caller]
pub(crate) fn cached(name: &str) -> Option<PathBuf> {
    let program = root().join(".cache").join(name);
    if program.is_file() {
        return Some(program);
    }
    missing(name)
}

/// Node 26 with the packages of `tests/node`, about to run one of its scripts.
#[track_caller]
pub(crate) fn node(name: &str) -> Option<Command> {
    let modules = root().join(".cache/node/node_modules");
    let program = modules.join(".bin/node");
    if !program.is_file() {
        return missing("Node 26 with the packages of tests/node");
    }
    let mut command = Command::new(program);
    command.env("NODE_PATH", modules).arg(script("node", name));
    Some(command)
}

/// Python with the packages of `tests/python`, about to run one of its scripts.
#[track_caller]
pub(crate) fn python(name: &str) -> Option<Command> {
    python_with(&script("python", name))
}

/// Python with the same packages, about to run one of the examples.
#[track_caller]
pub(crate) fn example(name: &str) -> Option<Command> {
    python_with(&root().join("examples").join(name))
}

#[track_caller]
fn python_with(script: &Path) -> Option<Command> {
    let program = root().join(".cache/python/bin/python");
    if !program.is_file() {
        return missing("Python with the packages of tests/python");
    }
    let mut command = Command::new(program);
    command.arg(script);
    Some(command)
}

fn script(folder: &str, name: &str) -> PathBuf {
    root().join("tests").join(folder).join(name)
}

/// The `PATH`, and where Debian puts servers.
fn folders() -> impl Iterator<Item = PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&path).collect();
    folders.extend(["/usr/sbin", "/sbin"].map(PathBuf::from));
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    // PostgreSQL first: a wrapper of the same name elsewhere may not run as another user.
    versions
        .flatten()
        .map(|version| version.path().join("bin"))
        .chain(folders)
}

#[track_caller]
fn missing<T>(name: &str) -> Option<T> {
    let set = |name, value| std::env::var_os(name).is_some_and(|found| found == value);
    let required = set("CI", "true") || set("COUNTERSIGN_REQUIRE_ALL", "1");
    assert!(!required, "{name} is not installed");
    // Not `println!`, which the test harness keeps to itself when a test passes.
    let _ = writeln!(std::io::stderr(), "skipped: {name} is not installed");
    None
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
