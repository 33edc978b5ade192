//! Our keys as rustls and rcgen want to see them.
//!
//! rcgen 0.14 panics when it loads an ML-DSA key, so it only ever gets these, never the key itself.

use std::fmt;
use std::sync::{Arc, OnceLock};

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ML_DSA_65, PKCS_ML_DSA_87, PublicKeyData,
};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::sign::{Signer, SigningKey};
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::{KeyAlgorithm, KeyError, PrivateKey, PublicKey};

/// A private key that signs handshakes.
pub(crate) struct TlsKey(pub(crate) Arc<PrivateKey>);

/// A private key that signs certificates and certificate requests.
pub(crate) struct IssuingKey<'a> {
    key: &'a PrivateKey,
    /// Where it says why it did not sign.
    failure: Option<&'a OnceLock<KeyError>>,
}

/// A public key that a certificate is issued for.
pub(super) struct SubjectKey<'a>(pub(super) &'a PublicKey);

impl SigningKey for TlsKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let scheme = SignatureScheme::from(self.0.algorithm().scheme().code_point());
        if !offered.contains(&scheme) {
            return None;
        }
        let key = self.0.clone();
        Some(Box::new(TlsSigner { key, scheme }))
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(SubjectPublicKeyInfoDer::from(
            self.0.public_key().spki_der(),
        ))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        // TLS 1.2's notion; TLS 1.3 goes by the scheme, and 1.2 is not compiled in.
        SignatureAlgorithm::Unknown(0)
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsKey")
    }
}

impl<'a> IssuingKey<'a> {
    /// A key that signs.
    pub(crate) const fn new(key: &'a PrivateKey) -> Self {
        let failure = None;
        Self { key, failure }
    }

    /// The same, which says there why it did not.
    pub(super) const fn telling(key: &'a PrivateKey, failure: &'a OnceLock<KeyError>) -> Self {
        let failure = Some(failure);
        Self { key, failure }
    }
}

impl PublicKeyData for IssuingKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.public_key().raw()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        certificate_algorithm(self.key.algorithm())
    }
}

impl rcgen::SigningKey for IssuingKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.key.sign(message).map_err(|error| {
            if let Some(failure) = self.failure {
                // The first failure is the one that ended it.
                let _ = failure.set(error);
            }
            rcgen::Error::RemoteKeyError
        })
    }
}

impl PublicKeyData for SubjectKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.raw()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        certificate_algorithm(self.0.algorithm())
    }
}

struct TlsSigner {
    key: Arc<PrivateKey>,
    scheme: SignatureScheme,
}

impl Signer for TlsSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        self.key
            .sign(message)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }

    fn scheme(&self) -> SignatureScheme {
        self.scheme
    }
}

impl fmt::Debug for TlsSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsSigner({:?})", self.scheme)
    }
}

fn certificate_algorithm(algorithm: KeyAlgorithm) -> &'static rcgen::SignatureAlgorithm {
    match algorithm {
        KeyAlgorithm::MlDsa65 => &PKCS_ML_DSA_65,
        KeyAlgorithm::MlDsa87 => &PKCS_ML_DSA_87,
        KeyAlgorithm::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
        KeyAlgorithm::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
    }
}
