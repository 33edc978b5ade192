//! How a service learns who calls: by a token that the keys verify which anyone may fetch.

use countersign_paseto::{Key, KeyRing, KeySet, Public, Rules, V4, Verified, Window};

use super::*;
use crate::identity::PublishedKeys;

/// The keys as any HTTPS client gets them, by the service's own name.
async fn fetched(client: &mut Http2) -> PublishedKeys {
    let uri = format!("https://web.test{}", PublishedKeys::PATH);
    let (status, keys) = answer(client, get(&uri)).await;
    assert_eq!(status, 200, "{keys}");
    serde_json::from_str(&keys).unwrap()
}

/// What the service that hears this request knows of its caller.
fn caller(keys: &PublishedKeys, heard: &str) -> Verified<Value> {
    let with = |set: KeySet, key: &crate::identity::IdentityKey| {
        let public = Key::<V4, Public>::from_paserk(&key.paserk).unwrap();
        set.with(public, Window::from(key.not_before))
    };
    let ring = KeyRing::new(keys.keys.iter().fold(KeySet::new(), with));
    let rules = Rules::new().issuer("spiffe://example.org").audience("site");
    let token = field(heard, "countersign-identity");
    ring.verify(token, b"", &rules, Timestamp::now()).unwrap()
}

#[tokio::test]
async fn a_service_verifies_who_calls_with_keys_that_it_fetches_by_its_own_name() {
    let site = Site::open().await;
    let mut stranger = http2(&site.world).await;
    let keys = fetched(&mut stranger).await;
    assert_eq!(site.service.heard(), Vec::<String>::new());
    answer(&mut stranger, get("https://web.test/")).await;
    let heard = site.service.heard_once();
    let called = caller(&keys, &heard);
    assert_eq!(called.subject(), Some("anonymous"));
    assert_eq!(called["channel"]["post_quantum"], true);
    let channel = json!({ "channel": called["channel"]["id"] });
    site.world.event("channel-opened", channel).await;

    let agent = site.world.enrol("laptop").await;
    site.world.grant("laptop", "site").await;
    let mux = agent.channel().await;
    request(&mux, Method::POST, "/v1/token", &json!({})).await;
    let asked = Request::get("https://site/").body(Bytes::new()).unwrap();
    within(mux.request(asked)).await.unwrap();
    let heard = site.service.heard();
    let called = caller(&keys, &heard[1]);
    assert_eq!(called.subject(), Some("spiffe://example.org/agent/laptop"));
    assert_eq!(called["principal"]["kind"], "agent");
    assert_eq!(called["appraisal"]["result"], "none");
}

#[tokio::test]
async fn the_keys_are_there_for_whoever_no_grant_lets_in() {
    let site = Site::start(Service::answering(OK).await, "").await;
    let mut stranger = http2(&site.world).await;
    assert_eq!(answer(&mut stranger, get("https://web.test/")).await.0, 403);
    fetched(&mut stranger).await;
    let path = PublishedKeys::PATH;
    let request = format!("GET {path} HTTP/1.1\r\nHost: web.test\r\nConnection: close\r\n\r\n");
    let answered = http1(&site.world, &request).await;
    let answered = answered.to_ascii_lowercase();
    assert!(answered.starts_with("http/1.1 200 ok\r\n"), "{answered}");
    let kept = "\r\ncache-control: public, max-age=3600\r\n";
    assert!(answered.contains(kept), "{answered}");
    let elsewhere = get(&format!("https://other.test{path}"));
    assert_eq!(answer(&mut stranger, elsewhere).await.0, 421);
    assert_eq!(site.service.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn requests_of_a_channel_carry_one_token() {
    let site = Site::open().await;
    let mut client = http2(&site.world).await;
    for _ in 0..3 {
        answer(&mut client, get("https://web.test/")).await;
    }
    let heard = site.service.heard();
    let tokens: Vec<_> = heard
        .iter()
        .map(|one| field(one, "countersign-identity"))
        .collect();
    assert_eq!(tokens, [tokens[0]; 3]);
}
