//! What is wrong in other libraries, at the versions pinned here, and right in ours.

use std::mem::needs_drop;

use countersign_paseto::paserk::Argon2id;
use countersign_paseto::{
    ClaimError, Key, Local, Rules, Secret, SystemRandom, TokenError, UntrustedToken, V4,
    mint_payload,
};
use countersign_paseto_peers::{Countersign, Library, Question};
use jiff::Timestamp;

use crate::support::{Keys, data, others};

/// Those of the others that have the defect are the ones named, as far as they are installed; ours has it not.
fn check(named: &[&str], has_it: impl Fn(&dyn Library) -> bool) {
    assert!(!has_it(&Countersign));
    let others = others();
    let found: Vec<&str> = others
        .iter()
        .filter(|library| has_it(&***library))
        .map(|library| library.name())
        .collect();
    let installed = |name: &&&str| others.iter().any(|library| library.name() == **name);
    let named: Vec<&str> = named.iter().filter(installed).copied().collect();
    assert_eq!(found, named);
}

const RUSTY: [&str; 3] = [
    "rusty_paseto (v2)",
    "rusty_paseto (v3)",
    "rusty_paseto (v4)",
];

/// Claims that every library takes.
const PAYLOAD: &[u8] = br#"{"exp":"2039-01-01T00:00:00Z"}"#;

fn keys() -> Keys {
    let [.., v4] = Keys::of_all_versions([7; 48]);
    v4
}

/// Tokens of version 4, one of each purpose, with the key that opens each.
fn tokens(footer: &[u8]) -> [(String, String); 2] {
    let keys = keys();
    let mint = |key: &str| {
        let made = Question::Mint {
            key: key.to_owned(),
            payload: PAYLOAD.to_vec(),
            footer: footer.to_vec(),
            assertion: Vec::new(),
        };
        String::from_utf8(Countersign.ask(&made).unwrap()).unwrap()
    };
    let [local, signed] = [mint(&keys.local), mint(&keys.secret)];
    [(keys.local, local), (keys.public, signed)]
}

fn opens(library: &dyn Library, key: &str, token: String, footer: &[u8]) -> bool {
    let question = Question::Open {
        key: key.to_owned(),
        token,
        footer: footer.to_vec(),
        assertion: Vec::new(),
    };
    library.ask(&question).is_ok()
}

#[test]
fn a_counter_of_64_bits_gives_a_wrong_key() {
    // the low half of the nonce is all ones: it carries at the key's second block
    let unlock = Question::Unlock {
        paserk: "k3.local-pw.QXP12ki34Xsp7zl1c8f1Z2vZR6ct1UsrK-BRB03gmf0AAAPo______________________-XHScfdVymwoeAFv5fXIYERcRb1bdIHlUwENdkZJvu4IjDYCWAkTKaulhPM61PJSBnqDXsrd9pAbzOTRxBZ4JaJGjYQw1esKvCH8ASHRoE".to_owned(),
        password: "correct horse battery staple".to_owned(),
    };
    let right = data("k3.local.adYR563e2G8wl6aAPGKBx1MjEp_OqGSSsZuYguloyuw");
    assert_eq!(Countersign.ask(&unlock), Ok(right.clone()));
    check(&["paseto-rs"], |library| {
        library.ask(&unlock).is_ok_and(|key| key != right)
    });
}

#[test]
fn one_signature_verifies_every_message_under_the_identity() {
    // R is the identity and S is zero: S·B = R + h·A for every h, since A is the identity too
    let signature = [&[1], [0; 63].as_slice()].concat();
    let body = base64_simd::URL_SAFE_NO_PAD.encode_to_string([PAYLOAD, &signature].concat());
    let identity = "k4.public.AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    check(&["paseto-rs", "pyseto"], |library| {
        opens(library, identity, format!("v4.public.{body}"), b"")
    });
}

#[test]
fn a_token_without_its_footer_is_taken_for_one_with() {
    check(&RUSTY, |library| {
        tokens(b"foot").into_iter().any(|(key, token)| {
            let (stripped, _) = token.rsplit_once('.').unwrap();
            opens(library, &key, stripped.to_owned(), b"foot")
        })
    });
}

