//! The key ring: rotation, overlap, retirement.

use countersign_paseto::{
    AnyKey, Claims, Envelope, Key, KeyRing, KeySet, Local, MintError, Public, Rules, Secret,
    SystemRandom, TokenError, UntrustedToken, V2, V3, V4, Window, mint_payload,
};
use jiff::{SignedDuration, Timestamp};

fn at(minute: i64) -> Timestamp {
    let start: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    start + SignedDuration::from_mins(minute)
}

fn local(byte: u8) -> Key<V4, Local> {
    Key::from_bytes(&[byte; 32]).unwrap()
}

/// Two keys, an hour each, with ten minutes of overlap.
fn rotating() -> KeyRing {
    let keys = KeySet::new()
        .with(local(1), Window::new(at(0), at(60), at(70)))
        .with(local(2), Window::new(at(60), at(120), at(130)));
    KeyRing::new(keys)
}

fn mint(ring: &KeyRing, now: Timestamp) -> String {
    let claims = Claims::new(()).subject("alice").expires_at(at(1000));
    ring.mint(&claims, b"test", now, &SystemRandom).unwrap()
}

fn verify(ring: &KeyRing, token: &str, now: Timestamp) -> Result<String, TokenError> {
    let verified = ring.verify::<()>(token, b"test", &Rules::new(), now)?;
    Ok(verified.key_id().unwrap().to_string())
}

#[test]
fn each_key_mints_in_its_window_and_is_accepted_through_the_overlap() {
    let ring = rotating();
    let (first, second) = (local(1).id().to_string(), local(2).id().to_string());
    let old = mint(&ring, at(59));
    assert_eq!(verify(&ring, &old, at(69)), Ok(first.clone()));
    assert_eq!(
        verify(&ring, &old, at(70)),
        Err(TokenError::RetiredKey {
            id: first,
            since: at(70)
        })
    );
    let new = mint(&ring, at(60));
    assert_eq!(verify(&ring, &new, at(59)), Ok(second));
}

#[test]
fn no_key_mints_outside_all_windows() {
    let minted = rotating().mint(
        &Claims::new(()).expires_at(at(1)),
        b"",
        at(-1),
        &SystemRandom,
    );
    assert_eq!(minted, Err(MintError::NoCurrentKey { now: at(-1) }));
}

#[test]
fn a_retired_key_and_an_unknown_key_are_told_apart() {
    let ring = rotating();
    let token = mint(&ring, at(0));
    let id = local(1).id();
    ring.replace(ring.keys().as_ref().clone().retire(&id, at(5)));
    let retired = TokenError::RetiredKey {
        id: id.to_string(),
        since: at(5),
    };
    assert_eq!(verify(&ring, &token, at(6)), Err(retired.clone()));
    ring.replace(
        ring.keys()
            .as_ref()
            .clone()
            .with(local(1), Window::from(at(0))),
    );
    assert_eq!(verify(&ring, &token, at(6)), Err(retired));
    ring.replace(ring.keys().as_ref().clone().forget(&id));
    assert_eq!(
        verify(&ring, &token, at(6)),
        Err(TokenError::UnknownKey { id: id.to_string() })
    );
}

