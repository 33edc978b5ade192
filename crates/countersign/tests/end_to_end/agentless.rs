//! Clients without an agent that say who they are: by a bearer token, or by a certificate.

use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use rcgen::string::Ia5String;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use serde_json::{Value, json};

use crate::clients::{agentless_options, attempt, report, sha256};
use crate::nginx::Nginx;
use crate::support::{
    Gateway, GatewaySetup, Ran, SERVICE_PORT, installed, node, python, run, upstream, write_private,
};

#[test]
fn pyopenssl_and_node_reach_a_service_with_a_bearer_token_over_http_1_and_2() {
    let Some(nginx) = Nginx::start() else { return };
    let gateway = GatewaySetup::new().service("web", nginx.port, "").start();
    let issued = issue(&gateway, "web");
    for client in [python("channel.py"), node("channel.cjs")] {
        let Some(mut client) = client else { return };
        let mut options = agentless_options(&gateway);
        options["token"] = issued["token"].clone();
        let report = report(&mut client, &options);
        for protocol in ["http1", "http2"] {
            let expected = sha256(&nginx.file());
            assert_eq!(report[protocol]["sha256"], expected.as_str(), "{report}");
        }
    }
    let allowed = gateway.audited("stream-allowed");
    assert_eq!(allowed.len(), 4, "{allowed:?}");
    for event in allowed {
        assert_eq!(event["principal"], "bearer:ci");
        assert_eq!(event["token_id"], issued["id"]);
    }
}

#[test]
fn a_token_that_was_revoked_or_is_for_another_service_opens_nothing() {
    let Some(mut client) = python("channel.py") else {
        return;
    };
    let gateway = GatewaySetup::new()
        .service("web", upstream::echo(), "")
        .service("other", upstream::echo(), "")
        .start();
    let mut told = |token: &Value| {
        let mut options = agentless_options(&gateway);
        options["token"] = token.clone();
        let report = report(&mut client, &options);
        assert_eq!(report["http1"]["status"], 407, "{report}");
        let problem = report["http2"]["problem"].as_str().unwrap_or_default();
        let problem: Value = serde_json::from_str(problem).expect("a problem document");
        client = python("channel.py").expect("it was there");
        problem["code"].as_str().unwrap_or_default().to_owned()
    };
    let other = issue(&gateway, "other");
    assert_eq!(told(&other["token"]), "token_service");
    let revoked = issue(&gateway, "web");
    let id = revoked["id"].as_str().expect("an id");
    gateway
        .operate(&["tokens", "revoke", id, "--reason", "a test"])
        .succeeded();
    assert_eq!(told(&revoked["token"]), "token_revoked");
    assert_eq!(told(&json!("v4.local.AAAA")), "token_invalid");
    let log = gateway.log();
    for token in [other, revoked] {
        let token = token["token"].as_str().expect("a token");
        assert!(!log.contains(token), "the log holds a token");
    }
}

#[test]
fn curl_reaches_its_service_with_a_token_that_no_process_list_shows() {
    let (Some(curl), Some(nginx)) = (installed("curl"), Nginx::start()) else {
        return;
    };
    // Debian's curl is classical, so it comes under an exception; the token says who it is.
    let gateway = GatewaySetup::new()
        .stage("classical-canary")
        .service("web", nginx.port, "")
        .exception("web", "2099-12-31T00:00:00Z")
        .start();
    let file = gateway.home().join("ci.token");
    let issue = ["tokens", "issue", "--service", "web", "--subject", "ci"];
    let output = ["--output", file.to_str().expect("UTF-8")];
    gateway
        .operate(&[issue.as_slice(), &output].concat())
        .succeeded();
    let token = std::fs::read_to_string(&file).expect("it was written");
    let token = token.trim();

    let told = fetch(&curl, &gateway, None).failed();
    assert!(told.contains("403"), "{told}");
    let fetched = fetch(&curl, &gateway, Some(token)).succeeded();
    assert_eq!(fetched.len(), String::from_utf8_lossy(&nginx.file()).len());
    let altered = format!("{}A", &token[..token.len() - 1]);
    let told = fetch(&curl, &gateway, Some(&altered)).failed();
    assert!(told.contains("407"), "{told}");
}

