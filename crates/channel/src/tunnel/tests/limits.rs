use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::{Method, Request, Response, StatusCode};
use tokio::time::Instant;

use super::*;

#[tokio::test]
async fn goaway_ends_new_streams_and_waits_for_the_open_one() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let (mut near, mut far) = tunnels.open().await;
    assert!(!tunnels.mux.is_draining());

    tunnels.handle.drain();
    tunnels.mux.draining().await;
    let refused = tunnels.mux.connect(authority(), HeaderMap::new()).await;
    assert_eq!(refused.unwrap_err().to_string(), "the channel is draining");

    carry_and_end(&mut near, &mut far).await;
    drop((near, far));
    tunnels.server.await.unwrap().unwrap();
    assert_closed_cleanly(&tunnels.mux).await;
}

#[tokio::test]
async fn a_client_drains_its_own_channel() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let (mut near, mut far) = tunnels.open().await;
    tunnels.mux.drain();
    assert!(tunnels.mux.is_draining());
    assert_eq!(tunnels.mux.open_streams(), 1);
    carry_and_end(&mut near, &mut far).await;
    drop((near, far));
    tunnels.server.await.unwrap().unwrap();
    assert_closed_cleanly(&tunnels.mux).await;
}

#[tokio::test]
async fn the_last_handle_drains_and_the_stream_goes_on() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let (mut near, mut far) = tunnels.open().await;
    drop(tunnels.mux);
    carry_and_end(&mut near, &mut far).await;
    drop((near, far));
    tunnels.server.await.unwrap().unwrap();
}

async fn carry_and_end(near: &mut Tunnel, far: &mut Tunnel) {
    say(near, far).await;
    say(far, near).await;
}

async fn say(from: &mut Tunnel, to: &mut Tunnel) {
    from.write_all(b"still here").await.unwrap();
    from.shutdown().await.unwrap();
    let mut text = String::new();
    to.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "still here");
}

async fn assert_closed_cleanly(mux: &Mux) {
    let end = mux.closed().await.unwrap().to_string();
    assert_eq!(end, "the connection was closed at this end (NO_ERROR)");
}

#[tokio::test]
async fn a_refusal_carries_status_headers_and_body() {
    let (mux, mut requests, _handle) = channel(&Limits::default()).await;
    tokio::spawn(async move {
        while let Some(Ok(incoming)) = requests.next().await {
            assert!(incoming.is_tunnel());
            assert_eq!(incoming.parts().uri.to_string(), "service:5432");
            let mut response = Response::new(Bytes::from_static(b"{\"rule\":\"none\"}"));
            *response.status_mut() = StatusCode::FORBIDDEN;
            let kind = http::HeaderValue::from_static("application/problem+json");
            response.headers_mut().insert("content-type", kind);
            incoming.reply(response).unwrap();
        }
    });
    let error = mux.connect(authority(), HeaderMap::new()).await;
    let ConnectError::Rejected(rejected) = error.unwrap_err() else {
        panic!("the server said no");
    };
    assert_eq!(rejected.status, StatusCode::FORBIDDEN);
    assert_eq!(rejected.headers["content-type"], "application/problem+json");
    assert_eq!(rejected.body, "{\"rule\":\"none\"}");
    assert_eq!(mux.open_streams(), 0);
}

/// A server that answers every request with as many bytes as it got, within `limit`.
async fn echo(mut requests: Requests<DuplexStream>, limit: usize) {
    while let Some(Ok(mut incoming)) = requests.next().await {
        tokio::spawn(async move {
            let body = incoming.body(limit, Duration::from_secs(5)).await;
            let answer = match body {
                Ok(body) => Response::new(body),
                Err(error) => Response::builder()
                    .status(StatusCode::PAYLOAD_TOO_LARGE)
                    .body(error.to_string().into())
                    .unwrap(),
            };
            let _ = incoming.reply(answer);
        });
    }
}

fn post(body: usize) -> Request<Bytes> {
    let mut request = Request::new(vec![b'x'; body].into());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = "https://gateway.example.org/v1/enrol".parse().unwrap();
    request
}

