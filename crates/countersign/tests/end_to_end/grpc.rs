//! A gRPC echo: one call, and a stream both ways; through a tunnel, and request by request.

use serde_json::json;
use tempfile::TempDir;

use crate::support::{GatewaySetup, Process, Tunnel, free_port, node, run, wait_for_port};

/// An echo server.
struct Echo {
    _server: Process,
    port: u16,
    _home: TempDir,
}

impl Echo {
    fn start() -> Option<Self> {
        let home = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let server = Process::start(
            node("grpc_echo.cjs")?.args(["serve", &port.to_string()]),
            &home.path().join("log"),
        );
        wait_for_port(port);
        Some(Self {
            _server: server,
            port,
            _home: home,
        })
    }
}

#[test]
fn grpc_calls_and_streams_work_through_the_tunnel() {
    let Some(echo) = Echo::start() else {
        return;
    };
    let tunnel = Tunnel::to("echo", echo.port);
    let port = tunnel.port();
    let mut client = node("grpc_echo.cjs").expect("the server has it");
    let report = run(client.args(["call", &port.to_string()]), "").succeeded();
    assert_eq!(report, "unary ok\nstream ok: 100 messages, 1638400 bytes\n");
}

#[test]
fn grpc_comes_without_an_agent_and_is_known_by_its_token() {
    let Some(echo) = Echo::start() else {
        return;
    };
    let keys = "[service.http]\nprotocol = \"h2\"";
    let gateway = GatewaySetup::new().service("echo", echo.port, keys).start();
    let issue = ["tokens", "issue", "--service", "echo", "--subject", "ci"];
    let options = json!({
        "port": gateway.port,
        "name": gateway.service_name("echo"),
        "anchors": gateway.authority.file,
        "bearer": gateway.ask(&issue)["token"],
    });
    let mut client = node("grpc_echo.cjs").expect("the server has it");
    let report = run(client.args(["come", &options.to_string()]), "").succeeded();
    assert_eq!(
        report,
        "nobody: PERMISSION_DENIED\nunary ok\nstream ok: 100 messages, 1638400 bytes\nFAILED_PRECONDITION: not now, because\n"
    );
}
