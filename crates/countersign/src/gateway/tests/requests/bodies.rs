//! Bodies and answers in passing: as they come, as fast as they are taken, and never with a clean end that is none.

use http::header::{CONTENT_LENGTH, EXPECT, TE};

use super::*;

/// An answer without an end, and its frames.
async fn streaming(
    world: &World,
    service: &mut Scripted,
) -> (Wire<TcpStream>, hyper::body::Incoming) {
    let mut client = http2(world).await;
    let answer = client.send_request(get("https://web.test/events"));
    let answered = async {
        let mut connection = service.connection().await;
        connection.head().await.unwrap();
        connection
            .say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        connection
    };
    let (answer, connection) = within(async { tokio::join!(answer, answered) }).await;
    (connection, answer.unwrap().into_body())
}

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let (mut connection, mut body) = streaming(&world, &mut service).await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        let length = event.len();
        connection.say(&format!("{length:x}\r\n{event}\r\n")).await;
        let frame = within(body.frame()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), event);
    }
    connection.say("0\r\n\r\n").await;
    let rest = within(body.collect()).await.unwrap();
    assert!(rest.to_bytes().is_empty());
}

#[tokio::test]
async fn each_event_arrives_on_http_1_1_too() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client
        .say("GET /events HTTP/1.1\r\nHost: web.test\r\n\r\n")
        .await;
    let mut connection = service.connection().await;
    connection.head().await.unwrap();
    connection
        .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for event in ["5\r\none\n\n\r\n", "5\r\ntwo\n\n\r\n"] {
        connection.say(event).await;
        client.until(event).await;
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_reset_on_http_2() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let (mut connection, mut body) = streaming(&world, &mut service).await;
    connection.say("4\r\npart\r\n").await;
    within(body.frame()).await.unwrap().unwrap();
    drop(connection);
    let error = within(body.frame()).await.unwrap().unwrap_err();
    let error = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.contains("unexpected internal error"), "{error}");
    let failed = json!({ "service": "site", "received": 4 });
    let closed = world.event("stream-closed", failed).await;
    let end = closed["end"].as_str().unwrap();
    assert!(end.starts_with("the service's end failed: "), "{end}");
}

/// What comes to a client of HTTP/1.1 of an answer that its service breaks off.
async fn broken_off(version: &str, answer: &str) -> (String, bool) {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client
        .say(&format!("GET / {version}\r\nHost: web.test\r\n\r\n"))
        .await;
    let mut connection = service.connection().await;
    connection.head().await.unwrap();
    connection.say(answer).await;
    client.until("part").await;
    drop(connection);
    client.rest().await
}

#[tokio::test]
async fn an_answer_that_breaks_off_has_no_end_on_http_1_1() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
    let counted = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart";
    for answer in [chunked, counted] {
        let (rest, clean) = broken_off("HTTP/1.1", answer).await;
        assert!(!rest.contains("0\r\n"), "{answer}: {rest}");
        assert!(!clean, "{answer}: a close_notify");
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_does_not_end_so_when_it_breaks_off() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n";
    let (_, clean) = broken_off("HTTP/1.0", chunked).await;
    assert!(!clean, "a close_notify");
}

