//! Services that verify who calls them: the examples, and another library.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use countersign_example_upstream_axum::app;
use countersign_example_upstream_axum::identity::Verifier;
use serde_json::{Value, json};
use tokio::runtime::Builder;

use crate::support::{
    GatewaySetup, Process, Tunnel, example, exchange, free_port, loopback, node, run, upstream,
    wait_for_port,
};

#[test]
fn the_example_in_python_knows_its_callers() {
    let Some(mut python) = example("upstream-python/app.py") else {
        return;
    };
    knows_its_callers(|keys, port| {
        let options = ["--issuer", ISSUER, "--service", "wiki"];
        python.arg("--keys").arg(keys).args(options);
        python.args(["--port", &port.to_string()]);
        Process::start(&mut python, &keys.with_extension("log"))
    });
}

#[test]
fn the_example_on_axum_knows_its_callers() {
    knows_its_callers(|keys, port| {
        let verifier = Verifier::new(keys.to_owned(), ISSUER, "wiki").expect("the keys are there");
        let listener = TcpListener::bind(loopback(port)).expect("the port is free");
        thread::spawn(move || serve(listener, verifier));
    });
}

#[test]
fn npm_paseto_verifies_a_token_for_its_service_and_for_no_other() {
    let Some(mut node) = node("identity.cjs") else {
        return;
    };
    let tunnel = Tunnel::through(wiki(upstream::showing(HEADER)), "wiki");
    let question = |service| {
        json!({
            "keys": tunnel.gateway.ask(&["identity", "keys"]),
            "token": ask(tunnel.port(), "").1,
            "service": service,
        })
    };
    let claims = run(&mut node, question("wiki").to_string()).succeeded();
    let claims: Value = serde_json::from_str(&claims).expect("claims are JSON");
    assert_eq!(claims["sub"], LAPTOP);
    assert_eq!(claims["channel"]["group"], "X25519MLKEM768");
    let told = run(&mut node, question("shop").to_string()).failed();
    assert!(told.contains("aud"), "{told}");
}

/// Starts a service with the gateway's keys on a port, and asks it by every way that there is.
fn knows_its_callers<Service>(start: impl FnOnce(&Path, u16) -> Service) {
    let port = free_port();
    let setup = wiki(port).service("shop", upstream::showing(HEADER), HTTP);
    let tunnel = Tunnel::through(setup, "wiki");
    let _service = start(&keys(&tunnel), port);
    wait_for_port(port);

    let expected = (200, format!("you are {LAPTOP}\n"));
    assert_eq!(ask(tunnel.port(), ""), expected);
    let forged = "Countersign-Identity: v4.public.AAAA\r\ncountersign_identity: v4.public.AAAA\r\n";
    assert_eq!(ask(tunnel.port(), forged), expected);

    let refused = (401, "who are you?\n".to_owned());
    assert_eq!(ask(port, ""), refused);
    assert_eq!(ask(port, forged), refused);
    assert_eq!(
        ask(port, "Countersign-Identity: v4.public.AAAA.e30\r\n"),
        refused
    );
    tunnel.gateway.grant("shopper", "shop");
    let shopper = tunnel.gateway.agent("shopper").listener("shop").start();
    let (_, stolen) = ask(shopper.port("shop"), "");
    assert!(stolen.starts_with("v4.public."), "{stolen}");
    let stolen = format!("{HEADER}: {stolen}\r\n");
    assert_eq!(ask(port, &stolen), refused);
}

/// A gateway in front of an HTTP service that writes its keys to a file.
fn wiki(port: u16) -> GatewaySetup {
    let setup = GatewaySetup::new().service("wiki", port, HTTP);
    setup.tables("[identity]\nkeys_file = \"keys.json\"")
}

fn keys(tunnel: &Tunnel) -> PathBuf {
    tunnel.gateway.home().join("keys.json")
}

/// What a request with these fields is answered.
fn ask(port: u16, fields: &str) -> (u16, String) {
    let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    exchange(port, &request).expect("an answer")
}

fn serve(listener: TcpListener, verifier: Verifier) {
    let runtime = Builder::new_current_thread().enable_all().build();
    let served = async {
        listener.set_nonblocking(true)?;
        let listener = tokio::net::TcpListener::from_std(listener)?;
        axum::serve(listener, app(Arc::new(verifier))).await
    };
    let served = runtime.expect("a runtime").block_on(served);
    served.expect("it serves for as long as the test runs");
}

const HEADER: &str = "Countersign-Identity";
const ISSUER: &str = "spiffe://example.org";
const LAPTOP: &str = "spiffe://example.org/agent/laptop";
const HTTP: &str = "http.protocol = \"http/1.1\"";
