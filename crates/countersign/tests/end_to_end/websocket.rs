//! WebSocket at a service of Node's `http2`.

use serde_json::json;

use crate::support::{GatewaySetup, Process, free_port, node, run, wait_for_port};

#[test]
fn a_websocket_reaches_a_service_of_http_2_from_either_version_of_http() {
    let (Some(mut service), Some(mut client)) = (node("websocket.cjs"), node("websocket.cjs"))
    else {
        return;
    };
    let home = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let service = service.args(["serve", &port.to_string()]);
    let _service = Process::start(service, &home.path().join("log"));
    wait_for_port(port);
    let keys = "[service.http]\nprotocol = \"h2\"";
    let gateway = GatewaySetup::new().service("web", port, keys).start();
    gateway.grant("anonymous", "web");
    let options = json!({
        "port": gateway.port,
        "name": gateway.service_name("web"),
        "anchors": gateway.authority.file,
    });
    let report = run(client.args(["come", &options.to_string()]), "").succeeded();
    let expected = [
        "withUndici /echo: hello, 1000",
        "withUndici /break: null, 1006",
        // A message, a close and a clean end; nothing and RST_STREAM(CONNECT_ERROR).
        "withHttp2 /echo: 810568656c6c6f880203e8, 0",
        "withHttp2 /break: , 10",
    ];
    assert_eq!(report.lines().collect::<Vec<_>>(), expected);
}