#[tokio::test]
async fn a_body_passes_with_its_length_and_without_one() {
    let site = Site::open().await;
    let mut client = http2(&site.world).await;
    let counted = Request::post("https://web.test/").header(CONTENT_LENGTH, "5");
    let (frames, uncounted) = piecewise();
    frames.send(Ok(Frame::data("hello".into()))).unwrap();
    drop(frames);
    answer(&mut client, counted.body(content("hello")).unwrap()).await;
    let post = Request::post("https://web.test/").body(uncounted).unwrap();
    answer(&mut client, post).await;
    let post = "POST / HTTP/1.1\r\nHost: web.test\r\n";
    let chunked = format!(
        "{post}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
    );
    http1(&site.world, &chunked).await;
    let nothing = format!("{post}Content-Length: 0\r\nConnection: close\r\n\r\n");
    http1(&site.world, &nothing).await;
    let ends: Vec<_> = site
        .service
        .heard()
        .iter()
        .map(|heard| {
            let (head, body) = heard.split_once("\r\n\r\n").unwrap();
            let framed = |line: &&str| {
                line.starts_with("content-length") || line.starts_with("transfer-encoding")
            };
            (
                head.lines().filter(framed).collect::<Vec<_>>().join(", "),
                body.to_owned(),
            )
        })
        .collect();
    let chunks = |body: &str| ("transfer-encoding: chunked".to_owned(), body.to_owned());
    assert_eq!(
        ends,
        [
            ("content-length: 5".to_owned(), "hello".to_owned()),
            chunks("5\r\nhello\r\n0\r\n\r\n"),
            chunks("2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"),
            ("content-length: 0".to_owned(), String::new()),
        ]
    );
}

#[tokio::test]
async fn trailers_pass_both_ways_without_those_that_may_not() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http2(&world).await;
    let (frames, body) = piecewise();
    let mut trailers = HeaderMap::new();
    for name in [
        "x-sum",
        "countersign-identity",
        "authorization",
        "x_forwarded_for",
    ] {
        trailers.insert(name, "1".parse().unwrap());
    }
    frames.send(Ok(Frame::data("hello".into()))).unwrap();
    frames.send(Ok(Frame::trailers(trailers))).unwrap();
    let request = Request::post("https://web.test/")
        .header(TE, "trailers")
        .header(
            "trailer",
            "x-sum, countersign-identity, authorization, x_forwarded_for",
        );
    let answer = client.send_request(request.body(body).unwrap());
    let answered = async {
        let mut connection = service.connection().await;
        let heard = connection.request().await.unwrap();
        connection
            .say("HTTP/1.1 200 OK\r\nTrailer: X-Total, Countersign-Identity\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Total: 2\r\nCountersign-Identity: v4\r\nTransfer-Encoding: x\r\n\r\n")
            .await;
        heard
    };
    let (answer, heard) = within(async { tokio::join!(answer, answered) }).await;
    assert!(heard.ends_with("\r\n0\r\nx-sum: 1\r\n\r\n"), "{heard}");
    assert_eq!(field(&heard, "trailer"), "x-sum");
    assert_eq!(field(&heard, "te"), "trailers");
    let whole = within(answer.unwrap().into_body().collect()).await.unwrap();
    let trailers = whole.trailers().unwrap();
    assert_eq!(trailers.len(), 1, "{trailers:?}");
    assert_eq!(trailers["x-total"], "2");
}

#[tokio::test]
async fn a_body_is_asked_for_when_the_service_asks_for_it() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client.say("POST / HTTP/1.1\r\nHost: web.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    let mut connection = service.connection().await;
    let head = within(connection.head()).await.unwrap();
    assert_eq!(field(&head, "expect"), "100-continue");
    connection.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.say("hello").await;
    connection.until("hello").await;
    connection.say(OK).await;
    client.until("\r\n\r\nok").await;
}

