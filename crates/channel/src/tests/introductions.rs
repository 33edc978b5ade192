//! First contact: the right gateway, and those who would like to be it.

use std::time::Duration;

use super::*;
use crate::client::{Introduced, Introduction, IntroductionError, Known};
use crate::identity::{BundleError, SignedTrustBundle, SpkiHash};
use crate::record::CertificateFlaw;

/// A gateway that answers one request with this body.
async fn serve(acceptor: &Acceptor, io: DuplexStream, response: String) -> String {
    let mut accepted = acceptor.accept(io, peer()).await.unwrap();
    assert_eq!(
        accepted.record.negotiated.unwrap().alpn.as_deref(),
        Some("http/1.1")
    );
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert_ne!(accepted.stream.read_buf(&mut request).await.unwrap(), 0);
    }
    accepted
        .stream
        .write_all(response.as_bytes())
        .await
        .unwrap();
    let _ = accepted.stream.shutdown().await;
    String::from_utf8(request).unwrap()
}

fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn fetch(world: &World, response: String) -> Result<Introduced, IntroductionError> {
    let acceptor = world.acceptor(world.listener(Stage::Hybrid));
    let (near, far) = duplex(64 * 1024);
    let client = async {
        Introduction::start(world.profile, &world.trust_domain, near)
            .await?
            .fetch()
            .await
    };
    let (request, introduced) = tokio::join!(serve(&acceptor, far, response), client);
    assert_eq!(
        request,
        "GET /.well-known/countersign/bundle HTTP/1.1\r\nHost: gateway.example.org\r\nConnection: close\r\n\r\n"
    );
    introduced
}

async fn introduce(
    gateway: &World,
    bundle: &SignedTrustBundle,
    pin: SpkiHash,
    now: Timestamp,
) -> Result<Known, IntroductionError> {
    fetch(gateway, ok(&bundle.to_json()))
        .await?
        .verify(&pin, now)
}

#[tokio::test]
async fn the_right_gateway_is_known_by_its_pin_and_then_by_its_certificate() {
    for profile in Profile::ALL {
        let world = World::new(profile);
        let known = introduce(
            &world,
            world.bundle.signed(),
            world.root.pin(),
            Timestamp::now(),
        )
        .await
        .unwrap();
        assert_eq!(
            known.gateway.to_string(),
            "spiffe://example.org/gateway/main"
        );
        assert_eq!(known.bundle.version(), 1);
        let acceptor = world.acceptor(world.listener(Stage::Hybrid));
        let (accepted, connected) = agent_handshake(&acceptor, &known.connector).await;
        accepted.unwrap();
        connected.unwrap();
    }
}

#[tokio::test]
async fn a_bundle_of_another_key_is_refused() {
    let (world, other) = (World::new(Profile::HybridV1), World::new(Profile::HybridV1));
    let error = introduce(
        &other,
        other.bundle.signed(),
        world.root.pin(),
        Timestamp::now(),
    )
    .await
    .unwrap_err();
    let (pinned, found) = (world.root.pin(), other.root.pin());
    assert_eq!(
        error,
        IntroductionError::Bundle(BundleError::WrongKey { pinned, found })
    );
}

#[tokio::test]
async fn somebody_who_shows_the_right_bundle_and_is_not_in_it_is_refused() {
    let (world, other) = (World::new(Profile::HybridV1), World::new(Profile::HybridV1));
    let error = introduce(
        &other,
        world.bundle.signed(),
        world.root.pin(),
        Timestamp::now(),
    )
    .await
    .unwrap_err();
    assert_eq!(
        error,
        IntroductionError::Gateway(CertificateFlaw::UnknownIssuer)
    );
}

#[tokio::test]
async fn a_clock_that_is_off_is_named_with_the_times() {
    let world = World::new(Profile::HybridV1);
    let now = Timestamp::now() - Duration::from_secs(600);
    let error = introduce(&world, world.bundle.signed(), world.root.pin(), now)
        .await
        .unwrap_err();
    assert!(
        matches!(error, IntroductionError::Clock { now: shown, not_before, .. } if shown == now && not_before > now)
    );
}

#[tokio::test]
async fn an_answer_that_is_no_bundle_is_refused() {
    let world = World::new(Profile::HybridV1);
    let cases = [
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
            "what answered is no gateway: it answered with the status `404`",
        ),
        (
            "HTTP/1.1 200 OK\r\n\r\n",
            "what answered is no gateway: its answer has no length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "what answered is no gateway: its answer has no length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\ncontent-length: 2\r\n\r\n{}",
            "what answered is no gateway: its answer has no length",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}",
            "what answered is no gateway: its answer was cut off",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}!",
            "what answered is no gateway: its answer has another length than it says",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
            "the trust bundle cannot be read",
        ),
        (
            "220 smtp\r\n\r\n",
            "what answered is no gateway: it answered with the status `smtp`",
        ),
    ];
    for (response, expected) in cases {
        let error = fetch(&world, response.to_owned()).await.unwrap_err();
        assert_eq!(error.to_string(), expected, "{response}");
    }
}
