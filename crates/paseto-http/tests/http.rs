//! Requests over TCP to a server behind the layer: who gets in, who does not, and what either is told.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::http::HeaderName;
use axum::http::request::Parts;
use axum::routing::get;
use countersign_paseto::{
    Claims, Key, KeyRing, KeySet, Local, Rules, Secret, SystemRandom, V3, V4, Window,
};
use countersign_paseto_http::{Auth, Keys, Refused, VerifyLayer};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

#[derive(Serialize, Deserialize)]
struct Session {
    role: String,
}

/// A moment, so that no test waits for another.
const NOW: Timestamp = Timestamp::constant(2_000_000_000, 0);

fn local() -> Key<V4, Local> {
    Key::from_bytes(&[7; 32]).unwrap()
}

fn claims() -> Claims<Session> {
    let role = "admin".to_owned();
    Claims::new(Session { role })
        .subject("alice")
        .audience("api")
        .token_id("1")
        .expires_at(NOW + SignedDuration::from_mins(1))
}

fn token() -> String {
    claims().mint(&local(), &SystemRandom).unwrap()
}

fn layer(keys: impl Keys) -> VerifyLayer<Session> {
    VerifyLayer::new(keys, Rules::new().audience("api"), || NOW).realm("api")
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// A router whose one route greets whom the layer let in.
fn greeting(layer: VerifyLayer<Session>) -> Router {
    let greet = async |session: Auth<Session>| {
        format!(
            "{}, {}",
            session.subject().unwrap_or_default(),
            session.role
        )
    };
    Router::new().route("/", get(greet)).layer(layer)
}

/// A router whose one route greets anybody.
fn greeting_all(layer: VerifyLayer<Session>) -> Router {
    let greet = async |session: Option<Auth<Session>>| match session {
        Some(session) => session.subject().unwrap_or_default().to_owned(),
        None => "stranger".to_owned(),
    };
    Router::new().route("/", get(greet)).layer(layer)
}

/// What an HTTP client sees.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    challenge: Option<String>,
    body: String,
}

fn greeted(body: &str) -> Answer {
    Answer {
        status: 200,
        challenge: None,
        body: body.to_owned(),
    }
}

fn refused(status: u16, challenge: &str) -> Answer {
    Answer {
        status,
        challenge: Some(challenge.to_owned()),
        body: String::new(),
    }
}

const NO_TOKEN: &str = r#"Bearer realm="api""#;
const BAD_TOKEN: &str = r#"Bearer realm="api", error="invalid_token""#;
const SEVERAL: &str = r#"Bearer realm="api", error="invalid_request""#;

/// Sends a request with these header lines to `app`, by itself on a port of its own.
async fn ask(app: Router, headers: &[String]) -> Answer {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move { axum::serve(listener, app).await });
    let mut stream = TcpStream::connect(address).await.unwrap();
    let lines: String = headers.iter().map(|line| format!("{line}\r\n")).collect();
    let request = format!("GET / HTTP/1.1\r\nHost: api\r\nConnection: close\r\n{lines}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    server.abort();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        challenge: head
            .lines()
            .find_map(|line| line.strip_prefix("www-authenticate: "))
            .map(str::to_owned),
        body: body.to_owned(),
    }
}

async fn check(headers: &[String], expected: Answer) {
    assert_eq!(
        ask(greeting(layer(local())), headers).await,
        expected,
        "{headers:?}"
    );
}

#[tokio::test]
async fn who_has_a_token_gets_in() {
    check(&[bearer(&token())], greeted("alice, admin")).await;
    check(
        &[format!("authorization: bEARER   {}", token())],
        greeted("alice, admin"),
    )
    .await;
}

#[tokio::test]
async fn who_has_none_is_told_what_to_bring() {
    check(&[], refused(401, NO_TOKEN)).await;
    check(
        &["Authorization: Basic YTpi".to_owned()],
        refused(401, NO_TOKEN),
    )
    .await;
    check(
        &["Authorization: Bearer".to_owned()],
        refused(401, NO_TOKEN),
    )
    .await;
    check(
        &[format!("Authorization: {}", token())],
        refused(401, NO_TOKEN),
    )
    .await;
    check(&[bearer("é")], refused(401, NO_TOKEN)).await;
}

#[tokio::test]
async fn every_bad_token_is_told_the_same() {
    let other = Key::<V4, Local>::from_bytes(&[8; 32]).unwrap();
    let expired = claims()
        .expires_at(NOW)
        .mint(&local(), &SystemRandom)
        .unwrap();
    let elsewhere = claims()
        .audience("other")
        .mint(&local(), &SystemRandom)
        .unwrap();
    let no_role = Claims::new(())
        .audience("api")
        .expires_at(NOW + SignedDuration::from_mins(1));
    for token in [
        claims().mint(&other, &SystemRandom).unwrap(),
        expired,
        elsewhere,
        no_role.mint(&local(), &SystemRandom).unwrap(),
        format!("{}.", token()),
        format!("{}=", token()),
        format!("{} ", token()) + "x",
        "v4.local.AAAA".to_owned(),
    ] {
        check(&[bearer(&token)], refused(401, BAD_TOKEN)).await;
    }
}

