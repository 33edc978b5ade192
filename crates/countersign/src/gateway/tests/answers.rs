//! What clients are told, status by status: the words are part of the interface.

use super::*;

const NO_GRANT: &str = "`spiffe://example.org/agent/laptop` may not reach `echo`: no grant";

/// Services that cannot be reached, each in its own way.
async fn world() -> World {
    let closed = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let down = closed.local_addr().unwrap();
    drop(closed);
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let hangs = silent.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((tcp, _)) = silent.accept().await {
            held.push(tcp);
        }
    });
    let echo = echo_service().await;
    let services = format!(
        r#"{LISTENER}
        [[service]]
        name = "down"
        port = 1
        upstream = "{down}"
        [[service]]
        name = "hangs"
        port = 2
        upstream = "{hangs}"
        connect_timeout = "50ms"
        tls.ca = "ca.pem"
        tls.name = "hangs.test"
        [[service]]
        name = "not-tls"
        port = 3
        upstream = "{echo}"
        tls.ca = "ca.pem"
        tls.name = "not-tls.test"
        "#
    );
    let authority = rcgen::generate_simple_self_signed(["hangs.test".to_owned()]).unwrap();
    let write = |folder: &TempDir| {
        std::fs::write(folder.path().join("ca.pem"), authority.cert.pem()).unwrap();
    };
    World::start_with(write, &services).await
}

async fn check(world: &World, agent: &Agent, authority: &str, token: Option<&str>, expected: &str) {
    world
        .grant("laptop", authority.split(':').next().unwrap())
        .await;
    let mux = agent.channel().await;
    assert_eq!(told(connect(&mux, authority, token).await), expected);
}

#[tokio::test]
async fn a_service_that_fails_is_told_by_how_it_fails() {
    let world = world().await;
    let agent = world.enrol("laptop").await;
    let token = Some(agent.token.as_str());
    check(
        &world,
        &agent,
        "down:1",
        token,
        "502 service_unreachable: service `down` does not accept connections: Connection refused (os error 111)",
    )
    .await;
    check(
        &world,
        &agent,
        "hangs:2",
        token,
        "504 service_timeout: service `hangs` did not accept a connection within 0.05 s",
    )
    .await;
    check(
        &world,
        &agent,
        "not-tls:3",
        token,
        "502 service_unreachable: TLS with service `not-tls` failed: the other end does not speak TLS as it should",
    )
    .await;
    let unreachable = json!({ "service": "down", "sent": 0, "received": 0 });
    let closed = world.event("stream-closed", unreachable).await;
    assert!(
        closed["end"]
            .as_str()
            .unwrap()
            .contains("Connection refused")
    );
    world
        .event("stream-allowed", json!({ "service": "down" }))
        .await;
}

#[tokio::test]
async fn what_no_grant_allows_is_denied_by_its_rule_and_on_record() {
    let world = World::start(LISTENER).await;
    let agent = world.enrol("laptop").await;
    let mux = agent.channel().await;
    let refused = connect(&mux, "ECHO:7", Some(&agent.token)).await;
    assert_eq!(told(refused), format!("403 denied: {NO_GRANT}"));
    let principal = "spiffe://example.org/agent/laptop";
    let denied = json!({ "principal": principal, "service": "echo", "rule": "no grant" });
    world.event("stream-denied", denied).await;
    world.grant("laptop", "echo").await;
    Echo::open(&mux, &agent.token).await;
    let rule = format!("grant {principal} -> echo");
    let allowed = json!({ "principal": principal, "service": "echo", "rule": rule });
    world.event("stream-allowed", allowed).await;
}

#[tokio::test]
async fn each_fault_of_a_token_has_its_name() {
    let world = World::start(LISTENER).await;
    let (laptop, phone) = (world.granted("laptop").await, world.granted("phone").await);
    let mux = laptop.channel().await;
    let missing = "407 token_missing: an agent opens streams with an access token: get one by `POST /v1/token` and send it as `Proxy-Authorization: Bearer`";
    assert_eq!(told(connect(&mux, "echo:7", None).await), missing);
    for (token, expected) in [
        (
            "v4.local.AAAA",
            "407 token_invalid: the access token does not verify",
        ),
        (
            &*phone.token,
            "407 wrong_key: the access token of `spiffe://example.org/agent/phone` is bound to another key than this channel's",
        ),
        (
            &*world.token(&laptop, Duration::ZERO).replace("v4.", "v3."),
            "407 token_invalid: the access token does not verify",
        ),
    ] {
        assert_eq!(told(connect(&mux, "echo:7", Some(token)).await), expected);
    }
    // The second is within what the clocks of two gateways may differ by: it is authentic, and over all the same.
    for ago in [60, 0].map(Duration::from_secs) {
        let expired = world.token_that_ended(&laptop, ago);
        let refused = connect(&mux, "echo:7", Some(&expired)).await;
        assert_eq!(
            told(refused),
            "407 token_expired: the access token has expired"
        );
    }
    for (fields, expected) in [
        (
            &["Basic YTpi"][..],
            "407 token_malformed: the Proxy-Authorization scheme is not Bearer",
        ),
        (
            &["Bearer"],
            "407 token_malformed: the Proxy-Authorization header is not `Bearer` and a token",
        ),
        (
            &["Bearer a", "Bearer b"],
            "407 token_malformed: there is more than one Proxy-Authorization header",
        ),
    ] {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(PROXY_AUTHORIZATION, field.parse().unwrap());
        }
        assert_eq!(told(connect_with(&mux, "echo:7", headers).await), expected);
    }
    let reason = "the access token has expired";
    let event = world
        .event("token-refused", json!({ "reason": reason }))
        .await;
    assert!(event["channel"].is_string());
    Echo::open(&mux, &laptop.token).await;
}

