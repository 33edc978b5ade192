//! Debian's curl and OpenSSL 3.0, which know classical key exchange only: refused, or let in under an exception.

use std::path::Path;
use std::process::Command;

use crate::nginx::Nginx;
use crate::support::{
    Gateway, GatewaySetup, Ran, SERVICE_PORT, installed, run, upstream, wait_until,
};

#[test]
fn strict_and_hybrid_refuse_classical_clients_with_an_alert_and_keep_the_reason() {
    let (Some(curl), Some(openssl)) = (installed("curl"), installed("openssl")) else {
        return;
    };
    if !is_classical(&openssl) {
        return;
    }
    for stage in ["strict", "hybrid"] {
        let gateway = web(GatewaySetup::new().stage(stage), upstream::echo()).start();
        let told = s_client(&openssl, &gateway, &gateway.name(), &[], "").failed();
        assert!(told.contains("alert number 40"), "{stage}: {told}");
        let told = fetch(&curl, &gateway, &target(), "/file").failed();
        assert!(told.contains("alert handshake failure"), "{stage}: {told}");

        let refused = gateway.refused();
        assert!(
            refused.contains("classical-key-exchange"),
            "{stage}: {refused}"
        );
        let shown = gateway.operate(&["sessions", "--refused"]).succeeded();
        assert!(shown.contains("classical key exchange"), "{shown}");
        let audited = gateway.audited("channel-refused");
        assert_eq!(audited.len(), 2, "{stage}: {audited:?}");
    }
}

#[test]
fn an_exception_lets_classical_clients_reach_its_service() {
    let (Some(curl), Some(openssl), Some(nginx)) =
        (installed("curl"), installed("openssl"), Nginx::start())
    else {
        return;
    };
    let gateway = canary(nginx.port, "2099-12-31T00:00:00Z");
    gateway.grant("anonymous", "web");
    assert_eq!(
        fetch(&curl, &gateway, &target(), "/file").succeeded().len(),
        String::from_utf8_lossy(&nginx.file()).len()
    );
    let request = format!(
        "CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\nGET /nothing HTTP/1.0\r\n\r\n",
        target()
    );
    let answer = s_client(&openssl, &gateway, "web.example.org", &[], &request).stdout;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("404 Not Found"), "{answer}");

    let used = gateway.audited("exception-used");
    assert!(!used.is_empty());
    for event in used {
        assert_eq!(
            (&event["exception"], &event["owner"]),
            (&"old-web".into(), &"platform team".into())
        );
    }
}

#[test]
fn an_exception_that_is_added_lets_curl_in_and_cuts_it_when_it_is_ended() {
    let Some(curl) = installed("curl") else {
        return;
    };
    let gateway = web(
        GatewaySetup::new().stage("classical-canary"),
        upstream::hanging(),
    )
    .start();
    gateway.grant("anonymous", "web");
    let told = fetch(&curl, &gateway, &target(), "/").failed();
    assert!(told.contains("alert handshake failure"), "{told}");
    let sni = gateway.service_name("web");
    let add = [
        "exceptions",
        "add",
        "--owner",
        "print shop",
        "--reason",
        "old scanner",
    ];
    let added = gateway.ask(&[&add[..], &["--ends", "1d", "--sni", &sni]].concat());
    let id = added["id"].as_str().expect("an id");
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| fetch(&curl, &gateway, &target(), "/"));
        wait_until("curl is in", || {
            let listed = gateway.ask(&["exceptions", "list"]);
            (listed["exceptions"][0]["channels"] == 1).then_some(())
        });
        let ended = gateway.ask(&["exceptions", "end", id]);
        assert_eq!(ended["channels_closed"], 1);
        waiting.join().expect("curl ends")
    });
    waiting.failed();
    let told = fetch(&curl, &gateway, &target(), "/").failed();
    assert!(told.contains("alert handshake failure"), "{told}");
    let closed = gateway.audited("channel-closed");
    let reason = format!("exception `{id}` has ended");
    assert!(
        closed
            .iter()
            .any(|event| event["reason"] == reason.as_str()),
        "{closed:?}"
    );
}

#[test]
fn a_classical_channel_opens_no_other_service() {
    let Some(curl) = installed("curl") else {
        return;
    };
    let setup = web(
        GatewaySetup::new().stage("classical-canary"),
        upstream::echo(),
    );
    let gateway = setup
        .service("other", upstream::echo(), "")
        .exception("web", "2099-12-31T00:00:00Z")
        .start();
    gateway.grant("anonymous", "web");
    gateway.grant("anonymous", "other");
    let told = fetch(&curl, &gateway, &format!("other:{SERVICE_PORT}"), "/").failed();
    assert!(told.contains("421"), "{told}");
}

#[test]
fn an_exception_needs_a_grant_beside_it() {
    let Some(curl) = installed("curl") else {
        return;
    };
    let gateway = canary(upstream::echo(), "2099-12-31T00:00:00Z");
    let told = fetch(&curl, &gateway, &target(), "/").failed();
    assert!(told.contains("403"), "{told}");
}

#[test]
fn an_exception_that_has_ended_lets_nobody_in() {
    let Some(curl) = installed("curl") else {
        return;
    };
    let gateway = canary(upstream::echo(), "2020-01-01T00:00:00Z");
    gateway.grant("anonymous", "web");
    let told = fetch(&curl, &gateway, &target(), "/").failed();
    assert!(told.contains("alert handshake failure"), "{told}");
}

fn web(setup: GatewaySetup, port: u16) -> GatewaySetup {
    setup.service("web", port, "")
}

fn canary(port: u16, ends: &str) -> Gateway {
    web(GatewaySetup::new().stage("classical-canary"), port)
        .exception("web", ends)
        .start()
}

fn target() -> String {
    format!("web:{SERVICE_PORT}")
}

/// A system whose OpenSSL knows ML-KEM has no classical client to show.
fn is_classical(openssl: &Path) -> bool {
    let version = run(Command::new(openssl).arg("version"), "").succeeded();
    version.starts_with("OpenSSL 3.0") || version.starts_with("OpenSSL 1.")
}

/// Fetches a path of a service through CONNECT, with the gateway as curl's HTTPS proxy.
fn fetch(curl: &Path, gateway: &Gateway, target: &str, path: &str) -> Ran {
    let name = gateway.service_name("web");
    run(
        Command::new(curl)
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--proxytunnel",
                "--noproxy",
                "",
            ])
            .args(["--max-time", "30", "--output", "-"])
            .arg("--proxy")
            .arg(format!("https://{name}:{}", gateway.port))
            .arg("--resolve")
            .arg(format!("{name}:{}:127.0.0.1", gateway.port))
            .arg("--proxy-cacert")
            .arg(&gateway.authority.file)
            .arg(format!("http://{target}{path}")),
        "",
    )
}

/// Hands `input` to `openssl s_client`, and gives what came back until the gateway ended the connection.
pub(crate) fn s_client(
    openssl: &Path,
    gateway: &Gateway,
    name: &str,
    options: &[&str],
    input: &str,
) -> Ran {
    run(
        Command::new(openssl)
            .args(["s_client", "-quiet", "-servername", name, "-connect"])
            .arg(format!("127.0.0.1:{}", gateway.port))
            .arg("-CAfile")
            .arg(&gateway.authority.file)
            .args(options),
        input,
    )
}
