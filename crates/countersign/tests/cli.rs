//! The command line as people meet it: each file in `tests/cli/` holds cases with arguments, files, what a gateway would answer, and
//! what has to come out.
//!
//! In expected text, `[..]` stands for anything within a line.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::{collections::BTreeMap, fs};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cases {
    case: Vec<Case>,
}

/// One run of the program, in an empty folder.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What is shown, as a sentence.
    name: String,
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Files in the folder, by name.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// The files' permission bits.
    #[serde(default = "private")]
    mode: u32,
    #[serde(default)]
    stdin: String,
    /// A gateway that listens on `gateway.sock` in the folder for one request.
    gateway: Option<Exchange>,
    exit: i32,
    #[serde(default)]
    stdout: String,
    #[serde(default)]
    stderr: String,
}

/// The request that has to come, and the answer to it.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exchange {
    request: String,
    #[serde(default)]
    sends: Option<String>,
    #[serde(default = "ok")]
    status: u16,
    /// Nothing: the gateway hangs up.
    answer: Option<String>,
}

fn ok() -> u16 {
    200
}

fn private() -> u32 {
    0o600
}

#[test]
fn wrong_usage_is_told() {
    check_file("usage.toml");
}

#[test]
fn what_is_wrong_with_a_gateways_configuration_is_told() {
    check_file("gateway-config.toml");
}

#[test]
fn what_is_wrong_with_an_agents_configuration_is_told() {
    check_file("agent-config.toml");
}

#[test]
fn operator_commands_show_what_the_gateway_answers() {
    check_file("operate.toml");
}

#[test]
fn operator_commands_tell_what_went_wrong() {
    check_file("operate-errors.toml");
}

#[test]
fn evidence_is_verified_and_handed_on() {
    check_file("attest.toml");
}

#[test]
fn keys_are_made_shown_and_put_into_things() {
    check_file("key.toml");
}

#[test]
fn tokens_are_minted_verified_and_inspected() {
    check_file("token.toml");
}

fn check_file(file: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/cli")
        .join(file);
    let cases: Cases = toml::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let failures: Vec<_> = cases.case.iter().filter_map(failure).collect();
    assert!(failures.is_empty(), "{file}\n{}", failures.join("\n"));
}

/// Runs a case; what differs, if anything does.
fn failure(case: &Case) -> Option<String> {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in &case.files {
        let file = folder.path().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(case.mode)).unwrap();
    }
    let gateway = case
        .gateway
        .clone()
        .map(|exchange| serve(folder.path(), exchange));
    let (exit, stdout, stderr) = run(case, folder.path());
    // Should the program not have asked, this ends the gateway's wait.
    drop(UnixStream::connect(folder.path().join("gateway.sock")));
    let mut wrong = Vec::new();
    if exit != Some(case.exit) {
        wrong.push(format!("exit is {exit:?}, not {}", case.exit));
    }
    for (stream, expected, found) in [
        ("stdout", &case.stdout, stdout),
        ("stderr", &case.stderr, stderr),
    ] {
        if !matches(expected, &found) {
            wrong.push(format!("{stream} should be\n{expected}\nbut is\n{found}"));
        }
    }
    if let Some(problem) = gateway.and_then(|gateway| gateway.join().unwrap()) {
        wrong.push(problem);
    }
    (!wrong.is_empty()).then(|| format!("--- {}\n{}", case.name, wrong.join("\n")))
}

fn run(case: &Case, folder: &Path) -> (Option<i32>, String, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(&case.args)
        .current_dir(folder)
        .env_clear()
        .envs(&case.env)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end without having read it.
    let _ = child.stdin.take().unwrap().write_all(case.stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Serves one request on a socket in the folder; the thread ends with what was wrong with the request.
fn serve(folder: &Path, exchange: Exchange) -> JoinHandle<Option<String>> {
    let listener = UnixListener::bind(folder.join("gateway.sock")).unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let (request, sent) = read_request(&stream);
        let Some(answer) = &exchange.answer else {
            return None;
        };
        let head = format!(
            "HTTP/1.1 {} x\r\ncontent-type: application/json\r\n",
            exchange.status
        );
        // Whoever hangs up has asked for nothing, which is told below.
        let _ = write!(
            stream,
            "{head}content-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        let asked = request == exchange.request
            && exchange.sends.as_ref().is_none_or(|sends| *sends == sent);
        (!asked).then(|| {
            format!(
                "the request should be `{}` but is `{request}` with `{sent}`",
                exchange.request
            )
        })
    })
}

fn read_request(stream: &UnixStream) -> (String, String) {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request).unwrap();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = request.trim().trim_end_matches(" HTTP/1.1").to_owned();
    (request, String::from_utf8(body).unwrap())
}

/// Whether the text is the expected one, line by line. Blanks at the ends of lines and text do not count.
fn matches(expected: &str, found: &str) -> bool {
    let (expected, found) = (expected.trim(), found.trim());
    let same_length = expected.lines().count() == found.lines().count();
    same_length
        && expected
            .lines()
            .zip(found.lines())
            .all(|(expected, found)| line_matches(expected, found))
}

fn line_matches(expected: &str, found: &str) -> bool {
    let mut parts = expected.trim_end().split("[..]");
    let Some(mut rest) = parts
        .next()
        .and_then(|first| found.trim_end().strip_prefix(first))
    else {
        return false;
    };
    let mut open = false;
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else {
            return false;
        };
        rest = after;
        open = part.is_empty();
    }
    open || rest.is_empty()
}
