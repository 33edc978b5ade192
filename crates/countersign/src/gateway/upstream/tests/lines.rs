//! Which connection a request takes, and when it is sent again.

use super::Step::{Hang, Hear, Reset, Say};
use super::*;
use crate::gateway::upstream::stream::ServiceEnd;

/// What comes of requests, one after the other, and what the upstream heard on how many connections.
async fn check(
    scripts: Vec<Vec<Step>>,
    more: &str,
    requests: Vec<Request<Body>>,
    expected: &[&str],
) -> Scripted {
    let upstream = Scripted::start(scripts).await;
    let service = service(&[upstream.address], more);
    for (request, expected) in requests.into_iter().zip(expected) {
        assert_eq!(text(&service, request).await, *expected);
    }
    upstream
}

const CLOSED: &str = "502 service_closed: service `web` closed the connection before it answered";

#[tokio::test]
async fn a_connection_is_used_again() {
    let scripts = vec![vec![Hear, OK, Hear, OK, Hear, OK, Hang]];
    let requests = vec![get("/1"), post("2"), get("/3")];
    let upstream = check(scripts, "", requests, &["200 ok"; 3]).await;
    assert_eq!((upstream.connections(), upstream.heard().len()), (1, 3));
}

#[tokio::test]
async fn the_host_is_the_clients_and_the_target_a_path() {
    let scripts = vec![vec![Hear, OK, Hang]];
    let upstream = check(scripts, "", vec![get("/a?b=c")], &["200 ok"]).await;
    let heard = upstream.last_heard();
    assert!(heard.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{heard}");
    assert!(heard.contains("host: web.example.org\r\n"), "{heard}");
}

#[tokio::test]
async fn what_died_with_a_connection_that_was_kept_is_sent_again_if_it_may_be_done_twice() {
    let scripts = vec![vec![Hear, OK, Hear], vec![Hear, OK, Hang]];
    let upstream = check(scripts, "", vec![get("/1"), get("/2")], &["200 ok"; 2]).await;
    let heard = ["GET /1 HTTP/1.1", "GET /2 HTTP/1.1", "GET /2 HTTP/1.1"];
    assert_eq!(
        (upstream.connections(), upstream.heard()),
        (2, heard.map(str::to_owned).to_vec())
    );
}

#[tokio::test]
async fn what_may_not_be_done_twice_is_sent_once() {
    let scripts = vec![vec![Hear, OK, Hear, Reset], vec![Hear, OK, Hang]];
    let upstream = check(scripts, "", vec![get("/1"), post("2")], &["200 ok", CLOSED]).await;
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn what_died_with_a_new_connection_is_not_sent_again() {
    let scripts = vec![vec![Hear], vec![Hear, OK, Hang]];
    let upstream = check(scripts, "", vec![get("/1")], &[CLOSED]).await;
    assert_eq!(upstream.connections(), 1);
}

#[tokio::test]
async fn nothing_is_sent_again_where_that_is_said() {
    let scripts = vec![vec![Hear, OK, Hear], vec![Hear, OK, Hang]];
    let requests = vec![get("/1"), get("/2")];
    check(scripts, "retries = 0", requests, &["200 ok", CLOSED]).await;
}

#[tokio::test]
async fn a_connection_that_closed_in_the_meantime_costs_nothing() {
    let upstream = Scripted::start(vec![vec![Hear, OK], vec![Hear, OK, Hang]]).await;
    let service = service(&[upstream.address], "");
    for request in [get("/1"), post("2")] {
        assert_eq!(text(&service, request).await, "200 ok");
    }
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn a_service_that_says_how_long_it_keeps_a_connection_is_believed() {
    let kept = Say("HTTP/1.1 200 OK\r\nKeep-Alive: timeout=1\r\nContent-Length: 2\r\n\r\nok");
    let scripts = vec![vec![Hear, kept, Hear], vec![Hear, OK, Hang]];
    let requests = vec![get("/1"), post("2")];
    let upstream = check(scripts, "", requests, &["200 ok"; 2]).await;
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    let two = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong";
    let scripts = vec![vec![Hear, Say(two), Hang], vec![Hear, OK, Hang]];
    let requests = vec![get("/1"), get("/2")];
    let upstream = check(scripts, "", requests, &["200 ok"; 2]).await;
    assert_eq!(upstream.connections(), 2);
}

#[tokio::test]
async fn idle_connections_close_in_time() {
    let upstream = Scripted::start(vec![vec![Hear, OK, Hear]]).await;
    let service = service(&[upstream.address], "idle_connection_timeout = \"50ms\"");
    assert_eq!(text(&service, get("/1")).await, "200 ok");
    // The script plays on only when the connection ends.
    until(|| Arc::strong_count(&upstream.heard) == 1).await;
}

#[tokio::test]
async fn a_service_has_no_more_requests_than_it_may() {
    let upstream = Scripted::start(vec![vec![Hear, Hang], vec![Hear, OK, Hang]]).await;
    let keys = format!(
        "connect_timeout = \"100ms\"\nupstream = \"{}\"",
        upstream.address
    );
    let text_of = format!(
        "trust_domain = \"example.org\"\n[[service]]\nname = \"web\"\nport = 80\n{keys}\n[service.http]\nrequests = 1"
    );
    let config = GatewayConfig::parse(Path::new("gateway.toml"), text_of).unwrap();
    let services = Services::new(&config.services, None, &Metrics::new()).unwrap();
    let service = services.find("web", 80).unwrap();
    let first = Arc::clone(service);
    let first = tokio::spawn(async move { send(&first, get("/1")).await.map(drop) });
    until(|| upstream.heard().len() == 1).await;
    let busy = text(service, get("/2")).await;
    assert!(
        busy.starts_with("503 service_busy: service `web` is busy with 1 requests"),
        "{busy}"
    );
    first.abort();
    let _ = first.await;
    assert_eq!(text(service, get("/3")).await, "200 ok");
}

#[tokio::test]
async fn a_reload_keeps_the_connections_of_an_upstream_that_stays() {
    let stays = Scripted::start(vec![vec![Hear, OK, Hear, OK, Hang]]).await;
    let before = services(&[stays.address], "", None);
    assert_eq!(
        text(before.find("web", 80).unwrap(), get("/1")).await,
        "200 ok"
    );
    let after = services(&[stays.address], "retries = 3", Some(&before));
    drop(before);
    assert_eq!(
        text(after.find("web", 80).unwrap(), get("/2")).await,
        "200 ok"
    );
    assert_eq!(stays.connections(), 1);
}

#[tokio::test]
async fn a_reload_closes_the_connections_of_an_upstream_that_goes() {
    let goes = Scripted::start(vec![vec![Hear, OK, Hear]]).await;
    let comes = Scripted::start(vec![vec![Hear, OK, Hang]]).await;
    let before = services(&[goes.address], "", None);
    assert_eq!(
        text(before.find("web", 80).unwrap(), get("/1")).await,
        "200 ok"
    );
    let after = services(&[comes.address], "", Some(&before));
    drop(before);
    until(|| Arc::strong_count(&goes.heard) == 1).await;
    assert_eq!(
        text(after.find("web", 80).unwrap(), get("/2")).await,
        "200 ok"
    );
}

#[tokio::test]
async fn a_stop_closes_what_carries_nothing_and_lets_the_rest_end() {
    let upstream = Scripted::start(vec![vec![Hear, OK, Hear], vec![Hear, OK, Hear]]).await;
    let services = services(&[upstream.address], "", None);
    let service = services.find("web", 80).unwrap();
    let open = send(service, get("/1")).await.unwrap();
    assert_eq!(text(service, get("/2")).await, "200 ok");
    services.close_idle();
    // One of two scripts has ended.
    until(|| Arc::strong_count(&upstream.heard) == 2).await;
    let body = within(open.response.into_body().collect()).await.unwrap();
    assert_eq!(body.to_bytes(), "ok");
    until(|| Arc::strong_count(&upstream.heard) == 1).await;
}

#[tokio::test]
async fn a_connection_that_changes_its_protocol_carries_bytes_and_fails_as_they_fail() {
    let switch = Say(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nfirst",
    );
    let upstream = Scripted::start(vec![vec![Hear, switch, Hear, Hear]]).await;
    let service = service(&[upstream.address], "");
    let mut request = get("/socket");
    let headers = request.headers_mut();
    headers.insert("connection", "upgrade".parse().unwrap());
    headers.insert("upgrade", "echo".parse().unwrap());
    let answer = send(&service, request).await.unwrap();
    assert_eq!(answer.response.status(), 101);
    let ServiceEnd::Connection(socket) = within(answer.upgraded()).await.unwrap().0 else {
        panic!("no connection");
    };
    let (near, mut far) = tokio::io::duplex(1024);
    let limits = countersign_channel::tunnel::RelayLimits { idle: None };
    let cut = countersign_channel::tunnel::Cut::new();
    let cuts = cut.clone();
    let relayed = tokio::spawn(async move {
        countersign_channel::tunnel::relay(near, socket, limits, &Default::default(), &cut).await
    });
    let mut first = [0; 5];
    within(far.read_exact(&mut first)).await.unwrap();
    assert_eq!(&first, b"first");
    let bytes = b"bytes as they are\r\n\r\n";
    far.write_all(bytes).await.unwrap();
    until(|| upstream.heard().len() == 2).await;
    cuts.cut("enough");
    within(relayed).await.unwrap();
    until(|| upstream.heard().len() == 3).await;
    assert_eq!(
        upstream.heard()[1..],
        ["bytes as they are", "ConnectionReset"]
    );
}
