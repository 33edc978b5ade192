//! Where verifiers find the keys of identity tokens.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::identity::PublishedKeys;

fn written(world: &World, name: &str) -> Value {
    let text = std::fs::read(world.file(name)).unwrap();
    serde_json::from_slice(&text).unwrap()
}

#[tokio::test]
async fn the_keys_are_the_same_on_the_gateways_name_on_its_socket_and_in_their_file() {
    let keys_file = r#"identity.keys_file = "keys.json""#;
    let world = World::start(&format!("{keys_file}\n{LISTENER}")).await;
    let channel = world.enrol("laptop").await.channel().await;
    let served = request(&channel, Method::GET, PublishedKeys::PATH, &Value::Null).await;
    assert_eq!(served.0, 200);
    assert_eq!(served.1["issuer"], "spiffe://example.org");
    let [key] = served.1["keys"].as_array().unwrap().as_slice() else {
        panic!("{served:?}")
    };
    let kid = key["kid"].as_str().unwrap();
    assert!(kid.starts_with("k4.pid."), "{kid}");
    let asked = world.operate("GET", "/identity/keys", &json!({})).await;
    assert_eq!(asked, served.1);
    assert_eq!(written(&world, "keys.json"), served.1);
    let mode = std::fs::metadata(world.file("keys.json")).unwrap();
    assert_eq!(mode.permissions().mode() & 0o777, 0o644);
    let rotated = json!({ "kind": "identity", "key_id": kid });
    world.event("key-rotated", rotated).await;
}

#[tokio::test]
async fn a_reload_writes_the_keys_of_another_version_before_they_sign() {
    let keys_file = r#"identity.keys_file = "keys.json""#;
    let world = World::start(&format!("{keys_file}\n{LISTENER}")).await;
    let next = world.config.replace(
        keys_file,
        &format!("{keys_file}\nidentity.version = \"v5\""),
    );
    world.reload(&next).await.unwrap();
    let keys = written(&world, "keys.json");
    let kids: Vec<_> = keys["keys"].as_array().unwrap().iter().collect();
    assert!(kids[0]["kid"].as_str().unwrap().starts_with("k4.pid."));
    assert!(kids[1]["kid"].as_str().unwrap().starts_with("k5.pid."));
    let begins: Timestamp = kids[1]["not_before"].as_str().unwrap().parse().unwrap();
    assert!(begins > Timestamp::now());
}

#[tokio::test]
async fn a_reload_with_a_file_that_cannot_be_written_changes_nothing() {
    let world = World::start(LISTENER).await;
    let keys_file = r#"identity.keys_file = "missing/keys.json""#;
    let next = world
        .config
        .replace(LISTENER, &format!("{keys_file}\n{LISTENER}"));
    let refused = world.reload(&next).await.unwrap_err();
    let expected = "the keys of identity tokens cannot be written to `";
    assert!(refused.starts_with(expected), "{refused}");
}
