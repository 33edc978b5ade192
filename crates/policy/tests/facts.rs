//! What makes facts, and what ends them.

use countersign_policy::{DecisionId, Facts, Grant, Principal, UnfitToken};
use fixture::{AGENT, KEY, channel, connect, decide, now, token};
use jiff::SignedDuration;

mod fixture;

#[track_caller]
fn check_refused(subject: &str, key: [u8; 48], expected: &str) {
    let error = Facts::agent(&token(subject, "t"), &key, channel()).expect_err("an unfit token");
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_token_on_its_own_key_makes_the_facts_of_its_agent() {
    let facts = Facts::agent(&token(AGENT, "token-1"), &KEY, channel()).unwrap();
    assert_eq!(facts.principal(), &Principal::Agent { id: AGENT.into() });
    assert_eq!(facts.token_id(), Some("token-1"));
    assert_eq!(facts.channel(), &channel());
}

#[test]
fn a_token_on_another_key_is_refused_by_name() {
    let expected = "the access token of `spiffe://example.org/agent/laptop` is bound to another key than this channel's";
    for changed in [0, 24, 47] {
        let mut key = KEY;
        key[changed] ^= 1;
        check_refused(AGENT, key, expected);
    }
    let error = Facts::agent(&token(AGENT, "t"), &[0; 48], channel()).unwrap_err();
    assert_eq!(
        error,
        UnfitToken::WrongKey {
            subject: AGENT.into()
        }
    );
}

#[test]
fn a_subject_that_a_grant_could_mean_otherwise_is_refused() {
    let start = "the access token's subject";
    check_refused(
        "",
        KEY,
        &format!("{start} `` is not a SPIFFE ID: it does not start with `spiffe://`"),
    );
    check_refused(
        "anonymous",
        KEY,
        &format!("{start} `anonymous` is not a SPIFFE ID: it does not start with `spiffe://`"),
    );
    let star = "spiffe://example.org/agent/*";
    check_refused(
        star,
        KEY,
        &format!("{start} `{star}` is not a SPIFFE ID: `*` is a whole last segment or nothing"),
    );
}

#[test]
fn a_bearer_token_makes_the_facts_of_its_subject() {
    let facts = fixture::bearer("ci", "postgres");
    let subject = "ci".to_owned();
    assert_eq!(facts.principal(), &Principal::Bearer { subject });
    assert_eq!(facts.token_id(), Some("bearer-1"));
    assert_eq!(facts.only_service(), Some("postgres"));
}

#[test]
fn a_bearer_token_that_is_not_for_one_service_is_refused() {
    let refused = |service: &str| {
        let token = fixture::bearer_token("ci", service);
        Facts::bearer(&token, channel()).unwrap_err().to_string()
    };
    assert_eq!(
        refused(""),
        "the token of `ci` is not for one service: it is empty"
    );
    assert_eq!(
        refused("*"),
        "the token of `ci` is not for one service: a service is `*`, or at most 253 letters, digits, dots, dashes and underscores"
    );
}

#[test]
fn a_certificate_makes_the_facts_of_its_name() {
    let facts = fixture::cert("partners", "alice@example.com");
    assert_eq!(
        facts.principal().to_string(),
        "cert:partners/alice@example.com"
    );
    assert_eq!((facts.token_id(), facts.only_service()), (None, None));
}

/// Names as they may stand in a certificate or a token, and why they cannot be a principal; nothing where they can.
#[track_caller]
fn check_name(name: &str, expected: &str) {
    let expected = match expected {
        "" => String::new(),
        reason => format!("`{name}` cannot name a principal: {reason}"),
    };
    let told = |outcome: Result<Facts, String>| outcome.err().unwrap_or_default();
    let certificate = Facts::certificate(fixture::certificate("partners", name), channel());
    assert_eq!(
        told(certificate.map_err(|error| error.to_string())),
        expected
    );
    let token = fixture::bearer_token(name, "web");
    let bearer = Facts::bearer(&token, channel());
    let expected = match expected.as_str() {
        "" => String::new(),
        reason => format!("the token's subject {reason}"),
    };
    assert_eq!(told(bearer.map_err(|error| error.to_string())), expected);
}

#[test]
fn names_that_can_be_read_in_one_way_name_a_principal() {
    for name in [
        "alice",
        "alice+ci@example.com",
        "client.example.com",
        "spiffe://other.org/workload/a",
        "urn:uuid:6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        "https://example.org/~alice",
        "team/ci/7",
        "anonymous",
    ] {
        check_name(name, "");
    }
}

#[test]
fn a_name_that_looks_like_a_pattern_or_like_another_is_refused() {
    let star = "`*` is a whole last segment or nothing";
    let letters = "a name is letters, digits and `.-_@+:/~`";
    let empty = "it has an empty path segment";
    for (name, reason) in [
        ("*", star),
        ("team/*", star),
        ("*.example.com", star),
        ("spiffe://other.org/*", star),
        ("", empty),
        ("/alice", empty),
        ("alice/", empty),
        ("spiffe://", empty),
        ("spiffe:///a", empty),
        ("a://b://c", empty),
        ("a/b://c", empty),
        ("a/../b", "it has a relative path segment"),
        (".", "it has a relative path segment"),
        ("alice bob", letters),
        ("alice\nbob", letters),
        ("alice\0", letters),
        ("alice%2a", letters),
        ("alice\\", letters),
        ("alic\u{435}", letters),
        ("alice,bob", letters),
        ("alice\u{202e}", letters),
    ] {
        check_name(name, reason);
    }
    check_name(&"a".repeat(513), "a name has at most 512 bytes");
}

#[test]
fn an_authority_has_a_plain_name() {
    for authority in ["", "a/b", "a*", "a b", &"a".repeat(64)] {
        let refused = Facts::certificate(fixture::certificate(authority, "alice"), channel());
        assert_eq!(refused.unwrap_err().name, authority);
    }
}

#[test]
fn facts_end_with_the_token_or_certificate_that_they_rest_on() {
    for facts in [
        fixture::agent(AGENT),
        fixture::bearer("ci", "postgres"),
        fixture::cert("partners", "alice"),
    ] {
        let name = facts.principal().to_string();
        let policy = fixture::built_in(&[(name.as_str(), "postgres")]);
        let end = facts.expires_at().unwrap();
        let id = DecisionId::from_random([0; 16]);
        let decide = |at| {
            let decided = policy.decide(&facts, &connect("postgres"), id, at);
            decided.map_err(|denial| denial.rule().to_owned())
        };
        assert!(decide(end - SignedDuration::from_nanos(1)).is_ok());
        assert_eq!(decide(end).unwrap_err(), "facts expired");
        assert!(!policy.explain(&facts, &connect("postgres"), end).allowed);
    }
}

#[test]
fn a_renewed_token_with_the_same_claims_is_the_same_facts_with_its_own_end() {
    let (first, renewed) = (token(AGENT, "token-1"), token(AGENT, "token-2"));
    let facts = |token| Facts::agent(token, &KEY, channel()).unwrap();
    assert_eq!(facts(&first), facts(&renewed));
    let policy = fixture::built_in(&[(AGENT, "postgres")]);
    drop(decide(&policy, &facts(&first), "postgres"));
    let permit = decide(&policy, &facts(&renewed), "postgres").unwrap();
    assert_eq!(
        permit.facts().token_id(),
        Some("token-2"),
        "a remembered decision has the facts of this one"
    );
}

#[test]
fn facts_of_two_channels_are_two() {
    let mut other = channel();
    other.exception = Some("till-2027".into());
    assert_ne!(Facts::anonymous(channel()), Facts::anonymous(other));
    assert_ne!(Facts::anonymous(channel()), fixture::agent(AGENT));
    assert!(fixture::agent(AGENT).expires_at().unwrap() > now());
}

#[track_caller]
fn check_grant(principal: &str, service: &str, expected: &str) {
    let told =
        Grant::new(principal, service).map_or_else(|error| error.to_string(), |_| String::new());
    assert_eq!(told, expected);
}

#[test]
fn grants_that_can_match_are_read() {
    for principal in [
        "anonymous",
        AGENT,
        "spiffe://example.org/*",
        "spiffe://a/b/c/*",
        "spiffe://a/b.c_d-e",
        "cert:partners/alice@example.com",
        "cert:partners/spiffe://other.org/a",
        "cert:partners/spiffe://other.org/*",
        "cert:partners/*",
        "bearer:ci",
        "bearer:team/ci",
        "bearer:team/*",
        "bearer:*",
    ] {
        check_grant(principal, "*", "");
        check_grant(principal, "postgres-14.main", "");
    }
}

#[test]
fn grants_that_never_match_or_match_too_much_are_refused_with_the_reason() {
    let bad = |principal: &str, reason: &str| {
        check_grant(
            principal,
            "x",
            &format!("`{principal}` is not a principal: {reason}"),
        );
    };
    bad("", NEITHER);
    bad("*", NEITHER);
    bad("Anonymous", NEITHER);
    bad(
        "spiffe://example.org",
        "it has no path; `/*` stands for a whole trust domain",
    );
    bad("spiffe:///agent/a", "it has no trust domain");
    bad("spiffe:///*", "it has no trust domain");
    bad(
        "spiffe://*/agent/a",
        "a trust domain is at most 255 lower-case letters, digits, dots, dashes and underscores",
    );
    bad(
        "spiffe://Example.org/*",
        "a trust domain is at most 255 lower-case letters, digits, dots, dashes and underscores",
    );
    bad("spiffe://example.org/", "it has an empty path segment");
    bad("spiffe://example.org//*", "it has an empty path segment");
    bad(
        "spiffe://example.org/agent/../*",
        "it has a relative path segment",
    );
    bad(
        "spiffe://example.org/agent/lap*",
        "`*` is a whole last segment or nothing",
    );
    bad(
        "spiffe://example.org/*/laptop",
        "`*` is a whole last segment or nothing",
    );
    bad(
        "spiffe://example.org/agent/a b",
        "a path segment is letters, digits, dots, dashes and underscores",
    );
    bad("alice", NEITHER);
    bad(
        "cert:",
        "it has no name; `/*` stands for every name of an authority",
    );
    bad(
        "cert:partners",
        "it has no name; `/*` stands for every name of an authority",
    );
    bad("cert:partners/", "it has an empty path segment");
    bad(
        "cert:*/alice",
        "an authority is at most 63 letters, digits, dots, dashes and underscores",
    );
    bad(
        "cert:/*",
        "an authority is at most 63 letters, digits, dots, dashes and underscores",
    );
    bad(
        "cert:partners/*.example.com",
        "`*` is a whole last segment or nothing",
    );
    bad("bearer:", "it has an empty path segment");
    bad("bearer:*/*", "`*` is a whole last segment or nothing");
    bad("bearer:ci*", "`*` is a whole last segment or nothing");
    let long = format!("spiffe://example.org/{}", "a".repeat(2048));
    bad(&long, "a SPIFFE ID has at most 2048 bytes");
    check_grant(AGENT, "", "`` is not a service: it is empty");
    let name = "a service is `*`, or at most 253 letters, digits, dots, dashes and underscores";
    check_grant(AGENT, "post*", &format!("`post*` is not a service: {name}"));
    check_grant(
        AGENT,
        "db:5432",
        &format!("`db:5432` is not a service: {name}"),
    );
}

#[test]
fn a_grant_with_a_key_that_is_not_known_is_refused() {
    let read = |json: &str| serde_json::from_str::<Grant>(json).is_ok();
    assert!(read(r#"{"principal":"anonymous","service":"web"}"#));
    assert!(!read(
        r#"{"principal":"anonymous","service":"web","until":"2027-01-01"}"#
    ));
    assert!(!read(r#"{"principal":"*","service":"web"}"#));
}

const NEITHER: &str =
    "it is neither `anonymous` nor does it start with `spiffe://`, `cert:` or `bearer:`";
