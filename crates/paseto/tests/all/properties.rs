//! What holds for every input.

use countersign_paseto::paserk::{Confidential, Seals, Wraps};
use countersign_paseto::{
    Envelope, Generates, Holds, InsecureV1, Key, KeyId, Kind, Local, Mints, Opens, Pairs, Public,
    Purpose, Secret, SystemRandom, UntrustedToken, V2, V3, V4, mint_payload,
    mint_payload_with_footer,
};
use proptest::prelude::*;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..300)
}

/// Base64url-like text around the edge of what a parser accepts.
fn nearly_token() -> impl Strategy<Value = String> {
    "v4\\.local\\.[A-Za-z0-9_=.-]{0,40}(\\.[A-Za-z0-9_=-]{0,8})?"
}

fn round_trip<V, M, P>(payload: &[u8], footer: &[u8], minting: &Key<V, M>, opening: &Key<V, P>)
where
    V: Mints<M, Purpose = P> + Opens<P>,
    M: Kind,
    P: Purpose + Kind,
{
    let text = mint_payload_with_footer(minting, payload, footer, &SystemRandom).unwrap();
    let opened = UntrustedToken::<V, P>::parse(&text)
        .unwrap()
        .open(opening)
        .unwrap();
    assert_eq!((opened.payload(), opened.footer()), (payload, footer));
}

fn both_purposes<V>(payload: &[u8], footer: &[u8])
where
    V: Pairs + Generates<Local> + Generates<Secret> + Opens<Local> + Opens<Public>,
    V: Mints<Local, Purpose = Local> + Mints<Secret, Purpose = Public>,
{
    let local = Key::<V, Local>::generate(&SystemRandom).unwrap();
    round_trip(payload, footer, &local, &local);
    let secret = Key::<V, Secret>::generate(&SystemRandom).unwrap();
    round_trip(payload, footer, &secret, &secret.public());
}

fn wrapped<V: Wraps + Holds<K>, K: Confidential>(wrapping: &Key<V, Local>, key: &Key<V, K>) {
    let text = key.wrap(wrapping, &SystemRandom).unwrap();
    assert_eq!(
        Key::<V, K>::unwrap(&text, wrapping)
            .unwrap()
            .expose_secret(),
        key.expose_secret()
    );
}

fn every_wrapping<V>()
where
    V: Seals + Pairs + Generates<Local> + Generates<Secret> + Generates<<V as Seals>::With>,
{
    let local = Key::<V, Local>::generate(&SystemRandom).unwrap();
    let secret = Key::<V, Secret>::generate(&SystemRandom).unwrap();
    wrapped(&local, &local);
    wrapped(&local, &secret);
    let unsealing = Key::<V, V::With>::generate(&SystemRandom).unwrap();
    let sealed = local.seal(&unsealing.recipient(), &SystemRandom).unwrap();
    assert_eq!(
        Key::unseal(&sealed, &unsealing).unwrap().expose_secret(),
        local.expose_secret()
    );
}

proptest! {
    #[test]
    fn what_is_minted_is_opened(payload in bytes(), footer in bytes()) {
        both_purposes::<V2>(&payload, &footer);
        both_purposes::<V3>(&payload, &footer);
        both_purposes::<V4>(&payload, &footer);
    }

    #[test]
    fn another_assertion_never_opens(assertion in bytes(), other in bytes()) {
        let key = Key::<V4, Local>::generate(&SystemRandom).unwrap();
        let envelope = Envelope { footer: b"", assertion: &assertion };
        let text = mint_payload(&key, b"payload", envelope, &SystemRandom).unwrap();
        let opened = UntrustedToken::parse(&text).unwrap().asserting(other.clone()).open(&key);
        prop_assert_eq!(opened.is_ok(), assertion == other);
    }

    #[test]
    fn any_text_is_refused_or_read_without_a_panic(text in "\\PC{0,120}") {
        let _ = UntrustedToken::<V4, Local>::parse(&text);
        let _ = Key::<V4, Local>::from_paserk(&text);
        let _ = text.parse::<KeyId>();
    }

    #[test]
    fn a_token_that_is_read_has_no_other_text(text in nearly_token()) {
        if UntrustedToken::<V4, Local>::parse(&text).is_ok() {
            for part in text.split('.').skip(2) {
                let decoded = base64_simd::URL_SAFE_NO_PAD.decode_to_vec(part).unwrap();
                prop_assert_eq!(base64_simd::URL_SAFE_NO_PAD.encode_to_string(decoded), part);
            }
            prop_assert!(!text.ends_with("..") && text.matches('.').count() <= 3);
        }
    }

    #[test]
    fn a_key_that_is_read_has_no_other_text(data in "[A-Za-z0-9_=-]{40,46}") {
        let text = format!("k4.local.{data}");
        if let Ok(key) = Key::<V4, Local>::from_paserk(&text) {
            let written = key.to_paserk();
            prop_assert_eq!(written.as_str(), text);
        }
        let id = format!("k4.lid.{data}");
        if let Ok(read) = id.parse::<KeyId>() {
            prop_assert_eq!(read.as_str(), id);
        }
    }
}

#[test]
fn version_1_round_trips_too() {
    let local = Key::<InsecureV1, Local>::generate(&SystemRandom).unwrap();
    let secret = Key::<InsecureV1, Secret>::generate(&SystemRandom).unwrap();
    round_trip(b"payload", b"footer", &local, &local);
    round_trip(b"payload", b"footer", &secret, &secret.public());
    wrapped(&local, &local);
    wrapped(&local, &secret);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_wrapped_is_unwrapped(_round in 0..16) {
        every_wrapping::<V2>();
        every_wrapping::<V3>();
        every_wrapping::<V4>();
    }
}

#[cfg(feature = "draft")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn what_is_minted_and_wrapped_in_version_5_is_opened(payload in bytes(), footer in bytes()) {
        both_purposes::<countersign_paseto::V5>(&payload, &footer);
        every_wrapping::<countersign_paseto::V5>();
    }
}
