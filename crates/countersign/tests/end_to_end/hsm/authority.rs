//! An authority whose key is in a token: what it issues, who waits while it is away, and how one moves there.

use rustix::process::Signal;

use super::{ask, on, shows, start};
use crate::support::hsm::Hsm;
use crate::support::{Gateway, clock_off_by, wait_until};

#[test]
fn an_authority_issues_ecdsa_with_a_key_in_a_token() {
    issues(Hsm::soft(), P384);
}

#[test]
fn an_authority_issues_ml_dsa_with_a_key_in_a_token() {
    issues(Hsm::with_ml_dsa(), ML_DSA);
}

#[test]
fn a_join_waits_for_the_authoritys_token() {
    join_waits(Hsm::soft(), P384);
}

#[test]
fn a_join_waits_for_an_authoritys_token_with_ml_dsa() {
    join_waits(Hsm::with_ml_dsa(), ML_DSA);
}

#[test]
fn an_agent_that_waits_to_join_stops_when_it_is_told_to() {
    let Some(hsm) = Hsm::soft() else {
        return;
    };
    hsm.generate("authority", P384.algorithm);
    let gateway = on(&hsm, &["authority"]).profile(P384.profile).start();
    away(&hsm, &gateway);
    let agent = gateway.agent("laptop").configure();
    let mut process = agent.launch();
    wait_until("the agent waits", || {
        process.log().contains(AWAY).then_some(())
    });
    process.signal(Signal::TERM);
    assert!(process.wait().success());
}

#[test]
fn a_renewal_waits_for_the_authoritys_token() {
    renewal_waits(Hsm::soft(), P384);
}

#[test]
fn a_renewal_waits_for_an_authoritys_token_with_ml_dsa() {
    renewal_waits(Hsm::with_ml_dsa(), ML_DSA);
}

/// As docs/hsm.md has it.
#[test]
fn an_authority_moves_into_a_token_and_no_agent_joins_again() {
    let (Some(hsm), Some(half), Some(over)) =
        (Hsm::soft(), clock_off_by("+35m"), clock_off_by("+75m"))
    else {
        return;
    };
    let (mut gateway, mut agent) = start(on(&hsm, &[]).profile(P384.profile));
    agent.stop();
    hsm.generate("authority", P384.algorithm);
    let config = std::fs::read_to_string(gateway.config()).expect("our own file");
    let key = format!("[keys]\nauthority = \"{}\"", hsm.uri("authority"));
    std::fs::write(gateway.config(), config.replace("[keys]", &key)).expect("our own file");
    gateway.start_again(&[]);
    assert_eq!(gateway.audited("trust-bundle-published").len(), 1);

    // The one before issues until every agent has taken the bundle: the token is not asked.
    away(&hsm, &gateway);
    drop(gateway.agent("second").start());
    back(&hsm, &gateway);

    gateway.start_again(&half);
    let process = agent.launch_with(&half);
    wait_until("the agent has renewed, and has the bundle", || {
        renewed(&gateway)
    });
    drop(process);

    gateway.start_again(&over);
    away(&hsm, &gateway);
    let process = agent.launch_with(&over);
    wait_until("the token is asked for a certificate", || refused(&gateway));
    back(&hsm, &gateway);
    wait_until("the agent has a certificate of the new authority", || {
        renewed(&gateway).filter(|count| *count > 1)
    });
    drop(process);

    // Taken out again: the one in the database issues.
    std::fs::write(gateway.config(), config).expect("our own file");
    gateway.start_again(&over);
    let _process = agent.launch_with(&over);
    wait_until("the agent trusts the one before", || {
        agent.is_ready().then_some(())
    });
    assert_eq!(gateway.audited("enrolment-allowed").len(), 2);
}

/// As docs/hsm.md warns.
#[test]
fn an_authority_that_another_replaces_at_once_is_missed_until_certificates_end() {
    let (Some(hsm), Some(over)) = (Hsm::soft(), clock_off_by("+75m")) else {
        return;
    };
    for key in ["authority", "another"] {
        hsm.generate(key, P384.algorithm);
    }
    let (mut gateway, mut agent) = start(on(&hsm, &["authority"]).profile(P384.profile));
    agent.stop();
    let config = std::fs::read_to_string(gateway.config()).expect("our own file");
    let config = config.replace("object=authority", "object=another");
    std::fs::write(gateway.config(), config).expect("our own file");
    gateway.start_again(&[]);
    let process = agent.launch();
    wait_until("the agent does not trust the gateway", || {
        process.log().contains("no channel").then_some(())
    });
    assert!(!agent.is_ready());
    drop(process);
    gateway.start_again(&over);
    let _process = agent.launch_with(&over);
    wait_until("the agent has joined again", || {
        agent.is_ready().then_some(())
    });
    assert_eq!(gateway.audited("enrolment-allowed").len(), 2);
}

