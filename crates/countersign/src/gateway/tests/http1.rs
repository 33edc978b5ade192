//! HTTP/1.1, byte by byte: what is refused, and that nothing after it is read as a request.

use super::agentless::{ANONYMOUS_WEB, dial, world};
use super::*;

/// What the gateway answers to these bytes until it closes the connection or says no more.
async fn answer(world: &World, bytes: &str) -> String {
    let mut stream = dial(world, "web.test", "http/1.1", false).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    // The gateway may close without close_notify: what came before counts.
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

/// The status line and the problem's words; the connection must end after one answer.
async fn check(request: &str, expected: &str) {
    let world = world("", ANONYMOUS_WEB).await;
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n";
    let answer = answer(&world, &format!("{request}{smuggled}")).await;
    assert!(!answer.contains("smuggled"), "{request}\n{answer}");
    assert_eq!(
        answer.matches("HTTP/1.1 ").count(),
        1,
        "{request}\n{answer}"
    );
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let found = match serde_json::from_str(body) {
        Ok(problem) => in_words(&problem),
        Err(_) => head.lines().next().unwrap().to_owned(),
    };
    assert_eq!(found, expected, "{request}");
}

#[tokio::test]
async fn a_connect_becomes_a_tunnel() {
    let world = world("", ANONYMOUS_WEB).await;
    let mut stream = dial(&world, "web.test", "http/1.1", false).await.unwrap();
    let request = b"CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\n\r\nearly";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nearly") {
        assert_ne!(within(stream.read_buf(&mut answer)).await.unwrap(), 0);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let head = answer.to_ascii_lowercase();
    assert!(!head.contains("content-length") && !head.contains("transfer-encoding"));
}

#[tokio::test]
async fn a_connect_that_is_refused_ends_the_connection() {
    check(
        "CONNECT echo:7 HTTP/1.1\r\nHost: echo:7\r\n\r\n",
        "421 misdirected: this channel was opened for `web.test`, which does not stand for `echo:7`",
    )
    .await;
}

#[tokio::test]
async fn a_connect_with_content_is_refused() {
    check(
        "CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\nContent-Length: 3\r\n\r\nabc",
        "400 malformed: a CONNECT request has no content, and so no `content-length`",
    )
    .await;
    check(
        "CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400 malformed: a CONNECT request has no content, and so no `transfer-encoding`",
    )
    .await;
}

#[tokio::test]
async fn a_connect_whose_host_field_differs_is_refused() {
    check(
        "CONNECT web:80 HTTP/1.1\r\nHost: echo:7\r\n\r\n",
        "400 malformed: the Host field says `echo:7`, and the request is for `web:80`",
    )
    .await;
    check(
        "CONNECT web:80 HTTP/1.1\r\n\r\n",
        "400 malformed: the request lacks its Host field",
    )
    .await;
    check(
        "CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\nHost: echo:7\r\n\r\n",
        "400 malformed: there is more than one Host field",
    )
    .await;
}

#[tokio::test]
async fn a_target_that_is_no_authority_is_refused() {
    check(
        "CONNECT /v1/token HTTP/1.1\r\nHost: web:80\r\n\r\n",
        "400 malformed: CONNECT wants an authority: `service:port`",
    )
    .await;
    check(
        "CONNECT http://web:80/ HTTP/1.1\r\nHost: web:80\r\n\r\n",
        "400 malformed: `http://web:80/` is more than an authority; the target of CONNECT is `service:port`",
    )
    .await;
}

#[tokio::test]
async fn lengths_that_contradict_each_other_are_refused() {
    let chunked = "411 length_required: a body is taken with its Content-Length, not in chunks";
    let unreadable = "HTTP/1.1 400 Bad Request";
    for (lengths, expected) in [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked", chunked),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", chunked),
        ("Content-Length: 3\r\nContent-Length: 4", unreadable),
        ("Transfer-Encoding: chunked, identity", unreadable),
        ("Transfer-Encoding : chunked", unreadable),
        ("Content-Length: +3", unreadable),
    ] {
        let request =
            format!("POST /v1/enrol HTTP/1.1\r\nHost: gateway.example.org\r\n{lengths}\r\n\r\n");
        check(&request, expected).await;
    }
}

#[tokio::test]
async fn headers_beyond_the_limit_are_refused() {
    let long = "a".repeat(20_000);
    check(
        &format!("GET / HTTP/1.1\r\nHost: web.test\r\nX: {long}\r\n\r\n"),
        "431 header_too_large: the header fields have 20021 bytes, and may have 16384",
    )
    .await;
}

/// A request on the gateway's own name, by a client without a certificate.
async fn own(request: &str) -> String {
    let world = World::start(LISTENER).await;
    let mut stream = own_name(&world).await;
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    match serde_json::from_str::<Value>(body) {
        Ok(problem) if problem["code"].is_string() => in_words(&problem),
        _ => head.lines().next().unwrap().to_owned(),
    }
}

async fn own_name(world: &World) -> tokio_rustls::client::TlsStream<TcpStream> {
    let trust = world.handle.gateway.custody.authority.trust();
    let mut roots = rustls::RootCertStore::empty();
    for anchor in trust.anchors() {
        roots.add(anchor.der().to_vec().into()).unwrap();
    }
    let provider = countersign_channel::provider::crypto_provider(PROFILE);
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let tcp = TcpStream::connect(world.address()).await.unwrap();
    let name = GATEWAY.try_into().unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp).await.unwrap()
}

const CLOSE: &str = "Connection: close\r\n\r\n";
const BUNDLE: &str = "/.well-known/countersign/bundle";

#[tokio::test]
async fn the_bundle_is_served_by_path_and_by_absolute_target() {
    for target in [BUNDLE.to_owned(), format!("https://{GATEWAY}{BUNDLE}")] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {GATEWAY}\r\n{CLOSE}");
        assert_eq!(own(&request).await, "HTTP/1.1 200 OK", "{target}");
    }
}

#[tokio::test]
async fn a_target_elsewhere_is_not_forwarded() {
    assert_eq!(
        own(&format!(
            "GET http://echo/ HTTP/1.1\r\nHost: echo\r\n{CLOSE}"
        ))
        .await,
        "421 absolute_form: `http://echo/` is asked of a proxy that forwards, and this gateway tunnels: send `CONNECT` for it, as `curl --proxytunnel` does"
    );
    assert_eq!(
        own(&format!(
            "GET https://{GATEWAY}{BUNDLE} HTTP/1.1\r\nHost: echo\r\n{CLOSE}"
        ))
        .await,
        format!("400 malformed: the Host field says `echo`, and the request is for `{GATEWAY}`")
    );
    assert_eq!(
        own(&format!("GET {BUNDLE} HTTP/1.1\r\n{CLOSE}")).await,
        "400 malformed: the request lacks its Host field"
    );
    assert_eq!(
        own(&format!(
            "GET {BUNDLE} HTTP/1.1\r\nHost: a@{GATEWAY}\r\n{CLOSE}"
        ))
        .await,
        "400 malformed: an authority has no user information"
    );
}

#[tokio::test]
async fn a_body_in_chunks_is_not_taken() {
    let request = format!(
        "POST /v1/enrol HTTP/1.1\r\nHost: {GATEWAY}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"
    );
    assert_eq!(
        own(&request).await,
        "411 length_required: a body is taken with its Content-Length, not in chunks"
    );
}
