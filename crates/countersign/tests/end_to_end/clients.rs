//! Hybrid clients that are not ours: Node 26 (OpenSSL 3.5) and pyOpenSSL (OpenSSL 4), with an agent's identity.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64ct::{Base64, Encoding};
use serde_json::{Value, json};

use crate::nginx::Nginx;
use crate::support::{
    Agent, Gateway, GatewaySetup, Ran, SERVICE_PORT, Tunnel, node, python, run, upstream,
};

#[test]
fn node_reaches_a_service_under_every_profile_over_http_1_and_2() {
    for (profile, group) in [
        ("cnsa2@1", "MLKEM1024"),
        ("hybrid-high@1", "SecP384r1MLKEM1024"),
        ("hybrid@1", "X25519MLKEM768"),
        ("fips-hybrid@1", "SecP256r1MLKEM768"),
    ] {
        reaches_a_service(node("channel.cjs"), profile, Some(group), |reported| {
            assert_eq!(reported["name"], group);
        });
    }
}

#[test]
fn pyopenssl_reaches_a_service_with_ml_dsa_over_http_1_and_2() {
    reaches_a_service(python("channel.py"), "hybrid@1", None, |reported| {
        assert_eq!(reported, "X25519MLKEM768");
    });
}

/// The program gets a token and fetches a file through a channel of each HTTP version.
fn reaches_a_service(
    client: Option<Command>,
    profile: &str,
    group: Option<&str>,
    check_group: impl Fn(&Value),
) {
    let (Some(mut client), Some(nginx)) = (client, Nginx::start()) else {
        return;
    };
    let setup = GatewaySetup::new().profile(profile);
    let tunnel = Tunnel::through(setup.service("web", nginx.port, ""), "web");
    let mut options = options(&tunnel.gateway, &tunnel.agent, &tunnel.agent);
    options["groups"] = group.into();
    let report = report(&mut client, &options);
    check_group(&report["group"]);
    assert_eq!(report["protocol"], "TLSv1.3", "{report}");
    let expected = sha256(&nginx.file());
    for protocol in ["http1", "http2"] {
        assert_eq!(report[protocol]["status"], 200, "{report}");
        assert_eq!(report[protocol]["sha256"], expected.as_str(), "{report}");
    }
    // The agent's own channel, and the client's two.
    let opened = tunnel.gateway.audited("channel-opened");
    let as_agent = |event: &&Value| event["principal"] == "spiffe://example.org/agent/laptop";
    assert!(opened.iter().filter(as_agent).count() >= 3, "{opened:?}");
}

#[test]
fn a_stolen_token_is_refused_on_another_key() {
    let (Some(mut honest), Some(nginx)) = (python("channel.py"), Nginx::start()) else {
        return;
    };
    let tunnel = Tunnel::to("web", nginx.port);
    let (gateway, owner) = (&tunnel.gateway, &tunnel.agent);
    gateway.grant("thief", "web");
    let thief = gateway.agent("thief").start();
    let token = report(&mut honest, &options(gateway, owner, owner))["token"].clone();

    let mut options = options(gateway, &thief, owner);
    options["token"] = token;
    let report = report(&mut python("channel.py").unwrap(), &options);
    for protocol in ["http1", "http2"] {
        assert_eq!(report[protocol]["status"], 407, "{report}");
    }
    let refused = gateway.audited("token-refused");
    assert!(refused.len() >= 2, "{refused:?}");
}

#[test]
fn a_certificate_of_another_trust_domain_is_refused_by_name() {
    let Some(mut client) = python("channel.py") else {
        return;
    };
    let tunnel = Tunnel::to("echo", upstream::echo());
    let other = GatewaySetup::new().trust_domain("other.test").start();
    let stranger = other.agent("laptop").start();
    let options = options(&tunnel.gateway, &stranger, &tunnel.agent);
    let told = attempt(&mut client, &options).failed();
    assert!(told.contains("alert"), "{told}");
    let refused = tunnel.gateway.refused();
    assert!(refused.contains("certificate-invalid"), "{refused}");
}

#[test]
fn an_agentless_hybrid_client_reaches_a_service_that_anyone_may_reach() {
    let (Some(mut client), Some(nginx)) = (python("channel.py"), Nginx::start()) else {
        return;
    };
    let gateway = GatewaySetup::new().service("web", nginx.port, "").start();
    gateway.grant("anonymous", "web");
    let report = report(&mut client, &agentless_options(&gateway));
    assert_eq!(report["group"], "X25519MLKEM768", "{report}");
    assert_eq!(
        report["http1"]["sha256"],
        sha256(&nginx.file()).as_str(),
        "{report}"
    );
    assert_eq!(
        report["http2"]["sha256"],
        sha256(&nginx.file()).as_str(),
        "{report}"
    );
}

