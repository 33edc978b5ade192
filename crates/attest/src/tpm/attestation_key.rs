//! The key that quotes: one that signs what its TPM says of itself, and nothing that anybody else hands it.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256,
    RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use x509_cert::der::Decode as _;
use x509_cert::spki::SubjectPublicKeyInfoRef;

use super::hash::HashAlgorithm;
use super::public::{Attributes, Curve, Key, Name, PublicArea, PublicAreaError, Scheme};
use crate::hex;

/// A key that may quote, by its public area: restricted to what its TPM says, made in that TPM, and never to leave it.
///
/// That the TPM is a genuine one is not said here: [`TrustedEk::credential`](super::TrustedEk::credential) finds out.
///
/// ```
/// use countersign_attest::tpm::{AttestationKey, AttestationKeyError};
///
/// assert!(matches!(AttestationKey::parse(&[0, 0]), Err(AttestationKeyError::PublicArea(_))));
/// ```
#[derive(Clone, Debug)]
pub struct AttestationKey {
    name: Option<Name>,
    key: Key,
    scheme: Scheme,
}

/// Why a key may not quote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AttestationKeyError {
    /// The public area cannot be read.
    #[error(transparent)]
    PublicArea(#[from] PublicAreaError),
    /// It lacks an attribute.
    #[error("the attestation key lacks the attribute `{attribute}`")]
    Lacks {
        /// Which (TPM 2.0 part 2, section 8.3).
        attribute: &'static str,
    },
    /// It has an attribute that it must not have.
    #[error("the attestation key has the attribute `{attribute}`")]
    Has {
        /// Which.
        attribute: &'static str,
    },
    /// It signs in a way that is not known here.
    #[error(
        "the attestation key has no scheme that is supported: ECDSA on P-256 with SHA-256 or on P-384 with SHA-384, RSASSA, RSAPSS"
    )]
    Scheme,
    /// The bytes are no SubjectPublicKeyInfo of such a key.
    #[error("the attestation key is no public key of RSA, P-256 or P-384")]
    Spki,
}

impl AttestationKey {
    /// Reads a `TPMT_PUBLIC`, what a `TPM2B_PUBLIC` holds, and checks that its key may quote.
    ///
    /// # Errors
    ///
    /// [`AttestationKeyError`] names the attribute or the scheme.
    pub fn parse(public: &[u8]) -> Result<Self, AttestationKeyError> {
        let area = PublicArea::parse(public)?;
        for attribute in REQUIRED {
            if !area.attributes.has(attribute) {
                let attribute = attribute.1;
                return Err(AttestationKeyError::Lacks { attribute });
            }
        }
        if area.attributes.has(Attributes::DECRYPT) {
            let (_, attribute) = Attributes::DECRYPT;
            return Err(AttestationKeyError::Has { attribute });
        }
        if verification(&area.key, area.scheme).is_none() {
            return Err(AttestationKeyError::Scheme);
        }
        Ok(Self {
            name: Some(area.name),
            key: area.key,
            scheme: area.scheme,
        })
    }

    /// Takes a bare public key for an attestation key, as where a platform vouches for it by other means: Azure does. Nothing is
    /// known of its attributes.
    ///
    /// # Errors
    ///
    /// The DER is no SubjectPublicKeyInfo of RSA, P-256 or P-384.
    pub fn unverified_from_spki(spki: &[u8]) -> Result<Self, AttestationKeyError> {
        let info =
            SubjectPublicKeyInfoRef::from_der(spki).map_err(|_| AttestationKeyError::Spki)?;
        let bits = info.subject_public_key.raw_bytes();
        let (key, scheme) = match bits {
            [4, coordinates @ ..] if coordinates.len() == 64 => (
                Key::Ec {
                    curve: Curve::P256,
                    point: bits.to_vec(),
                },
                Scheme::Ecdsa(HashAlgorithm::Sha256),
            ),
            [4, coordinates @ ..] if coordinates.len() == 96 => (
                Key::Ec {
                    curve: Curve::P384,
                    point: bits.to_vec(),
                },
                Scheme::Ecdsa(HashAlgorithm::Sha384),
            ),
            bits => (
                Key::of_rsa_bits(bits).ok_or(AttestationKeyError::Spki)?,
                Scheme::Rsassa(HashAlgorithm::Sha256),
            ),
        };
        Ok(Self {
            name: None,
            key,
            scheme,
        })
    }

