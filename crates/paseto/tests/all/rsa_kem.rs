//! `k1.seal`: keys sealed to RSA keys of 4096 bits.

use countersign_paseto::{
    InsecureV1, InvalidKey, Key, Local, PaserkError, SealPublic, SealSecret, Secret, SystemRandom,
};

use crate::official::sealed;
use crate::support::{hex, vectors};

#[test]
fn k1_sealed_keys_are_those_of_the_specification() {
    sealed::<InsecureV1>("k1");
}

#[test]
fn a_key_is_sealed_to_its_recipient_alone() {
    let (ours, other) = (generate(), generate());
    let key = Key::<InsecureV1, Local>::from_bytes(&[7; 32]).unwrap();
    let sealed = key.seal(&ours.recipient(), &SystemRandom).unwrap();
    let unseal = |text: &str, with| Key::unseal(text, with).map(|key| key.expose_secret());
    assert_eq!(unseal(&sealed, &ours), Ok(key.expose_secret()));
    assert_eq!(unseal(&sealed, &other), Err(PaserkError::NotAuthentic));
    // the number is not below the modulus
    let (header, _) = sealed.rsplit_once('.').unwrap();
    let data = base64_simd::URL_SAFE_NO_PAD.encode_to_string([0xff; 48 + 32 + 512]);
    let refused = unseal(&format!("{header}.{data}"), &ours);
    assert_eq!(refused, Err(PaserkError::NotAuthentic));
}

#[test]
fn a_key_that_signs_seals_nothing() {
    let signing = Key::<InsecureV1, Secret>::generate(&SystemRandom).unwrap();
    let secret = Key::<InsecureV1, SealSecret>::from_bytes(&signing.expose_secret());
    assert_eq!(secret.map(drop), Err(InvalidKey::Invalid));
    let public = Key::<InsecureV1, SealPublic>::from_bytes(&signing.public().to_bytes());
    let length = InvalidKey::Length {
        expected: 550,
        found: 294,
    };
    assert_eq!(public.map(drop), Err(length));
}

#[test]
fn a_sealing_key_goes_through_its_text() {
    for vector in vectors("paserk/k1.seal.json").iter().take(1) {
        let secret = Key::<InsecureV1, SealSecret>::from_bytes(&hex(vector, "sealing-secret-key"));
        let secret = secret.unwrap();
        let again = Key::<InsecureV1, SealSecret>::from_paserk(&secret.to_paserk()).unwrap();
        assert_eq!(again.id(), secret.id());
        let public = hex(vector, "sealing-public-key");
        assert_eq!(secret.recipient().to_bytes(), public);
    }
}

fn generate() -> Key<InsecureV1, SealSecret> {
    Key::generate(&SystemRandom).unwrap()
}