fn issues(hsm: Option<Hsm>, kind: Kind) {
    let Some(hsm) = hsm else {
        return;
    };
    let public = hsm.generate("authority", kind.algorithm);
    assert!(
        public.starts_with("-----BEGIN PUBLIC KEY-----\n") || public.starts_with("k5.public."),
        "{public}"
    );
    let (gateway, agent) = start(on(&hsm, &["authority"]).profile(kind.profile));
    assert_eq!(ask(&agent, "wiki").0, 200);
    let log = gateway.log();
    let place = format!("the PKCS#11 token `gateway` ({})", kind.name);
    assert!(log.contains(&place), "{log}");
    let record = &gateway.ask(&["sessions", "list"])["sessions"][0]["record"];
    for signed in [&record["negotiated"]["scheme"], &record["peer"]["scheme"]] {
        assert!(signed.to_string().contains(kind.scheme), "{record}");
    }
}

fn join_waits(hsm: Option<Hsm>, kind: Kind) {
    let Some(hsm) = hsm else {
        return;
    };
    hsm.generate("authority", kind.algorithm);
    let (gateway, agent) = start(on(&hsm, &["authority"]).profile(kind.profile));
    away(&hsm, &gateway);
    assert_eq!(ask(&agent, "shop").0, 200);
    let later = gateway.agent("later").listener("echo").configure();
    let mut process = later.launch();
    wait_until("the agent is told why it waits", || {
        assert!(process.is_running(), "{}", process.log());
        process.log().contains(AWAY).then_some(())
    });
    let refused = gateway.audited("enrolment-refused")[0].to_string();
    assert!(
        refused.contains("the token `gateway` is out of reach"),
        "{refused}"
    );
    back(&hsm, &gateway);
    wait_until("the agent has joined", || later.is_ready().then_some(()));
}

fn renewal_waits(hsm: Option<Hsm>, kind: Kind) {
    let (Some(hsm), Some(half)) = (hsm, clock_off_by("+35m")) else {
        return;
    };
    hsm.generate("authority", kind.algorithm);
    let (mut gateway, mut agent) = start(on(&hsm, &["authority"]).profile(kind.profile));
    agent.stop();
    gateway.start_again(&half);
    away(&hsm, &gateway);
    let process = agent.launch_with(&half);
    wait_until("the agent is told why it waits", || {
        process.log().contains(AWAY).then_some(())
    });
    assert!(refused(&gateway).is_some());
    assert_eq!(ask(&agent, "wiki").0, 200);
    back(&hsm, &gateway);
    wait_until("the agent has renewed", || renewed(&gateway));
    assert_eq!(ask(&agent, "wiki").0, 200);
}

fn away(hsm: &Hsm, gateway: &Gateway) {
    hsm.take_away();
    wait_until("the loss is shown", || shows(gateway, 0));
}

fn back(hsm: &Hsm, gateway: &Gateway) {
    hsm.put_back();
    wait_until("the token is back", || shows(gateway, 1));
}

/// How often the first agent has renewed its certificate.
fn renewed(gateway: &Gateway) -> Option<usize> {
    let renewals = gateway.audited("certificate-renewed");
    let of_agent = |event: &&serde_json::Value| event.to_string().contains("/agent/laptop");
    let count = renewals.iter().filter(of_agent).count();
    (count > 0).then_some(count)
}

/// A renewal that was refused since the token is away.
fn refused(gateway: &Gateway) -> Option<()> {
    let refused = gateway.audited("renewal-refused");
    let told = |event: &serde_json::Value| event.to_string().contains("is out of reach");
    refused.iter().any(told).then_some(())
}

/// What an authority is made of, and what comes of it.
#[derive(Clone, Copy)]
struct Kind {
    algorithm: &'static str,
    name: &'static str,
    profile: &'static str,
    scheme: &'static str,
}

const P384: Kind = Kind {
    algorithm: "p384",
    name: "ECDSA P-384",
    profile: "fips-hybrid@1",
    scheme: "ecdsa_secp",
};
const ML_DSA: Kind = Kind {
    algorithm: "ml-dsa-87",
    name: "ML-DSA-87",
    profile: "hybrid@1",
    scheme: "mldsa65",
};
const AWAY: &str = "its authority's key is out of reach";
