//! Agents and gateways that are who they say they are, and others.

use std::time::Duration;

use super::*;
use crate::record::CertificateFlaw;

async fn check(acceptor: &Acceptor, connector: &Connector, flaw: CertificateFlaw, alert: &str) {
    let (accepted, connected) = agent_handshake(acceptor, connector).await;
    assert_eq!(refusal(accepted), Refusal::CertificateInvalid(flaw));
    assert_eq!(
        connected.unwrap_err(),
        ConnectError::Refused {
            alert: alert.to_owned()
        }
    );
}

fn open(world: &World) -> Acceptor {
    world.acceptor(world.listener(Stage::Strict))
}

#[tokio::test]
async fn an_agent_without_a_certificate_gets_in_to_enrol() {
    let world = World::new(Profile::HybridV1);
    let connector = Connector::anonymous(world.profile, world.bundle.clone()).unwrap();
    let (accepted, connected) = agent_handshake(&open(&world), &connector).await;
    assert_eq!(accepted.unwrap().record.peer, None);
    assert_eq!(connected.unwrap().view.own, None);
}

#[tokio::test]
async fn an_agent_of_another_authority_is_refused() {
    let (world, other) = (World::new(Profile::HybridV1), World::new(Profile::HybridV1));
    let connector = world.connector(&other.agent());
    check(
        &open(&world),
        &connector,
        CertificateFlaw::UnknownIssuer,
        "unknown_ca",
    )
    .await;
}

#[tokio::test]
async fn an_agent_of_another_trust_domain_is_refused_even_by_an_anchor_of_ours() {
    let (world, other) = (
        World::new(Profile::HybridV1),
        World::of("example.com", Profile::HybridV1),
    );
    let draft = BundleDraft {
        trust_domain: world.trust_domain.clone(),
        version: 2,
        issued_at: Timestamp::now(),
        anchors: vec![
            world.authority.anchor().clone(),
            other.authority.anchor().clone(),
        ],
    };
    let bundle = world
        .root
        .sign(&draft)
        .unwrap()
        .verify(&world.root.pin(), &world.trust_domain)
        .unwrap();
    let acceptor = open(&world);
    acceptor
        .renew(Credentials {
            svid: Arc::new(world.gateway()),
            bundle: Arc::new(bundle),
        })
        .unwrap();
    let connector = world.connector(&other.agent());
    check(
        &acceptor,
        &connector,
        CertificateFlaw::WrongTrustDomain,
        "certificate_unknown",
    )
    .await;
}

#[tokio::test]
async fn a_gateway_is_no_agent() {
    let world = World::new(Profile::HybridV1);
    let connector = world.connector(&world.gateway());
    check(
        &open(&world),
        &connector,
        CertificateFlaw::WrongKind,
        "certificate_unknown",
    )
    .await;
}

#[tokio::test]
async fn an_expired_certificate_and_one_of_tomorrow_are_refused() {
    let world = World::new(Profile::HybridV1);
    let (now, hour) = (Timestamp::now(), Duration::from_secs(3600));
    let id = world.trust_domain.agent("laptop").unwrap();
    let expired = world.svid(&id, Validity::new(now - 2 * hour, now - hour));
    let early = world.svid(&id, Validity::new(now + hour, now + 2 * hour));
    let acceptor = open(&world);
    check(
        &acceptor,
        &world.connector(&expired),
        CertificateFlaw::Expired,
        "certificate_expired",
    )
    .await;
    check(
        &acceptor,
        &world.connector(&early),
        CertificateFlaw::NotYetValid,
        "certificate_expired",
    )
    .await;
}

#[tokio::test]
async fn an_agent_refuses_what_is_no_gateway() {
    let world = World::new(Profile::HybridV1);
    let other = World::new(Profile::HybridV1);
    let (_, connected) = agent_handshake(&open(&other), &world.connector(&world.agent())).await;
    let expected = ConnectError::GatewayCertificate(CertificateFlaw::UnknownIssuer);
    assert_eq!(connected.unwrap_err(), expected);
}

#[tokio::test]
async fn a_gateway_that_an_agent_refuses_learns_the_alert() {
    let (world, other) = (World::new(Profile::HybridV1), World::new(Profile::HybridV1));
    let (accepted, _) = agent_handshake(&open(&other), &world.connector(&world.agent())).await;
    assert_eq!(
        refusal(accepted),
        Refusal::ClientAlert("unknown_ca".to_owned())
    );
}

#[tokio::test]
async fn an_agent_cannot_pose_as_a_gateway() {
    let world = World::new(Profile::HybridV1);
    let error = Acceptor::new(
        world.listener(Stage::Hybrid),
        Credentials {
            svid: Arc::new(world.agent()),
            bundle: world.bundle.clone(),
        },
        Limits::default(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "`spiffe://example.org/agent/laptop` is no gateway of the trust domain `example.org`"
    );
}

#[tokio::test]
async fn a_key_that_the_profile_does_not_allow_is_refused_before_anything_is_sent() {
    let (strong, weak) = (World::new(Profile::Cnsa2V1), World::new(Profile::HybridV1));
    let error = Connector::new(Profile::Cnsa2V1, strong.bundle.clone(), &weak.agent()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "profile `cnsa2@1` does not allow our own key, mldsa65"
    );
}

#[tokio::test]
async fn agents_of_another_profile_share_no_group() {
    let world = World::new(Profile::HybridV1);
    let connector = Connector::anonymous(Profile::Cnsa2V1, world.bundle.clone()).unwrap();
    let (accepted, connected) = agent_handshake(&open(&world), &connector).await;
    assert_eq!(refusal(accepted), Refusal::NoCommonGroup);
    let alert = "handshake_failure".to_owned();
    assert_eq!(connected.unwrap_err(), ConnectError::Refused { alert });
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_handshake_on() {
    let world = World::new(Profile::HybridV1);
    let acceptor = open(&world);
    let connector = world.connector(&world.agent());
    let (_, before) = agent_handshake(&acceptor, &connector).await;
    acceptor.renew(world.credentials()).unwrap();
    let (_, after) = agent_handshake(&acceptor, &connector).await;
    assert_ne!(
        before.unwrap().view.gateway.spki_sha384,
        after.unwrap().view.gateway.spki_sha384
    );
}

#[tokio::test]
async fn every_handshake_is_a_full_one() {
    let world = World::new(Profile::HybridV1);
    let acceptor = open(&world);
    let connector = world.connector(&world.agent());
    for _ in 0..3 {
        let (accepted, _) = agent_handshake(&acceptor, &connector).await;
        let kind = accepted.unwrap().stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
}
