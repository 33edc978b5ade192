//! What a request may cost, each limit with its status and its sentence.

use super::*;

/// What one request is told with this configuration, on HTTP/1.1 and on HTTP/2.
async fn check(more: &str, method: &str, path: &str, fields: &[(&str, String)], expected: &str) {
    let site = Site::start(
        Service::answering(OK).await,
        &format!("{more}\n{ANONYMOUS_SITE}"),
    )
    .await;
    let lines: String = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: web.test\r\n{lines}Connection: close\r\n\r\n");
    assert_eq!(problem(&http1(&site.world, &request).await), expected);
    let mut client = http2(&site.world).await;
    let mut request = Request::builder()
        .method(method)
        .uri(format!("https://web.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, value);
    }
    let (_, body) = answer(&mut client, request.body(nothing()).unwrap()).await;
    assert_eq!(in_words(&serde_json::from_str(&body).unwrap()), expected);
    assert_eq!(site.service.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn a_long_target_is_414() {
    let path = format!("/{}", "a".repeat(4096));
    let expected = "414 uri_too_long: the target has 4097 bytes, and may have 4096";
    check("[limits]\nuri_bytes = 4096", "GET", &path, &[], expected).await;
}

#[tokio::test]
async fn many_fields_are_431() {
    let site = Site::open().await;
    let mut client = http2(&site.world).await;
    let mut request = get("https://web.test/");
    for number in 0..101 {
        let name: http::HeaderName = format!("x-{number}").parse().unwrap();
        request.headers_mut().insert(name, "1".parse().unwrap());
    }
    let (_, body) = answer(&mut client, request).await;
    assert_eq!(
        in_words(&serde_json::from_str(&body).unwrap()),
        "431 header_too_large: there are 101 header fields, and there may be 100"
    );
}

#[tokio::test]
async fn much_in_the_fields_is_431() {
    let site = Site::start(
        Service::answering(OK).await,
        &format!("[limits]\nheader_bytes = 4096\n{ANONYMOUS_SITE}"),
    )
    .await;
    let mut client = http2(&site.world).await;
    let large = |bytes| {
        Request::get("https://web.test/")
            .header("x", "a".repeat(bytes))
            .body(nothing())
            .unwrap()
    };
    let (_, body) = answer(&mut client, large(5000)).await;
    assert_eq!(
        in_words(&serde_json::from_str(&body).unwrap()),
        "431 header_too_large: the header fields have 5005 bytes, and may have 4096"
    );
    // Beyond what is read at all nothing is said, and the connection stands.
    assert_eq!(
        answer(&mut client, large(20_000)).await,
        (431, String::new())
    );
    assert_eq!(answer(&mut client, get("https://web.test/")).await.0, 200);
}

fn site_with(service: SocketAddr, http: &str) -> String {
    format!(
        r#"
        {ANONYMOUS_SITE}
        [[service]]
        name = "site"
        port = 80
        upstream = "{service}"
        sni = ["web.test"]
        {http}
        "#
    )
}

#[tokio::test]
async fn a_large_body_is_413_before_it_is_sent_where_its_length_is_known_and_as_it_grows_where_not()
{
    let mut service = Scripted::start().await;
    let world = certified_world("", &site_with(service.address, "http.max_request_body = 4")).await;
    let expected = "413 body_too_large: the request's body has more than 4 bytes";
    let post = "POST / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n";
    let known = format!("{post}Content-Length: 5\r\n\r\nhello");
    assert_eq!(problem(&http1(&world, &known).await), expected);
    assert!(service.connections.try_recv().is_err());
    let unknown =
        format!("{post}Transfer-Encoding: chunked\r\n\r\n4\r\nhell\r\n1\r\no\r\n0\r\n\r\n");
    let (told, heard) = tokio::join!(http1(&world, &unknown), async {
        service.connection().await.rest().await.0
    });
    assert_eq!(problem(&told), expected);
    assert!(!heard.ends_with("0\r\n\r\n"), "{heard}");
}

#[tokio::test]
async fn a_refusal_of_an_upload_is_heard_by_a_client_that_is_still_sending() {
    let service = Scripted::start().await;
    let world = certified_world("", &site_with(service.address, "http.max_request_body = 4")).await;
    let mut client = http1_wire(&world).await;
    client
        .say("POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 4000000\r\n\r\n")
        .await;
    let chunk = "a".repeat(100_000);
    for _ in 0..40 {
        client.say(&chunk).await;
    }
    let (told, _) = client.rest().await;
    assert!(told.starts_with("HTTP/1.1 413 "), "{told}");
}

#[tokio::test]
async fn a_head_that_does_not_come_is_408() {
    let site = Site::start(
        Service::answering(OK).await,
        &format!("[limits]\nheader_timeout = \"100ms\"\n{ANONYMOUS_SITE}"),
    )
    .await;
    let mut client = http1_wire(&site.world).await;
    client.say("GET / HTTP/1.1\r\nHost: web").await;
    let (told, _) = client.rest().await;
    assert_eq!(
        problem(&told),
        "408 head_too_slow: the head of the request did not come in time"
    );
    let mut client = http1_wire(&site.world).await;
    client.say("GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await;
    client.until("\r\n\r\nok").await;
    client.say("GET / HT").await;
    let (told, _) = client.rest().await;
    assert_eq!(told, "");
}

#[tokio::test]
async fn a_body_that_stands_still_is_408() {
    let mut service = Scripted::start().await;
    let more = format!(
        "[limits]\nbody_timeout = \"100ms\"\n{}",
        site_with(service.address, "http.protocol = \"http/1.1\"")
    );
    let world = certified_world("", &more).await;
    let mut client = http1_wire(&world).await;
    client
        .say("POST / HTTP/1.1\r\nHost: web.test\r\nContent-Length: 10\r\n\r\npart")
        .await;
    let mut connection = service.connection().await;
    connection.until("part").await;
    let (told, _) = client.rest().await;
    assert_eq!(
        problem(&told),
        "408 body_too_slow: the request's body stood still for 0.1 s"
    );
    connection.rest().await;
}

#[tokio::test]
async fn a_body_may_take_its_time_once_the_service_talks() {
    let mut service = Scripted::start().await;
    let more = format!(
        "[limits]\nbody_timeout = \"100ms\"\n{}",
        site_with(service.address, "http.protocol = \"http/1.1\"")
    );
    let world = certified_world("", &more).await;
    let mut client = http2(&world).await;
    let (frames, body) = piecewise();
    let answer = client.send_request(Request::post("https://web.test/").body(body).unwrap());
    let answered = async {
        let mut connection = service.connection().await;
        connection.head().await.unwrap();
        connection
            .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        connection
    };
    let (answer, mut connection) = within(async { tokio::join!(answer, answered) }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    frames.send(Ok(Frame::data("late".into()))).unwrap();
    connection.until("late").await;
    drop(answer);
}

#[tokio::test]
async fn an_answer_that_stands_still_is_broken_off() {
    let mut service = Scripted::start().await;
    let more = site_with(
        service.address,
        "idle_timeout = \"100ms\"\nhttp.protocol = \"http/1.1\"",
    );
    let world = certified_world("", &more).await;
    let mut client = http1_wire(&world).await;
    client.say("GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await;
    let mut connection = service.connection().await;
    connection.head().await.unwrap();
    connection
        .say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\npart")
        .await;
    client.until("part").await;
    let (_, clean) = client.rest().await;
    assert!(!clean);
    let idle = json!({ "end": "it carried nothing for too long" });
    world.event("stream-closed", idle).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_does_not_keep_its_place_for_ever() {
    let mut service = Scripted::start().await;
    let more = site_with(
        service.address,
        "idle_timeout = \"200ms\"\nhttp.protocol = \"http/1.1\"",
    );
    let world = certified_world("", &more).await;
    let mut client = http1_wire(&world).await;
    client.say("GET / HTTP/1.1\r\nHost: web.test\r\n\r\n").await;
    let mut connection = service.connection().await;
    connection.head().await.unwrap();
    connection
        .say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(0x10000));
    let flooded = async { while connection.io.write_all(chunk.as_bytes()).await.is_ok() {} };
    within(flooded).await;
    let idle = json!({ "end": "it carried nothing for too long" });
    world.event("stream-closed", idle).await;
    drop(client);
}

#[tokio::test]
async fn a_channel_has_no_more_requests_at_once_than_streams() {
    let mut service = Scripted::start().await;
    let more = format!(
        "[limits]\nstreams_per_channel = 1\n{}",
        site_with(service.address, "http.protocol = \"http/1.1\"")
    );
    let world = certified_world("", &more).await;
    let mut client = http2(&world).await;
    let waiting = tokio::spawn(client.send_request(get("https://web.test/")));
    let mut connection = service.connection().await;
    connection.head().await.unwrap();
    let (_, body) = answer(&mut client, get("https://web.test/")).await;
    assert_eq!(
        in_words(&serde_json::from_str(&body).unwrap()),
        "503 too_many_streams: this channel has 1 streams open, and may have no more"
    );
    connection.say(OK).await;
    assert_eq!(within(waiting).await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_channel_of_a_stranger() {
    let mut service = Scripted::start().await;
    let world = certified_world(
        "",
        &site_with(service.address, "http.protocol = \"http/1.1\""),
    )
    .await;
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Some(connection) = service.connections.recv().await {
            kept.push(connection);
        }
    });
    let mut client = http2(&world).await;
    let flood = async {
        while client.ready().await.is_ok() {
            let opened = || {
                world
                    .handle
                    .live()
                    .channels()
                    .iter()
                    .map(|c| c.streams_opened())
                    .sum::<u64>()
            };
            let before = opened();
            let waiting = tokio::spawn(client.send_request(get("https://web.test/")));
            while opened() == before && !client.is_closed() {
                tokio::time::sleep(LOOK_AGAIN).await;
            }
            waiting.abort();
        }
    };
    within(flood).await;
    let reason = "too many of its requests were refused or taken back";
    world
        .event("channel-closed", json!({ "reason": reason }))
        .await;
}
