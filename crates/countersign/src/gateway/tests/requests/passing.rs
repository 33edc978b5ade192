//! What reaches a service of a request, and what reaches the client of its answer.

use super::*;

#[tokio::test]
async fn a_request_of_http_1_1_reaches_the_service_with_where_it_came_from() {
    let site = Site::open().await;
    let request = "GET /a?b=c HTTP/1.1\r\nHost: web.test\r\nX-Own: 1\r\nConnection: close\r\n\r\n";
    let answer = http1(&site.world, request).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    let heard = site.service.heard_once();
    let identity = field(&heard, "countersign-identity");
    assert_eq!(
        lines(&heard),
        [
            "GET /a?b=c HTTP/1.1",
            &format!("countersign-identity: {identity}"),
            "forwarded: for=127.0.0.1;host=\"web.test\";proto=https",
            "host: web.test",
            "via: 1.1 countersign",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: web.test",
            "x-forwarded-proto: https",
            "x-own: 1",
        ]
    );
}

#[tokio::test]
async fn a_request_of_http_2_reaches_it_alike() {
    let site = Site::open().await;
    let mut client = http2(&site.world).await;
    let answered = answer(&mut client, get("https://web.test/a?b=c")).await;
    assert_eq!(answered, (200, "ok".to_owned()));
    let heard = site.service.heard_once();
    assert!(heard.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{heard}");
    assert!(lines(&heard).contains(&"via: 2.0 countersign"), "{heard}");
    assert!(lines(&heard).contains(&"host: web.test"), "{heard}");
}

#[tokio::test]
async fn an_agent_asks_by_the_services_name_or_one_of_its_others() {
    let site = Site::open().await;
    let agent = site.world.enrol("laptop").await;
    site.world.grant("laptop", "site").await;
    let mux = agent.channel().await;
    request(&mux, Method::POST, "/v1/token", &json!({})).await;
    for host in ["site", "SITE:80", "web.test", "web.test:8443"] {
        let request = Request::get(format!("https://{host}/")).body(Bytes::new());
        let answer = within(mux.request(request.unwrap())).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.body()[..]),
            (200, &b"ok"[..])
        );
        let heard = site.service.heard();
        let heard = heard.last().unwrap();
        assert!(lines(heard).contains(&&*format!("host: {host}")), "{heard}");
    }
}

#[tokio::test]
async fn head_is_answered_without_a_body_and_with_its_length() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\nETag: \"x\"\r\n\r\n";
    let site = Site::start(Service::answering(head).await, ANONYMOUS_SITE).await;
    let request = "HEAD / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
    let answer = http1(&site.world, request).await;
    assert_eq!(field(&answer, "content-length"), "1000");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    let mut client = http2(&site.world).await;
    let request = Request::head("https://web.test/").body(nothing()).unwrap();
    let response = within(client.send_request(request)).await.unwrap();
    assert_eq!(response.headers()["content-length"], "1000");
    assert!(
        within(response.into_body().collect())
            .await
            .unwrap()
            .to_bytes()
            .is_empty()
    );
    until_finished(&site.world, 2).await;
}

#[tokio::test]
async fn a_part_of_a_file_and_a_file_that_has_not_changed_pass_as_they_are() {
    for (status, rest) in [
        (
            "206 Partial Content",
            "Content-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nok",
        ),
        ("304 Not Modified", "ETag: \"x\"\r\n\r\n"),
        ("204 No Content", "X: y\r\n\r\n"),
    ] {
        let answer: &'static str = format!("HTTP/1.1 {status}\r\n{rest}").leak();
        let site = Site::start(Service::answering(answer).await, ANONYMOUS_SITE).await;
        let request = "GET / HTTP/1.1\r\nHost: web.test\r\nRange: bytes=0-1\r\nIf-None-Match: \"x\"\r\nConnection: close\r\n\r\n";
        let got = http1(&site.world, request).await;
        assert!(got.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{got}");
        assert_eq!(
            got.ends_with("\r\n\r\nok"),
            status.starts_with("206"),
            "{got}"
        );
        let heard = site.service.heard_once();
        assert_eq!(field(&heard, "range"), "bytes=0-1");
        let mut client = http2(&site.world).await;
        let (code, body) = super::answer(&mut client, get("https://web.test/")).await;
        assert!(status.starts_with(&code.to_string()), "{code}");
        assert_eq!(body, if code == 206 { "ok" } else { "" });
    }
}

/// So many requests have ended well.
async fn until_finished(world: &World, number: usize) {
    within(async {
        loop {
            let events = world.events().await;
            let finished = events
                .iter()
                .filter(|event| event["event"] == "stream-closed" && event["end"] == "finished");
            if finished.count() == number {
                return;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
}

#[tokio::test]
async fn one_connection_serves_many_requests_and_each_is_on_record() {
    let site = Site::open().await;
    let mut client = http1_wire(&site.world).await;
    for _ in 0..5 {
        client.say("GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await;
        client.until("\r\n\r\nok").await;
    }
    let mut client = http2(&site.world).await;
    for _ in 0..5 {
        answer(&mut client, get("https://web.test/")).await;
    }
    until_finished(&site.world, 10).await;
    let closed = json!({ "service": "site", "sent": 0, "received": 2 });
    site.world.event("stream-closed", closed).await;
}

#[tokio::test]
async fn options_for_the_server_itself_pass() {
    let site = Site::open().await;
    let request = "OPTIONS * HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n";
    http1(&site.world, request).await;
    assert!(
        site.service
            .heard_once()
            .starts_with("OPTIONS * HTTP/1.1\r\n")
    );
}
