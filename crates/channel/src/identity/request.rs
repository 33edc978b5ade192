//! Certificate requests (PKCS#10, RFC 2986): bytes → request → proof that the sender holds the key.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::request::CertReq;

use super::signer::IssuingKey;
use super::{KeyError, PrivateKey, PublicKey};

/// A certificate request whose proof of possession has not been checked.
///
/// ```
/// use countersign_channel::identity::{CertificateRequest, KeyAlgorithm, PrivateKey};
///
/// let key = PrivateKey::generate(KeyAlgorithm::MlDsa65)?;
/// let der = CertificateRequest::write(&key)?;
/// let proven = CertificateRequest::from_der(&der)?.prove()?;
/// assert_eq!(proven.public_key(), key.public_key());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CertificateRequest {
    signed: Vec<u8>,
    public_key: PublicKey,
    signature: Vec<u8>,
}

/// A public key whose holder has proven that the private key is theirs. Only [`CertificateRequest::prove`] makes one.
///
/// ```compile_fail
/// # use countersign_channel::identity::{KeyAlgorithm, PrivateKey, ProvenKey};
/// let key = PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap();
/// let proven = ProvenKey(key.public_key().clone());
/// ```
#[derive(Clone, Debug)]
pub struct ProvenKey(PublicKey);

/// Why a certificate request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It is longer than any request of ours.
    #[error("a certificate request has at most {MAX_REQUEST} bytes, this has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It is not PKCS#10 in DER.
    #[error("this is no certificate request (PKCS#10 in DER)")]
    Malformed,
    /// Its key is of an algorithm that is not issued for here, or its signature is of another algorithm than its key.
    #[error("the certificate request's key or signature has an algorithm that is not issued for")]
    Algorithm,
    /// It is not signed by the key it holds.
    #[error("the certificate request is not signed by the key that it holds")]
    Possession,
    /// It could not be written.
    #[error("the certificate request could not be written: {0}")]
    Key(#[from] KeyError),
}

impl CertificateRequest {
    /// Writes a request in DER for a key. It names nobody: the issuer decides the name.
    ///
    /// # Errors
    ///
    /// AWS-LC failed.
    pub fn write(key: &PrivateKey) -> Result<Vec<u8>, RequestError> {
        Self::written(CertificateParams::default(), key)
    }

    /// Writes a request in DER for a key and DNS names, as public authorities want it.
    ///
    /// # Errors
    ///
    /// A name is no DNS name, or AWS-LC failed.
    pub fn write_for(key: &PrivateKey, names: &[String]) -> Result<Vec<u8>, RequestError> {
        let params = CertificateParams::new(names).map_err(|_| RequestError::Malformed)?;
        Self::written(params, key)
    }

    fn written(mut params: CertificateParams, key: &PrivateKey) -> Result<Vec<u8>, RequestError> {
        params.distinguished_name = DistinguishedName::new();
        params
            .serialize_request(&IssuingKey::new(key))
            .map(|request| request.der().to_vec())
            .map_err(|_| RequestError::Key(KeyError::Library))
    }

    /// Reads a request in DER.
    ///
    /// # Errors
    ///
    /// It is too long, malformed, or its key is not of an algorithm that is known here.
    pub fn from_der(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAX_REQUEST {
            return Err(RequestError::TooLong { length: der.len() });
        }
        let request = CertReq::from_der(der).map_err(|_| RequestError::Malformed)?;
        let public_key =
            PublicKey::from_spki(&request.info.public_key).map_err(|_| RequestError::Algorithm)?;
        if request.algorithm.oid != public_key.algorithm().signature_oid()
            || request.algorithm.parameters.is_some()
        {
            return Err(RequestError::Algorithm);
        }
        let signed = request.info.to_der().map_err(|_| RequestError::Malformed)?;
        let signature = request
            .signature
            .as_bytes()
            .ok_or(RequestError::Malformed)?
            .to_vec();
        Ok(Self {
            signed,
            public_key,
            signature,
        })
    }

    /// Checks that the request is signed by the key it holds. Nothing but that key is taken from it.
    ///
    /// # Errors
    ///
    /// It is not.
    pub fn prove(self) -> Result<ProvenKey, RequestError> {
        self.public_key
            .verify(&self.signed, &self.signature)
            .map_err(|_| RequestError::Possession)?;
        Ok(ProvenKey(self.public_key))
    }
}

impl fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CertificateRequest({:?})", self.public_key)
    }
}

impl ProvenKey {
    /// The key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.0
    }
}

/// A request with ML-DSA-87 has 7.3 kB; one with names that we drop may be longer.
const MAX_REQUEST: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::KeyAlgorithm;

    fn request(algorithm: KeyAlgorithm) -> (PrivateKey, Vec<u8>) {
        let key = PrivateKey::generate(algorithm).unwrap();
        let der = CertificateRequest::write(&key).unwrap();
        (key, der)
    }

    fn check(der: &[u8], expected: RequestError) {
        let error = CertificateRequest::from_der(der).and_then(CertificateRequest::prove);
        assert_eq!(error.unwrap_err(), expected);
    }

    #[test]
    fn a_request_of_each_algorithm_proves_its_key() {
        for algorithm in KeyAlgorithm::ALL {
            let (key, der) = request(algorithm);
            let proven = CertificateRequest::from_der(&der).unwrap().prove().unwrap();
            assert_eq!(proven.public_key(), key.public_key());
        }
    }

    #[test]
    fn a_request_with_a_changed_signature_proves_nothing() {
        let (_, mut der) = request(KeyAlgorithm::MlDsa65);
        *der.last_mut().unwrap() ^= 1;
        check(&der, RequestError::Possession);
    }

    #[test]
    fn a_request_for_a_key_of_somebody_else_proves_nothing() {
        let (mine, der) = request(KeyAlgorithm::MlDsa65);
        let theirs = PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap();
        let (mine, theirs) = (mine.public_key().raw(), theirs.public_key().raw());
        let at = der
            .windows(mine.len())
            .position(|window| window == mine)
            .unwrap();
        let mut stolen = der.clone();
        stolen[at..at + theirs.len()].copy_from_slice(theirs);
        check(&stolen, RequestError::Possession);
    }

    #[test]
    fn a_request_that_is_cut_padded_or_huge_is_refused() {
        let (_, mut der) = request(KeyAlgorithm::EcdsaP256);
        check(&der[..der.len() - 1], RequestError::Malformed);
        der.push(0);
        check(&der, RequestError::Malformed);
        check(
            &[0x30; MAX_REQUEST + 1],
            RequestError::TooLong {
                length: MAX_REQUEST + 1,
            },
        );
    }
}
