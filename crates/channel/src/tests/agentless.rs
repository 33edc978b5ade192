//! Clients that are no agents: what they list, what they get, and which certificate they see.

use rustls::crypto::aws_lc_rs::{cipher_suite, kx_group};

use super::*;
use crate::record::CertificateFlaw;
use crate::registry::{Group, Suite};
use crate::server::{ListenerError, Prepared};
use crate::stage::Kind;

fn hybrid() -> (World, Acceptor) {
    let world = World::new(Profile::HybridV1);
    let acceptor = world.acceptor(world.listener(Stage::Hybrid));
    (world, acceptor)
}

#[tokio::test]
async fn a_client_that_lists_x25519_first_still_gets_the_hybrid() {
    let (world, acceptor) = hybrid();
    let client = Agentless::new(
        &world,
        &[
            kx_group::X25519,
            kx_group::SECP256R1,
            kx_group::X25519MLKEM768,
        ],
    );
    let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
    let record = accepted.unwrap().record;
    assert_eq!(record.offered.groups[0], Group::X25519);
    assert_eq!(record.negotiated.unwrap().group, Group::X25519_MLKEM768);
}

#[tokio::test]
async fn an_exception_does_not_downgrade_a_client_that_can_do_better() {
    let world = World::new(Profile::HybridV1);
    let exceptions = vec![exception(SERVICE)];
    let acceptor = world.acceptor(Listener {
        exceptions,
        ..world.listener(Stage::ClassicalCanary)
    });
    let client = Agentless::new(&world, &[kx_group::X25519, kx_group::X25519MLKEM768]);
    let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
    let record = accepted.unwrap().record;
    assert_eq!(record.exception, None);
    assert_eq!(record.negotiated.unwrap().group, Group::X25519_MLKEM768);
}

#[tokio::test]
async fn an_exception_is_for_its_own_name_and_its_own_time() {
    let world = World::new(Profile::HybridV1);
    let client = Agentless::new(&world, &[kx_group::X25519]);
    let other = exception("other.example.org");
    let ended = Exception {
        ends: Timestamp::UNIX_EPOCH,
        ..exception(SERVICE)
    };
    let exceptions = vec![other, ended];
    let acceptor = world.acceptor(Listener {
        exceptions,
        ..world.listener(Stage::ClassicalCanary)
    });
    let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
    assert_eq!(refusal(accepted), Refusal::ClassicalKeyExchange);
}

#[tokio::test]
async fn no_exception_lets_an_agent_in_with_classical_key_exchange() {
    let world = World::new(Profile::HybridV1);
    let exceptions = vec![exception("gateway.example.org")];
    let acceptor = world.acceptor(Listener {
        exceptions,
        ..world.listener(Stage::ClassicalCanary)
    });
    let client = Agentless::new(&world, &[kx_group::X25519]);
    let (accepted, _) = agentless_handshake(&acceptor, &client, "gateway.example.org").await;
    let record = accepted.unwrap_err().record;
    assert_eq!(record.refusal(), Some(&Refusal::ClassicalKeyExchange));
    assert_eq!(record.kind, Some(Kind::Agent));
}

#[tokio::test]
async fn a_change_of_stage_takes_effect_with_the_next_handshake() {
    let (world, acceptor) = hybrid();
    let client = Agentless::new(&world, &[kx_group::X25519MLKEM768]);
    agentless_handshake(&acceptor, &client, SERVICE)
        .await
        .0
        .unwrap();
    let strict = Prepared::new(world.listener(Stage::Strict), world.credentials()).unwrap();
    acceptor.change(strict);
    let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
    assert_eq!(refusal(accepted), Refusal::AgentlessNotAdmitted);
}