#[test]
fn a_token_has_a_second_text() {
    let spellings = |token: &str| {
        let (start, last) = token.split_at(token.len() - 1);
        let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let place = alphabet.find(last).unwrap();
        [
            format!("{token}."),
            format!("{token}=="),
            format!("{start}{}", &alphabet[place + 1..=place + 1]),
        ]
    };
    let all_but_npm = [
        "pasetors",
        "paseto-rs",
        "paseto-rs on C",
        "rusty_paseto (v2)",
        "rusty_paseto (v3)",
        "rusty_paseto (v4)",
        "pyseto",
    ];
    check(&all_but_npm, |library| {
        tokens(b"").into_iter().any(|(key, token)| {
            let mut texts = spellings(&token).into_iter();
            texts.any(|text| opens(library, &key, text, b""))
        })
    });
}

#[test]
fn half_a_gibibyte_of_argon2_is_spent_on_a_strangers_word() {
    let work = Argon2id {
        memory: 512 << 20,
        passes: 1,
        parallelism: 1,
    };
    let key = Key::<V4, Local>::from_paserk(&keys().local).unwrap();
    let unlock = Question::Unlock {
        paserk: key.protect(b"password", work, &SystemRandom).unwrap(),
        password: "password".to_owned(),
    };
    check(&["paseto-rs", "paseto-rs on C"], |library| {
        library.ask(&unlock).is_ok()
    });
}

#[test]
fn a_secret_key_with_the_public_half_of_another_signs() {
    let [_, other, _, _] = Keys::of_all_versions([9; 48]);
    let mut bytes = data(&keys().secret);
    bytes[32..].copy_from_slice(&data(&other.public));
    let mint = Question::Mint {
        key: format!(
            "k4.secret.{}",
            base64_simd::URL_SAFE_NO_PAD.encode_to_string(bytes)
        ),
        payload: PAYLOAD.to_vec(),
        footer: Vec::new(),
        assertion: Vec::new(),
    };
    check(&["paseto-rs on C", "pyseto"], |library| {
        library.ask(&mint).is_ok()
    });
}

#[test]
fn sealing_asks_for_the_recipients_secret_key() {
    let keys = keys();
    let seal = |to: &String| Question::Seal {
        key: keys.local.clone(),
        to: to.clone(),
    };
    check(&["rusty_paseto (v4)"], |library| {
        let with_public = library.ask(&seal(&keys.public));
        with_public.is_err() && library.ask(&seal(&keys.secret)).is_ok()
    });
}

/// What needs no drop cannot wipe itself.
#[test]
fn keys_are_left_in_memory() {
    assert!(!needs_drop::<paseto_v4::LocalKey>());
    assert!(!needs_drop::<paseto_v4_sodium::LocalKey>());
    assert!(needs_drop::<Key<V4, Local>>());
    assert!(needs_drop::<Key<V4, Secret>>());
}

/// That ours has no such method is a `compile_fail` doctest of [`UntrustedToken`].
#[test]
fn claims_are_read_before_they_are_verified() {
    let body = [PAYLOAD, &[0; 64]].concat();
    let forged = format!(
        "v4.public.{}",
        base64_simd::URL_SAFE_NO_PAD.encode_to_string(body)
    );
    let theirs =
        pasetors::token::UntrustedToken::<pasetors::Public, pasetors::version4::V4>::try_from(
            &forged,
        );
    assert_eq!(theirs.unwrap().untrusted_payload(), PAYLOAD);
}

#[test]
fn a_token_without_expiry_is_accepted_unasked() {
    use paseto_json::{RegisteredClaims, Time};

    let secret = paseto_v4::SecretKey::random().unwrap();
    let token = paseto_v4::UnsignedToken::new(RegisteredClaims::default());
    let signed = token.sign(&secret).unwrap();
    assert!(
        signed
            .verify(&secret.public_key(), &Time::valid_now())
            .is_ok()
    );

    let key = Key::<V4, Local>::from_paserk(&keys().local).unwrap();
    let token = mint_payload(&key, b"{}", Default::default(), &SystemRandom).unwrap();
    let token = UntrustedToken::<V4, Local>::parse(&token).unwrap();
    let refused = token.verify::<()>(&key, &Rules::new(), Timestamp::UNIX_EPOCH);
    let missing = TokenError::Claim(ClaimError::Missing { claim: "exp" });
    assert_eq!(refused.map(drop), Err(missing));
}
