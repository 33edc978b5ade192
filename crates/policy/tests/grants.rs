//! The built-in bundle: who reaches what.

use countersign_policy::{Facts, Policy};
use fixture::{AGENT, agent, anonymous, bearer, built_in, cert, decide};
use proptest::prelude::*;

mod fixture;

const NOBODY: &str = "no grant";
const OTHER: &str = "token for another service";

#[track_caller]
fn check(facts: &Facts, service: &str, grants: &[(&str, &str)], expected: &str) {
    let policy = built_in(grants);
    // Twice: what is remembered is what was decided.
    for _ in 0..2 {
        let rule = match decide(&policy, facts, service) {
            Ok(permit) => permit.rule().to_owned(),
            Err(denial) => {
                assert_eq!(denial.rule(), expected);
                assert!(denial.policy_error().is_none(), "{denial}");
                continue;
            }
        };
        assert_eq!(rule, expected);
        assert!(
            rule.starts_with("grant ") || rule.starts_with("token "),
            "`{rule}` allowed"
        );
    }
}

#[test]
fn without_grants_nobody_reaches_anything() {
    check(&agent(AGENT), "postgres", &[], NOBODY);
    check(&anonymous(), "postgres", &[], NOBODY);
}

#[test]
fn an_exact_grant_lets_its_principal_reach_its_service_and_names_itself() {
    let rule = "grant spiffe://example.org/agent/laptop -> postgres";
    check(&agent(AGENT), "postgres", &[(AGENT, "postgres")], rule);
}

#[test]
fn a_grant_for_another_service_or_principal_does_not_help() {
    let grants = [
        (AGENT, "redis"),
        ("spiffe://example.org/agent/laptop2", "postgres"),
    ];
    check(&agent(AGENT), "postgres", &grants, NOBODY);
    check(&agent(AGENT), "postgre", &[(AGENT, "postgres")], NOBODY);
    check(&agent(AGENT), "POSTGRES", &[(AGENT, "postgres")], NOBODY);
}

#[test]
fn a_prefix_covers_what_lies_below_it_at_any_depth() {
    for prefix in ["spiffe://example.org/agent/*", "spiffe://example.org/*"] {
        let rule = format!("grant {prefix} -> postgres");
        check(&agent(AGENT), "postgres", &[(prefix, "postgres")], &rule);
        let deep = agent("spiffe://example.org/agent/rack/7");
        check(&deep, "postgres", &[(prefix, "postgres")], &rule);
    }
}

#[test]
fn a_prefix_ends_at_a_segment() {
    for (identity, prefix) in [
        (
            "spiffe://example.org/agents/a",
            "spiffe://example.org/agent/*",
        ),
        ("spiffe://example.org/agent", "spiffe://example.org/agent/*"),
        (
            "spiffe://example.org.evil.example/agent/a",
            "spiffe://example.org/*",
        ),
        ("spiffe://other.org/agent/a", "spiffe://example.org/*"),
    ] {
        check(
            &agent(identity),
            "postgres",
            &[(prefix, "postgres")],
            NOBODY,
        );
    }
}

#[test]
fn a_star_is_every_service() {
    check(
        &agent(AGENT),
        "anything",
        &[(AGENT, "*")],
        &format!("grant {AGENT} -> *"),
    );
}

#[test]
fn a_request_for_the_service_star_is_no_wildcard() {
    check(&agent(AGENT), "*", &[(AGENT, "postgres")], NOBODY);
}

#[test]
fn the_most_exact_grant_names_the_decision() {
    let grants = [
        ("spiffe://example.org/*", "postgres"),
        ("spiffe://example.org/agent/*", "*"),
        ("spiffe://example.org/agent/*", "postgres"),
    ];
    let rule = "grant spiffe://example.org/agent/* -> postgres";
    check(&agent(AGENT), "postgres", &grants, rule);
}

#[test]
fn an_anonymous_client_needs_a_grant_that_names_it() {
    check(
        &anonymous(),
        "web",
        &[("spiffe://example.org/*", "*"), (AGENT, "web")],
        NOBODY,
    );
    check(
        &anonymous(),
        "web",
        &[("anonymous", "web")],
        "grant anonymous -> web",
    );
    check(&anonymous(), "ssh", &[("anonymous", "web")], NOBODY);
}

