//! A CONNECT to an HTTP service: what flows in it are requests.

use super::*;

/// A tunnel of an agent's to the site.
async fn tunnel(world: &World) -> Tunnel {
    tunnel_of(world, "laptop").await
}

async fn tunnel_of(world: &World, name: &str) -> Tunnel {
    let agent = world.enrol(name).await;
    world.grant(name, "site").await;
    let mux = agent.channel().await;
    let tunnel = connect(&mux, "site:80", Some(&agent.token)).await.unwrap();
    // The channel stays as long as it is used.
    std::mem::forget(mux);
    tunnel
}

#[tokio::test]
async fn a_request_is_read_decided_and_signed_for_with_the_agents_name() {
    let site = Site::open().await;
    let mut wire = Wire::new(tunnel(&site.world).await);
    wire.say("GET /a HTTP/1.1\r\nHost: site\r\nCountersign-Identity: forged\r\nConnection: close\r\n\r\n").await;
    let (answer, clean) = wire.rest().await;
    assert!(answer.ends_with("\r\n\r\nok") && clean, "{answer}");
    let heard = site.service.heard_once();
    let identity = field(&heard, "countersign-identity");
    let payload = identity.split('.').nth(2).unwrap();
    let payload = base64ct::Base64UrlUnpadded::decode_vec(payload).unwrap();
    let claims = String::from_utf8_lossy(&payload);
    assert!(
        claims.contains(r#""sub":"spiffe://example.org/agent/laptop""#),
        "{claims}"
    );
    assert!(claims.contains(r#""aud":"site""#), "{claims}");
    let allowed = json!({ "service": "site", "principal": "spiffe://example.org/agent/laptop" });
    site.world.event("stream-allowed", allowed).await;
}

#[tokio::test]
async fn http_2_with_prior_knowledge_is_read_as_well() {
    let site = Site::open().await;
    let mut client = over(tunnel(&site.world).await).await;
    for _ in 0..3 {
        let request = Request::get("http://site/").header("countersign-identity", "forged");
        let answered = answer(&mut client, request.body(nothing()).unwrap()).await;
        assert_eq!(answered, (200, "ok".to_owned()));
    }
    let heard = site.service.heard();
    assert_eq!(heard.len(), 3);
    assert!(!heard.concat().contains("forged"));
}

#[tokio::test]
async fn a_client_without_an_agent_tunnels_too() {
    let site = Site::open().await;
    let mut wire = http1_wire(&site.world).await;
    // What comes at once with the CONNECT is read as well.
    wire.say("CONNECT site:80 HTTP/1.1\r\nHost: site:80\r\n\r\nGET /early HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n").await;
    let (answer, clean) = wire.rest().await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nok") && clean, "{answer}");
    assert!(site.service.heard_once().starts_with("GET /early "));
}

#[tokio::test]
async fn a_host_that_is_not_the_services_is_refused_and_the_clients_own_end_stands_for_it() {
    for (host, expected) in [
        ("site", Ok("site")),
        ("site:80", Ok("site:80")),
        ("web.test", Ok("web.test")),
        ("localhost:8080", Ok("web.test")),
        ("127.0.0.1:8080", Ok("web.test")),
        ("[::1]:8080", Ok("web.test")),
        ("echo", Err("echo")),
        ("gateway.example.org", Err("gateway.example.org")),
        ("example.com", Err("example.com")),
    ] {
        let site = Site::open().await;
        let mut wire = Wire::new(tunnel(&site.world).await);
        wire.say(&format!(
            "GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
        .await;
        let (answer, _) = wire.rest().await;
        match expected {
            Ok(given) => {
                let heard = site.service.heard_once();
                assert_eq!(field(&heard, "host"), given);
                assert_eq!(field(&heard, "x-forwarded-host"), host);
            }
            Err(host) => assert_eq!(
                problem(&answer),
                format!(
                    "421 misdirected: this channel was opened for `site`, which does not stand for `{host}`"
                )
            ),
        }
    }
}

#[tokio::test]
async fn there_is_no_tunnel_inside_a_tunnel_and_no_gateway() {
    let site = Site::open().await;
    let mut wire = Wire::new(tunnel(&site.world).await);
    wire.say("CONNECT site:80 HTTP/1.1\r\nHost: site:80\r\n\r\n")
        .await;
    let (answer, _) = wire.rest().await;
    assert_eq!(
        problem(&answer),
        "501 not_implemented: there are no tunnels inside a tunnel to an HTTP service"
    );
    let mut wire = Wire::new(tunnel_of(&site.world, "desktop").await);
    wire.say(
        "POST /v1/token HTTP/1.1\r\nHost: site\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    )
    .await;
    wire.rest().await;
    assert!(site.service.heard_once().starts_with("POST /v1/token "));
}

#[tokio::test]
async fn what_is_not_http_is_answered_and_does_not_reach_the_service() {
    let site = Site::open().await;
    let mut wire = Wire::new(tunnel(&site.world).await);
    wire.say("SSH-2.0-OpenSSH_9.9\r\n\r\n").await;
    let (answer, _) = wire.rest().await;
    assert!(
        answer.starts_with("HTTP/1.1 400 Bad Request\r\n"),
        "{answer}"
    );
    assert_eq!(site.service.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn what_ends_a_grant_resets_the_tunnel() {
    let site = Site::open().await;
    let mut wire = Wire::new(tunnel(&site.world).await);
    wire.say("GET / HTTP/1.1\r\nHost: site\r\n\r\n").await;
    wire.until("\r\n\r\nok").await;
    let path = "/grants?principal=laptop&service=site";
    site.world.operate("DELETE", path, &Value::Null).await;
    let (_, clean) = wire.rest().await;
    assert!(!clean, "a clean end");
}
