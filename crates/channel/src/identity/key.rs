//! Keys: ML-DSA and ECDSA, from AWS-LC, each with its PKCS#8, its SubjectPublicKeyInfo and its signature.

use std::fmt;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1,
    ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, ML_DSA_65,
    ML_DSA_65_SIGNING, ML_DSA_87, ML_DSA_87_SIGNING, PqdsaKeyPair, PqdsaSigningAlgorithm,
    UnparsedPublicKey, VerificationAlgorithm,
};
use serde::{Deserialize, Serialize};
use x509_cert::der::pem::{self, LineEnding};
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoOwned};
use zeroize::Zeroizing;

use super::SpkiHash;
use super::elsewhere::{self, SignElsewhere};
use crate::registry::Scheme;

/// The algorithm of a key, and of the signatures made with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// ML-DSA-65 (FIPS 204).
    #[serde(rename = "ML-DSA-65")]
    MlDsa65,
    /// ML-DSA-87 (FIPS 204).
    #[serde(rename = "ML-DSA-87")]
    MlDsa87,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ECDSA P-256")]
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    #[serde(rename = "ECDSA P-384")]
    EcdsaP384,
}

/// A private key, or one that is [kept elsewhere](Self::elsewhere). It cannot be copied, printed or serialised but through [`PrivateKey::to_pkcs8_der`] and
/// [`PrivateKey::to_pkcs8_pem`], and AWS-LC wipes it when it is dropped.
///
/// ```compile_fail
/// # use countersign_channel::identity::{KeyAlgorithm, PrivateKey};
/// let key = PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap();
/// let copy = key.clone();
/// ```
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

/// A public key that was read in full: its algorithm is known and its length is right.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct PublicKey {
    algorithm: KeyAlgorithm,
    spki: Vec<u8>,
    raw: Vec<u8>,
}

/// Why a key cannot be made, read or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes hold no private key of an algorithm that is known here.
    #[error("this is no PKCS#8 private key with ML-DSA-65, ML-DSA-87, ECDSA P-256 or ECDSA P-384")]
    PrivateKey,
    /// The text is not PEM with the label `PRIVATE KEY`.
    #[error("this is no PEM text with the label `PRIVATE KEY`")]
    Pem,
    /// The bytes hold no public key of an algorithm that is known here.
    #[error("this is no public key with ML-DSA-65, ML-DSA-87, ECDSA P-256 or ECDSA P-384")]
    PublicKey,
    /// The signature does not verify.
    #[error("the signature does not verify")]
    Signature,
    /// The key is kept elsewhere and did not sign.
    #[error("the key is kept elsewhere, and did not sign: {cause}")]
    Elsewhere {
        /// What its keeper says.
        cause: String,
    },
    /// The key is kept elsewhere, and cannot be written down.
    #[error("the key is kept elsewhere, and cannot be written down")]
    KeptElsewhere,
    /// AWS-LC failed, as it does when the system gives it no randomness.
    #[error("the cryptographic library failed")]
    Library,
}

impl KeyAlgorithm {
    /// Every algorithm, the strongest first.
    pub const ALL: [Self; 4] = [
        Self::MlDsa87,
        Self::MlDsa65,
        Self::EcdsaP384,
        Self::EcdsaP256,
    ];

