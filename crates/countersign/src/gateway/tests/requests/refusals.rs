//! What is refused, and in which words.

use super::*;

/// What one request of HTTP/1.1 is told, by a gateway whose site is open to all; the connection ends with it.
async fn check(request: &str, expected: &str) {
    let site = Site::open().await;
    let answer = http1(&site.world, request).await;
    let found = match answer.contains("application/problem+json") {
        true => problem(&answer),
        false => answer.lines().next().unwrap_or_default().to_owned(),
    };
    assert_eq!(found, expected, "{request}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(site.service.heard(), Vec::<String>::new());
}

const DENIED: &str = "`anonymous` may not reach `site`: no grant; an operator allows it with `countersign grants add --principal anonymous --service site`";

#[tokio::test]
async fn a_program_without_a_grant_is_told_which_one_is_missing_and_gets_in_once_it_is_there() {
    let site = Site::start(Service::answering(OK).await, "").await;
    let mut client = http2(&site.world).await;
    let (status, body) = answer(&mut client, get("https://web.test/")).await;
    let document: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(in_words(&document), format!("403 denied: {DENIED}"));
    let denied = json!({ "service": "site", "decision": document["decision"] });
    site.world.event("stream-denied", denied).await;
    assert_eq!((status, site.service.heard().len()), (403, 0));
    site.world.grant("anonymous", "site").await;
    let answered = answer(&mut client, get("https://web.test/")).await;
    assert_eq!(answered, (200, "ok".to_owned()));
}

#[tokio::test]
async fn a_person_gets_a_page() {
    let site = Site::start(Service::answering(OK).await, "").await;
    let request = "GET / HTTP/1.1\r\nHost: web.test\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n\r\n";
    let page = http1(&site.world, request).await;
    let (head, body) = page.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    let policy = field(&page, "content-security-policy");
    assert!(policy.starts_with("default-src 'none';"), "{policy}");
    assert_eq!(field(&page, "content-type"), "text/html; charset=utf-8");
    let words = "<code>countersign grants add --principal anonymous --service site</code>";
    assert!(body.contains(words), "{body}");
}

#[tokio::test]
async fn a_host_that_differs_from_the_server_name_is_misdirected() {
    for host in ["gate.test", "site", "echo", "nothing"] {
        check(
            &format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"),
            &format!("421 misdirected: this channel was opened for `web.test`, which does not stand for `{host}`"),
        )
        .await;
    }
}

#[tokio::test]
async fn a_second_host_is_refused() {
    let ambiguous = [
        (
            "Host: web.test\r\nHost: web.test",
            "400 malformed: there is more than one Host field",
        ),
        (
            "Host: web.test, gate.test",
            "400 malformed: the Host field holds no authority",
        ),
        ("X: 1", "400 malformed: the request lacks its Host field"),
        (
            "Host: a@web.test",
            "400 malformed: an authority has no user information",
        ),
    ];
    for (hosts, expected) in ambiguous {
        check(
            &format!("GET / HTTP/1.1\r\n{hosts}\r\nConnection: close\r\n\r\n"),
            expected,
        )
        .await;
    }
    let site = Site::open().await;
    let mut client = http2(&site.world).await;
    let two = Request::get("https://web.test/").header(HOST, "gate.test");
    let (_, body) = answer(&mut client, two.body(nothing()).unwrap()).await;
    assert_eq!(
        in_words(&serde_json::from_str(&body).unwrap()),
        "400 malformed: the Host field says `gate.test`, and the request is for `web.test`"
    );
}

#[tokio::test]
async fn a_request_for_a_proxy_that_forwards_is_told_to_tunnel() {
    check(
        "GET http://web.test/ HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n",
        "421 absolute_form: `http://web.test/` is asked of a proxy that forwards, and this gateway tunnels: send `CONNECT` for it, as `curl --proxytunnel` does",
    )
    .await;
}

#[tokio::test]
async fn what_two_readers_may_frame_in_two_ways_is_refused() {
    let coding = "501 not_implemented: of transfer codings, `chunked` alone is taken, once";
    let unreadable = "HTTP/1.1 400 Bad Request";
    for (framing, expected) in [
        ("Transfer-Encoding: gzip, chunked", coding),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            coding,
        ),
        ("Transfer-Encoding: identity", unreadable),
        ("Transfer-Encoding: chunked, identity", unreadable),
        ("Transfer-Encoding: xchunked", unreadable),
        ("Transfer-Encoding : chunked", unreadable),
        ("Transfer-Encoding:\x0bchunked", unreadable),
        ("Content-Length: 3\r\nContent-Length: 4", unreadable),
        ("Content-Length: +3", unreadable),
        ("Content-Length: 3, 3", unreadable),
        ("Content-Length: 0x3", unreadable),
        ("X: a\r\n folded: b", unreadable),
        ("X : a", unreadable),
        ("\u{0}X: a", unreadable),
    ] {
        let request = format!(
            "POST / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n{framing}\r\n\r\n0\r\n\r\n"
        );
        check(&request, expected).await;
    }
}

