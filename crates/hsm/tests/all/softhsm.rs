//! SoftHSM, and OpenSC's `pkcs11-tool` as the second opinion.

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use countersign_hsm::{HsmError, KeyAlgorithm, PinRisk, Token, TokenState};

use crate::support::{Hsm, Maker, PIN, goes_and_comes_back, signs, verifies, wait_until, with};

#[test]
fn an_ed25519_key_that_is_made_here_signs() {
    with_softhsm(|hsm| signs(&hsm, KeyAlgorithm::Ed25519));
}

#[test]
fn a_p384_key_that_is_made_here_signs() {
    with_softhsm(|hsm| signs(&hsm, KeyAlgorithm::EcdsaP384));
}

#[test]
fn keys_that_another_program_made_sign() {
    with_softhsm(|hsm| {
        for (kind, id, algorithm) in [
            ("EC:edwards25519", "01", KeyAlgorithm::Ed25519),
            ("EC:secp384r1", "02", KeyAlgorithm::EcdsaP384),
        ] {
            let made = [
                "--keypairgen",
                "--key-type",
                kind,
                "--id",
                id,
                "--label",
                "made",
            ];
            hsm.pkcs11_tool(&[&LOGGED_IN[..], &made].concat());
            let uri = hsm.uri(&format!("object=made;id=%{id}"));
            let token = Token::open(&uri).unwrap();
            let key = token.signing_key(&uri).unwrap();
            assert_eq!(key.public_key().algorithm(), algorithm);
            verifies(&key);
        }
        let uri = hsm.uri("object=made");
        let token = Token::open(&uri).unwrap();
        let told = token.signing_key(&uri).unwrap_err().to_string();
        assert_eq!(told, "the token `gateway` has 2 keys `made`");
    });
}

#[test]
fn what_another_program_signs_with_the_key_verifies_here() {
    with_softhsm(|hsm| {
        let uri = hsm.uri("object=one;id=%2a");
        let token = Token::open(&uri).unwrap();
        token.generate(&uri, KeyAlgorithm::EcdsaP384).unwrap();
        let key = token.signing_key(&uri).unwrap();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA384, b"message");
        let input = hsm.write("hash", hash.as_ref());
        let asked = [
            "--sign",
            "--mechanism",
            "ECDSA",
            "--id",
            "2a",
            "--input-file",
            &input,
        ];
        let signature = hsm.pkcs11_tool(&[&LOGGED_IN[..], &asked].concat());
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, key.public_key().raw())
            .verify(b"message", &signature)
            .unwrap();
    });
}

#[test]
fn a_secret_is_sealed_and_opens_only_with_its_key_and_words() {
    with_softhsm(|hsm| {
        let [one, other] = ["one", "other"].map(|label| {
            let uri = hsm.uri(&format!("object={label}"));
            let token = Token::open(&uri).unwrap();
            token.generate(&uri, KeyAlgorithm::Aes256).unwrap();
            token.sealing_key(&uri).unwrap()
        });
        let sealed = one.seal(b"secret", b"words").unwrap();
        assert_eq!(sealed.len(), 12 + 6 + 16);
        assert_ne!(sealed, one.seal(b"secret", b"words").unwrap());
        assert_eq!(*one.open(&sealed, b"words").unwrap(), b"secret");
        let refused = |error| matches!(error, HsmError::Unsealable { .. });
        assert!(refused(one.open(&sealed, b"other words").unwrap_err()));
        assert!(refused(other.open(&sealed, b"words").unwrap_err()));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert!(refused(one.open(&altered, b"words").unwrap_err()), "{at}");
            assert!(
                refused(one.open(&sealed[..at], b"words").unwrap_err()),
                "{at}"
            );
        }
    });
}

#[test]
fn a_key_is_not_made_over_another() {
    with_softhsm(|hsm| {
        let uri = hsm.uri("object=one");
        let token = Token::open(&uri).unwrap();
        token.generate(&uri, KeyAlgorithm::Ed25519).unwrap();
        let error = token.generate(&uri, KeyAlgorithm::EcdsaP384).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the token `gateway` has a key `one` already"
        );
    });
}

#[test]
fn a_module_without_ml_dsa_says_so() {
    with_softhsm(|hsm| {
        let uri = hsm.uri("object=one");
        let token = Token::open(&uri).unwrap();
        let error = token.generate(&uri, KeyAlgorithm::MlDsa65).unwrap_err();
        let expected = "the token `gateway` does not offer CKM_ML_DSA_KEY_PAIR_GEN";
        assert_eq!(error.to_string(), expected);
    });
}

