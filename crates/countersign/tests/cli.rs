//! The command line as people meet it: each file in `tests/cli/` holds cases with arguments, files, what a gateway would answer, and
//! what has to come out.
//!
//! In expected text, `[..]` stands for anything within a line. `FOLDER` is the folder, in arguments and in both texts.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
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
    /// Keys in a PKCS#11 token `gateway`, of SoftHSM at `MODULE`, and their algorithms.
    hsm: Option<BTreeMap<String, String>>,
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

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";

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

#[test]
fn keys_in_a_token_are_made_and_shown() {
    if Path::new(SOFTHSM).exists() {
        return check_file("hsm.toml");
    }
    let set = |name, value| std::env::var_os(name).is_some_and(|found| found == value);
    let required = set("CI", "true") || set("COUNTERSIGN_REQUIRE_ALL", "1");
    assert!(!required, "SoftHSM is not installed (Debian: softhsm2)");
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
    if let Some(keys) = &case.hsm {
        fill_token(folder.path(), keys);
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
        let found = found.replace(&folder.path().display().to_string(), "FOLDER");
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
    let args = case.args.iter().map(|arg| placed(arg, folder));
    let mut child = Command::new(env!("CARGO_BIN_EXE_countersign"))
        .args(args)
        .current_dir(folder)
        .env_clear()
        .envs(&case.env)
        .envs(case.hsm.as_ref().map(|_| token_in(folder)))
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

/// Makes a token with keys. Its PIN is in the file `right`.
fn fill_token(folder: &Path, keys: &BTreeMap<String, String>) {
    let (variable, configuration) = token_in(folder);
    let tokens = folder.join("tokens");
    fs::create_dir(&tokens).unwrap();
    let text = format!("directories.tokendir = {}\n", tokens.display());
    fs::write(&configuration, text).unwrap();
    let right = folder.join("right");
    fs::write(&right, "1234\n").unwrap();
    fs::set_permissions(&right, fs::Permissions::from_mode(0o600)).unwrap();
    let mut util = Command::new("softhsm2-util");
    util.args(["--init-token", "--free", "--label", "gateway"]);
    util.args(["--pin", "1234", "--so-pin", "87654321"]);
    done(util.env(variable, &configuration));
    for (key, algorithm) in keys {
        let uri =
            format!("pkcs11:token=gateway;object={key}?module-path=MODULE&pin-source=FOLDER/right");
        let mut make = Command::new(env!("CARGO_BIN_EXE_countersign"));
        make.args(["hsm", "generate", "--algorithm", algorithm]);
        done(make.arg(placed(&uri, folder)).env(variable, &configuration));
    }
}

fn done(command: &mut Command) {
    let ran = command.output().unwrap();
    assert!(ran.status.success(), "{command:?}: {ran:?}");
}

/// What SoftHSM finds the token by.
fn token_in(folder: &Path) -> (&'static str, PathBuf) {
    ("SOFTHSM2_CONF", folder.join("softhsm2.conf"))
}

fn placed(argument: &str, folder: &Path) -> String {
    let folder = folder.display().to_string();
    argument
        .replace("FOLDER", &folder)
        .replace("MODULE", SOFTHSM)
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
