//! The gateway beside a public suite for RFC 9113 (HTTP/2), httpwg: whatever a peer may send, and what must come of it.
//!
//! The suite speaks HTTP/2 in the clear with prior knowledge, so each of its connections goes through a bridge into TLS.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

use crate::support::{
    Dialer, Gateway, GatewaySetup, Process, cached, free_port, loopback, node, run, wait_for_port,
};

/// The way from the suite to a gateway; it ends with this guard.
struct Bridge {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Bridge {
    fn to(gateway: &Gateway) -> Self {
        let runtime = Runtime::new().expect("threads");
        let dialer = Dialer::new(gateway, "web", b"h2");
        let listener = runtime.block_on(TcpListener::bind(loopback(0)));
        let listener = listener.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        runtime.spawn(async move {
            while let Ok((plain, _)) = listener.accept().await {
                tokio::spawn(carry(plain, dialer.clone()));
            }
        });
        Self {
            address,
            _runtime: runtime,
        }
    }
}

/// Carries one connection until either side ends it.
async fn carry(mut plain: TcpStream, dialer: Dialer) -> std::io::Result<()> {
    let mut tls = dialer.dial().await?;
    tokio::io::copy_bidirectional(&mut plain, &mut tls).await?;
    Ok(())
}

#[test]
fn the_gateway_does_what_a_public_suite_for_http_2_asks() {
    let (Some(suite), Some(mut service)) = (cached("httpwg/suite"), node("site.cjs")) else {
        return;
    };
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_port());
    let log = folder.path().join("log");
    let _service = Process::start(service.arg(port.to_string()), &log);
    wait_for_port(port);
    let keys = "[service.http]\nprotocol = \"http/1.1\"";
    let gateway = GatewaySetup::new().service("web", port, keys).start();
    gateway.grant("anonymous", "web");
    let bridge = Bridge::to(&gateway);
    let mut command = Command::new(suite);
    command.args([bridge.address.to_string(), gateway.service_name("web")]);
    let report = run(&mut command, "").succeeded();
    let failed: BTreeMap<_, _> = report
        .lines()
        .map(|line| line.split_once('\t').expect("a case and what came of it"))
        .filter(|(case, outcome)| *outcome != "ok" && *case != EITHER_WAY)
        .collect();
    assert_eq!(report.lines().count(), CASES, "{report}");
    let known = DEVIATIONS.map(|(case, _)| case);
    let found: Vec<_> = failed.keys().copied().collect();
    assert_eq!(found, known, "{failed:#?}");
    for (case, outcome) in DEVIATIONS {
        let told = failed.get(case).expect("it is one of them");
        assert!(told.contains(outcome), "{case}: {told}");
    }
}

/// How many cases the suite has.
const CASES: usize = 107;

/// The suite says good-bye and then wants an answer to a ping, which comes only if the gateway reads both at once.
const EITHER_WAY: &str = "7. error codes :: sends goaway frame with unknown error code";

/// Where the gateway does something else than the suite asks, in alphabetical order, and what the suite says of it then.
///
/// * The `h2` crate ends the connection, with a reason that is less precise than it could be. RFC 9113, section 5.4, leaves
///   a peer free to end a connection for any error.
/// * A malformed request is answered with 400 and a sentence, which section 8.1.1 allows; nothing of it reaches a service
///   (`gateway/tests/hostile`). Both of its streams have ended by then, so there is nothing left to reset.
/// * The `h2` crate waits for the rest of a PUSH_PROMISE before it refuses it, and the suite sends none.
/// * A pseudo-header field among trailers is dropped, as the `h2` crate hands on the others alone.
const DEVIATIONS: [(&str, &str); 20] = [
    ("4. http frames :: invalid header block fragment", IMPRECISE),
    (
        "5. streams and multiplexing :: closed sends headers frame",
        IMPRECISE,
    ),
    (
        "5. streams and multiplexing :: closed sends headers frame after rst stream",
        IMPRECISE,
    ),
    (
        "5. streams and multiplexing :: half closed remote sends data frame",
        IMPRECISE,
    ),
    (
        "5. streams and multiplexing :: half closed remote sends headers frame",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends data frame on invalid stream state",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends ping frame with invalid length",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends priority frame with invalid length",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends rst stream frame with invalid length",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends settings frame with ack and payload",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends settings frame with invalid length",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends settings initial window size with exceeded max window size value",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends settings initial window size with invalid value",
        IMPRECISE,
    ),
    (
        "6. frame definitions :: sends window update frame with invalid length",
        IMPRECISE,
    ),
    (
        "8. expressing http semantics in http2 :: client sends push promise frame",
        "Timed out",
    ),
    (
        "8. expressing http semantics in http2 :: sends connect without authority",
        ANSWERED,
    ),
    (
        "8. expressing http semantics in http2 :: sends headers frame with leading space in field value",
        ANSWERED,
    ),
    (
        "8. expressing http semantics in http2 :: sends headers frame with mismatched host authority",
        ANSWERED,
    ),
    (
        "8. expressing http semantics in http2 :: sends headers frame with pseudo header in trailer",
        ANSWERED,
    ),
    (
        "8. expressing http semantics in http2 :: sends headers frame with trailing tab in field value",
        ANSWERED,
    ),
];

const IMPRECISE: &str = ", but got ";
const ANSWERED: &str = "Timed out while waiting for stream error, last frame: (Some(#1:Data";