#[tokio::test]
async fn a_body_that_the_service_does_not_want_is_never_asked_for() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client.say("POST / HTTP/1.1\r\nHost: web.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    let mut connection = service.connection().await;
    within(connection.head()).await.unwrap();
    connection
        .say("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
        .await;
    let answer = client.until("\r\n\r\nno").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn http_2_is_told_to_go_on_as_well() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let tls = dial(&world, "web.test", "h2", false).await.unwrap();
    let (mut client, connection) = h2::client::handshake(tls).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://web.test/").header(EXPECT, "100-continue");
    let (mut answer, mut body) = client
        .send_request(request.body(()).unwrap(), false)
        .unwrap();
    let mut connection = service.connection().await;
    within(connection.head()).await.unwrap();
    connection.say("HTTP/1.1 100 Continue\r\n\r\n").await;
    let told = within(std::future::poll_fn(|cx| answer.poll_informational(cx))).await;
    assert_eq!(told.unwrap().unwrap().status(), 100);
    body.send_data("hello".into(), true).unwrap();
    connection.until("hello").await;
    connection.say(OK).await;
    assert_eq!(within(answer).await.unwrap().status(), 200);
}

#[tokio::test]
async fn what_is_not_taken_is_not_read() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http2(&world).await;
    let (frames, body) = piecewise();
    let sending =
        tokio::spawn(client.send_request(Request::post("https://web.test/").body(body).unwrap()));
    let mut connection = service.connection().await;
    within(connection.head()).await.unwrap();
    let taken = Arc::new(());
    for _ in 0..1024 {
        let chunk = Bytes::from_owner(Held(vec![0; 64 << 10], Arc::clone(&taken)));
        frames.send(Ok(Frame::data(chunk))).unwrap();
    }
    let mut before = 0;
    within(async {
        // Windows and buffers fill, and then nothing moves any more.
        loop {
            let left = Arc::strong_count(&taken);
            if left == before {
                break;
            }
            before = left;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert!(
        before > 512,
        "{before} of 1024 chunks of 64 KiB are not sent"
    );
    sending.abort();
}

/// Bytes of which it is known whether they are held.
struct Held(
    Vec<u8>,
    #[expect(dead_code, reason = "held to be counted")] Arc<()>,
);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[tokio::test]
async fn an_answer_before_the_end_of_the_request_is_heard_and_stops_it() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http2(&world).await;
    let (frames, body) = piecewise();
    frames.send(Ok(Frame::data("begun".into()))).unwrap();
    let answer = client.send_request(Request::post("https://web.test/").body(body).unwrap());
    let answered = async {
        let mut connection = service.connection().await;
        connection.until("begun").await;
        connection
            .say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
            .await;
        connection
    };
    let (answer, connection) = within(async { tokio::join!(answer, answered) }).await;
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(
        within(answer.into_body().collect())
            .await
            .unwrap()
            .to_bytes(),
        "big"
    );
    within(frames.closed()).await;
    connection.rest().await;
}

#[tokio::test]
async fn a_client_that_gives_up_gives_up_at_the_service() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http2(&world).await;
    let waiting = tokio::spawn(client.send_request(get("https://web.test/")));
    let mut connection = service.connection().await;
    within(connection.head()).await.unwrap();
    waiting.abort();
    connection.rest().await;
    let mut client = http1_wire(&world).await;
    client.say("GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await;
    let mut connection = service.connection().await;
    within(connection.head()).await.unwrap();
    drop(client);
    connection.rest().await;
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_not_an_upload_that_ended() {
    let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client
        .say("POST / HTTP/1.1\r\nHost: web.test\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        .await;
    let mut connection = service.connection().await;
    connection.until("part").await;
    drop(client);
    let (rest, _) = connection.rest().await;
    assert!(!rest.contains("0\r\n"), "{rest}");
}

#[tokio::test]
async fn what_ends_a_grant_breaks_the_answer_off() {
    let (world, mut service) = Scripted::behind("").await;
    world.grant("anonymous", "site").await;
    let (mut connection, mut body) = streaming(&world, &mut service).await;
    let mut client = http1_wire(&world).await;
    client
        .say("GET /events HTTP/1.1\r\nHost: web.test\r\n\r\n")
        .await;
    let mut second = service.connection().await;
    second.head().await.unwrap();
    connection.say("4\r\npart\r\n").await;
    second
        .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\npart\r\n")
        .await;
    within(body.frame()).await.unwrap().unwrap();
    client.until("part").await;
    let path = "/grants?principal=anonymous&service=site";
    world.operate("DELETE", path, &Value::Null).await;
    assert!(within(body.frame()).await.unwrap().is_err());
    let (rest, clean) = client.rest().await;
    assert!(!rest.contains("0\r\n") && !clean, "{rest}");
    let cut = json!({ "reason": "policy no longer permits it: no grant" });
    world.event("stream-cut", cut).await;
}
