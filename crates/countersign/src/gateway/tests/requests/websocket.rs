//! WebSocket: the request is cleaned and signed for like any other, and what follows is carried like a tunnel's bytes.

use h2::ext::Protocol;

use super::*;

pub(super) const ASK: &str = "GET /chat HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCountersign-Identity: forged\r\nX-Forwarded-For: forged\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// A WebSocket from end to end, and the request that reached the service.
async fn open() -> (World, Wire<TlsStream<TcpStream>>, Wire<TcpStream>, String) {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client.say(ASK).await;
    let mut connection = service.connection().await;
    let heard = within(connection.head()).await.unwrap();
    connection.say(SWITCH).await;
    let answer = client.until("\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{answer}"
    );
    assert_eq!(
        field(&answer, "sec-websocket-accept"),
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(
        (field(&answer, "connection"), field(&answer, "upgrade")),
        ("upgrade", "websocket")
    );
    (world, client, connection, heard)
}

#[tokio::test]
async fn bytes_pass_both_ways_and_the_request_was_cleaned() {
    let (world, mut client, mut service, heard) = open().await;
    assert!(!heard.contains("forged"), "{heard}");
    assert!(field(&heard, "countersign-identity").starts_with("v4.public."));
    assert_eq!(
        (field(&heard, "connection"), field(&heard, "upgrade")),
        ("upgrade", "websocket")
    );
    client.say("ping").await;
    service.until("ping").await;
    service.say("pong").await;
    client.until("pong").await;
    service.io.shutdown().await.unwrap();
    let (_, clean) = client.rest().await;
    assert!(clean, "no clean end");
    drop(service);
    world
        .event("stream-closed", json!({ "service": "site", "received": 4 }))
        .await;
}

#[tokio::test]
async fn a_service_that_breaks_off_is_no_clean_end() {
    let (_world, mut client, service, _) = open().await;
    socket2::SockRef::from(&service.io)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    client.say("ping").await;
    drop(service);
    let (_, clean) = client.rest().await;
    assert!(!clean, "a clean end");
}

#[tokio::test]
async fn what_ends_a_grant_ends_it() {
    let (world, mut service) = Scripted::behind("").await;
    world.grant("anonymous", "site").await;
    let mut client = http1_wire(&world).await;
    client.say(ASK).await;
    let mut connection = service.connection().await;
    within(connection.head()).await.unwrap();
    connection.say(SWITCH).await;
    client.until("\r\n\r\n").await;
    let path = "/grants?principal=anonymous&service=site";
    world.operate("DELETE", path, &Value::Null).await;
    let (_, clean) = client.rest().await;
    assert!(!clean, "a clean end");
    connection.rest().await;
}

/// A WebSocket asked for on HTTP/2, as the client's h2 stream, and the request that reached the service.
pub(super) async fn extended(
    world: &World,
    path: &str,
) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
    let tls = dial(world, "web.test", "h2", false).await.unwrap();
    let (client, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let mut client = within(client.ready()).await.unwrap();
    within(async {
        while !client.is_extended_connect_protocol_enabled() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://web.test{path}"))
        .header("sec-websocket-version", "13")
        .header("countersign-identity", "forged")
        .body(())
        .unwrap();
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    client.send_request(request, false).unwrap()
}

/// What a service answers to the key that it got.
fn switch_for(heard: &str) -> String {
    let key = field(heard, "sec-websocket-key");
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let digest = aws_lc_rs::digest::digest(
        &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY,
        text.as_bytes(),
    );
    SWITCH.replace(
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        &Base64::encode_string(digest.as_ref()),
    )
}

#[tokio::test]
async fn http_2_asks_by_an_extended_connect() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let (answer, mut send) = extended(&world, "/chat").await;
    let mut connection = service.connection().await;
    let heard = within(connection.head()).await.unwrap();
    assert!(
        heard.starts_with("GET /chat HTTP/1.1\r\n") && !heard.contains("forged"),
        "{heard}"
    );
    assert!(field(&heard, "countersign-identity").starts_with("v4.public."));
    connection.say(&switch_for(&heard)).await;
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    let mut body = answer.into_body();
    send.send_data("ping".into(), false).unwrap();
    connection.until("ping").await;
    connection.say("pong").await;
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "pong");
    socket2::SockRef::from(&connection.io)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(connection);
    let reset = within(body.data()).await.unwrap().unwrap_err();
    assert!(reset.is_reset(), "{reset}");
}

#[tokio::test]
async fn a_service_that_has_not_read_the_key_or_gives_a_page_opens_none_on_http_2() {
    for wrong in [SWITCH, OK] {
        let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
        let (answer, _send) = extended(&world, "/chat").await;
        let mut connection = service.connection().await;
        within(connection.head()).await.unwrap();
        connection.say(wrong).await;
        assert_eq!(within(answer).await.unwrap().status(), 502);
    }
}

#[tokio::test]
async fn a_service_may_answer_no_and_other_protocols_are_not_asked_for() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client.say(ASK).await;
    let mut connection = service.connection().await;
    within(connection.head()).await.unwrap();
    connection
        .say("HTTP/1.1 400 Bad Request\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let answer = client.until("\r\n\r\nno").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let site = Site::open().await;
    for protocol in ["h2c", "HTTP/2.0", "foo", "tls/1.2"] {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: web.test\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: {protocol}\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
        );
        let answer = http1(&site.world, &request).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    }
    let heard = site.service.heard().concat();
    assert!(
        !heard.contains("upgrade") && !heard.contains("settings"),
        "{heard}"
    );
}