#[test]
fn the_footer_names_the_key() {
    let token = mint(&rotating(), at(0));
    let opened = UntrustedToken::parse(&token)
        .unwrap()
        .asserting("test")
        .open(&local(1))
        .unwrap();
    assert_eq!(
        opened.footer(),
        format!(r#"{{"kid":"{}"}}"#, local(1).id()).as_bytes()
    );
    assert_eq!(
        UntrustedToken::<V4, Local>::parse(&token)
            .unwrap()
            .unverified_key_id(),
        Some(local(1).id())
    );
}

#[test]
fn a_token_that_names_no_key_is_refused() {
    for footer in ["", "text", "{}", r#"{"kid":1}"#, r#"{"kid":"a","kid":"b"}"#] {
        let envelope = Envelope {
            footer: footer.as_bytes(),
            assertion: b"test",
        };
        let token = mint_payload(&local(1), b"{}", envelope, &SystemRandom).unwrap();
        assert_eq!(
            verify(&rotating(), &token, at(0)),
            Err(TokenError::NoKeyId),
            "{footer}"
        );
    }
}

#[test]
fn a_strangers_key_id_is_cut_in_the_error() {
    let footer = format!(r#"{{"kid":"{}"}}"#, "é".repeat(5000));
    let envelope = Envelope {
        footer: footer.as_bytes(),
        assertion: b"",
    };
    let token = mint_payload(&local(1), b"{}", envelope, &SystemRandom).unwrap();
    assert_eq!(
        verify(&rotating(), &token, at(0)),
        Err(TokenError::UnknownKey {
            id: "é".repeat(51)
        })
    );
}

#[test]
fn a_token_that_names_anothers_key_does_not_authenticate() {
    let footer = format!(r#"{{"kid":"{}"}}"#, local(1).id());
    let envelope = Envelope {
        footer: footer.as_bytes(),
        assertion: b"test",
    };
    let forged = mint_payload(&local(9), b"{}", envelope, &SystemRandom).unwrap();
    assert_eq!(
        verify(&rotating(), &forged, at(0)),
        Err(TokenError::NotAuthentic)
    );
    let other_version = mint_payload(
        &Key::<V3, Local>::from_bytes(&[1; 32]).unwrap(),
        b"{}",
        envelope,
        &SystemRandom,
    );
    let wrong = TokenError::WrongHeader {
        expected: "v4.local.".to_owned(),
    };
    assert_eq!(
        verify(&rotating(), &other_version.unwrap(), at(0)),
        Err(wrong)
    );
}

#[test]
fn the_assertion_is_part_of_what_is_proven() {
    let ring = rotating();
    let refused = ring.verify::<()>(&mint(&ring, at(0)), b"other", &Rules::new(), at(0));
    assert_eq!(refused.map(drop), Err(TokenError::NotAuthentic));
}

#[test]
fn a_ring_holds_keys_of_every_version_and_kind() {
    let v3 = Key::<V3, Local>::generate(&SystemRandom).unwrap();
    round_trip(v3.into(), "v3.local.");
    round_trip(local(1).into(), "v4.local.");
    round_trip(
        Key::<V3, Secret>::generate(&SystemRandom).unwrap().into(),
        "v3.public.",
    );
    round_trip(
        Key::<V4, Secret>::generate(&SystemRandom).unwrap().into(),
        "v4.public.",
    );
}

fn round_trip(key: AnyKey, header: &str) {
    let id = key.id().to_string();
    let ring = KeyRing::new(KeySet::new().with(key, Window::from(at(0))));
    let token = mint(&ring, at(0));
    assert!(token.starts_with(header), "{token}");
    assert_eq!(verify(&ring, &token, at(0)), Ok(id));
}

#[test]
fn a_version_without_assertions_refuses_one_and_works_without() {
    let v2 = Key::<V2, Local>::generate(&SystemRandom).unwrap();
    let id = v2.id().to_string();
    let ring = KeyRing::new(KeySet::new().with(v2, Window::from(at(0))));
    let claims = Claims::new(()).expires_at(at(1000));
    let refused = ring.mint(&claims, b"test", at(0), &SystemRandom);
    assert_eq!(refused, Err(MintError::NoAssertions { version: "v2" }));
    let token = ring.mint(&claims, b"", at(0), &SystemRandom).unwrap();
    let refused = ring.verify::<()>(&token, b"test", &Rules::new(), at(0));
    assert_eq!(
        refused.map(drop),
        Err(TokenError::NoAssertions { version: "v2" })
    );
    let verified = ring
        .verify::<()>(&token, b"", &Rules::new(), at(0))
        .unwrap();
    assert_eq!(verified.key_id().map(ToString::to_string), Some(id));
}

#[test]
fn published_keys_verify_elsewhere_and_never_hold_a_secret() {
    let secret = Key::<V4, Secret>::generate(&SystemRandom).unwrap();
    let ring = KeyRing::new(
        KeySet::new()
            .with(local(1), Window::from(at(0)))
            .with(secret, Window::from(at(1))),
    );
    let token = mint(&ring, at(1));
    let published = ring.keys().published(at(1));
    let [key] = published.as_slice() else {
        panic!("{published:?}")
    };
    let public = Key::<V4, Public>::from_paserk(&key.paserk).unwrap();
    assert_eq!(
        (public.id(), key.window),
        (key.id.clone(), Window::from(at(1)))
    );
    let elsewhere = KeySet::new().with(public, key.window);
    assert_eq!(elsewhere.current(at(1)), None);
    assert!(verify(&KeyRing::new(elsewhere), &token, at(1)).is_ok());
}