#[tokio::test]
async fn two_tokens_are_none() {
    check(&[bearer(&token()), bearer(&token())], refused(400, SEVERAL)).await;
    check(
        &[bearer(&token()), "Authorization: Basic YTpi".to_owned()],
        refused(400, SEVERAL),
    )
    .await;
}

#[tokio::test]
async fn a_ring_is_swapped_while_the_server_runs() {
    let ring = Arc::new(KeyRing::new(KeySet::new().with(local(), Window::from(NOW))));
    let app = greeting(layer(Arc::clone(&ring)));
    let old = ring.mint(&claims(), b"", NOW, &SystemRandom).unwrap();
    assert_eq!(
        ask(app.clone(), &[bearer(&old)]).await,
        greeted("alice, admin")
    );

    let signing = Key::<V3, Secret>::generate(&SystemRandom).unwrap();
    let old_id = local().id();
    let next = KeySet::clone(&ring.keys())
        .retire(&old_id, NOW)
        .with(signing, Window::from(NOW));
    ring.replace(next);
    let new = ring.mint(&claims(), b"", NOW, &SystemRandom).unwrap();
    assert!(new.starts_with("v3.public."));
    assert_eq!(
        ask(app.clone(), &[bearer(&new)]).await,
        greeted("alice, admin")
    );
    assert_eq!(ask(app, &[bearer(&old)]).await, refused(401, BAD_TOKEN));
}

#[tokio::test]
async fn a_token_is_revoked_while_the_server_runs() {
    let revoked = Arc::new(Mutex::new(HashSet::new()));
    let list = Arc::clone(&revoked);
    let rules = Rules::new().revoked(move |claims| {
        let id = claims.token_id.clone().unwrap_or_default();
        list.lock().unwrap().contains(&id)
    });
    let app = greeting(VerifyLayer::new(local(), rules, || NOW).realm("api"));
    assert_eq!(
        ask(app.clone(), &[bearer(&token())]).await,
        greeted("alice, admin")
    );
    revoked.lock().unwrap().insert("1".to_owned());
    assert_eq!(ask(app, &[bearer(&token())]).await, refused(401, BAD_TOKEN));
}

#[tokio::test]
async fn the_log_is_told_why_and_sees_no_token() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let write = move |refused: &Refused, request: &Parts| {
        let credentials = request.headers.get("authorization");
        lines
            .lock()
            .unwrap()
            .push(format!("{}: {refused} {credentials:?}", request.uri));
    };
    let app = greeting(layer(local()).on_refusal(write));
    let expired = claims()
        .expires_at(NOW)
        .mint(&local(), &SystemRandom)
        .unwrap();
    ask(app.clone(), &[bearer(&expired)]).await;
    ask(app.clone(), &[bearer(&token())]).await;
    ask(app, &[]).await;
    let expected = [
        "/: claim `exp` is 2033-05-18T03:33:20Z, it is 2033-05-18T03:33:20Z Some(Sensitive)",
        "/: the request has no token None",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test]
async fn an_optional_token_may_be_missing_and_not_bad() {
    let app = || greeting_all(layer(local()).optional());
    assert_eq!(ask(app(), &[]).await, greeted("stranger"));
    assert_eq!(ask(app(), &[bearer(&token())]).await, greeted("alice"));
    assert_eq!(
        ask(app(), &[bearer("v4.local.AAAA")]).await,
        refused(401, BAD_TOKEN)
    );
    // A handler behind it that wants one gets one.
    let strict = greeting(layer(local()).optional());
    assert_eq!(ask(strict, &[]).await, refused(401, NO_TOKEN));
}

#[tokio::test]
async fn a_forgotten_layer_lets_nobody_in() {
    let failed = || Answer {
        status: 500,
        challenge: None,
        body: String::new(),
    };
    let strict = Router::new().route("/", get(async |_: Auth<Session>| "in"));
    assert_eq!(ask(strict, &[bearer(&token())]).await, failed());
    let lenient = Router::new().route("/", get(async |_: Option<Auth<Session>>| "in"));
    assert_eq!(ask(lenient, &[bearer(&token())]).await, failed());
}

#[tokio::test]
async fn a_header_of_its_own_holds_the_token_alone() {
    let name = HeaderName::from_static("countersign-identity");
    let app = || greeting(layer(local()).header(name.clone()));
    let alone = format!("Countersign-Identity: {}", token());
    let twice = [alone.clone(), alone];
    assert_eq!(ask(app(), &twice[..1]).await, greeted("alice, admin"));
    assert_eq!(ask(app(), &twice).await, refused(400, SEVERAL));
    assert_eq!(
        ask(app(), &[bearer(&token())]).await,
        refused(401, NO_TOKEN)
    );
}

#[tokio::test]
async fn an_assertion_binds_a_token_to_its_use() {
    let envelope = countersign_paseto::Envelope {
        footer: b"",
        assertion: b"tenant 7",
    };
    let token = claims().mint_in(&local(), envelope, &SystemRandom).unwrap();
    let app = |tenant: &str| greeting(layer(local()).asserting(tenant));
    assert_eq!(
        ask(app("tenant 7"), &[bearer(&token)]).await,
        greeted("alice, admin")
    );
    assert_eq!(
        ask(app("tenant 8"), &[bearer(&token)]).await,
        refused(401, BAD_TOKEN)
    );
}
