//! Keys that sign where they are kept: in an HSM, in a service.

use x509_cert::der::Encode as _;
use x509_cert::der::asn1::Uint;

use super::{KeyAlgorithm, KeyError, PublicKey};

/// Signs with a key that is kept elsewhere.
///
/// What it gives is checked against the public key before anyone sees it.
pub trait SignElsewhere: Send + Sync {
    /// The signature of a message: ML-DSA pure with an empty context, ECDSA as r and s, one after the other. May block.
    ///
    /// # Errors
    ///
    /// Why there is none, in words.
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// A signature as [`PrivateKey::sign`](super::PrivateKey::sign) gives it.
pub(super) fn sign(
    keeper: &dyn SignElsewhere,
    public: &PublicKey,
    message: &[u8],
) -> Result<Vec<u8>, KeyError> {
    let signed = keeper.sign(message);
    let signed = signed.map_err(|cause| KeyError::Elsewhere { cause })?;
    let signature = match public.algorithm() {
        KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => signed,
        KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 => {
            ecdsa_sig_value(&signed).ok_or(KeyError::Signature)?
        }
    };
    public.verify(message, &signature)?;
    Ok(signature)
}

/// `Ecdsa-Sig-Value` of RFC 3279 section 2.2.3.
fn ecdsa_sig_value(fixed: &[u8]) -> Option<Vec<u8>> {
    let (r, s) = fixed.split_at_checked(fixed.len() / 2)?;
    let values = vec![Uint::new(r).ok()?, Uint::new(s).ok()?];
    values.to_der().ok()
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

    use super::*;
    use crate::identity::PrivateKey;

    struct Keeper(Result<EcdsaKeyPair, String>);

    impl SignElsewhere for Keeper {
        fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
            let pair = self.0.as_ref().map_err(Clone::clone)?;
            let signature = pair.sign(&SystemRandom::new(), message).unwrap();
            Ok(signature.as_ref().to_vec())
        }
    }

    fn pair() -> (EcdsaKeyPair, PublicKey) {
        use aws_lc_rs::encoding::AsDer as _;
        let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap();
        let spki = pair.public_key().as_der().unwrap();
        let public = PublicKey::from_spki_der(spki.as_ref()).unwrap();
        (pair, public)
    }

    #[test]
    fn a_key_that_is_kept_elsewhere_signs_as_one_that_is_here() {
        // Often enough that some r or s begins with a zero byte, and some with a high bit.
        let (pair, public) = pair();
        let key = PrivateKey::elsewhere(public.clone(), Box::new(Keeper(Ok(pair))));
        for number in 0_u16..600 {
            let message = number.to_be_bytes();
            let signature = key.sign(&message).unwrap();
            public.verify(&message, &signature).unwrap();
        }
        assert_eq!(key.to_pkcs8_der().unwrap_err(), KeyError::KeptElsewhere);
        assert!(key.is_elsewhere());
    }

    #[test]
    fn a_signature_of_another_key_and_none_at_all_are_refused() {
        let ((pair, _), (_, other)) = (pair(), pair());
        let wrong = PrivateKey::elsewhere(other.clone(), Box::new(Keeper(Ok(pair))));
        assert_eq!(wrong.sign(b"message"), Err(KeyError::Signature));
        let gone = PrivateKey::elsewhere(other, Box::new(Keeper(Err("gone".to_owned()))));
        let told = gone.sign(b"message").unwrap_err().to_string();
        assert_eq!(told, "the key is kept elsewhere, and did not sign: gone");
    }
}