    /// The same from an RSA key's modulus and exponent, big-endian without leading zeros.
    pub(crate) fn unverified_from_rsa(modulus: &[u8], exponent: &[u8]) -> Option<Self> {
        Some(Self {
            name: None,
            key: Key::of_rsa_numbers(modulus, exponent)?,
            scheme: Scheme::Rsassa(HashAlgorithm::Sha256),
        })
    }

    /// Its name, by which a credential is made for it; nothing where only the bare key is known.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// The hash that its signatures and the digests of its quotes are over.
    pub(super) fn hash(&self) -> Option<HashAlgorithm> {
        match self.scheme {
            Scheme::Rsassa(hash) | Scheme::Rsapss(hash) | Scheme::Ecdsa(hash) => Some(hash),
            Scheme::None | Scheme::Other => None,
        }
    }

    pub(super) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The length of a coordinate of its curve, where it has one.
    pub(super) fn coordinate(&self) -> Option<usize> {
        match &self.key {
            Key::Ec { curve, .. } => Some(curve.coordinate()),
            Key::Rsa { .. } => None,
        }
    }

    /// Whether both are one public key, whatever else is known of either.
    pub(crate) fn is_same_key(&self, other: &Self) -> bool {
        self.key == other.key
    }

    /// What tells it from others, in hexadecimal: the modulus, or the point on the curve.
    pub(crate) fn numbers(&self) -> String {
        match &self.key {
            Key::Rsa { modulus, .. } => hex::encode(modulus),
            Key::Ec { point, .. } => hex::encode(point),
        }
    }

    /// Whether this key signed the message.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let verified = verification(&self.key, self.scheme)
            .zip(self.key.bits())
            .map(|(algorithm, key)| {
                UnparsedPublicKey::new(algorithm, key).verify(message, signature)
            });
        matches!(verified, Some(Ok(())))
    }
}

fn verification(key: &Key, scheme: Scheme) -> Option<&'static dyn VerificationAlgorithm> {
    use HashAlgorithm::{Sha256, Sha384, Sha512};
    Some(match (key, scheme) {
        (
            Key::Ec {
                curve: Curve::P256, ..
            },
            Scheme::Ecdsa(Sha256),
        ) => &ECDSA_P256_SHA256_FIXED,
        (
            Key::Ec {
                curve: Curve::P384, ..
            },
            Scheme::Ecdsa(Sha384),
        ) => &ECDSA_P384_SHA384_FIXED,
        (Key::Rsa { .. }, Scheme::Rsassa(Sha256)) => &RSA_PKCS1_2048_8192_SHA256,
        (Key::Rsa { .. }, Scheme::Rsassa(Sha384)) => &RSA_PKCS1_2048_8192_SHA384,
        (Key::Rsa { .. }, Scheme::Rsassa(Sha512)) => &RSA_PKCS1_2048_8192_SHA512,
        (Key::Rsa { .. }, Scheme::Rsapss(Sha256)) => &RSA_PSS_2048_8192_SHA256,
        (Key::Rsa { .. }, Scheme::Rsapss(Sha384)) => &RSA_PSS_2048_8192_SHA384,
        (Key::Rsa { .. }, Scheme::Rsapss(Sha512)) => &RSA_PSS_2048_8192_SHA512,
        _ => return None,
    })
}

/// Restricted: it signs no message from outside that looks like the TPM's own. The others keep it in the TPM that made it.
const REQUIRED: [(u32, &str); 5] = [
    Attributes::RESTRICTED,
    Attributes::SIGN,
    Attributes::FIXED_TPM,
    Attributes::FIXED_PARENT,
    Attributes::SENSITIVE_DATA_ORIGIN,
];
