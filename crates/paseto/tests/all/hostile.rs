//! Named hostile inputs, first of them the defects met in other libraries.

use countersign_paseto::paserk::{ProtectedKey, WorkLimits};
use countersign_paseto::{
    Envelope, InvalidKey, Key, Local, PaserkError, Public, Secret, SystemRandom, TokenError,
    UntrustedToken, V3, V4, mint_payload,
};

use crate::support::unhex;

fn key() -> Key<V4, Local> {
    Key::from_bytes(&[7; 32]).unwrap()
}

fn token() -> String {
    let envelope = Envelope {
        footer: b"foot",
        assertion: b"",
    };
    mint_payload(&key(), b"payload", envelope, &SystemRandom).unwrap()
}

fn check(text: &str, expected: TokenError) {
    let refused = UntrustedToken::<V4, Local>::parse(text).map(drop);
    assert_eq!(refused, Err(expected), "{text:.80}");
}

const PARTS: TokenError = TokenError::Malformed("it has not three or four parts");
const EMPTY_FOOTER: TokenError = TokenError::Malformed("its footer part is empty");
const PAYLOAD: TokenError = TokenError::Malformed("the payload is not canonical base64url");
const PADDED_PAYLOAD: TokenError = TokenError::Malformed("the payload is padded");
const PADDED_FOOTER: TokenError = TokenError::Malformed("the footer is padded");
const FOOTER: TokenError = TokenError::Malformed("the footer is not canonical base64url");

#[test]
fn a_token_has_one_text() {
    let token = token();
    let bare = token.rsplit_once('.').unwrap().0;
    check(&format!("{bare}."), EMPTY_FOOTER);
    check(&format!("{token}."), PARTS);
    check(&format!("{token}=="), PADDED_FOOTER);
    check(&format!("{bare}=="), PADDED_PAYLOAD);
    check("v4.local.AB", PAYLOAD);
    check("v4.local.AA.AB", FOOTER);
    check("v4.local.A A", PAYLOAD);
    check("v4.local.AA\n", PAYLOAD);
    check("v4.local.+/8", PAYLOAD);
    check(
        " v4.local.AA",
        TokenError::WrongHeader {
            expected: "v4.local.".to_owned(),
        },
    );
    check("", PARTS);
    check("v4.local", PARTS);
}

#[test]
fn another_header_is_refused() {
    let wrong = || TokenError::WrongHeader {
        expected: "v4.local.".to_owned(),
    };
    let token = token();
    for header in [
        "v3.local",
        "v4.public",
        "V4.local",
        "v4.LOCAL",
        "v40.local",
        "v4.loca",
        ".",
        "v5.local",
    ] {
        check(&token.replacen("v4.local", header, 1), wrong());
    }
}

#[test]
fn a_long_token_is_refused_before_it_is_read() {
    let limit = 64 * 1024;
    let long = "v4.local.".to_owned() + &"=".repeat(100 << 20);
    check(
        &long,
        TokenError::TooLong {
            found: long.len(),
            limit,
        },
    );
}

#[test]
fn a_short_body_does_not_authenticate() {
    for length in [0, 1, 31, 32, 47, 63, 64, 95, 96, 127] {
        let body = base64_simd::URL_SAFE_NO_PAD.encode_to_string(vec![0_u8; length]);
        let local = UntrustedToken::parse(&format!("v4.local.{body}"))
            .unwrap()
            .open(&key());
        assert_eq!(local.map(drop), Err(TokenError::NotAuthentic), "{length}");
        let k3 = Key::<V3, Local>::from_bytes(&[7; 32]).unwrap();
        let local = UntrustedToken::parse(&format!("v3.local.{body}"))
            .unwrap()
            .open(&k3);
        assert_eq!(local.map(drop), Err(TokenError::NotAuthentic), "{length}");
        let public = Key::<V4, Secret>::generate(&SystemRandom).unwrap().public();
        let signed = UntrustedToken::parse(&format!("v4.public.{body}"))
            .unwrap()
            .open(&public);
        assert_eq!(signed.map(drop), Err(TokenError::NotAuthentic), "{length}");
    }
}

#[test]
fn every_altered_byte_is_noticed() {
    let token = token();
    for place in "v4.local.".len()..token.len() {
        let mut altered = token.clone().into_bytes();
        altered[place] = if altered[place] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        let opened = UntrustedToken::parse(&altered).and_then(|token| token.open(&key()));
        assert!(opened.is_err(), "{altered}");
    }
}

#[test]
fn a_stripped_or_added_footer_is_noticed() {
    let token = token();
    let stripped = token.rsplit_once('.').unwrap().0;
    for altered in [stripped.to_owned(), format!("{stripped}.Zm9v")] {
        let opened = UntrustedToken::parse(&altered).unwrap().open(&key());
        assert_eq!(opened.map(drop), Err(TokenError::NotAuthentic));
    }
}

/// Under such a key a signature made without any secret verifies for every message.
#[test]
fn a_public_key_of_small_order_is_refused() {
    // R is the identity and S is zero: S·B = R + h·A for every h that A's order divides
    let signature = [&[1], [0; 63].as_slice()].concat();
    let body = base64_simd::URL_SAFE_NO_PAD.encode_to_string([b"forged", &*signature].concat());
    let forged = format!("v4.public.{body}");
    let refused = |key: &str| {
        let key = Key::<V4, Public>::from_bytes(&unhex(key))?;
        UntrustedToken::parse(&forged)?.open(&key).map(drop)
    };
    for key in [
        "0100000000000000000000000000000000000000000000000000000000000000",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    ] {
        assert_eq!(
            refused(key),
            Err(TokenError::Key(InvalidKey::Weak)),
            "{key}"
        );
    }
    // y = p + 1: the identity, written in a second way; y = 2 is on no point
    for key in [
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0200000000000000000000000000000000000000000000000000000000000000",
    ] {
        assert_eq!(
            refused(key),
            Err(TokenError::Key(InvalidKey::Invalid)),
            "{key}"
        );
    }
}

