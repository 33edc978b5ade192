//! Clients with a bearer token: what it opens, what it does not, and what ends it.

use countersign_policy::BearerClaims;
use http::HeaderName;
use http::header::AUTHORIZATION;

use super::agentless::{ANONYMOUS_WEB, dial, mux, world};
use super::*;

impl World {
    /// Has a bearer token issued: its text and its id.
    pub(super) async fn issue(&self, subject: &str, service: &str) -> (String, String) {
        self.issue_for(subject, service, 3600).await
    }

    async fn issue_for(&self, subject: &str, service: &str, seconds: u64) -> (String, String) {
        let request = json!({ "subject": subject, "service": service, "expires_in": seconds });
        let issued = self.operate("POST", "/tokens", &request).await;
        let text = |key: &str| issued[key].as_str().unwrap().to_owned();
        (text("token"), text("id"))
    }

    pub(super) async fn revoke(&self, id: &str) -> Value {
        let path = format!("/tokens/{id}/revoke");
        let reason = json!({ "reason": "leaked" });
        self.operate("POST", &path, &reason).await
    }

    /// A token of ours with these times, which no operator issued.
    fn forge(&self, service: &str, issued_at: Timestamp, expires_at: Timestamp) -> String {
        let claims = Claims::new(BearerClaims {})
            .subject("ci")
            .audience(service)
            .issued_at(issued_at)
            .expires_at(expires_at)
            .token_id("forged");
        let rings = self.handle.gateway.custody.bearers.rings();
        let keys = rings.of(PROFILE.token_version()).keys();
        let assertion = b"countersign example.org bearer";
        keys.mint(&claims, assertion, Timestamp::now(), &SystemRandom)
            .unwrap()
    }
}

fn shown(name: HeaderName, value: &str) -> HeaderMap {
    let value = value.parse().unwrap();
    HeaderMap::from_iter([(name, value)])
}

/// What a token is told that is refused on a channel for `web`.
async fn check(world: &World, token: &str, authority: &str, expected: &str) {
    let mux = mux(world, "web.test").await;
    assert_eq!(told(connect(&mux, authority, Some(token)).await), expected);
}

#[tokio::test]
async fn a_token_opens_its_service_in_either_header_and_audit_says_whose_it_was() {
    let world = world("", "").await;
    let (token, id) = world.issue("ci", "web").await;
    let mux = mux(&world, "web.test").await;
    let bearer = format!("Bearer {token}");
    for header in [PROXY_AUTHORIZATION, AUTHORIZATION] {
        let opened = connect_with(&mux, "web:80", shown(header, &bearer)).await;
        Echo(opened.unwrap()).answers().await;
    }
    let allowed = json!({
        "principal": "bearer:ci",
        "service": "web",
        "token_id": id,
        "rule": "token bearer:ci -> web",
    });
    world.event("stream-allowed", allowed).await;
    let issued = json!({ "subject": "ci", "service": "web", "token_id": id });
    world.event("bearer-token-issued", issued).await;
    let trail = std::fs::read_to_string(world.file("state/audit.jsonl")).unwrap();
    assert!(!trail.contains(&token), "the trail holds the token");
}

#[tokio::test]
async fn a_token_opens_its_service_through_the_gateways_address_too() {
    let world = world("", "").await;
    let (token, _) = world.issue("ci", "echo").await;
    let mux = mux(&world, "gate.test").await;
    Echo::open(&mux, &token).await;
    assert_eq!(
        told(connect(&mux, "web:80", Some(&token)).await),
        "407 token_service: the bearer token is for `echo`, not for `web`"
    );
}

#[tokio::test]
async fn a_token_for_another_service_is_told_so_whatever_is_granted() {
    let granted = r#"
        [[grant]]
        principal = "bearer:*"
        service = "web"
    "#;
    let world = world("", granted).await;
    let (token, id) = world.issue("ci", "echo").await;
    let expected = "407 token_service: the bearer token is for `echo`, not for `web`";
    check(&world, &token, "web:80", expected).await;
    world
        .event("token-refused", json!({ "token_id": id }))
        .await;
    let expected = "421 misdirected: this channel was opened for `web.test`, which does not stand for `echo:7`";
    check(&world, &token, "echo:7", expected).await;
}

