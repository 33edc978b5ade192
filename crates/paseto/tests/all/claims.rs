//! Rules about claims: each refusal, with the claim and the values.

use std::time::Duration;

use countersign_paseto::{
    ClaimError, Claims, Envelope, Key, Local, MintError, Rules, SystemRandom, TokenError,
    UntrustedToken, V4, Verified, mint_payload,
};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Session {
    role: String,
    depth: u8,
}

fn now() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

fn key() -> Key<V4, Local> {
    Key::from_bytes(&[7; 32]).unwrap()
}

fn verify(token: &str, rules: &Rules) -> Result<Verified<()>, TokenError> {
    UntrustedToken::parse(token)
        .unwrap()
        .verify(&key(), rules, now())
}

/// Whatever `claims` are, `rules` refuse them so.
fn check(claims: Claims<()>, rules: Rules, expected: Result<(), ClaimError>) {
    let token = claims.mint(&key(), &SystemRandom).unwrap();
    assert_eq!(
        verify(&token, &rules).map(drop),
        expected.map_err(TokenError::Claim)
    );
}

fn fresh() -> Claims<()> {
    Claims::new(())
        .issued_at(now())
        .expires_at(now() + minutes(10))
}

#[test]
fn your_struct_and_the_registered_claims_come_back() {
    let session = || Session {
        role: "admin".into(),
        depth: 3,
    };
    let token = Claims::new(session())
        .issuer("iss")
        .subject("sub")
        .audience("aud")
        .token_id("jti")
        .not_before(now())
        .issued_at(now())
        .expires_at(now() + minutes(10))
        .mint(&key(), &SystemRandom)
        .unwrap();
    let verified: Verified<Session> = UntrustedToken::parse(&token)
        .unwrap()
        .verify(&key(), &Rules::new(), now())
        .unwrap();
    assert_eq!(*verified, session());
    assert_eq!(verified.subject(), Some("sub"));
    assert_eq!(verified.token_id(), Some("jti"));
    assert_eq!(verified.expires_at(), Some(now() + minutes(10)));
    assert_eq!(verified.registered().issuer.as_deref(), Some("iss"));
    assert_eq!(verified.registered().audience.as_deref(), Some("aud"));
    assert_eq!(verified.registered().not_before, Some(now()));
}

#[test]
fn a_fraction_of_a_second_is_cut_off() {
    let token = fresh()
        .expires_at(now() + SignedDuration::from_millis(1500))
        .mint(&key(), &SystemRandom)
        .unwrap();
    let verified = verify(&token, &Rules::new()).unwrap();
    assert_eq!(
        verified.expires_at(),
        Some(now() + SignedDuration::from_secs(1))
    );
}

#[test]
fn an_expired_token_is_refused_from_the_very_moment() {
    let expired = |expires_at| {
        Err(ClaimError::Expired {
            expires_at,
            now: now(),
        })
    };
    check(fresh().expires_at(now()), Rules::new(), expired(now()));
    check(
        fresh().expires_at(now() + SignedDuration::from_secs(1)),
        Rules::new(),
        Ok(()),
    );
}

#[test]
fn leeway_forgives_clocks_both_ways() {
    let rules = || Rules::new().leeway(Duration::from_secs(60));
    check(
        fresh().expires_at(now() - SignedDuration::from_secs(59)),
        rules(),
        Ok(()),
    );
    let expires_at = now() - minutes(1);
    check(
        fresh().expires_at(expires_at),
        rules(),
        Err(ClaimError::Expired {
            expires_at,
            now: now(),
        }),
    );
    check(fresh().not_before(now() + minutes(1)), rules(), Ok(()));
    let not_before = now() + SignedDuration::from_secs(61);
    check(
        fresh().not_before(not_before),
        rules(),
        Err(ClaimError::NotYetValid {
            not_before,
            now: now(),
        }),
    );
}

#[test]
fn a_token_from_the_future_is_refused() {
    let issued_at = now() + SignedDuration::from_secs(1);
    check(
        fresh().issued_at(issued_at),
        Rules::new(),
        Err(ClaimError::IssuedInTheFuture {
            issued_at,
            now: now(),
        }),
    );
}

#[test]
fn expiry_is_required_on_both_sides_unless_said_otherwise() {
    assert_eq!(
        Claims::new(()).mint(&key(), &SystemRandom),
        Err(MintError::NoExpiry)
    );
    let lasting = || Claims::new(()).dangerous_without_expiry();
    check(
        lasting(),
        Rules::new(),
        Err(ClaimError::Missing { claim: "exp" }),
    );
    check(lasting(), Rules::new().dangerous_without_expiry(), Ok(()));
    let expires_at = now() - minutes(1);
    let expired = Err(ClaimError::Expired {
        expires_at,
        now: now(),
    });
    check(
        fresh().expires_at(expires_at),
        Rules::new().dangerous_without_expiry(),
        expired,
    );
}

