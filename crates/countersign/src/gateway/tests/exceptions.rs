//! Exceptions that operators add and end while the gateway runs.

use super::agentless::{ANONYMOUS_WEB, dial, world};
use super::*;

const CANARY: &str = r#"stage = "classical-canary""#;

fn request(ends: Timestamp) -> Value {
    json!({ "owner": "ops", "reason": "old scanner", "ends": ends, "sni": "web.test" })
}

fn in_an_hour() -> Timestamp {
    Timestamp::now() + Duration::from_secs(3600)
}

/// Adds an exception, and gives its id.
async fn add(world: &World, request: &Value) -> String {
    let added = world.operate("POST", "/exceptions", request).await;
    added["id"].as_str().unwrap().to_owned()
}

/// The status of a call, and its body.
async fn call(world: &World, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let answer = world.operated(method, path, body).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap();
    (status.parse().unwrap(), serde_json::from_str(body).unwrap())
}

async fn listed(world: &World, id: &str) -> Value {
    let all = world.operate("GET", "/exceptions", &json!({})).await;
    let all = all["exceptions"].as_array().unwrap().iter();
    all.clone().find(|one| one["id"] == id).unwrap().clone()
}

/// A stream of a client that knows classical key exchange only.
async fn classical(world: &World) -> (Mux, Echo) {
    let stream = dial(world, "web.test", "h2", true).await.unwrap();
    let (mux, driver) = Mux::handshake(stream, &Limits::default()).await.unwrap();
    tokio::spawn(driver);
    let mut echo = Echo(connect(&mux, "web:80", None).await.unwrap());
    echo.answers().await;
    (mux, echo)
}

#[tokio::test]
async fn an_added_exception_holds_at_once_and_its_channels_end_with_it() {
    let world = world(CANARY, ANONYMOUS_WEB).await;
    assert!(dial(&world, "web.test", "h2", true).await.is_err());
    let id = add(&world, &request(in_an_hour())).await;
    let (_mux, echo) = classical(&world).await;
    let added =
        json!({ "exception": id, "owner": "ops", "reason": "old scanner", "sni": "web.test" });
    world.event("exception-added", added).await;
    let shown = listed(&world, &id).await;
    assert_eq!(shown["heeded_by"], json!(["main"]));
    assert_eq!((&shown["channels"], &shown["used"]), (&json!(1), &json!(1)));

    let end = format!("/exceptions/{id}/end");
    let ended = world.operate("POST", &end, &json!({})).await;
    assert_eq!(ended, json!({ "id": id, "channels_closed": 1 }));
    echo.cut().await;
    assert!(dial(&world, "web.test", "h2", true).await.is_err());
    world
        .event("exception-ended", json!({ "exception": id }))
        .await;
    let shown = listed(&world, &id).await;
    assert_eq!(shown["ended"], true);
    assert_eq!(shown["ended_by"], rustix::process::getuid().as_raw());
    let again = call(&world, "POST", &end, &json!({})).await;
    assert_eq!(
        (again.0, &again.1["code"]),
        (422, &json!("ended-exception"))
    );
}

#[tokio::test]
async fn the_date_of_an_added_exception_ends_its_channels() {
    let world = world(CANARY, ANONYMOUS_WEB).await;
    let soon = Timestamp::now() + Duration::from_secs(2);
    let id = add(&world, &request(soon)).await;
    let (_mux, echo) = classical(&world).await;
    echo.cut().await;
    let ended = json!({ "exception": id, "operator": null });
    world.event("exception-ended", ended).await;
    assert_eq!(listed(&world, &id).await["ended_by"], Value::Null);
}

#[tokio::test]
async fn an_added_exception_outlives_a_reload_and_not_the_stage() {
    let world = world(CANARY, ANONYMOUS_WEB).await;
    let id = add(&world, &request(in_an_hour())).await;
    world.reload(&world.config).await.unwrap();
    let (_mux, echo) = classical(&world).await;
    world
        .reload(&world.config.replace(CANARY, ""))
        .await
        .unwrap();
    echo.cut().await;
    assert_eq!(listed(&world, &id).await["heeded_by"], json!([]));
}

#[tokio::test]
async fn an_exception_of_the_configuration_is_shown_and_ended_there() {
    let exception = r#"
        [[exception]]
        id = "old-client"
        sni = "web.test"
        owner = "ops"
        reason = "old"
        ends = "2099-01-01T00:00:00Z"
    "#;
    let world = world(CANARY, exception).await;
    assert_eq!(listed(&world, "old-client").await["origin"], "config");
    let end = "/exceptions/old-client/end";
    let (status, problem) = call(&world, "POST", end, &json!({})).await;
    assert_eq!(
        (status, &problem["code"]),
        (422, &json!("configured-exception"))
    );
    let file = world.file("gateway.toml").display().to_string();
    assert!(
        problem["detail"].as_str().unwrap().contains(&file),
        "{problem}"
    );
}

#[tokio::test]
async fn what_would_let_in_everyone_or_nobody_is_refused() {
    let world = world(CANARY, "").await;
    let check = async |change: Value, code: &str| {
        let mut request = request(in_an_hour());
        let changes = change.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(changes);
        let (status, problem) = call(&world, "POST", "/exceptions", &request).await;
        assert_eq!(
            (status, problem["code"].as_str()),
            (422, Some(code)),
            "{problem}"
        );
    };
    check(json!({ "sni": null }), "exception-for-everyone").await;
    check(json!({ "ends": "2020-01-01T00:00:00Z" }), "ended-exception").await;
    check(json!({ "owner": " " }), "unaccounted-exception").await;
    check(json!({ "reason": "" }), "unaccounted-exception").await;
    check(json!({ "sni": "Web Test" }), "invalid-name").await;
    check(json!({ "source": "10.0.0.1/8" }), "invalid-network").await;
    check(json!({ "listener": "other" }), "unknown-listener").await;
    world
        .reload(&world.config.replace(CANARY, ""))
        .await
        .unwrap();
    check(json!({}), "no-effect").await;
    let unknown = call(&world, "POST", "/exceptions/x-0/end", &json!({})).await;
    assert_eq!(unknown.0, 404);
}