#[tokio::test]
async fn a_token_that_ended_or_was_revoked_says_so_and_any_other_says_nothing() {
    let world = world("", ANONYMOUS_WEB).await;
    let now = Timestamp::now();
    let hour = Duration::from_secs(3600);
    let ended = world.forge("web", now - 2 * hour, now - hour);
    let second = Timestamp::from_second((now - hour).as_second()).unwrap();
    let expected = format!("407 token_expired: the bearer token ended at {second}");
    check(&world, &ended, "web:80", &expected).await;
    let (revoked, id) = world.issue("ci", "web").await;
    world.revoke(&id).await;
    let mux = mux(&world, "web.test").await;
    let told = told(connect(&mux, "web:80", Some(&revoked)).await);
    assert!(
        told.starts_with("407 token_revoked: the bearer token was revoked at ")
            && told.ends_with(": leaked"),
        "{told}"
    );
    let opaque = "407 token_invalid: the bearer token does not verify";
    let not_issued = world.forge("web", now, now + hour);
    let too_long = world.forge("web", now, now + 400 * 24 * hour);
    let altered = format!("{}A", &revoked[..revoked.len() - 1]);
    for token in [&not_issued, &too_long, &altered, "v4.local.AAAA", "x"] {
        check(&world, token, "web:80", opaque).await;
    }
}

#[tokio::test]
async fn a_proxy_authorization_that_is_no_bearer_is_refused_and_not_taken_for_nothing() {
    let world = world("", ANONYMOUS_WEB).await;
    let mux = mux(&world, "web.test").await;
    let basic = shown(PROXY_AUTHORIZATION, "Basic YTpi");
    assert_eq!(
        told(connect_with(&mux, "web:80", basic).await),
        "407 token_malformed: the Proxy-Authorization scheme is not Bearer"
    );
}

#[tokio::test]
async fn an_authorization_that_is_not_ours_is_the_applications_and_leaves_one_anonymous() {
    let world = world("", ANONYMOUS_WEB).await;
    let mux = mux(&world, "web.test").await;
    for value in [
        "Basic YTpi",
        "Bearer v4.local.AAAA",
        "Bearer other",
        "Token",
    ] {
        let opened = connect_with(&mux, "web:80", shown(AUTHORIZATION, value)).await;
        Echo(opened.unwrap()).answers().await;
    }
    let anonymous = json!({ "principal": "anonymous", "token_id": null });
    world.event("stream-allowed", anonymous).await;
}

