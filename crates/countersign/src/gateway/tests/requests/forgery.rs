//! No client writes what the gateway says of it, by any way.

use super::*;

/// Fields that a careless reader would take for one that the gateway sets, all with the same value.
const FORGED: &[&str] = &[
    "Countersign-Identity",
    "countersign-identity",
    "COUNTERSIGN-IDENTITY",
    "Countersign_Identity",
    "countersign.identity",
    "Countersign-Identity-",
    "Countersign-Principal",
    "X-Forwarded-For",
    "X_Forwarded_For",
    "x-forwarded_host",
    "X-Forwarded-Proto",
    "X-Forwarded-Prefix",
    "X-Forwarded",
    "Forwarded",
    "Proxy",
    "Proxy-Connection",
    "Transfer_Encoding",
    "Host_",
    "Te_",
];

/// Neither the value nor a second field of ours has reached the service.
fn check(heard: &str) {
    assert!(!heard.to_ascii_lowercase().contains("forged"), "{heard}");
    let identity = field(heard, "countersign-identity");
    assert!(identity.starts_with("v4.public."), "{heard}");
    for (name, value) in [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "https"),
    ] {
        assert_eq!(field(heard, name), value, "{heard}");
    }
}

fn fields() -> String {
    let fields = FORGED
        .iter()
        .filter(|name| **name != "Host_" && **name != "Te_");
    fields.map(|name| format!("{name}: forged\r\n")).collect()
}

#[tokio::test]
async fn not_by_a_field_in_any_spelling() {
    let site = Site::open().await;
    let request = format!(
        "GET / HTTP/1.1\r\nHost: web.test\r\n{}Connection: close\r\n\r\n",
        fields()
    );
    http1(&site.world, &request).await;
    check(&site.service.heard_once());
    let site = Site::open().await;
    let mut client = http2(&site.world).await;
    let mut request = get("https://web.test/");
    for name in FORGED.iter().filter(|name| !name.starts_with("Proxy-")) {
        let name: http::HeaderName = name.parse().unwrap();
        if !name.as_str().ends_with('_') {
            request
                .headers_mut()
                .append(name, "forged".parse().unwrap());
        }
    }
    assert_eq!(answer(&mut client, request).await.0, 200);
    check(&site.service.heard_once());
}

#[tokio::test]
async fn not_by_naming_the_gateways_fields_away() {
    let site = Site::open().await;
    let named = "countersign-identity, x-forwarded-for, x-forwarded-proto, forwarded, host, via, content-length, close";
    let request = format!(
        "POST / HTTP/1.1\r\nHost: web.test\r\nConnection: {named}\r\nVia: forged\r\nContent-Length: 2\r\n\r\nhi"
    );
    http1(&site.world, &request).await;
    let heard = site.service.heard_once();
    check(&heard);
    assert_eq!(field(&heard, "host"), "web.test");
    assert_eq!(field(&heard, "content-length"), "2");
}

#[tokio::test]
async fn not_by_a_trailer() {
    let site = Site::open().await;
    let request = format!(
        "POST / HTTP/1.1\r\nHost: web.test\r\nTE: trailers\r\nTrailer: Countersign-Identity, Countersign_Identity, X-Good\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nhi\r\n0\r\nX-Good: 1\r\n{}\r\n",
        fields()
    );
    http1(&site.world, &request).await;
    let heard = site.service.heard_once();
    check(&heard);
    assert!(heard.ends_with("\r\n0\r\nx-good: 1\r\n\r\n"), "{heard}");
}

#[tokio::test]
async fn not_by_a_pseudo_header() {
    let site = Site::open().await;
    let mut client = http2(&site.world).await;
    // What HTTP/2 may carry in a path and HTTP/1.1 would read as more than one.
    for path in ["/a%0d%0aCountersign-Identity:forged", "/?x=HTTP/1.1"] {
        let request = get(&format!("https://web.test{path}"));
        assert_eq!(answer(&mut client, request).await.0, 200);
        let heard = site.service.heard();
        let heard = heard.last().unwrap();
        assert_eq!(lines(heard)[0], format!("GET {path} HTTP/1.1"));
        field(heard, "countersign-identity");
    }
    let scheme = get("http://web.test/");
    assert_eq!(answer(&mut client, scheme).await.0, 421);
    let star = Request::options("https://web.test")
        .body(nothing())
        .unwrap();
    assert_eq!(answer(&mut client, star).await.0, 200);
}

#[tokio::test]
async fn the_gateways_credentials_stay_with_the_gateway_and_the_services_reach_it() {
    let site = Site::open().await;
    let agent = site.world.enrol("laptop").await;
    site.world.grant("laptop", "site").await;
    let mux = agent.channel().await;
    let request = Request::get("https://site/")
        .header(PROXY_AUTHORIZATION, format!("Bearer {}", agent.token))
        .header("authorization", "Basic eDp5")
        .header("cookie", "a=1")
        .header("cookie", "b=2");
    let answer = within(mux.request(request.body(Bytes::new()).unwrap())).await;
    assert_eq!(answer.unwrap().status(), 200);
    let heard = site.service.heard_once();
    assert!(!heard.contains("proxy-authorization"), "{heard}");
    assert_eq!(field(&heard, "authorization"), "Basic eDp5");
    assert_eq!(field(&heard, "cookie"), "a=1; b=2");
}

#[tokio::test]
async fn a_service_that_shows_what_it_was_sent_does_not_show_the_token() {
    let echo = "HTTP/1.1 200 OK\r\nCountersign-Identity: v4.public.x\r\nCountersign_Identity: v4.public.x\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n";
    let site = Site::start(Service::answering(echo).await, ANONYMOUS_SITE).await;
    let mut client = http2(&site.world).await;
    let response = within(client.send_request(get("https://web.test/")))
        .await
        .unwrap();
    let names: Vec<_> = response
        .headers()
        .keys()
        .map(http::HeaderName::as_str)
        .collect();
    assert_eq!(names, ["x-own", "content-length"]);
}
