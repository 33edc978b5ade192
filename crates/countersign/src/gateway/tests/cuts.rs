//! What ends streams and channels that are open, and what does not.

use super::*;
use crate::gateway::dispatch;
use crate::gateway::stream::Stream;

/// The reason with which the stream was cut.
async fn reason(world: &World) -> String {
    let event = world
        .event("stream-cut", json!({ "service": "echo" }))
        .await;
    event["reason"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn streams_end_with_the_token_that_was_not_renewed() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let mux = agent.channel().await;
    let token = world.token(&agent, SHORT);
    Echo::open(&mux, &token).await.cut().await;
    assert_eq!(
        reason(&world).await,
        "the access token ended and was not renewed"
    );
    let refused = told(connect(&mux, "echo:7", None).await);
    assert!(refused.starts_with("407 token_missing"), "{refused}");
    // The channel stands: a fresh token opens streams on it.
    Echo::open(&mux, &agent.token).await;
}

#[tokio::test]
async fn streams_live_on_when_the_token_was_renewed_before_its_end() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let mux = agent.channel().await;
    let left = SHORT;
    let end = Timestamp::now() + left;
    let mut echo = Echo::open(&mux, &world.token(&agent, left)).await;
    let (status, _) = request(&mux, Method::POST, "/v1/token", &json!({})).await;
    assert_eq!(status, 200);
    until(|| Timestamp::now() > end + MOMENT).await;
    echo.answers().await;
    // And a new one needs no token of its own.
    let opened = connect(&mux, "echo:7", None).await;
    assert!(opened.is_ok(), "{opened:?}");
}

#[tokio::test]
async fn a_token_that_comes_with_a_stream_renews_as_well() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let mux = agent.channel().await;
    let left = SHORT;
    let end = Timestamp::now() + left;
    let mut first = Echo::open(&mux, &world.token(&agent, left)).await;
    let _second = Echo::open(&mux, &agent.token).await;
    until(|| Timestamp::now() > end + MOMENT).await;
    first.answers().await;
}

#[tokio::test]
async fn a_revoked_agent_loses_its_channels_and_gets_no_new_streams() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let bystander = world.granted("phone").await;
    let (mux, echo) = agent.echo().await;
    let (_other, mut spared) = bystander.echo().await;
    let revoked = json!({ "reason": "stolen" });
    let answer = world
        .operate("POST", "/agents/laptop/revoke", &revoked)
        .await;
    assert_eq!(answer["channels_closed"], 1);
    echo.cut().await;
    within(mux.closed()).await;
    assert_eq!(reason(&world).await, "the agent was revoked");
    world
        .event(
            "channel-closed",
            json!({ "reason": "the agent was revoked" }),
        )
        .await;
    spared.answers().await;

    // Its certificate and its token still hold, and open nothing.
    let mux = agent.channel().await;
    let refused = told(connect(&mux, "echo:7", Some(&agent.token)).await);
    assert!(refused.starts_with("403 "), "{refused}");
    assert!(refused.ends_with(": stolen"), "{refused}");
    let (status, _) = request(&mux, Method::POST, "/v1/token", &json!({})).await;
    assert_ne!(status, 200);
}

#[tokio::test]
async fn a_name_that_goes_to_another_key_takes_the_channels_of_the_first() {
    let world = World::start(LISTENER).await;
    let first = world.granted("laptop").await;
    let (mux, echo) = first.echo().await;
    let asked = json!({ "name": "laptop", "expires_in": 900, "replace": true });
    let created = world.operate("POST", "/join-strings", &asked).await;
    let join: crate::join_string::JoinString =
        created["join_string"].as_str().unwrap().parse().unwrap();
    let key = PrivateKey::generate(PROFILE.leaf_key()).unwrap();
    let body = json!({
        "join_token": join.token.as_ref().unwrap().expose_secret(),
        "certificate_request": Base64::encode_string(&CertificateRequest::write(&key).unwrap()),
        "now": Timestamp::now(),
    });
    let connector = Connector::anonymous(PROFILE, Arc::clone(&first.bundle)).unwrap();
    let second = channel(world.address(), &connector).await;
    let (status, _) = request(&second, Method::POST, "/v1/enrol", &body).await;
    assert_eq!(status, 200);
    echo.cut().await;
    within(mux.closed()).await;
    assert_eq!(reason(&world).await, "the agent has another key now");
}

#[tokio::test]
async fn a_grant_that_is_taken_away_cuts_what_it_opened_and_nothing_else() {
    let world = World::start(LISTENER).await;
    let (laptop, phone) = (world.granted("laptop").await, world.granted("phone").await);
    let (mux, echo) = laptop.echo().await;
    let (_other, mut spared) = phone.echo().await;
    world
        .operate(
            "DELETE",
            "/grants?principal=laptop&service=echo",
            &Value::Null,
        )
        .await;
    echo.cut().await;
    assert_eq!(
        reason(&world).await,
        "policy no longer permits it: no grant"
    );
    spared.answers().await;
    let refused = told(connect(&mux, "echo:7", Some(&laptop.token)).await);
    assert!(refused.starts_with("403 denied"), "{refused}");
}