#[test]
fn a_secret_key_whose_public_half_is_anothers_is_refused() {
    let mut bytes = Key::<V4, Secret>::generate(&SystemRandom)
        .unwrap()
        .expose_secret();
    let other = Key::<V4, Secret>::generate(&SystemRandom)
        .unwrap()
        .public()
        .to_bytes();
    bytes[32..].copy_from_slice(&other);
    assert_eq!(
        Key::<V4, Secret>::from_bytes(&bytes).map(drop),
        Err(InvalidKey::Inconsistent)
    );
}

#[test]
fn a_p384_key_out_of_range_is_refused() {
    let refused = |scalar: &[u8]| Key::<V3, Secret>::from_bytes(scalar).map(drop);
    let order = "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973";
    assert_eq!(refused(&[0; 48]), Err(InvalidKey::Invalid));
    assert_eq!(refused(&unhex(order)), Err(InvalidKey::Invalid));
    assert_eq!(refused(&[0xff; 48]), Err(InvalidKey::Invalid));
    assert_eq!(
        refused(&[1; 47]),
        Err(InvalidKey::Length {
            expected: 48,
            found: 47
        })
    );
    for point in [
        [0; 49].to_vec(),
        [0xff; 49].to_vec(),
        [[4].as_slice(), &[1; 48]].concat(),
    ] {
        assert_eq!(
            Key::<V3, Public>::from_bytes(&point).map(drop),
            Err(InvalidKey::Invalid)
        );
    }
}

/// With a counter of 64 bits these authenticate and give a wrong key: their nonces carry out of the low half.
#[test]
fn a_counter_that_carries_past_64_bits_gives_the_right_key() {
    for (text, password, expected) in [
        (
            "k3.local-pw.QXP12ki34Xsp7zl1c8f1Z2vZR6ct1UsrK-BRB03gmf0AAAPo______________________-XHScfdVymwoeAFv5fXIYERcRb1bdIHlUwENdkZJvu4IjDYCWAkTKaulhPM61PJSBnqDXsrd9pAbzOTRxBZ4JaJGjYQw1esKvCH8ASHRoE",
            "correct horse battery staple",
            "69d611e7added86f3097a6803c6281c75323129fcea86492b19b9882e968caec",
        ),
        (
            "k3.local-pw.Scmm_JdR-U5XPkCcNw_hwbbiIOu8XYf1Jw9LPVPsmpgAAAPoAQEBAQEBAQH__________wry6jfJAiIu7uPbm6hlPDC9BrDaoCUQmi6V9tUuNxXyBkZ-mmw7mnCOknByHnwWVXLEhZjiMF9WRJY7JIcX5QcW_sflrhXN4e7JwtSfduWt",
            "correct horse battery staple",
            "885e9d6a57397dd4c26b502a0d3a58ca45e99a59f975e54f850ab1c5bf5b9766",
        ),
    ] {
        let protected = ProtectedKey::<V3, Local>::parse(text).unwrap();
        let key = protected
            .unlock(password.as_bytes(), &WorkLimits::default())
            .unwrap();
        assert_eq!(*key.expose_secret(), unhex(expected));
    }
}

#[test]
fn a_serialised_key_has_one_text() {
    let text = key().to_paserk();
    let refused = |text: &str| Key::<V4, Local>::from_paserk(text).map(drop);
    assert_eq!(refused(&text), Ok(()));
    assert_eq!(refused(&format!("{}=", *text)), Err(PaserkError::Malformed));
    assert_eq!(
        refused(&format!("{}\n", *text)),
        Err(PaserkError::Malformed)
    );
    assert_eq!(
        refused(&format!("{}A", *text)),
        Err(PaserkError::Key(InvalidKey::Length {
            expected: 32,
            found: 33
        }))
    );
    assert_eq!(
        refused(&text.replace("k4", "k3")),
        Err(PaserkError::WrongHeader {
            expected: "k4.local.".to_owned()
        })
    );
    let long = format!("k4.local.{}", "A".repeat(7000));
    assert_eq!(
        refused(&long),
        Err(PaserkError::TooLong {
            found: 7009,
            limit: 6144
        })
    );
    let non_canonical = text[..text.len() - 1].to_owned() + "d";
    assert_eq!(refused(&non_canonical), Err(PaserkError::Malformed));
}

#[test]
fn debug_shows_no_key() {
    assert_eq!(format!("{:?}", key()), "Key(k4.local)");
    let secret = Key::<V4, Secret>::generate(&SystemRandom).unwrap();
    assert_eq!(format!("{secret:?}"), "Key(k4.secret)");
    let read = UntrustedToken::<V4, Local>::parse(&token()).unwrap();
    assert_eq!(format!("{read:?}"), "UntrustedToken(v4.local)");
    let opened = read.open(&key()).unwrap();
    assert_eq!(format!("{opened:?}"), "VerifiedPayload(7 bytes)");
}
