//! What a service does wrong, and what is told of it.

use super::Step::{Hang, Hear, HearHead, Reset, Say};
use super::*;

/// What comes of a GET to an upstream that plays this script.
async fn check(script: &[Step], expected: &str) {
    let upstream = Scripted::start(vec![script.to_vec()]).await;
    let service = service(&[upstream.address], "response_timeout = \"300ms\"");
    assert_eq!(text(&service, get("/")).await, expected);
}

#[tokio::test]
async fn an_answer_comes_whole() {
    check(&[Hear, OK, Hang], "200 ok").await;
}

#[tokio::test]
async fn one_that_closes_before_it_answers() {
    let closed = "502 service_closed: service `web` closed the connection before it answered";
    check(&[Hear], closed).await;
    check(&[Hear, Say("HTTP/1.1 20")], closed).await;
    check(&[Hear, Reset], closed).await;
}

#[tokio::test]
async fn one_that_never_answers() {
    check(
        &[Hear, Hang],
        "504 service_silent: service `web` did not answer within 0.3 s",
    )
    .await;
}

#[tokio::test]
async fn one_that_speaks_something_else() {
    let garbage = "502 service_not_http: service `web` answered with what is not HTTP: ";
    check(
        &[Hear, Say("SSH-2.0-OpenSSH_9.2\r\n"), Hang],
        &format!("{garbage}invalid HTTP version parsed"),
    )
    .await;
    check(
        &[Hear, Say("HTTP/1.1 200 OK\r\nno colon\r\n\r\n"), Hang],
        &format!("{garbage}invalid HTTP header parsed"),
    )
    .await;
    check(
        &[
            Hear,
            Say("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
            Hang,
        ],
        &format!("{garbage}it switches to a protocol that nobody asked for"),
    )
    .await;
}

#[tokio::test]
async fn one_that_promises_more_than_it_sends() {
    check(
        &[
            Hear,
            Say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"),
        ],
        "200, then service `web` closed the connection in the middle of its answer",
    )
    .await;
}

#[tokio::test]
async fn one_that_sends_half_a_chunk() {
    check(
        &[
            Hear,
            Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab"),
        ],
        "200, then service `web` closed the connection in the middle of its answer",
    )
    .await;
}

#[tokio::test]
async fn one_that_sends_no_chunk_at_all() {
    check(
        &[Hear, Say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"), Hang],
        "200, then service `web` answered with what is not HTTP: Invalid chunk size line: missing size digit",
    )
    .await;
}

#[tokio::test]
async fn one_that_is_not_there() {
    let service = service(&[nowhere().await], "");
    let told = text(&service, get("/")).await;
    assert!(
        told.starts_with("502 service_unreachable: service `web` does not accept connections"),
        "{told}"
    );
}

#[tokio::test]
async fn one_that_answers_before_it_has_the_request() {
    let early = Say("HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno!");
    let upstream = Scripted::start(vec![vec![HearHead, early, Hang]]).await;
    let service = service(&[upstream.address], "");
    let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10000000000\r\n\r\nfirst";
    let (request, mut client) = slow_request(head).await;
    assert_eq!(text(&service, request).await, "413 no!");
    // The rest is not taken: what holds the request's body is gone with the answer.
    let more = vec![0; 1 << 20];
    until_refused(&mut client, &more).await;
}

/// Writes until nobody takes it any more.
async fn until_refused(client: &mut DuplexStream, bytes: &[u8]) {
    let stuck = tokio::time::timeout(Duration::from_millis(200), client.write_all(bytes));
    assert!(!matches!(stuck.await, Ok(Ok(()))), "it takes a megabyte");
}

#[tokio::test]
async fn a_client_that_is_slow_is_no_fault_of_the_service() {
    let upstream = Scripted::start(vec![vec![Hear, OK, Hang]]).await;
    let service = service(&[upstream.address], "response_timeout = \"100ms\"");
    let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\n01234";
    let (request, mut client) = slow_request(head).await;
    let later = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        client.write_all(b"56789").await.unwrap();
    };
    let (answer, ()) = tokio::join!(text(&service, request), later);
    assert_eq!(answer, "200 ok");
}

#[tokio::test]
async fn a_client_that_goes_away_in_the_middle_is_told_as_such() {
    let upstream = Scripted::start(vec![vec![Hear, OK, Hang]]).await;
    let service = service(&[upstream.address], "");
    let head = "POST / HTTP/1.1\r\nHost: web\r\nContent-Length: 10\r\n\r\n01234";
    let (request, client) = slow_request(head).await;
    drop(client);
    let told = text(&service, request).await;
    assert!(
        told.starts_with("400 malformed: the client broke"),
        "{told}"
    );
}

#[tokio::test]
async fn a_body_is_sent_once_it_is_wanted() {
    let go_on = Say("HTTP/1.1 100 Continue\r\n\r\n");
    let upstream = Scripted::start(vec![vec![HearHead, go_on, Hear, OK, Hang]]).await;
    let service = service(&[upstream.address], "");
    let mut request = post("12345\r\n\r\n");
    let headers = request.headers_mut();
    headers.insert("expect", "100-continue".parse().unwrap());
    assert_eq!(text(&service, request).await, "200 ok");
    let heard = upstream.heard.lock().unwrap().clone();
    assert!(heard[0].contains("expect: 100-continue"), "{}", heard[0]);
    assert!(heard[0].ends_with("\r\n\r\n"), "no body yet: {}", heard[0]);
}

#[tokio::test]
async fn a_body_that_is_not_wanted_stays_where_it_is() {
    let no = Say("HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n");
    let upstream = Scripted::start(vec![vec![HearHead, no, Hear], vec![Hear, OK, Hang]]).await;
    let service = service(&[upstream.address], "");
    let mut request = post("unwanted");
    let headers = request.headers_mut();
    headers.insert("expect", "100-continue".parse().unwrap());
    assert_eq!(text(&service, request).await, "417 ");
    // The connection that it was announced on is not used again.
    assert_eq!(text(&service, get("/next")).await, "200 ok");
    assert_eq!(
        upstream.heard(),
        ["POST /post HTTP/1.1", "GET /next HTTP/1.1"]
    );
}

#[tokio::test]
async fn a_service_that_says_nothing_gets_the_body_after_a_second() {
    let upstream = Scripted::start(vec![vec![Hear, OK, Hang]]).await;
    let service = service(&[upstream.address], "");
    let mut request = post("12345");
    let headers = request.headers_mut();
    headers.insert("expect", "100-continue".parse().unwrap());
    assert_eq!(text(&service, request).await, "200 ok");
    assert!(upstream.last_heard().ends_with("12345"));
}