#[test]
fn strict_admits_agentless_hybrid_clients_only_where_the_listener_says_so() {
    let (Some(mut client), Some(nginx)) = (python("channel.py"), Nginx::start()) else {
        return;
    };
    let strict = || {
        GatewaySetup::new()
            .stage("strict")
            .service("web", nginx.port, "")
    };
    let closed = strict().start();
    let told = attempt(&mut client, &agentless_options(&closed)).failed();
    assert!(told.contains("alert"), "{told}");
    assert!(
        closed.refused().contains("agentless-not-admitted"),
        "{}",
        closed.refused()
    );

    let open = strict().listener_key("agentless_in_strict = true").start();
    open.grant("anonymous", "web");
    let report = report(
        &mut python("channel.py").unwrap(),
        &agentless_options(&open),
    );
    assert_eq!(report["http2"]["status"], 200, "{report}");
}

#[test]
fn an_independent_library_reads_the_agents_svid() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    let pem = |name: &str| std::fs::read(tunnel.agent.state().join(name)).unwrap();
    let chain: Vec<u8> = rustls_pki_types::pem::PemObject::pem_slice_iter(&pem("svid.pem"))
        .flat_map(
            |certificate: Result<rustls_pki_types::CertificateDer<'_>, _>| {
                certificate.unwrap().to_vec()
            },
        )
        .collect();
    let key: rustls_pki_types::PrivatePkcs8KeyDer<'_> =
        rustls_pki_types::pem::PemObject::from_pem_slice(&pem("key.pem")).unwrap();
    let svid = spiffe::X509Svid::parse_from_der(&chain, key.secret_pkcs8_der()).unwrap();
    assert_eq!(
        svid.spiffe_id().to_string(),
        "spiffe://example.org/agent/laptop"
    );
    assert_eq!(svid.cert_chain().len(), 1);
}

/// What the scripts are told: as whom to come, and whom to trust.
fn options(gateway: &Gateway, identity: &Agent, trusting: &Agent) -> Value {
    json!({
        "port": gateway.port,
        "name": gateway.name(),
        "key": identity.state().join("key.pem"),
        "certificate": identity.state().join("svid.pem"),
        "anchors": anchors(&trusting.state()),
        "target": format!("{}:{SERVICE_PORT}", service(gateway)),
        "path": "/file",
    })
}

/// As nobody, to the service `web` by its own name.
pub(crate) fn agentless_options(gateway: &Gateway) -> Value {
    json!({
        "port": gateway.port,
        "name": gateway.service_name("web"),
        "anchors": gateway.authority.file,
        "target": format!("web:{SERVICE_PORT}"),
        "path": "/file",
    })
}

fn service(gateway: &Gateway) -> String {
    let services = gateway.ask(&["services", "list"]);
    services["services"][0]["name"]
        .as_str()
        .expect("a service")
        .to_owned()
}

/// The anchors of an agent's trust bundle, as a PEM file beside it.
fn anchors(state: &Path) -> PathBuf {
    let bundle = std::fs::read(state.join("bundle.json")).expect("the agent has one");
    let bundle: Value = serde_json::from_slice(&bundle).expect("JSON");
    let payload = find(&bundle, "payload")
        .and_then(Value::as_str)
        .expect("a payload");
    let payload = Base64::decode_vec(payload).expect("base64");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    let pem = |anchor: &Value| {
        let body = anchor.as_str().expect("base64");
        format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
    };
    let pem: String = payload["anchors"]
        .as_array()
        .expect("anchors")
        .iter()
        .map(pem)
        .collect();
    let file = state.join("anchors.pem");
    std::fs::write(&file, pem).expect("our own folder");
    file
}

/// A key's value, however deep it stands.
fn find<'v>(value: &'v Value, key: &str) -> Option<&'v Value> {
    let object = value.as_object()?;
    object
        .get(key)
        .or_else(|| object.values().find_map(|inner| find(inner, key)))
}

pub(crate) fn report(client: &mut Command, options: &Value) -> Value {
    let text = attempt(client, options).succeeded();
    serde_json::from_str(&text).expect("the script prints JSON")
}

pub(crate) fn attempt(client: &mut Command, options: &Value) -> Ran {
    run(client.arg(options.to_string()), "")
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