#[test]
fn a_grant_for_anonymous_is_not_one_for_agents() {
    check(&agent(AGENT), "web", &[("anonymous", "*")], NOBODY);
}

#[test]
fn a_bearer_token_is_the_grant_for_its_service() {
    let holder = bearer("ci", "web");
    check(&holder, "web", &[], "token bearer:ci -> web");
    check(
        &holder,
        "web",
        &[("bearer:*", "web")],
        "token bearer:ci -> web",
    );
}

#[test]
fn a_bearer_token_opens_no_other_service_whatever_is_granted() {
    let grants = [("bearer:ci", "postgres"), ("bearer:*", "*")];
    check(&bearer("ci", "web"), "postgres", &grants, OTHER);
    check(&bearer("ci", "web"), "*", &grants, OTHER);
    let everything = r#"package countersign.access
        decision := {"allow": true, "rule": "everything"}"#;
    let policy = fixture::module(everything, countersign_policy::Limits::default());
    let denial = decide(&policy, &bearer("ci", "web"), "postgres").unwrap_err();
    assert_eq!(denial.rule(), OTHER);
    assert!(decide(&policy, &bearer("ci", "web"), "web").is_ok());
}

#[test]
fn a_policy_of_ones_own_may_narrow_what_a_bearer_token_opens() {
    let with_grant = r#"package countersign.access
        decision := {"allow": true, "rule": "named"} if data.grants[input.principal.names[0]][input.request.service]"#;
    let policy = fixture::module(with_grant, countersign_policy::Limits::default());
    let denial = decide(&policy, &bearer("ci", "web"), "web").unwrap_err();
    assert_eq!(denial.rule(), NOBODY);
}

#[test]
fn a_certificate_needs_a_grant_that_names_it_or_covers_it() {
    let alice = cert("partners", "team/alice");
    let rule = |principal: &str| format!("grant {principal} -> web");
    for principal in [
        "cert:partners/team/alice",
        "cert:partners/team/*",
        "cert:partners/*",
    ] {
        check(&alice, "web", &[(principal, "web")], &rule(principal));
    }
    for principal in [
        "cert:partner/team/alice",
        "cert:partners/team/alic",
        "cert:partners/team/alice/*",
        "cert:partners/tea/*",
        "bearer:team/alice",
        "anonymous",
    ] {
        check(&alice, "web", &[(principal, "web")], NOBODY);
    }
}

#[test]
fn a_certificate_with_the_name_of_an_agent_is_not_that_agent() {
    let grants = [(AGENT, "postgres"), ("spiffe://example.org/*", "*")];
    check(&cert("partners", AGENT), "postgres", &grants, NOBODY);
    let own = format!("cert:partners/{AGENT}");
    let rule = format!("grant {own} -> postgres");
    check(
        &cert("partners", AGENT),
        "postgres",
        &[(&own, "postgres")],
        &rule,
    );
    check(&agent(AGENT), "postgres", &[(&own, "postgres")], NOBODY);
}

#[test]
fn a_bearer_called_anonymous_is_not_anonymous() {
    let holder = cert("anonymous", "anonymous");
    check(&holder, "web", &[("anonymous", "web")], NOBODY);
}

#[test]
fn a_permit_and_a_denial_say_what_decided() {
    let policy = built_in(&[(AGENT, "postgres")]);
    let permit = decide(&policy, &agent(AGENT), "postgres").unwrap();
    assert_eq!((permit.service(), permit.port()), ("postgres", 5432));
    assert_eq!(
        (permit.bundle_revision(), permit.policy_revision()),
        ("built-in@3", 7)
    );
    assert_eq!(
        permit.id().to_string(),
        "01010101-0101-4101-8101-010101010101"
    );
    let denial = decide(&policy, &anonymous(), "postgres").unwrap_err();
    assert_eq!(
        denial.to_string(),
        "`anonymous` may not reach `postgres`: no grant"
    );
}

#[test]
fn one_policy_decides_from_many_threads_at_once() {
    let policy = built_in(&[(AGENT, "s0"), (AGENT, "s2")]);
    let facts = agent(AGENT);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for round in 0..200 {
                    let allowed = decide(&policy, &facts, &format!("s{}", round % 4)).is_ok();
                    assert_eq!(allowed, round % 2 == 0);
                }
            });
        }
    });
}

