//! Extended CONNECT at the client: asked about first, and a tunnel once it is answered.

use http::Request;

use super::*;

/// What a client that asks is told, and the two ends.
async fn offered(by_server: bool) -> (bool, Mux, Requests<DuplexStream>) {
    let limits = |extended_connect| Limits {
        extended_connect,
        ..Limits::default()
    };
    let (near, far) = duplex(64 << 10);
    let (asks, offers) = (limits(true), limits(by_server));
    let (client, server) = tokio::join!(Mux::handshake(near, &asks), serve(far, &offers));
    let ((mux, driver), (mut requests, _handle)) = (client.unwrap(), server.unwrap());
    tokio::spawn(driver);
    let offered = tokio::select! {
        offered = mux.offers_extended_connect() => offered.unwrap(),
        _ = requests.next() => panic!("a request before it was asked for"),
    };
    (offered, mux, requests)
}

#[tokio::test]
async fn the_client_knows_what_the_server_offers() {
    assert!(offered(true).await.0);
    assert!(!offered(false).await.0);
}

#[tokio::test]
async fn a_client_that_does_not_ask_has_no_offer() {
    let (mux, _requests, _handle) = channel(&Limits::default()).await;
    assert!(!mux.offers_extended_connect().await.unwrap());
}

#[tokio::test]
async fn a_connection_that_ends_before_it_says_is_no_offer() {
    let (near, far) = duplex(64 << 10);
    let limits = Limits {
        extended_connect: true,
        ..Limits::default()
    };
    let (mux, driver) = Mux::handshake(near, &limits).await.unwrap();
    tokio::spawn(driver);
    drop(far);
    mux.offers_extended_connect().await.unwrap_err();
}

#[tokio::test]
async fn an_answer_becomes_a_tunnel_that_outlives_the_mux() {
    let (_, mux, mut requests) = offered(true).await;
    let server = tokio::spawn(async move {
        let incoming = requests.next().await.unwrap().unwrap();
        assert!(!incoming.is_tunnel());
        let mut tunnel = incoming.accept(HeaderMap::new()).unwrap();
        let echo = tokio::spawn(async move {
            let mut heard = String::new();
            tunnel.read_to_string(&mut heard).await.unwrap();
            tunnel.write_all(heard.as_bytes()).await.unwrap();
            tunnel.shutdown().await.unwrap();
        });
        while requests.next().await.is_some() {}
        echo.await.unwrap();
    });
    let mut request = Request::connect("http://web.test/chat").body(()).unwrap();
    let protocol = h2::ext::Protocol::from_static("websocket");
    request.extensions_mut().insert(protocol);
    let answer = mux.ask(request).await.unwrap();
    assert_eq!((answer.parts.status.as_u16(), mux.open_streams()), (200, 1));
    drop(mux);
    let mut tunnel = Tunnel::resumed(answer.body, answer.send, answer.open);
    tunnel.write_all(b"ping").await.unwrap();
    tunnel.shutdown().await.unwrap();
    let mut echo = String::new();
    tunnel.read_to_string(&mut echo).await.unwrap();
    assert_eq!(echo, "ping");
    drop(tunnel);
    server.await.unwrap();
}