    /// Its name in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MlDsa65 => "ML-DSA-65",
            Self::MlDsa87 => "ML-DSA-87",
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
        }
    }

    /// The one TLS signature scheme that such a key signs with.
    pub const fn scheme(self) -> Scheme {
        match self {
            Self::MlDsa65 => Scheme::MLDSA65,
            Self::MlDsa87 => Scheme::MLDSA87,
            Self::EcdsaP256 => Scheme::ECDSA_P256,
            Self::EcdsaP384 => Scheme::ECDSA_P384,
        }
    }

    /// Whether a quantum computer could not forge its signatures.
    pub const fn is_post_quantum(self) -> bool {
        matches!(self, Self::MlDsa65 | Self::MlDsa87)
    }

    /// RFC 9881 section 2 for ML-DSA, RFC 5758 section 3.2 for ECDSA.
    pub(super) const fn signature_oid(self) -> ObjectIdentifier {
        match self {
            Self::MlDsa65 => ML_DSA_65_OID,
            Self::MlDsa87 => ML_DSA_87_OID,
            Self::EcdsaP256 => ECDSA_SHA256_OID,
            Self::EcdsaP384 => ECDSA_SHA384_OID,
        }
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::MlDsa65 => &ML_DSA_65,
            Self::MlDsa87 => &ML_DSA_87,
            Self::EcdsaP256 => &ECDSA_P256_SHA256_ASN1,
            Self::EcdsaP384 => &ECDSA_P384_SHA384_ASN1,
        }
    }

    fn signing(self) -> Signing {
        match self {
            Self::MlDsa65 => Signing::MlDsa(&ML_DSA_65_SIGNING),
            Self::MlDsa87 => Signing::MlDsa(&ML_DSA_87_SIGNING),
            Self::EcdsaP256 => Signing::Ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING),
            Self::EcdsaP384 => Signing::Ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING),
        }
    }

    /// Length of the key itself, as it stands in the BIT STRING: FIPS 204 table 2; an uncompressed point of SEC 1.
    const fn public_key_length(self) -> usize {
        match self {
            Self::MlDsa65 => 1952,
            Self::MlDsa87 => 2592,
            Self::EcdsaP256 => 65,
            Self::EcdsaP384 => 97,
        }
    }

    /// RFC 9881 section 2 for ML-DSA, RFC 5480 section 2.1.1 for the curves.
    fn of_spki(spki: &SubjectPublicKeyInfoOwned) -> Option<Self> {
        let parameters = spki.algorithm.parameters.as_ref();
        match spki.algorithm.oid {
            ML_DSA_65_OID if parameters.is_none() => Some(Self::MlDsa65),
            ML_DSA_87_OID if parameters.is_none() => Some(Self::MlDsa87),
            EC_PUBLIC_KEY_OID => match parameters?.decode_as::<ObjectIdentifier>().ok()? {
                P256_OID => Some(Self::EcdsaP256),
                P384_OID => Some(Self::EcdsaP384),
                _ => None,
            },
            _ => None,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl PrivateKey {
    /// Draws a fresh key.
    ///
    /// # Errors
    ///
    /// AWS-LC failed.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        let pair = match algorithm.signing() {
            Signing::MlDsa(signing) => PqdsaKeyPair::generate(signing).map(Pair::MlDsa),
            Signing::Ecdsa(signing) => EcdsaKeyPair::generate(signing).map(Pair::Ecdsa),
        };
        Self::with_pair(pair.map_err(|_| KeyError::Library)?)
    }

    /// Reads PKCS#8: of an ML-DSA key the seed, the expanded key or both (RFC 9881 section 6).
    ///
    /// # Errors
    ///
    /// It is no such key, or one of another algorithm.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        KeyAlgorithm::ALL
            .into_iter()
            .find_map(|algorithm| Pair::from_pkcs8(algorithm, der))
            .ok_or(KeyError::PrivateKey)
            .and_then(Self::with_pair)
    }

    /// Reads PKCS#8 in PEM, label `PRIVATE KEY`.
    ///
    /// # Errors
    ///
    /// It is not PEM, or holds no such key.
    pub fn from_pkcs8_pem(text: &str) -> Result<Self, KeyError> {
        let (label, der) = pem::decode_vec(text.as_bytes()).map_err(|_| KeyError::Pem)?;
        let der = Zeroizing::new(der);
        if label != PEM_LABEL {
            return Err(KeyError::Pem);
        }
        Self::from_pkcs8_der(&der)
    }

    /// Writes PKCS#8: of an ML-DSA key that was drawn here, or read from its seed, the seed.
    ///
    /// # Errors
    ///
    /// AWS-LC failed, or the key is [kept elsewhere](Self::elsewhere).
    pub fn to_pkcs8_der(&self) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let document = match &self.pair {
            Pair::MlDsa(pair) => pair.to_pkcs8v1(),
            Pair::Ecdsa(pair) => pair.to_pkcs8v1(),
            Pair::Elsewhere(_) => return Err(KeyError::KeptElsewhere),
        };
        let document = document.map_err(|_| KeyError::Library)?;
        Ok(Zeroizing::new(document.as_ref().to_vec()))
    }

    /// Writes PKCS#8 in PEM.
    ///
    /// # Errors
    ///
    /// As [`PrivateKey::to_pkcs8_der`].
    pub fn to_pkcs8_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let der = self.to_pkcs8_der()?;
        pem::encode_string(PEM_LABEL, LineEnding::LF, &der)
            .map(Zeroizing::new)
            .map_err(|_| KeyError::Library)
    }

    /// Its algorithm.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.public.algorithm
    }

    /// The public key that belongs to it.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Whether the key is [kept elsewhere](Self::elsewhere): then to sign may block.
    pub const fn is_elsewhere(&self) -> bool {
        matches!(self.pair, Pair::Elsewhere(_))
    }

    /// Signs a message: ML-DSA with an empty context, ECDSA in ASN.1 form.
    ///
    /// # Errors
    ///
    /// AWS-LC failed, or the key is kept elsewhere and what was given there is no signature of it.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::MlDsa(pair) => {
                let mut signature = vec![0; pair.algorithm().signature_len()];
                pair.sign(message, &mut signature)
                    .map_err(|_| KeyError::Library)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => pair
                .sign(&SystemRandom::new(), message)
                .map(|signature| signature.as_ref().to_vec())
                .map_err(|_| KeyError::Library),
            Pair::Elsewhere(keeper) => elsewhere::sign(keeper.as_ref(), &self.public, message),
        }
    }

    /// A key that is kept elsewhere, such as in an HSM, and signs there.
    pub fn elsewhere(public: PublicKey, keeper: Box<dyn SignElsewhere>) -> Self {
        let pair = Pair::Elsewhere(keeper);
        Self { pair, public }
    }

    fn with_pair(pair: Pair) -> Result<Self, KeyError> {
        let spki = match &pair {
            Pair::MlDsa(pair) => pair.public_key().as_der(),
            Pair::Ecdsa(pair) => pair.public_key().as_der(),
            Pair::Elsewhere(_) => return Err(KeyError::KeptElsewhere),
        };
        let spki = spki.map_err(|_| KeyError::Library)?;
        let public = PublicKey::from_spki_der(spki.as_ref())?;
        Ok(Self { pair, public })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKey")
    }
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    ///
    /// It is not one, its algorithm is another one, or its key has the wrong length.
    pub fn from_spki_der(der: &[u8]) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoOwned::from_der(der).map_err(|_| KeyError::PublicKey)?;
        Self::from_spki(&spki)
    }

    /// Its algorithm.
    pub const fn algorithm(&self) -> KeyAlgorithm {
        self.algorithm
    }

    /// Its SubjectPublicKeyInfo in DER.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    /// The SHA-384 of its SubjectPublicKeyInfo.
    pub fn hash(&self) -> SpkiHash {
        SpkiHash::of(&self.spki)
    }

    /// Checks a signature that [`PrivateKey::sign`] made.
    ///
    /// # Errors
    ///
    /// It does not verify.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        UnparsedPublicKey::new(self.algorithm.verification(), &self.raw)
            .verify(message, signature)
            .map_err(|_| KeyError::Signature)
    }

    pub(crate) fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let algorithm = KeyAlgorithm::of_spki(spki).ok_or(KeyError::PublicKey)?;
        let raw = spki
            .subject_public_key
            .as_bytes()
            .ok_or(KeyError::PublicKey)?
            .to_vec();
        if raw.len() != algorithm.public_key_length() {
            return Err(KeyError::PublicKey);
        }
        let spki = spki.to_der().map_err(|_| KeyError::PublicKey)?;
        Ok(Self {
            algorithm,
            spki,
            raw,
        })
    }

    pub(crate) fn raw(&self) -> &[u8] {
        &self.raw
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.algorithm, self.hash())
    }
}