fn identity() -> impl Strategy<Value = String> {
    prop::collection::vec("[ab]{1,2}", 1..4)
        .prop_map(|path| format!("spiffe://example.org/{}", path.join("/")))
}

fn grant() -> impl Strategy<Value = (String, String)> {
    let principal = prop_oneof![
        identity(),
        identity().prop_map(|id| id + "/*"),
        Just("spiffe://example.org/*".to_owned()),
        Just("anonymous".to_owned())
    ];
    (principal, "[xy]|\\*")
}

/// What a grant means, said without Rego.
fn covers((principal, service): &(String, String), name: &str, wanted: &str) -> bool {
    let below = |prefix: &str| name.starts_with(prefix) && name.len() > prefix.len();
    let principal = principal.strip_suffix('*').map_or(principal == name, below);
    principal && (service == "*" || service == wanted)
}

/// A name as certificates and tokens have them.
fn name() -> impl Strategy<Value = String> {
    (
        prop::option::of(Just("spiffe://")),
        prop::collection::vec("[ab.]{0,1}[ab@:]{1,2}", 1..4),
    )
        .prop_map(|(scheme, path)| format!("{}{}", scheme.unwrap_or_default(), path.join("/")))
}

fn any_facts() -> impl Strategy<Value = Facts> {
    (
        any::<[u8; 4]>(),
        proptest::option::of("\\PC{0,40}"),
        "\\PC{0,40}",
        any::<bool>(),
    )
        .prop_map(|(source, sni, listener, known)| {
            let channel = countersign_policy::ChannelFacts {
                source: source.into(),
                sni,
                listener,
                ..fixture::channel()
            };
            match known {
                true => Facts::agent(&fixture::token(AGENT, "t"), &fixture::KEY, channel)
                    .expect("its key"),
                false => Facts::anonymous(channel),
            }
        })
}

fn rule(policy: &Policy, facts: &Facts, service: &str) -> Option<String> {
    decide(policy, facts, service)
        .ok()
        .map(|permit| permit.rule().to_owned())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_else_is_true_no_grant_is_deny(facts in any_facts(), service in "\\PC{0,60}") {
        let policy = built_in(&[("spiffe://other.org/*", "*")]);
        let denial = decide(&policy, &facts, &service).unwrap_err();
        prop_assert_eq!(denial.rule(), NOBODY);
    }

    #[test]
    fn a_decision_is_what_the_grants_mean(
        name in identity(),
        grants in prop::collection::vec(grant(), 0..6),
        service in "[xyz]",
    ) {
        let pairs: Vec<_> = grants.iter().map(|(p, s)| (p.as_str(), s.as_str())).collect();
        let policy = built_in(&pairs);
        let facts = agent(&name);
        let fresh = rule(&policy, &facts, &service);
        prop_assert_eq!(fresh.is_some(), grants.iter().any(|grant| covers(grant, &name, &service)));
        prop_assert_eq!(rule(&policy, &facts, &service), fresh);
    }

    #[test]
    fn a_certificate_gets_what_the_grants_for_its_name_mean(
        found in name(),
        granted in name(),
        all in any::<bool>(),
    ) {
        let covered = format!("cert:ca/{granted}{}", if all { "/*" } else { "" });
        let facts = Facts::certificate(fixture::certificate("ca", &found), fixture::channel());
        let (Ok(facts), Ok(_)) = (facts, countersign_policy::Grant::new(&covered, "x")) else {
            return Ok(());
        };
        let policy = built_in(&[(&covered, "x")]);
        let expected = covers(&(covered.clone(), "x".to_owned()), &format!("cert:ca/{found}"), "x");
        prop_assert_eq!(rule(&policy, &facts, "x").is_some(), expected);
    }

    #[test]
    fn no_name_of_a_certificate_gets_what_another_was_granted(found in "\\PC{0,20}", granted in "[ab]{1,2}") {
        let Ok(facts) = Facts::certificate(fixture::certificate("ca", &found), fixture::channel()) else {
            return Ok(());
        };
        let policy = built_in(&[(&format!("cert:ca/{granted}"), "*")]);
        prop_assert_eq!(rule(&policy, &facts, "x").is_some(), found == granted);
    }
}
