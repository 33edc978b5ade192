//! Certificates from pebble, the ACME server of Let's Encrypt for tests: got, shown, renewed, and kept over a restart.

use std::io::Write;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    ClassicalAuthority, Gateway, GatewaySetup, Process, free_port, installed, loopback, run,
    upstream, wait_for_port, wait_until, write_private,
};

/// An ACME server whose DNS leads every name to this machine.
struct Pebble {
    program: PathBuf,
    curl: PathBuf,
    _dns: Process,
    server: Option<Process>,
    dns: u16,
    directory: u16,
    management: u16,
    home: TempDir,
}

impl Pebble {
    /// It will look for answers on the gateway's port; `more` goes into its configuration.
    fn start(gateway: u16, more: &Value) -> Option<Self> {
        let (program, servers) = (installed("pebble")?, installed("pebble-challtestsrv")?);
        let curl = installed("curl")?;
        let home = tempfile::tempdir().expect("a folder");
        ClassicalAuthority::new(home.path(), &["localhost".to_owned()]);
        let (dns, control) = (free_port(), free_port());
        let (directory, management) = (free_port(), free_port());
        let dns_server = Process::start(
            Command::new(servers)
                .args([
                    "-http01",
                    "",
                    "-https01",
                    "",
                    "-tlsalpn01",
                    "",
                    "-defaultIPv6",
                    "",
                ])
                .arg("-dns01")
                .arg(loopback(dns).to_string())
                .arg("-management")
                .arg(loopback(control).to_string()),
            &home.path().join("dns-log"),
        );
        wait_for_port(dns);
        let mut pebble = json!({
            "listenAddress": loopback(directory).to_string(),
            "managementListenAddress": loopback(management).to_string(),
            "certificate": home.path().join("service.pem"),
            "privateKey": home.path().join("service.key"),
            "httpPort": free_port(),
            "tlsPort": gateway,
        });
        let all = pebble.as_object_mut().expect("an object");
        all.extend(more.as_object().expect("an object").clone());
        let config = json!({ "pebble": pebble }).to_string();
        std::fs::write(home.path().join("config.json"), config).expect("our own folder");
        let mut pebble = Self {
            program,
            curl,
            _dns: dns_server,
            server: None,
            dns,
            directory,
            management,
            home,
        };
        pebble.restart();
        Some(pebble)
    }

    /// Starts it, without anything it knew before.
    fn restart(&mut self) {
        drop(self.server.take());
        let server = Process::start(
            Command::new(&self.program)
                .arg("-config")
                .arg(self.home.path().join("config.json"))
                .arg("-dnsserver")
                .arg(loopback(self.dns).to_string())
                // It looks for each answer at once, and for every one.
                .envs([("PEBBLE_VA_NOSLEEP", "1"), ("PEBBLE_AUTHZREUSE", "0")]),
            &self.home.path().join("log"),
        );
        self.server = Some(server);
        wait_for_port(self.directory);
        wait_for_port(self.management);
    }

    /// `[acme]` for a gateway.
    fn table(directory: u16, home: &Path) -> String {
        format!(
            "[acme]\ndirectory = \"https://localhost:{directory}/dir\"\nterms_of_service_agreed = true\n\
             contact = [\"ops@example.org\"]\nca = \"{}/authority.pem\"\n",
            home.display()
        )
    }

    /// The authority that it issues with now.
    fn root(&self) -> CertificateDer<'static> {
        let url = format!("https://localhost:{}/roots/0", self.management);
        let authority = self.home.path().join("authority.pem");
        let fetch = &mut Command::new(&self.curl);
        let fetch = fetch
            .args(["--silent", "--fail", "--cacert"])
            .arg(authority);
        let pem = run(fetch.arg(url), "").succeeded();
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
    }
}

/// The certificate that a client with hybrid key exchange is shown for a name, if it trusts it.
fn shown(gateway: &Gateway, name: &str, root: &CertificateDer<'static>) -> Option<Vec<u8>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut tcp = TcpStream::connect(loopback(gateway.port)).expect("the gateway listens");
    while client.is_handshaking() {
        client.complete_io(&mut tcp).ok()?;
    }
    let _ = tcp.flush();
    let group = client.negotiated_key_exchange_group().expect("a group");
    assert_eq!(group.name(), rustls::NamedGroup::X25519MLKEM768);
    let leaf = client.peer_certificates()?.first()?;
    Some(leaf.to_vec())
}

/// What the operator is shown of a name, as soon as `holds` of it.
#[track_caller]
fn listed(gateway: &Gateway, name: &str, holds: impl Fn(&Value) -> bool) -> Value {
    wait_until(&format!("the certificate for {name} is listed so"), || {
        let all = gateway.ask(&["certificates", "list"]);
        let mut all = all["certificates"].as_array().cloned()?.into_iter();
        all.find(|one| one["names"] == json!([name]) && holds(one))
    })
}

fn is_issued(certificate: &Value) -> bool {
    !certificate["not_after"].is_null() && certificate["problem"].is_null()
}

