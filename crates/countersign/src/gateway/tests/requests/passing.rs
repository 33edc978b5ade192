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