#[tokio::test]
async fn a_permit_opens_nothing_once_its_grant_is_gone() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let (_mux, echo) = agent.echo().await;
    let gateway = &world.handle.gateway;
    let channels = gateway.live.channels();
    let channel = channels
        .iter()
        .find(|channel| channel.streams_opened() == 1);
    let channel = channel.unwrap();
    let request = Request::connect("echo:7").version(http::Version::HTTP_2);
    let (request, ()) = request.body(()).unwrap().into_parts();
    let opening = dispatch::connect(gateway, channel, &request).unwrap();
    // Between the decision and the opening, where no change of grants finds the stream.
    let path = "/grants?principal=laptop&service=echo";
    world.operate("DELETE", path, &Value::Null).await;
    echo.cut().await;
    let opened = Stream::open(gateway, channel, opening).await;
    assert_eq!(
        opened.err().unwrap().detail,
        "the stream was cut while it was opened: policy no longer permits it: no grant"
    );
}

#[tokio::test]
async fn an_operator_closes_a_channel_with_all_its_streams() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let (mux, echo) = agent.echo().await;
    let sessions = world.operate("GET", "/sessions", &Value::Null).await;
    let sessions = sessions["sessions"].as_array().unwrap();
    let id = sessions
        .iter()
        .find(|session| !session["streams"].as_array().unwrap().is_empty())
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let path = format!("/sessions/{id}/close");
    world.operate("POST", &path, &Value::Null).await;
    echo.cut().await;
    within(mux.closed()).await;
    assert_eq!(reason(&world).await, "an operator closed it");
    world
        .event("session-closed", json!({ "channel": id }))
        .await;
}

#[tokio::test]
async fn a_stage_that_admits_no_such_channel_ends_it_at_the_reload() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let (mux, echo) = agent.echo().await;
    let stricter = world.config.replace(
        r#"address = "127.0.0.1:0""#,
        "address = \"127.0.0.1:0\"\nprofile = \"cnsa2@1\"",
    );
    world.reload(&stricter).await.unwrap();
    echo.cut().await;
    within(mux.closed()).await;
    assert_eq!(
        reason(&world).await,
        "the listener's stage no longer admits the channel"
    );
}

#[tokio::test]
async fn a_service_that_is_removed_ends_its_streams_and_leaves_the_channel() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let (mux, echo) = agent.echo().await;
    let renamed = world
        .config
        .replace(r#"name = "echo""#, r#"name = "other""#);
    world.reload(&renamed).await.unwrap();
    echo.cut().await;
    assert_eq!(reason(&world).await, "the service is no longer configured");
    let (status, _) = request(&mux, Method::GET, "/v1/services", &Value::Null).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn a_stream_grows_as_old_as_its_service_allows() {
    let world = World::start(LISTENER).await;
    let aging = format!("{}\nmax_stream_age = \"50ms\"", world.config);
    world.reload(&aging).await.unwrap();
    let agent = world.granted("laptop").await;
    let (_mux, echo) = agent.echo().await;
    echo.cut().await;
    assert_eq!(
        reason(&world).await,
        "it grew older than its service allows"
    );
}

#[tokio::test]
async fn a_stop_drains_and_cuts_what_does_not_end() {
    let world = World::start(&format!("limits.drain_time = \"50ms\"\n{LISTENER}")).await;
    let agent = world.granted("laptop").await;
    let (mux, echo) = agent.echo().await;
    let World { handle, folder, .. } = world;
    handle.stop().await;
    echo.cut().await;
    within(mux.closed()).await;
    let trail = std::fs::read_to_string(folder.path().join("state/audit.jsonl")).unwrap();
    assert!(trail.contains("the gateway stops"), "{trail}");
    assert!(trail.lines().last().unwrap().contains("\"stop\""));
}

#[tokio::test]
async fn a_stop_that_is_hurried_waits_for_no_stream() {
    let world = World::start(&format!("limits.drain_time = \"1h\"\n{LISTENER}")).await;
    let agent = world.granted("laptop").await;
    let (_mux, echo) = agent.echo().await;
    let World { handle, folder, .. } = world;
    within(handle.stop_unless(async {})).await;
    echo.cut().await;
    let trail = std::fs::read_to_string(folder.path().join("state/audit.jsonl")).unwrap();
    assert!(trail.lines().last().unwrap().contains("\"stop\""));
}

#[tokio::test]
async fn a_revoked_agent_that_comes_back_is_told_why_and_sent_away() {
    let world = World::start(LISTENER).await;
    let agent = world.granted("laptop").await;
    let revoked = json!({ "reason": "stolen" });
    world
        .operate("POST", "/agents/laptop/revoke", &revoked)
        .await;
    let mux = agent.channel().await;
    for (method, path) in [(Method::GET, "/v1/services"), (Method::POST, "/v1/token")] {
        let (status, problem) = request(&mux, method, path, &json!({})).await;
        assert_eq!((status, problem["code"].as_str()), (403, Some("revoked")));
    }
    within(mux.closed()).await;
    world
        .event(
            "channel-closed",
            json!({ "reason": "the agent was revoked" }),
        )
        .await;
}

/// Long enough to open a stream on a busy machine.
const SHORT: Duration = Duration::from_secs(4);

/// What a cut may be late by.
const MOMENT: Duration = Duration::from_millis(100);