#[tokio::test]
async fn of_two_framings_the_service_sees_one_and_nothing_after_it_is_a_request() {
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: web.test\r\n\r\n";
    for framing in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 4",
        "Transfer-Encoding: chunked\r\nContent_Length: 4",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\nConnection: Content-Length, Transfer-Encoding",
    ] {
        let site = Site::open().await;
        let request =
            format!("POST / HTTP/1.1\r\nHost: web.test\r\n{framing}\r\n\r\n0\r\n\r\n{smuggled}");
        let mut client = http1_wire(&site.world).await;
        client.say(&request).await;
        client.until("\r\n\r\nok").await;
        let heard = site.service.heard();
        let first = lines(&heard[0]);
        let framings = first
            .iter()
            .filter(|line| line.contains("length") || line.contains("encoding"));
        assert_eq!(framings.count(), 1, "{framing}\n{first:?}");
        assert!(!heard[0].contains("/smuggled"), "{framing}\n{heard:?}");
    }
}

#[tokio::test]
async fn bytes_after_a_body_are_a_request_of_their_own_and_decided_as_one() {
    let site = Site::open().await;
    let requests = "POST /one HTTP/1.1\r\nHost: web.test\r\nContent-Length: 5\r\n\r\nhelloGET /two HTTP/1.1\r\nHost: web.test\r\nCountersign-Identity: forged\r\nConnection: close\r\n\r\n";
    let answer = http1(&site.world, requests).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 2, "{answer}");
    let heard = site.service.heard();
    assert_eq!(heard.len(), 2);
    assert!(field(&heard[1], "countersign-identity").starts_with("v4.public."));
}

#[tokio::test]
async fn what_the_gateway_cannot_do_it_does_not_pretend_to() {
    check(
        "TRACE / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n",
        "501 not_implemented: TRACE is not carried",
    )
    .await;
    check(
        "POST / HTTP/1.1\r\nHost: web.test\r\nExpect: 200-ok\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx",
        "417 expectation_failed: of expectations, `100-continue` alone can be met",
    )
    .await;
}

#[tokio::test]
async fn a_service_that_does_not_answer_as_it_should_is_told_of() {
    for (answer, expected) in [
        (
            "",
            "502 service_closed: service `site` closed the connection before it answered",
        ),
        (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
            "502 service_not_http: service `site` answered with what is not HTTP: it switches to a protocol that nobody asked for",
        ),
    ] {
        let (world, mut service) = Scripted::behind(ANONYMOUS_SITE).await;
        let mut client = http1_wire(&world).await;
        client.say("POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        let mut connection = service.connection().await;
        within(connection.head()).await.unwrap();
        connection.say(answer).await;
        drop(connection);
        let (told, _) = client.rest().await;
        assert_eq!(problem(&told), expected);
    }
}

#[tokio::test]
async fn a_service_finds_the_keys_at_its_own_name_without_a_grant() {
    let site = Site::start(Service::answering(OK).await, "").await;
    let mut client = http2(&site.world).await;
    let keys = get("https://web.test/.well-known/countersign/keys");
    let (status, keys) = answer(&mut client, keys).await;
    assert_eq!(status, 200, "{keys}");
    assert!(keys.contains("k4.pid."), "{keys}");
}