#[tokio::test]
async fn a_target_that_is_none_is_malformed_or_misdirected() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let mux = agent.channel().await;
    let token = Some(agent.token.as_str());
    for (authority, expected) in [
        (
            "echo",
            "400 malformed: `echo` lacks its port; the authority of CONNECT is `service:port`",
        ),
        (
            "echo:0",
            "400 malformed: `echo:0`: 0 is no port; the authority of CONNECT is `service:port`",
        ),
        (
            "me@echo:7",
            "400 malformed: an authority has no user information",
        ),
        ("echo:8", "421 misdirected: there is no service `echo:8`"),
        ("echo.:7", "421 misdirected: there is no service `echo.:7`"),
        ("[::1]:7", "421 misdirected: there is no service `[::1]:7`"),
        (
            "gateway.example.org:7",
            "421 misdirected: there is no service `gateway.example.org:7`",
        ),
    ] {
        assert_eq!(told(connect(&mux, authority, token).await), expected);
    }
    let mut headers = HeaderMap::new();
    headers.insert(HOST, "secret:22".parse().unwrap());
    assert_eq!(
        told(connect_with(&mux, "echo:7", headers).await),
        "400 malformed: the Host field says `secret:22`, and the request is for `echo:7`"
    );
}

#[tokio::test]
async fn a_request_that_is_not_for_the_gateway_is_misdirected() {
    let world = World::start(LISTENER).await;
    let (mux, _echo) = world.granted("laptop").await.echo().await;
    for (host, expected) in [
        (
            "echo",
            "421 misdirected: `echo` is no HTTP service; reach it by `CONNECT echo:7`",
        ),
        ("nothing", "421 misdirected: `nothing` is no service"),
    ] {
        let get = Request::get(format!("https://{host}/")).body(Bytes::new());
        let answer = mux.request(get.unwrap()).await.unwrap();
        let problem = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(in_words(&problem), expected);
    }
    let (_, problem) = request(&mux, Method::GET, "/v1/nothing", &Value::Null).await;
    assert_eq!(
        in_words(&problem),
        "404 not_found: there is no `GET /v1/nothing`"
    );
}

#[tokio::test]
async fn without_a_certificate_the_gateway_enrols_and_does_nothing_else() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let connector = Connector::anonymous(PROFILE, Arc::clone(&agent.bundle)).unwrap();
    let mux = channel(world.address(), &connector).await;
    assert_eq!(
        told(connect(&mux, "echo:7", Some(&agent.token)).await),
        "407 certificate_required: this channel has no client certificate, so it can enrol and nothing else"
    );
    for (method, path, body) in [
        (Method::POST, "/v1/token", json!({})),
        (Method::GET, "/v1/services", Value::Null),
        (
            Method::POST,
            "/v1/renew",
            json!({ "certificate_request": "" }),
        ),
    ] {
        let (_, problem) = request(&mux, method, path, &body).await;
        let expected =
            "401 certificate_required: this call takes a channel with the agent's certificate";
        assert_eq!(in_words(&problem), expected, "{path}");
    }
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let world = World::start(LISTENER).await;
    let agent = world.enrol("laptop").await;
    let stranger = Connector::anonymous(PROFILE, Arc::clone(&agent.bundle)).unwrap();
    let stranger = channel(world.address(), &stranger).await;
    for (mux, path, limit) in [
        (agent.channel().await, "/v1/renew", 1 << 20),
        (stranger, "/v1/enrol", 32 << 10),
    ] {
        let body = json!({ "certificate_request": "A".repeat(limit) });
        let (_, problem) = request(&mux, Method::POST, path, &body).await;
        let expected = format!("400 malformed: the body is larger than {limit} bytes");
        assert_eq!(in_words(&problem), expected);
    }
}

#[tokio::test]
async fn without_an_audit_trail_no_stream_is_opened_unless_that_was_said() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let mux = agent.channel().await;
    let trail = world.file("state/audit.jsonl");
    std::fs::rename(&trail, world.file("moved")).unwrap();
    std::fs::create_dir(&trail).unwrap();
    let audit = &world.handle.gateway.custody.audit;
    until(|| {
        audit.record(crate::audit::Event::Stop {
            reason: "none".to_owned(),
        });
        audit.ready().is_err()
    })
    .await;
    assert_eq!(
        told(connect(&mux, "echo:7", Some(&agent.token)).await),
        "503 audit_unavailable: the gateway cannot write its audit trail, and opens no streams until it can"
    );
    // `/readyz` says the same, and stops saying it when streams open again.
    let ready = || world.handle.gateway.ready.borrow().clone();
    until(|| ready().is_err_and(|why| why.contains("audit trail"))).await;
    let weaker = world.config.replace(
        "log.filter",
        "audit.dangerous_allow_unaudited = true\nlog.filter",
    );
    world.reload(&weaker).await.unwrap();
    Echo::open(&mux, &agent.token).await;
    until(|| ready().is_ok()).await;
    world.reload(&world.config).await.unwrap();
    let refused = told(connect(&mux, "echo:7", Some(&agent.token)).await);
    assert!(refused.starts_with("503 audit_unavailable"), "{refused}");
}

#[tokio::test]
async fn services_are_told_to_agents() {
    let world = World::start(LISTENER).await;
    let mux = world.enrol("laptop").await.channel().await;
    let (status, services) = request(&mux, Method::GET, "/v1/services", &Value::Null).await;
    let expected = json!({ "services": [{ "name": "echo", "port": 7 }] });
    assert_eq!((status, services), (200, expected));
}
