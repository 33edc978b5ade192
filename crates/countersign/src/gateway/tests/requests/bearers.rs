//! Requests with a bearer token: what the gateway takes for itself, and what it leaves to the service.

use super::*;

/// What `GET /` with these fields is answered on a connection of its own.
async fn ask(site: &Site, fields: &str) -> String {
    let request = format!("GET / HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n{fields}\r\n");
    http1(&site.world, &request).await
}

async fn site() -> Site {
    Site::start(Service::answering(OK).await, "").await
}

#[tokio::test]
async fn a_token_opens_its_service_and_does_not_reach_it() {
    let site = site().await;
    let (token, id) = site.world.issue("ci", "site").await;
    for field in ["Authorization", "Proxy-Authorization"] {
        let answer = ask(&site, &format!("{field}: Bearer {token}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    for heard in site.service.heard() {
        assert!(!heard.contains("v4.local"), "{heard}");
        assert!(!heard.contains("authorization"), "{heard}");
    }
    let allowed = json!({ "principal": "bearer:ci", "token_id": id });
    site.world.event("stream-allowed", allowed).await;
}

#[tokio::test]
async fn what_an_application_is_sent_passes_untouched() {
    let site = Site::open().await;
    let answer = ask(&site, "Authorization: Bearer v4.local.AAAA\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let heard = site.service.heard_once();
    assert_eq!(field(&heard, "authorization"), "Bearer v4.local.AAAA");
}

#[tokio::test]
async fn a_token_that_does_not_hold_is_401_and_never_anonymous() {
    let site = Site::open().await;
    let (revoked, id) = site.world.issue("ci", "site").await;
    site.world.revoke(&id).await;
    let (other, _) = site.world.issue("ci", "echo").await;
    for (token, code) in [(revoked, "token_revoked"), (other, "token_service")] {
        let answer = ask(&site, &format!("Authorization: Bearer {token}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        assert_eq!(field(&answer, "www-authenticate"), "Bearer");
        assert!(answer.contains(code), "{answer}");
    }
    assert!(site.service.heard().is_empty());
}

#[tokio::test]
async fn who_opened_a_tunnel_asks_by_what_is_inside_unless_that_says_otherwise() {
    let site = site().await;
    let (outer, _) = site.world.issue("outer", "site").await;
    let (inner, _) = site.world.issue("inner", "site").await;
    let inner = format!("Authorization: Bearer {inner}\r\n");
    for (fields, principal) in [("", "bearer:outer"), (inner.as_str(), "bearer:inner")] {
        let request = format!(
            "CONNECT site:80 HTTP/1.1\r\nHost: site:80\r\nProxy-Authorization: Bearer {outer}\r\n\r\n\
             GET /{principal} HTTP/1.1\r\nHost: site\r\nConnection: close\r\n{fields}\r\n"
        );
        let answer = http1(&site.world, &request).await;
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
        let allowed = json!({ "principal": principal });
        site.world.event("stream-allowed", allowed).await;
    }
    assert!(
        site.service
            .heard()
            .iter()
            .all(|heard| !heard.contains("v4.local"))
    );
}
