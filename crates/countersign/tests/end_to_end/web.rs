//! Clients without an agent that come to an HTTP service by its name: refused, let in by a grant, known by a token.

use std::path::Path;
use std::process::Command;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

use crate::support::{
    Dialer, Gateway, GatewaySetup, installed, node, python, run, upstream, wait_until,
};

/// What one client got.
struct Answer {
    client: String,
    status: u16,
    body: String,
}

#[test]
fn node_reaches_an_http_service_with_undici_and_with_its_own_http_2() {
    let Some(_) = node("web.cjs") else { return };
    let gateway = site(GatewaySetup::new());
    refused_then_known_then_granted(&gateway, |bearer| {
        answers(&mut node("web.cjs").unwrap(), &gateway, bearer)
    });
    used_group(&gateway, "X25519MLKEM768");
}

#[test]
fn openssl_and_boringssl_reach_an_http_service_from_python() {
    let Some(_) = python("web.py") else { return };
    let gateway = site(GatewaySetup::new());
    refused_then_known_then_granted(&gateway, |bearer| {
        answers(&mut python("web.py").unwrap(), &gateway, bearer)
    });
    used_group(&gateway, "X25519MLKEM768");
}

#[test]
fn a_classical_curl_reaches_an_http_service_under_an_exception_alone() {
    let Some(curl) = installed("curl") else {
        return;
    };
    let shut = site(GatewaySetup::new());
    let told = run(&mut curl_to(&curl, &shut, "--http1.1"), "");
    if told.status.success() {
        // A curl whose OpenSSL knows ML-KEM is no classical client.
        return;
    }
    assert!(told.stderr.contains("handshake failure"), "{}", told.stderr);

    let canary = GatewaySetup::new().stage("classical-canary");
    let gateway = site(canary.exception("web", "2099-12-31T00:00:00Z"));
    refused_then_known_then_granted(&gateway, |bearer| {
        let versions = ["--http1.1", "--http2"];
        versions
            .map(|version| fetched(&curl, &gateway, version, bearer))
            .into()
    });
    used_group(&gateway, "x25519");
    assert!(!gateway.audited("exception-used").is_empty());
}

#[test]
fn an_upload_that_its_client_breaks_off_is_not_told_as_a_fault_of_the_service() {
    let keys = "[service.http]\nprotocol = \"http/1.1\"";
    let gateway = GatewaySetup::new()
        .service("web", upstream::hanging(), keys)
        .start();
    gateway.grant("anonymous", "web");
    let dialer = Dialer::new(&gateway, "web", b"http/1.1");
    let upload = b"POST / HTTP/1.1\r\nHost: web.example.org\r\nContent-Length: 10\r\n\r\nabc";
    Runtime::new().expect("threads").block_on(async {
        let mut client = dialer.dial().await.expect("it is let in");
        client.write_all(upload).await.expect("it reads");
        client.flush().await.expect("it reads");
    });
    let closed = wait_until("the stream has ended", || {
        gateway.audited("stream-closed").pop()
    });
    let end = closed["end"].as_str().unwrap_or_default();
    assert!(end.contains("client"), "{closed}");
    let log = gateway.log();
    for words in [
        "cannot be reached",
        "a connection to an upstream has failed",
    ] {
        assert!(!log.contains(words), "{words}: {log}");
    }
}

/// A gateway with the HTTP service `web`, which shows each caller the identity token that came with it.
fn site(setup: GatewaySetup) -> Gateway {
    let keys = "[service.http]\nprotocol = \"http/1.1\"";
    setup
        .service("web", upstream::showing("countersign-identity"), keys)
        .start()
}

