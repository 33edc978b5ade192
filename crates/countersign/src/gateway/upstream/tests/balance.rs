//! Which of several upstreams is taken.

use super::Step::{Hang, Hear, Say};
use super::*;
use crate::operator::Condition;

/// An upstream that answers each of its connections once, with `text`.
async fn answering(text: &'static str) -> Scripted {
    let close = Box::leak(
        format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n{text}")
            .into_boxed_str(),
    );
    Scripted::start(vec![vec![Hear, Say(close)]; 100]).await
}

fn conditions(service: &Service) -> Vec<Condition> {
    let view = service.upstream.view();
    view.iter().map(|upstream| upstream.condition).collect()
}

#[tokio::test]
async fn those_with_as_much_to_do_take_turns() {
    let (a, b) = (answering("a").await, answering("b").await);
    let service = service(&[a.address, b.address], "");
    for _ in 0..10 {
        text(&service, get("/")).await;
    }
    assert_eq!((a.connections(), b.connections()), (5, 5));
}

#[tokio::test]
async fn the_one_with_the_least_to_do_is_taken() {
    let busy = Scripted::start(vec![vec![Hear, Hang]; 4]).await;
    let free = answering("f").await;
    let service = service(&[busy.address, free.address], "");
    let asked = Arc::clone(&service);
    // The first turn is the first upstream's.
    let waits = tokio::spawn(async move { send(&asked, get("/slow")).await.map(drop) });
    until(|| busy.connections() == 1).await;
    for _ in 0..6 {
        assert_eq!(text(&service, get("/")).await, "200 f");
    }
    assert_eq!((busy.connections(), free.connections()), (1, 6));
    waits.abort();
}

#[tokio::test]
async fn one_that_cannot_be_reached_is_passed_over_and_then_left_alone() {
    let works = answering("w").await;
    let service = service(&[nowhere().await, works.address], "");
    for _ in 0..10 {
        assert_eq!(text(&service, get("/")).await, "200 w");
    }
    assert_eq!(conditions(&service), [Condition::Ejected, Condition::Up]);
}

#[tokio::test]
async fn a_request_with_a_body_goes_to_the_next_as_well() {
    let works = answering("w").await;
    let service = service(&[nowhere().await, works.address], "");
    for _ in 0..2 {
        assert_eq!(text(&service, post("body")).await, "200 w");
    }
    assert!(works.last_heard().ends_with("body"));
}

#[tokio::test]
async fn the_last_one_is_always_tried() {
    let place = nowhere().await;
    let service = service(&[place], "");
    for _ in 0..5 {
        assert!(
            text(&service, get("/"))
                .await
                .starts_with("502 service_unreachable")
        );
    }
    let listener = TcpListener::bind(place).await.unwrap();
    let played = async {
        let (tcp, _) = listener.accept().await.unwrap();
        play(tcp, vec![Hear, OK], Arc::default()).await;
    };
    let (answer, ()) = tokio::join!(text(&service, get("/")), played);
    assert_eq!(answer, "200 ok");
    assert_eq!(conditions(&service), [Condition::Up]);
}

#[tokio::test]
async fn one_that_does_not_answer_its_health_check_gets_nothing() {
    let ill = Scripted::start(vec![
        vec![
            Hear,
            Say("HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        ];
        9
    ])
    .await;
    let health = "[service.http.health]\npath = \"/healthz\"\ninterval = \"1h\"";
    let services = services(&[ill.address], health, None);
    services.watch();
    let service = services.find("web", 80).unwrap();
    until(|| conditions(service) == [Condition::Down]).await;
    assert_eq!(ill.heard(), ["GET /healthz HTTP/1.1"]);
    assert_eq!(
        text(service, get("/")).await,
        "503 service_down: service `web` is down: upstreams that answer their health check: 0 of 1"
    );
    assert_eq!(ill.connections(), 1);
}

#[tokio::test]
async fn a_health_check_brings_back_what_it_took_out() {
    let no = Say("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let mut scripts = vec![vec![Hear, no]];
    scripts.extend(vec![vec![Hear, OK]; 100]);
    let upstream = Scripted::start(scripts).await;
    let health = "[service.http.health]\npath = \"/healthz\"\ninterval = \"10ms\"\nrise = 2";
    let services = services(&[upstream.address], health, None);
    services.watch();
    let service = services.find("web", 80).unwrap();
    until(|| upstream.heard().len() >= 3 && conditions(service) == [Condition::Up]).await;
    assert_eq!(text(service, get("/")).await, "200 ok");
}

#[tokio::test]
async fn health_is_not_asked_any_more_once_nobody_wants_to_know() {
    let upstream = Scripted::start(vec![vec![Hear, Say("HTTP/1.1 500 No\r\n\r\n")]; 100]).await;
    let health = "[service.http.health]\npath = \"/healthz\"\ninterval = \"10ms\"";
    let before = services(&[upstream.address], health, None);
    before.watch();
    until(|| conditions(before.find("web", 80).unwrap()) == [Condition::Down]).await;
    let after = services(&[upstream.address], "", Some(&before));
    drop(before);
    after.watch();
    assert_eq!(conditions(after.find("web", 80).unwrap()), [Condition::Up]);
}

#[tokio::test]
async fn streams_of_bytes_go_to_the_one_with_the_fewest_and_pass_over_what_is_not_there() {
    let (a, b) = (
        Scripted::start(vec![vec![Hang]; 9]).await,
        Scripted::start(vec![vec![Hang]; 9]).await,
    );
    let keys = format!(
        "upstream = [\"{}\", \"{}\", \"{}\"]",
        a.address,
        nowhere().await,
        b.address
    );
    let services = configured(&keys, None);
    let service = services.find("web", 80).unwrap();
    let caller = Caller {
        source: a.address,
        gateway: a.address,
        spiffe_id: None,
    };
    let mut open = Vec::new();
    for _ in 0..6 {
        let opened = within(service.upstream.open(&permit(), &caller)).await;
        open.push(opened.unwrap());
    }
    until(|| (a.connections(), b.connections()) == (3, 3)).await;
    let in_flight = |service: &Service| {
        service
            .upstream
            .view()
            .iter()
            .map(|one| one.in_flight)
            .sum::<usize>()
    };
    assert_eq!(in_flight(service), 6);
    drop(open);
    assert_eq!(in_flight(service), 0);
}