#[test]
fn curl_comes_by_an_http_2_proxy_with_a_bearer_token() {
    let (Some(_), Some(nginx)) = (python("proxy.py"), Nginx::start()) else {
        return;
    };
    let gateway = GatewaySetup::new().service("web", nginx.port, "").start();
    let fetched = |token: Value| {
        let mut options = agentless_options(&gateway);
        options["token"] = token;
        report(&mut python("proxy.py").expect("it was there"), &options)
    };
    let says = |told: &Value, line: &str| {
        told["said"]
            .as_str()
            .is_some_and(|said| said.contains(line))
    };
    let told = fetched(Value::Null);
    assert!(says(&told, "CONNECT Response Status 403"), "{told}");
    let told = fetched(issue(&gateway, "web")["token"].clone());
    assert!(says(&told, "Establishing HTTP/2 proxy tunnel"), "{told}");
    assert_eq!(told["status"], 200, "{told}");
    assert_eq!(told["sha256"], sha256(&nginx.file()).as_str(), "{told}");

    let opened = gateway.audited("channel-opened");
    assert_eq!(opened.len(), 2, "{opened:?}");
    for event in opened {
        let negotiated = &event["record"]["negotiated"];
        assert_eq!(negotiated["alpn"], "h2", "{event}");
        assert_eq!(negotiated["group"]["name"], "X25519MLKEM768", "{event}");
    }
}

#[test]
fn pyopenssl_reaches_a_service_with_a_client_certificate() {
    let (Some(mut client), Some(nginx)) = (python("channel.py"), Nginx::start()) else {
        return;
    };
    let gateway = partners(nginx.port);
    gateway.grant("cert:partners/alice@partner.example", "web");
    let report = report(&mut client, &certified_options(&gateway, "alice"));
    for protocol in ["http1", "http2"] {
        let expected = sha256(&nginx.file());
        assert_eq!(report[protocol]["sha256"], expected.as_str(), "{report}");
    }
    let opened = gateway.audited("channel-opened");
    let alice = "cert:partners/alice@partner.example";
    assert!(
        opened.iter().all(|event| event["principal"] == alice),
        "{opened:?}"
    );
}

#[test]
fn a_client_certificate_of_nobodys_or_none_ends_the_handshake_where_one_is_required() {
    let Some(mut client) = python("channel.py") else {
        return;
    };
    let gateway = partners(upstream::echo());
    attempt(&mut client, &certified_options(&gateway, "mallory")).failed();
    attempt(
        &mut python("channel.py").expect("it was there"),
        &agentless_options(&gateway),
    )
    .failed();
    let refused = gateway.refused();
    for reason in ["certificate-invalid", "certificate-required"] {
        assert!(refused.contains(reason), "{reason}: {refused}");
    }
}

fn issue(gateway: &Gateway, service: &str) -> Value {
    gateway.ask(&["tokens", "issue", "--service", service, "--subject", "ci"])
}

/// A gateway whose service `web` wants a certificate of `partners`; beside its configuration lie `alice`, whom they
/// know, and `mallory`, whom they do not.
fn partners(port: u16) -> Gateway {
    let keys = "client_certificates = [\"partners\"]\nrequire_client_certificate = true";
    let authority = "[[client_authority]]\nname = \"partners\"\ncertificate = \"partners.pem\"";
    let mut gateway = GatewaySetup::new()
        .service("web", port, keys)
        .tables(authority)
        .configure();
    let (partners, nobody) = (issuer(), issuer());
    let file = gateway.home().join("partners.pem");
    std::fs::write(file, partners.pem()).expect("our own folder");
    certify(gateway.home(), "alice", &partners);
    certify(gateway.home(), "mallory", &nobody);
    gateway.start();
    gateway
}

fn issuer() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "partners");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}

fn certify(folder: &Path, name: &str, issuer: &CertifiedIssuer<'static, KeyPair>) {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    let email = Ia5String::try_from(format!("{name}@partner.example")).expect("ASCII");
    params.subject_alt_names = vec![SanType::Rfc822Name(email)];
    let leaf = params.signed_by(&key, issuer).expect("a certificate");
    std::fs::write(folder.join(format!("{name}.pem")), leaf.pem()).expect("our own folder");
    write_private(&folder.join(format!("{name}.key")), key.serialize_pem());
}

fn certified_options(gateway: &Gateway, name: &str) -> Value {
    let mut options = agentless_options(gateway);
    options["certificate"] = json!(gateway.home().join(format!("{name}.pem")));
    options["key"] = json!(gateway.home().join(format!("{name}.key")));
    options["token"] = Value::Null;
    options
}

/// Fetches a file through CONNECT, with the gateway as curl's HTTPS proxy and the token in a file that curl reads.
fn fetch(curl: &Path, gateway: &Gateway, token: Option<&str>) -> Ran {
    let name = gateway.service_name("web");
    let mut config = tempfile::NamedTempFile::new().expect("a file");
    if let Some(token) = token {
        let line = format!("proxy-header = \"Proxy-Authorization: Bearer {token}\"\n");
        config.write_all(line.as_bytes()).expect("our own file");
    }
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
            .args(["--max-time", "30", "--output", "-", "--config"])
            .arg(config.path())
            .arg("--proxy")
            .arg(format!("https://{name}:{}", gateway.port))
            .arg("--resolve")
            .arg(format!("{name}:{}:127.0.0.1", gateway.port))
            .arg("--proxy-cacert")
            .arg(&gateway.authority.file)
            .arg(format!("http://web:{SERVICE_PORT}/file")),
        "",
    )
}
