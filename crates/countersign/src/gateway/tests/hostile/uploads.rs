//! Ten gigabytes for a service that takes nothing: what is read of them is what was on its way.

use super::*;

const TEN_GIGABYTES: u64 = 10 << 30;

/// Where nobody listens.
async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    listener.local_addr().unwrap()
}

async fn world(service: SocketAddr) -> World {
    let more = format!(
        r#"
        [[service]]
        name = "site"
        port = 80
        upstream = "{service}"
        sni = ["web.test"]
        http.protocol = "http/1.1"
        [[grant]]
        principal = "anonymous"
        service = "site"
        "#
    );
    certified_world("", &more).await
}

/// What a client of HTTP/1.1 is told, and how many bytes of its upload left before that.
async fn http1(world: &World, expects: bool) -> (String, u64) {
    let mut stream = dial(world, "web.test", "http/1.1", false).await.unwrap();
    let expect = if expects {
        "Expect: 100-continue\r\n"
    } else {
        ""
    };
    let head = format!(
        "POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: {TEN_GIGABYTES}\r\n{expect}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut sent = 0;
    let uploading = async {
        let chunk = vec![b'x'; 64 << 10];
        while !expects && writer.write_all(&chunk).await.is_ok() {
            sent += 64 << 10;
        }
        std::future::pending::<()>().await;
    };
    let answered = async {
        let mut answer = Vec::new();
        while !answer.ends_with(b"}\n") {
            reader.read_buf(&mut answer).await.unwrap();
        }
        String::from_utf8(answer).unwrap()
    };
    let answer = within(async {
        tokio::select! {
            () = uploading => unreachable!("it waits for the answer"),
            answer = answered => answer,
        }
    })
    .await;
    (answer, sent)
}

#[tokio::test]
async fn a_service_that_is_down_is_told_at_once_on_http_1_1() {
    let world = world(nowhere().await).await;
    for expects in [true, false] {
        let (answer, sent) = http1(&world, expects).await;
        assert!(
            answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"),
            "{answer}"
        );
        assert!(answer.contains("service_unreachable"), "{answer}");
        assert!(sent < MOST_ON_THE_WAY, "{sent} bytes were taken");
    }
    let live = world.handle.live();
    until(|| live.channels().is_empty()).await;
}

#[tokio::test]
async fn a_service_that_is_down_is_told_at_once_on_http_2() {
    let world = world(nowhere().await).await;
    let tls = dial(&world, "web.test", "h2", false).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tls).await.unwrap();
    let connection = tokio::spawn(connection);
    for expects in [true, false] {
        let mut request =
            Request::post("https://web.test/").header("content-length", TEN_GIGABYTES);
        if expects {
            request = request.header("expect", "100-continue");
        }
        let (answer, mut body) = client
            .send_request(request.body(()).unwrap(), false)
            .unwrap();
        let mut sent = 0;
        if !expects {
            body.reserve_capacity(64 << 20);
            let room = within(std::future::poll_fn(|cx| body.poll_capacity(cx))).await;
            sent = room.unwrap().unwrap();
            body.send_data(vec![0; sent].into(), false).unwrap();
        }
        let answer = within(answer).await.unwrap();
        assert_eq!(answer.status(), 502);
        assert!(sent <= 1 << 20, "{sent} bytes at once");
    }
    connection.abort();
    let live = world.handle.live();
    until(|| live.channels().is_empty()).await;
}

/// Sockets' buffers on both sides, and what the gateway reads ahead.
const MOST_ON_THE_WAY: u64 = 64 << 20;
