//! `countersign key` and `countersign token` against the official vectors and against their page of the documentation.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]
#![expect(
    clippy::print_stderr,
    reason = "vectors that are absent are said to be"
)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

#[test]
fn v1_tokens_are_those_of_the_specification() {
    tokens("1");
}

#[test]
fn v2_tokens_are_those_of_the_specification() {
    tokens("2");
}

#[test]
fn v3_tokens_are_those_of_the_specification() {
    tokens("3");
}

#[test]
fn v4_tokens_are_those_of_the_specification() {
    tokens("4");
}

#[test]
fn keys_have_the_ids_of_the_specification() {
    for (kind, plain) in [("lid", "local"), ("pid", "public"), ("sid", "secret")] {
        for version in ["1", "2", "3", "4"] {
            for vector in sample(&format!("paserk/k{version}.{kind}.json")) {
                let key = key_file(version, plain, text(&vector, "key"));
                let done = run(&["key", "id", "key"], &[("key", &key)], b"");
                answers(&vector, &done, text(&vector, "paserk").as_bytes());
            }
        }
    }
}

#[test]
fn keys_come_out_of_their_wrappings_as_in_the_specification() {
    for plain in ["local", "secret"] {
        for version in ["1", "2", "3", "4"] {
            for vector in sample(&format!("paserk/k{version}.{plain}-wrap.pie.json")) {
                let root = key_file(version, "local", text(&vector, "wrapping-key"));
                let files = [
                    ("root", root.as_str()),
                    ("wrapped", text(&vector, "paserk")),
                ];
                let done = run(&["key", "unwrap", "--with", "root", "wrapped"], &files, b"");
                opens(&vector, &done, version, plain, "unwrapped");
            }
        }
    }
}

#[test]
fn keys_come_out_from_under_their_passwords_as_in_the_specification() {
    for version in ["1", "2", "3", "4"] {
        for vector in sample(&format!("paserk/k{version}.local-pw.json")) {
            // The vectors' passwords are the bytes of hexadecimal that is written out, which the library's tests hold too.
            let password = text(&vector, "password");
            let files = [
                ("password", password),
                ("protected", text(&vector, "paserk")),
            ];
            let arguments = ["key", "unlock", "--password-file", "password", "protected"];
            let done = run(&arguments, &files, b"");
            opens(&vector, &done, version, "local", "unwrapped");
        }
    }
}

#[test]
fn sealed_keys_come_out_as_in_the_specification() {
    for version in ["2", "3", "4"] {
        for vector in sample(&format!("paserk/k{version}.seal.json")) {
            let secret = key_file(version, "secret", text(&vector, "sealing-secret-key"));
            let files = [
                ("secret", secret.as_str()),
                ("sealed", text(&vector, "paserk")),
            ];
            let done = run(
                &["key", "unseal", "--with", "secret", "sealed"],
                &files,
                b"",
            );
            opens(&vector, &done, version, "local", "unsealed");
        }
    }
}

#[test]
fn input_that_is_too_long_is_not_taken() {
    let key = key_file("4", "local", &"70".repeat(32));
    let long = "a".repeat(1 << 20);
    let check = |arguments: &[&str], exit: i32, message: &str| {
        let files = [("key", key.as_str()), ("long", &long)];
        let done = run(arguments, &files, &long.as_bytes()[..60_000]);
        assert_eq!(done.status.code(), Some(exit), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&done.stderr), message);
    };
    let create = ["token", "create", "--key", "key", "--raw", "--claims"];
    check(
        &["token", "verify", "--key", "key", "long"],
        1,
        "error: the token is not valid: it has more than 65536 bytes\n",
    );
    check(
        &[&create[..], &["long"]].concat(),
        2,
        "error: `long` has more than 65536 bytes\n",
    );
    check(
        &[&create[..], &["-"]].concat(),
        2,
        "error: the token would have 80095 bytes, and 65536 are read\n",
    );
    check(
        &["key", "id", "long"],
        2,
        "error: `long` has more than 12288 bytes\n",
    );
    check(
        &["key", "protect", "--password-file", "long", "key"],
        2,
        "error: `long` has more than 4096 bytes\n",
    );
}

#[test]
fn what_is_no_text_is_no_token_and_stands_in_json_all_the_same() {
    let key = key_file("4", "local", &"70".repeat(32));
    let files = [("key", key.as_str())];
    let verify = [
        "token", "verify", "--key", "key", "--raw", "-", "--format", "json",
    ];
    let refused = run(&verify, &files, b"\xff");
    assert_eq!(refused.status.code(), Some(1));
    let create = ["token", "create", "--key", "key", "--raw", "--claims", "-"];
    let token = run(&create, &files, b"\xff\n").stdout;
    let shown: Value = serde_json::from_slice(&run(&verify, &files, &token).stdout).unwrap();
    assert_eq!(
        shown,
        serde_json::json!({"payload_base64url": "_wo", "footer": ""})
    );
}

