//! A reload takes everything or nothing.

use super::*;

/// A reload that is refused with these words, and leaves all as it was.
async fn refused(change: impl FnOnce(&str) -> String, expected: &str) {
    let world = agentless_world().await;
    let before = in_force(&world);
    let error = world.reload(&change(&world.config)).await.unwrap_err();
    assert!(error.contains(expected), "{error}");
    assert_eq!(in_force(&world), before);
    let event = world.event("configuration-refused", json!({})).await;
    assert!(event["reason"].as_str().unwrap().contains(expected));
    // What was there can still be read, and is taken.
    world.reload(&world.config).await.unwrap();
}

async fn agentless_world() -> World {
    super::agentless::world("", "").await
}

/// All that a reload may change, in one line.
fn in_force(world: &World) -> String {
    let gateway = &world.handle.gateway;
    let running = gateway.running();
    let listeners: Vec<_> = gateway.acceptors.iter().map(|a| a.listener()).collect();
    let trust = gateway.custody.authority.trust().version();
    format!("{:?} {listeners:?} {trust}", running.config)
}

#[tokio::test]
async fn a_file_that_does_not_parse_changes_nothing() {
    refused(|config| format!("{config}\n[[["), "gateway.toml").await;
}

#[tokio::test]
async fn one_wrong_value_among_good_ones_changes_nothing() {
    let change = |config: &str| {
        config
            .replace(
                "log.filter = \"off\"",
                "log.filter = \"off\"\nlimits.streams_per_channel = 7",
            )
            .replace("port = 80", "port = 0")
    };
    refused(change, "port").await;
}

#[tokio::test]
async fn what_takes_a_restart_is_named() {
    refused(
        |config| config.replace("gateway.sock", "other.sock"),
        "operate.socket",
    )
    .await;
    refused(
        |config| {
            config.replace(
                "trust_domain = \"example.org\"",
                "trust_domain = \"example.net\"",
            )
        },
        "trust_domain",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_that_is_half_written_keeps_the_one_before() {
    let world = agentless_world().await;
    let before = in_force(&world);
    let whole = std::fs::read(world.file("web.pem")).unwrap();
    std::fs::write(world.file("web.pem"), &whole[..whole.len() / 2]).unwrap();
    let stricter = world.config.replace("port = 80", "port = 81");
    let error = world.reload(&stricter).await.unwrap_err();
    assert!(error.contains("web.pem"), "{error}");
    assert_eq!(in_force(&world), before);
    std::fs::write(world.file("web.pem"), &whole).unwrap();
    super::agentless::mux(&world, "web.test").await;
}

#[tokio::test]
async fn a_key_that_belongs_to_another_certificate_keeps_the_one_before() {
    let world = agentless_world().await;
    let other = rcgen::generate_simple_self_signed(["web.test".to_owned(), "gate.test".to_owned()])
        .unwrap();
    std::fs::write(world.file("web.key"), other.signing_key.serialize_pem()).unwrap();
    world.reload(&world.config).await.unwrap_err();
    super::agentless::mux(&world, "web.test").await;
}

#[tokio::test]
async fn a_profile_that_cannot_show_the_certificate_draws_no_keys() {
    let change = |config: &str| {
        config.replace(
            r#"address = "127.0.0.1:0""#,
            "address = \"127.0.0.1:0\"\nprofile = \"cnsa2@1\"",
        )
    };
    refused(change, "cnsa2@1").await;
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_the_next_client() {
    let world = agentless_world().await;
    let other = rcgen::generate_simple_self_signed(["web.test".to_owned(), "gate.test".to_owned()])
        .unwrap();
    let old = std::fs::read(world.file("web.pem")).unwrap();
    std::fs::write(world.file("web.pem"), other.cert.pem()).unwrap();
    std::fs::write(world.file("web.key"), other.signing_key.serialize_pem()).unwrap();
    world.reload(&world.config).await.unwrap();
    super::agentless::mux(&world, "web.test").await;
    std::fs::write(world.file("web.pem"), old).unwrap();
    let wrong = super::agentless::dial(&world, "web.test", "h2", false).await;
    assert!(wrong.is_err(), "the old certificate is not shown any more");
}

#[tokio::test]
async fn grants_of_the_file_are_in_force_after_a_reload() {
    let world = World::start(LISTENER).await;
    let agent = world.enrol("laptop").await;
    let mux = agent.channel().await;
    let refused = told(connect(&mux, "echo:7", Some(&agent.token)).await);
    assert!(refused.starts_with("403 denied"), "{refused}");
    let grant = "[[grant]]\nprincipal = \"laptop\"\nservice = \"echo\"";
    world
        .reload(&format!("{}\n{grant}", world.config))
        .await
        .unwrap();
    let echo = Echo::open(&mux, &agent.token).await;
    world.reload(&world.config).await.unwrap();
    echo.cut().await;
    world.event("configuration-loaded", json!({})).await;
}