/// Nobody is let in without a reason, and the service hears of everybody who he is.
#[track_caller]
fn refused_then_known_then_granted(gateway: &Gateway, ask: impl Fn(Option<&str>) -> Vec<Answer>) {
    for answer in ask(None) {
        let Answer {
            client,
            status,
            body,
        } = answer;
        assert_eq!(status, 403, "{client}: {body}");
        assert!(
            body.contains("`anonymous` may not reach `web`"),
            "{client}: {body}"
        );
    }
    let issued = ["tokens", "issue", "--service", "web", "--subject", "ci"];
    let token = gateway.ask(&issued)["token"].clone();
    for answer in ask(token.as_str()) {
        is_known_as("bearer:ci", &answer);
    }
    gateway.grant("anonymous", "web");
    for answer in ask(None) {
        is_known_as("anonymous", &answer);
    }
}

/// What is signed: that it verifies is shown where the library is tested.
fn is_known_as(principal: &str, answer: &Answer) {
    let Answer {
        client,
        status,
        body,
    } = answer;
    assert_eq!(*status, 200, "{client}: {body}");
    let payload = body
        .strip_prefix("v4.public.")
        .and_then(|rest| rest.split('.').next());
    let payload = payload.unwrap_or_else(|| panic!("{client}: no token: {body}"));
    let signed = Base64UrlUnpadded::decode_vec(payload).unwrap();
    let claims: Value = serde_json::from_slice(&signed[..signed.len() - SIGNATURE]).unwrap();
    assert_eq!(
        (&claims["sub"], &claims["aud"]),
        (&principal.into(), &"web".into()),
        "{client}"
    );
}

/// Each channel up to now was made with this key exchange.
#[track_caller]
fn used_group(gateway: &Gateway, group: &str) {
    let opened = gateway.audited("channel-opened");
    assert!(!opened.is_empty());
    for event in opened {
        assert_eq!(
            event["record"]["negotiated"]["group"]["name"], group,
            "{event}"
        );
    }
}

/// What a script's clients got.
fn answers(client: &mut Command, gateway: &Gateway, bearer: Option<&str>) -> Vec<Answer> {
    let options = json!({
        "port": gateway.port,
        "name": gateway.service_name("web"),
        "anchors": gateway.authority.file,
        "bearer": bearer,
    });
    let report = run(client.arg(options.to_string()), "").succeeded();
    let report: Vec<Value> = serde_json::from_str(&report).expect("the script prints JSON");
    let text = |answer: &Value, key: &str| answer[key].as_str().expect("a text").to_owned();
    let answer = |answer: &Value| Answer {
        client: text(answer, "client"),
        status: answer["status"]
            .as_u64()
            .and_then(|status| status.try_into().ok())
            .expect("a status"),
        body: text(answer, "body"),
    };
    report.iter().map(answer).collect()
}

fn curl_to(curl: &Path, gateway: &Gateway, version: &str) -> Command {
    let (name, port) = (gateway.service_name("web"), gateway.port);
    let mut command = Command::new(curl);
    command
        .args([
            "--silent",
            "--show-error",
            "--max-time",
            "30",
            "--noproxy",
            "*",
            version,
        ])
        .args(["--write-out", "\n%{http_code} %{http_version}"])
        .arg("--cacert")
        .arg(&gateway.authority.file)
        .args(["--resolve", &format!("{name}:{port}:127.0.0.1")])
        .arg(format!("https://{name}:{port}/"));
    command
}

fn fetched(curl: &Path, gateway: &Gateway, version: &str, bearer: Option<&str>) -> Answer {
    let mut command = curl_to(curl, gateway, version);
    let field = bearer.map(|token| format!("Authorization: Bearer {token}"));
    // A token is no argument: others on the machine can read those.
    command.args(["--header", "@-"]);
    let output = run(&mut command, field.unwrap_or_default()).succeeded();
    let (body, told) = output
        .rsplit_once('\n')
        .expect("curl ends with what it was told to");
    let (status, spoken) = told.split_once(' ').expect("two words");
    assert!(version.ends_with(spoken), "{version}: {spoken}");
    Answer {
        client: format!("curl {version}"),
        status: status.parse().expect("a status"),
        body: body.to_owned(),
    }
}

/// The bytes of an Ed25519 signature, after the claims.
const SIGNATURE: usize = 64;