#[test]
fn a_key_in_a_file_of_its_own_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let arguments = [
        "key",
        "generate",
        "--version",
        "v4",
        "--purpose",
        "local",
        "--output",
        "key",
    ];
    let done = run_in(folder.path(), &arguments, b"");
    assert_eq!((done.status.code(), done.stdout), (Some(0), Vec::new()));
    let mode = fs::metadata(folder.path().join("key"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let id = run_in(folder.path(), &["key", "id", "key"], b"");
    assert!(id.stdout.starts_with(b"k4.lid."));
    assert_eq!(id.stderr, b"");
}

#[test]
fn the_examples_of_the_page_run() {
    let page = include_str!("../../../docs/tokens.md");
    let scripts = page.split("```sh\n").skip(1);
    let scripts: String = scripts
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(scripts.contains("countersign key unseal"), "{scripts}");
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_countersign"));
    let path = format!(
        "{}:{}",
        program.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let done = Command::new("sh")
        .args(["-eu", "-c", &format!("umask 022\n{scripts}")])
        .current_dir(folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{errors}");
    for again in [
        ["session.key", "session.again"],
        ["signing.key", "signing.again"],
        ["session.key", "session.there"],
    ] {
        let [first, second] = again.map(|file| fs::read(folder.path().join(file)).unwrap());
        assert_eq!(first, second, "{again:?}");
    }
}

/// Verifies every token of a version, whose claims have ended long since.
fn tokens(version: &str) {
    for vector in vectors(&format!("paseto/v{version}.json")) {
        let key = match vector["key"].is_string() {
            true => key_file(version, "local", text(&vector, "key")),
            false => key_file(version, "public", text(&vector, "public-key")),
        };
        let mut arguments = vec!["token", "verify", "--raw", "--key", "key", "-"];
        arguments.extend(["--footer", text(&vector, "footer")]);
        // The vectors of versions 1 and 2 discard theirs; the command refuses one that nothing would authenticate.
        if matches!(version, "3" | "4") {
            arguments.extend(["--assertion", text(&vector, "implicit-assertion")]);
        }
        let token = format!("{}\n", text(&vector, "token"));
        let done = run(&arguments, &[("key", &key)], token.as_bytes());
        answers(&vector, &done, text(&vector, "payload").as_bytes());
    }
}

/// The vector's answer, or none and an exit status that is not 0.
fn answers(vector: &Value, done: &Output, expected: &[u8]) {
    let name = text(vector, "name");
    let errors = String::from_utf8_lossy(&done.stderr);
    if vector["expect-fail"] == true {
        assert_ne!(done.status.code(), Some(0), "{name}");
        assert_eq!(done.stdout, b"", "{name}");
        assert!(errors.starts_with("error: "), "{name}: {errors}");
        return;
    }
    assert_eq!(done.status.code(), Some(0), "{name}: {errors}");
    let found = done.stdout.strip_suffix(b"\n").unwrap_or(&done.stdout);
    assert_eq!(found, expected, "{name}");
}

/// The key that should have come out.
fn opens(vector: &Value, done: &Output, version: &str, kind: &str, field: &str) {
    let expected = match text(vector, field) {
        "" => String::new(),
        key => paserk(version, kind, &bytes(key)),
    };
    answers(vector, done, expected.as_bytes());
}

/// A key file as the vector has the key: PEM where the version has PEM, PASERK otherwise.
fn key_file(version: &str, kind: &str, key: &str) -> String {
    match key.starts_with("-----") && matches!(version, "1" | "3") {
        true => key.to_owned(),
        false => paserk(version, kind, &bytes(key)),
    }
}

fn paserk(version: &str, kind: &str, bytes: &[u8]) -> String {
    format!(
        "k{version}.{kind}.{}",
        Base64UrlUnpadded::encode_string(bytes)
    )
}

/// The bytes of hexadecimal, or the DER in PEM.
fn bytes(text: &str) -> Vec<u8> {
    if text.starts_with("-----") {
        let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        return base64ct::Base64::decode_vec(&base64).unwrap();
    }
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// Two of the vectors that succeed and two of those that fail.
fn sample(file: &str) -> Vec<Value> {
    let (failing, passing): (Vec<_>, Vec<_>) = vectors(file)
        .into_iter()
        .partition(|vector| vector["expect-fail"] == true);
    let two = |vectors: Vec<Value>| vectors.into_iter().take(2);
    two(passing).chain(two(failing)).collect()
}

/// The vectors in a file of `COUNTERSIGN_VECTORS`, or of the folder beside the repository; none where there is no such folder.
fn vectors(file: &str) -> Vec<Value> {
    let folder = std::env::var_os("COUNTERSIGN_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        eprintln!("skipped: no vectors in {}", folder.display());
        return Vec::new();
    }
    let document: Value =
        serde_json::from_str(&fs::read_to_string(folder.join(file)).unwrap()).unwrap();
    document["tests"].as_array().unwrap().clone()
}

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_default()
}

fn run(arguments: &[&str], files: &[(&str, &str)], stdin: &[u8]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let file = folder.path().join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    }
    run_in(folder.path(), arguments, stdin)
}

fn run_in(folder: &Path, arguments: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end without having read it.
    let _ = child.stdin.take().unwrap().write_all(stdin);
    child.wait_with_output().unwrap()
}