#[tokio::test]
async fn settings_that_do_not_hold_are_never_ready_to_be_put_in_force() {
    let world = World::new(Profile::HybridV1);
    let id = "EX-7".to_owned();
    let everyone = Exception {
        sni: None,
        ..exception(SERVICE)
    };
    let unaccounted = Exception {
        owner: " ".to_owned(),
        ..exception(SERVICE)
    };
    for (exception, error) in [
        (
            everyone,
            ListenerError::ExceptionForEveryone { id: id.clone() },
        ),
        (unaccounted, ListenerError::ExceptionUnaccounted { id }),
    ] {
        let exceptions = vec![exception];
        let listener = Listener {
            exceptions,
            ..world.listener(Stage::ClassicalCanary)
        };
        assert_eq!(
            Prepared::new(listener, world.credentials()).unwrap_err(),
            error
        );
    }
}

#[tokio::test]
async fn a_client_that_cannot_verify_ml_dsa_has_no_scheme_in_common_with_the_gateway() {
    let (world, acceptor) = hybrid();
    let client = Agentless::with(&world, |provider| {
        let mapping: Vec<_> = provider.signature_verification_algorithms.mapping[..1].to_vec();
        provider.signature_verification_algorithms.mapping = mapping.leak();
    });
    let (accepted, _) = agentless_handshake(&acceptor, &client, "gateway.example.org").await;
    assert_eq!(refusal(accepted), Refusal::NoCommonSignatureScheme);
}

#[tokio::test]
async fn a_client_without_a_suite_of_the_profile_is_refused() {
    let world = World::new(Profile::Cnsa2V1);
    let acceptor = world.acceptor(world.listener(Stage::Hybrid));
    let client = Agentless::with(&world, |provider| {
        provider.kx_groups = vec![kx_group::MLKEM1024];
        provider.cipher_suites = vec![cipher_suite::TLS13_CHACHA20_POLY1305_SHA256];
    });
    let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
    let record = accepted.unwrap_err().record;
    assert_eq!(record.refusal(), Some(&Refusal::NoCommonSuite));
    assert!(
        record
            .offered
            .suites
            .contains(&Suite::CHACHA20_POLY1305_SHA256)
    );
}

#[tokio::test]
async fn the_profiles_order_of_suites_counts_not_the_clients() {
    let (world, acceptor) = hybrid();
    let client = Agentless::with(&world, |provider| provider.cipher_suites.reverse());
    let (accepted, _) = agentless_handshake(&acceptor, &client, SERVICE).await;
    assert_eq!(
        accepted.unwrap().record.negotiated.unwrap().suite,
        Suite::AES_256_GCM_SHA384
    );
}

#[tokio::test]
async fn a_listener_without_a_certificate_refuses_agentless_clients() {
    let world = World::new(Profile::HybridV1);
    let certificates = Vec::new();
    let acceptor = world.acceptor(Listener {
        certificates,
        ..world.listener(Stage::Hybrid)
    });
    let client = Agentless::new(&world, &[kx_group::X25519MLKEM768]);
    let (accepted, connected) = agentless_handshake(&acceptor, &client, SERVICE).await;
    assert_eq!(refusal(accepted), Refusal::NoCertificate);
    assert!(connected.unwrap_err().to_string().contains("AccessDenied"));
}

#[tokio::test]
async fn the_server_name_chooses_the_certificate_and_any_other_gets_the_first() {
    let world = World::new(Profile::HybridV1);
    let (other, usable) = service_certificate(KeyAlgorithm::EcdsaP256);
    let wildcard = ClassicalCertificate::from_pem("", "").unwrap_err();
    assert!(
        wildcard
            .to_string()
            .starts_with("a certificate for agentless clients cannot be used")
    );
    let certificates = vec![world.service.1.clone(), usable];
    let acceptor = world.acceptor(Listener {
        certificates,
        ..world.listener(Stage::Hybrid)
    });
    let client = Agentless::new(&world, &[kx_group::X25519MLKEM768]);
    for sni in [SERVICE, "web.apps.example.org"] {
        let (_, connected) = agentless_handshake(&acceptor, &client, sni).await;
        assert_ne!(
            connected.unwrap().get_ref().1.peer_certificates().unwrap()[0],
            other
        );
    }
    let (accepted, connected) =
        agentless_handshake(&acceptor, &client, "unknown.example.org").await;
    assert!(connected.is_err());
    assert!(matches!(refusal(accepted), Refusal::ClientAlert(_)));
}