#[tokio::test]
async fn a_request_and_its_answer_carry_bodies() {
    let (mux, requests, _handle) = channel(&Limits::default()).await;
    tokio::spawn(echo(requests, 1 << 20));
    for size in [0, 1, 100_000] {
        let answer = mux.request(post(size)).await.unwrap();
        assert_eq!(
            (answer.status(), answer.body().len()),
            (StatusCode::OK, size)
        );
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_at_either_end() {
    let limits = Limits {
        response_body: 1000,
        ..Limits::default()
    };
    let (mux, requests, _handle) = channel(&limits).await;
    tokio::spawn(echo(requests, 2000));
    let error = mux.request(post(1001)).await.unwrap_err();
    assert_eq!(error.to_string(), "the body is larger than 1000 bytes");
    let answer = mux.request(post(2001)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.body(), "the body is larger than 2000 bytes");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_left_after_the_limit() {
    let limits = Limits {
        response: Duration::from_secs(7),
        keepalive: None,
        ..Limits::default()
    };
    let (mux, mut requests, _handle) = channel(&limits).await;
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Some(incoming) = requests.next().await {
            held.push(incoming);
        }
    });
    let start = Instant::now();
    let error = mux
        .connect(authority(), HeaderMap::new())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "no answer within 7000 ms");
    let error = mux.request(post(10)).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer within 7000 ms");
    assert_eq!(start.elapsed().as_secs(), 14);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_is_left_after_the_limit() {
    let (mux, mut requests, _handle) = channel(&Limits::default()).await;
    let connecting = tokio::spawn(async move { mux.connect(authority(), HeaderMap::new()).await });
    let mut incoming = requests.next().await.unwrap().unwrap();
    let error = incoming.body(10, Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(error.to_string(), "the body did not arrive within 3000 ms");
    connecting.abort();
}

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_noticed_by_its_missing_pong() {
    let limits = Limits::default();
    let (near, far) = duplex(64 << 10);
    let (client, server) = tokio::join!(Mux::handshake(near, &limits), serve(far, &limits));
    let (_mux, driver) = client.unwrap();
    let _never_polled = server.unwrap();
    let error = driver.await.unwrap_err();
    assert_eq!(error.to_string(), "no answer to a ping within 15000 ms");
}

#[tokio::test(start_paused = true)]
async fn an_idle_channel_stays_open() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let (mut near, mut far) = tunnels.open().await;
    carry_and_end(&mut near, &mut far).await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_speaks_is_left_after_the_limit() {
    let (_near, far) = duplex(64 << 10);
    let error = serve(far, &Limits::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "no HTTP/2 handshake within 10000 ms");
}

#[tokio::test]
async fn one_stream_more_than_allowed_waits_for_a_free_one() {
    let limits = Limits {
        streams: 2,
        ..Limits::default()
    };
    let mut tunnels = Tunnels::new(&limits).await;
    // The first stream may start before the server's settings are known.
    let (first, first_far) = tunnels.open().await;
    let _second = tunnels.open().await;
    let mux = tunnels.mux.clone();
    let third = tokio::spawn(async move { mux.connect(authority(), HeaderMap::new()).await });
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!third.is_finished());
    drop((first, first_far));
    third.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_header_block_beyond_the_limit_is_refused() {
    let limits = Limits {
        header_list: 1000,
        ..Limits::default()
    };
    let tunnels = Tunnels::new(&limits).await;
    let mut headers = HeaderMap::new();
    headers.insert("x-large", "y".repeat(1000).parse().unwrap());
    let refused = tunnels.mux.connect(authority(), headers).await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(tunnels.handle.open_streams(), 0);
}

#[tokio::test]
async fn rapid_resets_end_the_connection() {
    let (near, far) = duplex(1 << 20);
    let limits = Limits::default();
    let client = h2::client::handshake(near);
    let (client, server) = tokio::join!(client, serve(far, &limits));
    let (mut requests, connection) = client.unwrap();
    tokio::spawn(connection);
    for _ in 0..=limits.pending_resets {
        let mut connect = Request::new(());
        *connect.method_mut() = Method::CONNECT;
        *connect.uri_mut() = authority().into();
        let (_response, mut send) = requests.send_request(connect, false).unwrap();
        // The connection's task writes the request before it learns of the reset.
        tokio::task::yield_now().await;
        send.send_reset(Reason::CANCEL);
        tokio::task::yield_now().await;
    }
    let error = server.unwrap().0.next().await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection was closed at this end (ENHANCE_YOUR_CALM)"
    );
}

/// One HEADERS frame without END_HEADERS, then CONTINUATION frames without end (RFC 9113,
/// section 6.10).
#[tokio::test]
async fn a_continuation_flood_ends_the_connection() {
    let (mut near, far) = duplex(1 << 20);
    near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    near.write_all(b"\0\0\0\x01\0\0\0\0\x01").await.unwrap();
    let (mut requests, _handle) = serve(far, &Limits::default()).await.unwrap();
    for _ in 0..1000 {
        near.write_all(b"\0\0\0\x09\0\0\0\0\x01").await.unwrap();
    }
    let error = requests.next().await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection was closed at this end (ENHANCE_YOUR_CALM)"
    );
}
