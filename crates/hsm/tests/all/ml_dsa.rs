//! ML-DSA in a module that has it: kryoptic, an implementation of its own on OpenSSL, whose signatures AWS-LC verifies.

use countersign_hsm::{HsmError, KeyAlgorithm, Token, TokenState};

use crate::support::{Hsm, Maker, goes_and_comes_back, signs, verifies, wait_until, with};

#[test]
fn an_ml_dsa_65_key_that_is_made_here_signs() {
    with_kryoptic(|hsm| signs(&hsm, KeyAlgorithm::MlDsa65));
}

#[test]
fn an_ml_dsa_87_key_that_is_made_here_signs() {
    with_kryoptic(|hsm| signs(&hsm, KeyAlgorithm::MlDsa87));
}

#[test]
fn keys_of_the_other_algorithms_sign_beside_it() {
    with_kryoptic(|hsm| {
        for (label, algorithm) in KeyAlgorithm::SIGNING.map(|one| (one.name(), one)) {
            let uri = hsm.uri(&format!("object={}", label.replace(' ', "%20")));
            let token = Token::open(&uri).unwrap();
            token.generate(&uri, algorithm).unwrap();
            verifies(&token.signing_key(&uri).unwrap());
        }
    });
}

#[test]
fn a_secret_is_sealed_and_opens_only_with_its_words() {
    with_kryoptic(|hsm| {
        let uri = hsm.uri("object=root");
        let token = Token::open(&uri).unwrap();
        token.generate(&uri, KeyAlgorithm::Aes256).unwrap();
        let key = token.sealing_key(&uri).unwrap();
        let sealed = key.seal(b"secret", b"words").unwrap();
        assert_eq!(*key.open(&sealed, b"words").unwrap(), b"secret");
        let error = key.open(&sealed, b"other words").unwrap_err();
        assert!(matches!(error, HsmError::Unsealable { .. }), "{error}");
    });
}

#[test]
fn a_token_that_goes_is_missed_and_signs_again_when_it_is_back() {
    with_kryoptic(|hsm| goes_and_comes_back(&hsm, KeyAlgorithm::MlDsa65));
}

/// kryoptic answers for its token from memory.
#[test]
fn a_token_that_nobody_asks_is_missed_too() {
    with_kryoptic(|hsm| {
        let uri = hsm.uri("object=key");
        let token = Token::open(&uri).unwrap();
        token.generate(&uri, KeyAlgorithm::MlDsa65).unwrap();
        token.signing_key(&uri).unwrap();
        let state = token.state();
        hsm.take_away();
        let lost = || matches!(&*state.borrow(), TokenState::Lost { .. }).then_some(());
        wait_until("the token is missed", lost);
    });
}

fn with_kryoptic(test: impl FnOnce(Hsm)) {
    with(Maker::Kryoptic, test);
}