/// A gateway with two services that agentless clients know by name, and pebble.
fn world(more: &Value, table: &str) -> Option<(Gateway, Pebble)> {
    let setup = GatewaySetup::new()
        .without_certificate()
        .service("web", upstream::echo(), "")
        .service("wiki", upstream::echo(), "");
    let mut gateway = setup.configure();
    let pebble = Pebble::start(gateway.port, more)?;
    let config = std::fs::read_to_string(gateway.config()).expect("it was written");
    let acme = Pebble::table(pebble.directory, pebble.home.path());
    std::fs::write(gateway.config(), format!("{config}\n{acme}{table}")).expect("our own folder");
    write_private(&gateway.home().join("external.key"), EXTERNAL_KEY);
    gateway.start();
    Some((gateway, pebble))
}

#[test]
fn certificates_are_issued_shown_renewed_and_kept_over_a_restart() {
    let Some((mut gateway, mut pebble)) = world(&json!({}), "") else {
        return;
    };
    let (web, wiki) = (gateway.service_name("web"), gateway.service_name("wiki"));
    listed(&gateway, &web, is_issued);
    listed(&gateway, &wiki, is_issued);
    let root = pebble.root();
    let first = shown(&gateway, &web, &root).expect("it is shown");
    let other = shown(&gateway, &wiki, &root).expect("it is shown");
    assert_ne!(first, other, "each name has a certificate of its own");
    let refused = gateway.refused();
    assert!(!refused.contains("acme"), "nobody was refused: {refused}");

    gateway.stop();
    gateway.start();
    assert_eq!(
        shown(&gateway, &web, &root).as_ref(),
        Some(&first),
        "it was kept"
    );

    gateway
        .operate(&["certificates", "renew", &web])
        .succeeded();
    let second = wait_until("the certificate is renewed", || {
        shown(&gateway, &web, &root).filter(|now| *now != first)
    });
    assert_eq!(shown(&gateway, &wiki, &root), Some(other), "only that one");

    // Pebble forgets everything: the account is made anew.
    pebble.restart();
    gateway
        .operate(&["certificates", "renew", &web])
        .succeeded();
    let forgotten = listed(&gateway, &web, |one| !one["problem"].is_null());
    assert_eq!(
        forgotten["problem"]["hint"],
        "another account is made with the next attempt"
    );
    assert_eq!(
        shown(&gateway, &web, &root),
        Some(second),
        "it stays meanwhile"
    );
    gateway
        .operate(&["certificates", "renew", &web])
        .succeeded();
    let root = pebble.root();
    wait_until("the new authority has issued", || {
        shown(&gateway, &web, &root)
    });
    let issued = gateway.audited("server-certificate-issued");
    assert_eq!(issued.len(), 4, "{issued:?}");
}

#[test]
fn an_external_account_is_bound_and_its_absence_told() {
    let required = json!({
        "externalAccountBindingRequired": true,
        "externalAccountMACKeys": { "kid-1": EXTERNAL_KEY },
    });
    let Some((gateway, _pebble)) = world(&required, "") else {
        return;
    };
    let web = gateway.service_name("web");
    let missing = listed(&gateway, &web, |one| !one["problem"].is_null());
    let hint = missing["problem"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("acme.external_account"), "{missing:#}");
    let told = gateway.operate(&["certificates", "list"]).succeeded();
    assert!(told.contains("the ACME server refuses"), "{told}");

    let account = "[acme.external_account]\nid = \"kid-1\"\nkey_file = \"external.key\"\n";
    let config = std::fs::read_to_string(gateway.config()).expect("it was written");
    std::fs::write(gateway.config(), format!("{config}{account}")).expect("our own folder");
    gateway.signal(rustix::process::Signal::HUP);
    wait_until("the reload is taken", || {
        let loaded = gateway.audited("configuration-loaded");
        (loaded.len() == 2).then_some(())
    });
    gateway
        .operate(&["certificates", "renew", &web])
        .succeeded();
    listed(&gateway, &web, is_issued);
}

#[test]
fn a_name_that_leads_elsewhere_is_told_with_what_to_do() {
    let nowhere = json!({ "tlsPort": upstream::refusing() });
    let Some((gateway, _pebble)) = world(&nowhere, "") else {
        return;
    };
    let web = gateway.service_name("web");
    let failed = listed(&gateway, &web, |one| !one["problem"].is_null());
    let problem = &failed["problem"];
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(
        detail.contains("cannot verify that `web.example.org` leads here"),
        "{problem:#}"
    );
    let hint = problem["hint"].as_str().unwrap_or_default();
    assert!(
        hint.contains("port 443 of `web.example.org`"),
        "{problem:#}"
    );
    assert!(!failed["renewal"].is_null(), "it is tried again");
    assert!(
        gateway.metrics().contains(
            "countersign_certificate_problem{listener=\"main\",name=\"web.example.org\"} 1"
        )
    );
}

/// As authorities give it: base64url.
const EXTERNAL_KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