#[test]
fn issuer_subject_and_audience_must_be_the_expected_ones() {
    let mismatch = |claim| {
        Err(ClaimError::Mismatch {
            claim,
            expected: "a".to_owned(),
            found: "b".to_owned(),
        })
    };
    check(fresh().issuer("a"), Rules::new().issuer("a"), Ok(()));
    check(
        fresh().issuer("b"),
        Rules::new().issuer("a"),
        mismatch("iss"),
    );
    check(
        fresh().subject("b"),
        Rules::new().subject("a"),
        mismatch("sub"),
    );
    check(
        fresh().audience("b"),
        Rules::new().audience("a"),
        mismatch("aud"),
    );
    check(
        fresh(),
        Rules::new().audience("a"),
        Err(ClaimError::Missing { claim: "aud" }),
    );
    check(fresh().audience("b"), Rules::new(), Ok(()));
}

#[test]
fn a_lifetime_over_the_maximum_is_refused() {
    let rules = || Rules::new().maximum_lifetime(Duration::from_secs(600));
    check(fresh(), rules(), Ok(()));
    let limit = minutes(10);
    check(
        fresh().expires_at(now() + minutes(11)),
        rules(),
        Err(ClaimError::LivesTooLong {
            lifetime: minutes(11),
            limit,
        }),
    );
    let undated = Claims::new(()).expires_at(now() + minutes(1));
    check(undated, rules(), Err(ClaimError::Missing { claim: "iat" }));
}

#[test]
fn a_revoked_token_is_refused() {
    let rules = || Rules::new().revoked(|claims| claims.token_id.as_deref() == Some("stolen"));
    check(fresh().token_id("mine"), rules(), Ok(()));
    check(
        fresh().token_id("stolen"),
        rules(),
        Err(ClaimError::Revoked {
            token_id: "stolen".to_owned(),
        }),
    );
}

#[test]
fn a_claim_that_occurs_twice_is_refused_on_both_sides() {
    let payload = br#"{"exp":"2039-01-01T00:00:00Z","exp":"2040-01-01T00:00:00Z"}"#;
    let token = mint_payload(&key(), payload, Envelope::default(), &SystemRandom).unwrap();
    let twice = ClaimError::Duplicate {
        claim: "exp".to_owned(),
    };
    assert_eq!(
        verify(&token, &Rules::new()).map(drop),
        Err(TokenError::Claim(twice))
    );

    #[derive(Serialize)]
    struct Own {
        exp: &'static str,
    }
    let minted = Claims::new(Own { exp: "never" })
        .expires_at(now())
        .mint(&key(), &SystemRandom);
    assert_eq!(
        minted,
        Err(MintError::Claims("claim `exp` occurs twice".to_owned()))
    );
}

#[test]
fn what_is_no_object_cannot_be_minted() {
    let minted = Claims::new([1])
        .expires_at(now())
        .mint(&key(), &SystemRandom);
    assert!(matches!(minted, Err(MintError::Claims(_))), "{minted:?}");
}

#[test]
fn a_token_without_the_expected_footer_is_refused() {
    let envelope = |footer| Envelope {
        footer,
        assertion: b"",
    };
    let bare = fresh().mint(&key(), &SystemRandom).unwrap();
    let footed = fresh()
        .mint_in(&key(), envelope(b"a"), &SystemRandom)
        .unwrap();
    let verify = |token, rules: Rules| verify(token, &rules).map(drop);
    assert_eq!(
        verify(&bare, Rules::new().footer("a")),
        Err(TokenError::WrongFooter)
    );
    assert_eq!(
        verify(&footed, Rules::new().footer("b")),
        Err(TokenError::WrongFooter)
    );
    assert_eq!(
        verify(&footed, Rules::new().footer("")),
        Err(TokenError::WrongFooter)
    );
    assert_eq!(verify(&footed, Rules::new().footer("a")), Ok(()));
    assert_eq!(verify(&footed, Rules::new()), Ok(()));
}

#[test]
fn messages_name_the_claim_and_the_values_and_the_peer_gets_one_word() {
    let expired = TokenError::Claim(ClaimError::Expired {
        expires_at: now(),
        now: now() + minutes(1),
    });
    assert_eq!(
        expired.to_string(),
        "claim `exp` is 2026-01-01T12:00:00Z, it is 2026-01-01T12:01:00Z"
    );
    let long = ClaimError::LivesTooLong {
        lifetime: minutes(61),
        limit: minutes(10),
    };
    assert_eq!(
        long.to_string(),
        "claims `iat` and `exp` are 1h 1m apart, the limit is 10m"
    );
    assert_eq!(expired.for_peer(), TokenError::NotAuthentic.for_peer());
}