/// Which of these certificates a name gets, by its place among them.
async fn check_choice(certificates: &[&[&str]], sni: &'static str, expected: usize) {
    let world = World::new(Profile::HybridV1);
    let made: Vec<_> = certificates
        .iter()
        .map(|names| certificate_for(KeyAlgorithm::EcdsaP256, names))
        .collect();
    let acceptor = world.acceptor(Listener {
        certificates: Vec::new(),
        ..world.listener(Stage::Hybrid)
    });
    let usable = made.iter().map(|(_, usable)| usable.clone());
    acceptor.certify(usable.collect()).unwrap();
    let client = Agentless::trusting(&made[expected].0, |_| {});
    let (_, connected) = agentless_handshake(&acceptor, &client, sni).await;
    assert!(connected.is_ok(), "{sni} among {certificates:?}");
}

#[tokio::test]
async fn an_exact_name_goes_before_a_wildcard_and_a_wildcard_stands_for_one_label() {
    let certificates: [&[&str]; 3] = [
        &["default.test", "a.b.example.org"],
        &["*.example.org"],
        &["www.example.org", "*.apps.example.org"],
    ];
    check_choice(&certificates, "www.example.org", 2).await;
    check_choice(&certificates, "mail.example.org", 1).await;
    check_choice(&certificates, "x.apps.example.org", 2).await;
    check_choice(&certificates, "a.b.example.org", 0).await;
    check_choice(&certificates, "default.test", 0).await;
}

#[tokio::test]
async fn certificates_that_the_profile_does_not_allow_leave_those_before() {
    let world = World::new(Profile::HybridHighV1);
    let acceptor = world.acceptor(world.listener(Stage::Hybrid));
    let (_, other) = service_certificate(KeyAlgorithm::EcdsaP256);
    acceptor.certify(vec![other]).unwrap_err();
    let client = Agentless::new(&world, &[crate::group::SECP384R1_MLKEM1024]);
    let (_, connected) = agentless_handshake(&acceptor, &client, SERVICE).await;
    connected.unwrap();
}

#[tokio::test]
async fn a_certificate_that_the_profile_does_not_allow_is_refused_when_it_is_configured() {
    let world = World::new(Profile::HybridHighV1);
    let certificates = vec![service_certificate(KeyAlgorithm::EcdsaP256).1];
    let error = Acceptor::new(
        Listener {
            certificates,
            ..world.listener(Stage::Hybrid)
        },
        world.credentials(),
        Limits::default(),
    );
    assert_eq!(
        error.unwrap_err().to_string(),
        "profile `hybrid-high@1` does not allow the key of the certificate for service.example.org, *.apps.example.org"
    );
}

#[tokio::test]
async fn a_stranger_with_a_certificate_of_its_own_is_refused_at_the_gateways_name() {
    let (world, acceptor) = hybrid();
    let other = World::of("example.com", Profile::HybridV1);
    let (accepted, _) = agent_handshake(&acceptor, &world.connector(&other.agent())).await;
    assert_eq!(
        refusal(accepted),
        Refusal::CertificateInvalid(CertificateFlaw::UnknownIssuer)
    );
}

#[tokio::test]
async fn one_who_takes_its_time_over_the_client_hello_is_judged_by_the_settings_of_then() {
    let (world, acceptor) = hybrid();
    let client = Agentless::new(&world, &[kx_group::X25519MLKEM768]);
    let (near, far) = duplex(64 * 1024);
    let late = async {
        tokio::task::yield_now().await;
        acceptor.change(Prepared::new(world.listener(Stage::Strict), world.credentials()).unwrap());
        client.connect(SERVICE, near).await
    };
    let (accepted, _) = tokio::join!(greet(&acceptor, far), late);
    let record = accepted.unwrap_err().record;
    assert_eq!(record.stage, Stage::Strict);
    assert_eq!(record.refusal(), Some(&Refusal::AgentlessNotAdmitted));
}
