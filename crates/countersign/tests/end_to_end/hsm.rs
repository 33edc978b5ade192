//! Keys in a PKCS#11 token, of SoftHSM and of a module with ML-DSA, with the gateway and an agent as they are shipped.

mod authority;
mod identity;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use crate::support::hsm::Hsm;
use crate::support::{
    Agent, Gateway, GatewaySetup, countersign, exchange, loopback, random_bytes, run, upstream,
    wait_until,
};

#[test]
fn a_gateway_works_on_keys_in_a_token_and_outlives_its_loss() {
    let Some(hsm) = Hsm::soft() else {
        return;
    };
    hsm.generate("root", "aes256");
    let public = hsm.generate("identity", "ed25519");
    let setup = on(&hsm, &["root", "identity"]);
    outlives_a_loss(&hsm, setup, &public, ("Ed25519", "v4.public."));
}

#[test]
fn a_gateway_works_on_ml_dsa_in_a_token_and_outlives_its_loss() {
    let Some(hsm) = Hsm::with_ml_dsa() else {
        return;
    };
    hsm.generate("root", "aes256");
    hsm.generate("authority", "ml-dsa-87");
    let public = hsm.generate("identity", "ml-dsa-87");
    let setup = on(&hsm, &["root", "authority", "identity"]);
    let setup = setup.tables("[identity]\nversion = \"v5\"");
    outlives_a_loss(&hsm, setup, &public, ("ML-DSA-87", "v5.public."));
}

fn outlives_a_loss(
    hsm: &Hsm,
    setup: GatewaySetup,
    public: &str,
    (algorithm, header): (&str, &str),
) {
    let (gateway, agent) = start(setup);
    assert!(root_key(gateway.state()).starts_with("countersign-root-key.pkcs11."));
    let keys = gateway.ask(&["identity", "keys"]);
    assert_eq!(keys["keys"][0]["paserk"], public.trim_end());
    let log = gateway.log();
    let place = format!("the PKCS#11 token `gateway` ({algorithm})");
    assert!(log.contains(&place), "{log}");
    let (status, token) = ask(&agent, "wiki");
    assert_eq!(status, 200);
    assert!(token.starts_with(header), "{token}");
    let mut open = TcpStream::connect(loopback(agent.port("echo"))).expect("the agent listens");
    echoes(&mut open);

    hsm.take_away();
    wait_until("the loss is shown", || shows(&gateway, 0));
    assert_eq!(gateway.audited("key-token-lost").len(), 1);
    let (status, told) = ask(&agent, "shop");
    assert_eq!(status, 503, "{told}");
    assert!(told.contains("cannot sign who you are"), "{told}");
    echoes(&mut open);
    let fresh = TcpStream::connect(loopback(agent.port("echo")));
    echoes(&mut fresh.expect("a stream needs no identity token"));

    hsm.put_back();
    wait_until("the token is back", || shows(&gateway, 1));
    assert_eq!(ask(&agent, "shop").0, 200);
    assert_eq!(gateway.audited("key-token-back").len(), 1);
    echoes(&mut open);
}

#[test]
fn a_root_key_that_lies_bare_is_put_under_its_password_and_opens_with_no_other() {
    let mut gateway = GatewaySetup::new().configure();
    gateway.start();
    gateway.stop();
    assert!(root_key(gateway.state()).starts_with("k4.local."));
    let password = gateway.home().join("password");
    crate::support::write_private(&password, "correct horse\n");
    let config = std::fs::read_to_string(gateway.config()).expect("our own file");
    let keys = format!("[keys]\nroot = \"password:{}\"\n", password.display());
    std::fs::write(gateway.config(), format!("{config}\n{keys}")).expect("our own file");
    for _ in 0..2 {
        gateway.start();
        gateway.stop();
        assert!(root_key(gateway.state()).starts_with("k4.local-pw."));
    }
    std::fs::write(&password, "battery staple\n").expect("our own file");
    let told = refusal(&gateway, None);
    assert!(told.contains("does not open the root key"), "{told}");
    std::fs::write(gateway.config(), config).expect("our own file");
    let told = refusal(&gateway, None);
    assert!(
        told.contains("is under a password, and `root` in `[keys]` is not set"),
        "{told}"
    );
}