#[tokio::test]
async fn a_token_of_ours_in_a_shape_that_is_not_ours_is_refused_and_not_passed_on() {
    let world = world("", ANONYMOUS_WEB).await;
    let (token, _) = world.issue("ci", "web").await;
    let mux = mux(&world, "web.test").await;
    for value in [
        format!("Token {token}"),
        format!("Bearer token=\"{token}\""),
        token.clone(),
        format!("Bearer\t{token}"),
    ] {
        assert_eq!(
            told(connect_with(&mux, "web:80", shown(AUTHORIZATION, &value)).await),
            "407 token_malformed: the Authorization header is not `Bearer` and a token"
        );
    }
    let mut twice = shown(AUTHORIZATION, "Basic YTpi");
    twice.append(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
    assert_eq!(
        told(connect_with(&mux, "web:80", twice).await),
        "407 token_malformed: there is more than one Authorization header"
    );
}

#[tokio::test]
async fn a_revocation_cuts_what_the_token_opened_at_once_and_nothing_else() {
    let world = world("", "").await;
    let (revoked, id) = world.issue("ci", "web").await;
    let (other, _) = world.issue("cd", "web").await;
    let mux = mux(&world, "web.test").await;
    let open = async |token: &str| {
        let mut echo = Echo(connect(&mux, "web:80", Some(token)).await.unwrap());
        echo.answers().await;
        echo
    };
    let (lost, mut kept) = (open(&revoked).await, open(&other).await);
    let answer = world.revoke(&id).await;
    assert_eq!(answer["streams_closed"], 1);
    lost.cut().await;
    kept.answers().await;
    let cut = json!({ "principal": "bearer:ci", "reason": "the bearer token was revoked: leaked" });
    world.event("stream-cut", cut).await;
    let told = json!({ "token_id": id, "reason": "leaked" });
    world.event("bearer-token-revoked", told).await;
    let listed = world.operate("GET", "/tokens", &Value::Null).await;
    assert_eq!(listed["tokens"][0]["revoked"]["reason"], "leaked");
    assert_eq!(listed["tokens"][1]["streams"], 1);
}

#[tokio::test]
async fn a_stream_ends_with_the_token_that_opened_it() {
    let world = world("", "").await;
    let (token, _) = world.issue_for("ci", "web", 2).await;
    let mux = mux(&world, "web.test").await;
    let mut echo = Echo(connect(&mux, "web:80", Some(&token)).await.unwrap());
    echo.answers().await;
    echo.cut().await;
    let cut = json!({ "reason": "the bearer token ended" });
    world.event("stream-cut", cut).await;
}

#[tokio::test]
async fn two_who_share_a_channel_are_told_apart() {
    let world = world("", ANONYMOUS_WEB).await;
    let mux = mux(&world, "web.test").await;
    let mut open = Vec::new();
    for name in ["a", "b"] {
        let (token, _) = world.issue(name, "web").await;
        open.push(connect(&mux, "web:80", Some(&token)).await.unwrap());
    }
    open.push(connect(&mux, "web:80", None).await.unwrap());
    let sessions = world.operate("GET", "/sessions", &Value::Null).await;
    let session = &sessions["sessions"][0];
    assert_eq!(session["principal"], "anonymous");
    let streams = session["streams"].as_array().unwrap();
    let principals: Vec<_> = streams.iter().map(|stream| &stream["principal"]).collect();
    assert_eq!(principals, ["bearer:a", "bearer:b", "anonymous"]);
}

#[tokio::test]
async fn a_program_that_speaks_http_1_opens_its_service_with_a_token() {
    let world = world("", "").await;
    let (token, _) = world.issue("ci", "web").await;
    let mut stream = dial(&world, "web.test", "http/1.1", false).await.unwrap();
    let request = format!(
        "CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\nProxy-Authorization: bearer {token}\r\n\r\nx"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nx") {
        let byte = within(stream.read_u8()).await.unwrap();
        answer.push(byte);
    }
    assert!(answer.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_token_shown_without_tls_reaches_neither_log_nor_audit() {
    let world = world("", "").await;
    let (token, _) = world.issue("ci", "web").await;
    let mut plain = TcpStream::connect(world.address()).await.unwrap();
    let request = format!(
        "CONNECT web:80 HTTP/1.1\r\nHost: web:80\r\nProxy-Authorization: Bearer {token}\r\n\r\n"
    );
    plain.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within(plain.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    let refused = json!({ "reason": "plain-http" });
    let event = world.event("channel-refused", refused).await;
    assert!(!event.to_string().contains("v4.local"));
    let trail = std::fs::read_to_string(world.file("state/audit.jsonl")).unwrap();
    assert!(!trail.contains(&token));
}

#[tokio::test]
async fn no_token_is_issued_for_a_service_that_there_is_not() {
    let world = world("", "").await;
    let gateway = &world.handle.gateway;
    let before = gateway.custody.state.snapshot().revision;
    let request = json!({ "subject": "ci", "service": "nothing", "expires_in": 60 });
    let answer = world.operated("POST", "/tokens", &request).await;
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    assert!(answer.contains("there is no service `nothing`"), "{answer}");
    assert_eq!(gateway.custody.state.snapshot().revision, before);
}
