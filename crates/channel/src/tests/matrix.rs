//! Every stage under every profile, for agents, for agentless clients and for classical ones.

use rustls::crypto::aws_lc_rs::kx_group;

use super::*;
use crate::provider::crypto_provider;
use crate::record::Outcome;
use crate::stage::{Admission, Kind};

fn all_rules() -> impl Iterator<Item = Rules> {
    Stage::ALL.into_iter().flat_map(|stage| {
        Profile::ALL
            .into_iter()
            .filter_map(move |profile| Rules::new(stage, profile).ok())
    })
}

#[tokio::test]
async fn an_agent_gets_in_everywhere_with_the_profiles_first_choices() {
    for rules in all_rules() {
        let world = World::new(rules.profile());
        let acceptor = world.acceptor(world.listener(rules.stage()));
        let svid = world.agent();
        let (accepted, connected) = agent_handshake(&acceptor, &world.connector(&svid)).await;
        let (accepted, connected) = (accepted.unwrap(), connected.unwrap());
        let record = &accepted.record;
        let negotiated = record.negotiated.as_ref().unwrap();
        assert_eq!(record.outcome, Outcome::Established);
        assert_eq!(record.kind, Some(Kind::Agent));
        assert_eq!(record.offered.groups, world.profile.groups());
        assert_eq!(record.offered.schemes, world.profile.agent_schemes());
        assert_eq!(record.offered.suites.len(), world.profile.suites().len());
        assert_eq!(negotiated.group, world.profile.groups()[0]);
        assert_eq!(negotiated.suite, world.profile.suites()[0]);
        assert_eq!(negotiated.scheme, world.profile.leaf_key().scheme());
        assert_eq!(negotiated.alpn.as_deref(), Some("h2"));
        assert_eq!(record.peer.as_ref().unwrap().id, *svid.id());
        assert_eq!(
            record.peer.as_ref().unwrap().spki_sha384,
            svid.key().public_key().hash()
        );
        assert_eq!(connected.view.negotiated, *negotiated);
        assert_eq!(
            connected.view.gateway.id.to_string(),
            "spiffe://example.org/gateway/main"
        );
        assert_eq!(Some(connected.binding().unwrap()), accepted.binding);
    }
}

#[tokio::test]
async fn an_agentless_client_gets_in_where_the_stage_says() {
    for rules in all_rules() {
        let world = World::new(rules.profile());
        let client = Agentless::new(&world, &crypto_provider(rules.profile()).kx_groups);
        for admit_agentless in [false, true] {
            let listener = Listener {
                admit_agentless,
                ..world.listener(rules.stage())
            };
            let (accepted, _) =
                agentless_handshake(&world.acceptor(listener), &client, SERVICE).await;
            if rules.admission(Kind::Agentless) == Admission::PostQuantumIfListed
                && !admit_agentless
            {
                assert_eq!(refusal(accepted), Refusal::AgentlessNotAdmitted);
                continue;
            }
            let record = accepted.unwrap().record;
            let negotiated = record.negotiated.as_ref().unwrap();
            assert_eq!(record.kind, Some(Kind::Agentless));
            assert_eq!(record.peer, None);
            assert!(rules.profile().groups().contains(&negotiated.group));
            assert!(
                rules
                    .profile()
                    .agentless_schemes()
                    .contains(&negotiated.scheme)
            );
        }
    }
}

#[tokio::test]
async fn a_classical_client_gets_in_nowhere_but_under_an_exception() {
    for rules in all_rules() {
        let world = World::new(rules.profile());
        let client = Agentless::new(
            &world,
            &[kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1],
        );
        let open = Listener {
            admit_agentless: true,
            ..world.listener(rules.stage())
        };
        let (accepted, _) =
            agentless_handshake(&world.acceptor(open.clone()), &client, SERVICE).await;
        assert_eq!(refusal(accepted), Refusal::ClassicalKeyExchange);

        let excepted = Listener {
            exceptions: vec![exception(SERVICE)],
            ..open
        };
        let (accepted, connected) =
            agentless_handshake(&world.acceptor(excepted), &client, SERVICE).await;
        if rules.stage() == Stage::ClassicalCanary {
            let record = accepted.unwrap().record;
            assert_eq!(record.exception.as_deref(), Some("EX-7"));
            assert!(record.is_classical());
            assert!(
                rules
                    .profile()
                    .canary_groups()
                    .contains(&record.negotiated.unwrap().group)
            );
            connected.unwrap();
        } else {
            assert_eq!(refusal(accepted), Refusal::ClassicalKeyExchange);
        }
    }
}