#[test]
fn what_is_wrong_with_a_token_is_told_at_the_start() {
    let Some(hsm) = Hsm::soft() else {
        return;
    };
    let gateway = on(&hsm, &["identity"]).configure();
    let told = refusal(&gateway, Some(&hsm));
    assert!(
        told.contains("the token `gateway` has no private key `identity`"),
        "{told}"
    );
    assert!(told.contains("countersign hsm generate"), "{told}");
    hsm.generate("identity", "p384");
    let told = refusal(&gateway, Some(&hsm));
    assert!(
        told.contains("is ECDSA P-384, which does not sign identity tokens"),
        "{told}"
    );
    hsm.generate("authority", "p384");
    let idle = on(&hsm, &["authority"]).configure();
    let told = refusal(&idle, Some(&hsm));
    assert!(
        told.contains(
            "is ECDSA P-384, and the listeners' profiles have authorities with ML-DSA-87"
        ),
        "{told}"
    );
    std::fs::write(hsm.pin(), "4321\n").expect("our own file");
    let told = refusal(&gateway, Some(&hsm));
    assert!(
        told.contains("the token `gateway` refused the PIN (CKR_PIN_INCORRECT)"),
        "{told}"
    );
    for _ in 0..5 {
        let told = refusal(&gateway, Some(&hsm));
        assert!(
            told.contains("the PIN of the token `gateway` was not tried"),
            "{told}"
        );
    }
    let config = std::fs::read_to_string(gateway.config()).expect("our own file");
    let config = config.replace("libsofthsm2.so", "nowhere.so");
    std::fs::write(gateway.config(), config).expect("our own file");
    let told = refusal(&gateway, Some(&hsm));
    assert!(told.contains("cannot load the PKCS#11 module"), "{told}");
}

/// A gateway with these keys in the token, in front of two HTTP services and one that echoes.
fn on(hsm: &Hsm, keys: &[&str]) -> GatewaySetup {
    GatewaySetup::new()
        .service("wiki", upstream::showing(HEADER), HTTP)
        .service("shop", upstream::showing(HEADER), HTTP)
        .service("echo", upstream::echo(), "")
        .keys_in(hsm, keys)
}

fn start(setup: GatewaySetup) -> (Gateway, Agent) {
    let gateway = setup.start();
    let mut agent = gateway.agent("laptop");
    for service in ["wiki", "shop", "echo"] {
        gateway.grant("laptop", service);
        agent = agent.listener(service);
    }
    (gateway, agent.start())
}

/// What a start says that fails.
fn refusal(gateway: &Gateway, hsm: Option<&Hsm>) -> String {
    let mut command = countersign();
    command.arg("gateway").arg("--config").arg(gateway.config());
    command.envs(hsm.map(Hsm::environment));
    run(&mut command, "").failed()
}

fn root_key(state: impl AsRef<Path>) -> String {
    std::fs::read_to_string(state.as_ref().join("root.key")).expect("it was made")
}

fn shows(gateway: &Gateway, reachable: u8) -> Option<()> {
    let line = format!("countersign_key_token_reachable{{token=\"gateway\"}} {reachable}");
    gateway.metrics().contains(&line).then_some(())
}

fn echoes(stream: &mut TcpStream) {
    let sent = random_bytes(1000);
    stream.write_all(&sent).expect("the stream is open");
    let mut received = vec![0; sent.len()];
    stream
        .read_exact(&mut received)
        .expect("the stream is open");
    assert!(received == sent);
}

fn ask(agent: &Agent, service: &str) -> (u16, String) {
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    exchange(agent.port(service), request).expect("an answer")
}

const HEADER: &str = "Countersign-Identity";
const HTTP: &str = "http.protocol = \"http/1.1\"";