#[test]
fn what_is_missing_is_named() {
    with_softhsm(|hsm| {
        let key = hsm.uri("object=absent");
        let token = Token::open(&key).unwrap();
        let error = token.signing_key(&key).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the token `gateway` has no private key `absent`"
        );
        let error = token.sealing_key(&key).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the token `gateway` has no secret key `absent`"
        );

        let error = Token::open(&hsm.uri_in("token=other", "object=a")).unwrap_err();
        let told = error.to_string();
        assert!(
            told.ends_with("has no token `token=other`: it has `gateway`"),
            "{told}"
        );

        let mut elsewhere = hsm.uri("object=a");
        elsewhere.module = "/nowhere/module.so".into();
        let told = Token::open(&elsewhere).unwrap_err().to_string();
        assert!(
            told.starts_with("cannot load the PKCS#11 module `/nowhere/module.so`: "),
            "{told}"
        );

        let mut no_pin = hsm.uri("object=a");
        no_pin.pin_source = None;
        // A fresh process: the token above is logged in already, and that is the process's.
        drop(token);
        let told = Token::open(&no_pin).unwrap_err().to_string();
        assert_eq!(
            told,
            "the token `gateway` wants a PIN, and its URI names no `pin-source`"
        );
    });
}

#[test]
fn a_library_that_is_no_module_is_refused() {
    with_softhsm(|hsm| {
        let mut uri = hsm.uri("object=a");
        uri.module = std::env::current_exe().unwrap();
        let told = Token::open(&uri).unwrap_err().to_string();
        assert!(
            told.starts_with("cannot load the PKCS#11 module `"),
            "{told}"
        );
    });
}

#[test]
fn a_wrong_pin_is_tried_once_and_never_again() {
    with_softhsm(|hsm| {
        hsm.set_pin("4321");
        let uri = hsm.uri("object=a");
        let error = Token::open(&uri).unwrap_err();
        assert!(matches!(error, HsmError::PinRefused { .. }), "{error}");
        for _ in 0..20 {
            let error = Token::open(&uri).unwrap_err();
            let HsmError::PinNotTried { risk, .. } = error else {
                panic!("{error}");
            };
            assert_eq!(risk, PinRisk::CountLow);
        }
        // The token is not locked: another program logs in, after which the right PIN is tried again.
        hsm.pkcs11_tool(&[&LOGGED_IN[..], &["--list-objects"]].concat());
        hsm.set_pin(PIN);
        Token::open(&uri).unwrap();
    });
}

#[test]
fn two_tokens_of_one_module_are_told_apart() {
    with_softhsm(|hsm| {
        hsm.add_token("second");
        let [first, second] = ["gateway", "second"].map(|label| {
            let uri = hsm.uri_in(&format!("token={label}"), "object=key");
            let token = Token::open(&uri).unwrap();
            token.generate(&uri, KeyAlgorithm::Ed25519).unwrap();
            token.signing_key(&uri).unwrap()
        });
        assert_ne!(first.public_key(), second.public_key());
        verifies(&first);
        verifies(&second);
        let both = hsm.uri_in("manufacturer=SoftHSM%20project", "object=key");
        let told = Token::open(&both).unwrap_err().to_string();
        assert!(
            told.ends_with("has several tokens `manufacturer=SoftHSM%20project`"),
            "{told}"
        );
    });
}

#[test]
fn a_token_that_goes_is_missed_and_is_found_again_by_itself() {
    with_softhsm(|hsm| goes_and_comes_back(&hsm, KeyAlgorithm::Ed25519));
}

#[test]
fn a_token_that_nobody_asks_is_missed_too() {
    with_softhsm(|hsm| {
        let token = Token::open(&hsm.uri("object=key")).unwrap();
        let state = token.state();
        hsm.take_away();
        let lost = || matches!(&*state.borrow(), TokenState::Lost { .. }).then_some(());
        wait_until("the token is missed", lost);
    });
}

#[test]
fn a_pin_that_changed_meanwhile_is_not_tried_twice() {
    with_softhsm(|hsm| {
        let uri = hsm.uri("object=key");
        let token = Token::open(&uri).unwrap();
        token.generate(&uri, KeyAlgorithm::Ed25519).unwrap();
        let key = token.signing_key(&uri).unwrap();
        hsm.take_away();
        wait_until("the token is missed", || key.sign(b"message").err());
        hsm.set_pin("4321");
        hsm.put_back();
        let told = wait_until("the wrong PIN is refused and kept", || {
            let told = key.sign(b"message").unwrap_err().to_string();
            told.contains("the token refused it before").then_some(told)
        });
        assert!(
            told.starts_with("the token `gateway` is out of reach: the PIN of the token"),
            "{told}"
        );
    });
}

#[test]
fn many_threads_sign_with_one_token() {
    with_softhsm(|hsm| {
        let uri = hsm.uri("object=key");
        let token = Token::open(&uri).unwrap();
        token.generate(&uri, KeyAlgorithm::Ed25519).unwrap();
        let key = token.signing_key(&uri).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..50).for_each(|_| verifies(&key)));
            }
        });
    });
}

fn with_softhsm(test: impl FnOnce(Hsm)) {
    with(Maker::SoftHsm, test);
}

const LOGGED_IN: [&str; 5] = ["--token-label", "gateway", "--login", "--pin", PIN];