enum Pair {
    MlDsa(PqdsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Elsewhere(Box<dyn SignElsewhere>),
}

impl Pair {
    fn from_pkcs8(algorithm: KeyAlgorithm, der: &[u8]) -> Option<Self> {
        match algorithm.signing() {
            Signing::MlDsa(signing) => PqdsaKeyPair::from_pkcs8(signing, der).ok().map(Self::MlDsa),
            Signing::Ecdsa(signing) => EcdsaKeyPair::from_pkcs8(signing, der).ok().map(Self::Ecdsa),
        }
    }
}

enum Signing {
    MlDsa(&'static PqdsaSigningAlgorithm),
    Ecdsa(&'static EcdsaSigningAlgorithm),
}

const PEM_LABEL: &str = "PRIVATE KEY";
const ML_DSA_65_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");
const ML_DSA_87_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");
const EC_PUBLIC_KEY_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ECDSA_SHA256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const P256_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");

#[cfg(test)]
mod tests {
    use super::*;

    fn check(algorithm: KeyAlgorithm) {
        let key = PrivateKey::generate(algorithm).unwrap();
        let again = PrivateKey::from_pkcs8_pem(&key.to_pkcs8_pem().unwrap()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(again.algorithm(), algorithm);
        let signature = again.sign(b"message").unwrap();
        assert_eq!(key.public_key().verify(b"message", &signature), Ok(()));
        assert_eq!(
            key.public_key().verify(b"massage", &signature),
            Err(KeyError::Signature)
        );
    }

    #[test]
    fn each_algorithm_signs_and_survives_pem() {
        KeyAlgorithm::ALL.into_iter().for_each(check);
    }

    #[test]
    fn an_ml_dsa_key_is_written_as_its_seed() {
        for algorithm in [KeyAlgorithm::MlDsa65, KeyAlgorithm::MlDsa87] {
            let der = PrivateKey::generate(algorithm)
                .unwrap()
                .to_pkcs8_der()
                .unwrap();
            // RFC 9881 section 6: version, algorithm and [0] IMPLICIT OCTET STRING (SIZE (32)).
            assert_eq!(der.len(), 54, "{algorithm}");
            assert_eq!(der[20..22], [0x80, 32]);
        }
    }

    #[test]
    fn a_key_prints_nothing_of_itself() {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        assert_eq!(format!("{key:?}"), "PrivateKey");
    }

    #[test]
    fn a_truncated_key_is_refused() {
        let der = PrivateKey::generate(KeyAlgorithm::MlDsa65)
            .unwrap()
            .to_pkcs8_der()
            .unwrap();
        for length in 0..der.len() {
            assert_eq!(
                PrivateKey::from_pkcs8_der(&der[..length]).unwrap_err(),
                KeyError::PrivateKey
            );
        }
    }

    #[test]
    fn a_public_key_of_another_length_or_with_trailing_bytes_is_refused() {
        let key = PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap();
        let mut spki = key.public_key().spki_der().to_vec();
        spki.push(0);
        assert_eq!(PublicKey::from_spki_der(&spki), Err(KeyError::PublicKey));
        spki.truncate(100);
        assert_eq!(PublicKey::from_spki_der(&spki), Err(KeyError::PublicKey));
    }
}
