//! The trust bundle: a versioned set of anchors, signed by the trust domain's key, whose hash agents pin.
//!
//! Who steals an online authority can issue until it is taken out of the bundle, and cannot put itself back in.

use std::fmt;

use base64ct::{Base64, Encoding as _};
use jiff::Timestamp;
use rustls::pki_types::TrustAnchor;
use serde::{Deserialize, Serialize};

use super::{Anchor, KeyAlgorithm, KeyError, PrivateKey, PublicKey, SpkiHash, TrustDomain};

/// The trust domain's key, with ML-DSA-87. It signs bundles and nothing else, and can be kept offline.
pub struct TrustDomainKey(PrivateKey);

/// What a bundle is to hold, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleDraft {
    /// The trust domain.
    pub trust_domain: TrustDomain,
    /// A number that only grows.
    pub version: u64,
    /// When it was made.
    pub issued_at: Timestamp,
    /// The anchors; a leaf is good under each of them.
    pub anchors: Vec<Anchor>,
}

/// A bundle as it is sent and kept: bytes that have yet to be verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedTrustBundle {
    payload: String,
    key: String,
    signature: String,
}

/// A trust bundle whose signature was verified. Only [`SignedTrustBundle::verify`] makes one.
///
/// ```
/// use countersign_channel::identity::{BundleDraft, TrustDomain, TrustDomainKey};
/// # use countersign_channel::identity::{Authority, KeyAlgorithm, Validity};
///
/// # let (now, trust_domain) = (jiff::Timestamp::now(), TrustDomain::parse("example.org")?);
/// # let authority = Authority::generate(trust_domain.clone(), KeyAlgorithm::MlDsa87, Validity::anchor(now))?;
/// let key = TrustDomainKey::generate()?;
/// let draft = BundleDraft {
///     trust_domain: trust_domain.clone(),
///     version: 1,
///     issued_at: now,
///     anchors: vec![authority.anchor().clone()],
/// };
/// let bundle = key.sign(&draft)?.verify(&key.pin(), &trust_domain)?;
/// assert_eq!(bundle.version(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// ```compile_fail
/// # use countersign_channel::identity::TrustBundle;
/// let bundle: TrustBundle = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct TrustBundle {
    signed: SignedTrustBundle,
    draft: BundleDraft,
    anchors: Vec<TrustAnchor<'static>>,
}

/// Why a trust bundle is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// It is longer than any bundle of ours.
    #[error("a trust bundle has at most {MAX_BUNDLE} bytes, this has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It cannot be read.
    #[error("the trust bundle cannot be read")]
    Malformed,
    /// It is signed by a key other than the pinned one.
    #[error("the trust bundle is signed by the key {found}, not by the pinned one, {pinned}")]
    WrongKey {
        /// The hash that is pinned.
        pinned: SpkiHash,
        /// The hash of the key that came with the bundle.
        found: SpkiHash,
    },
    /// Its signature does not verify.
    #[error("the trust bundle's signature does not verify")]
    Signature,
    /// It is of another trust domain.
    #[error("the trust bundle is of `{found}`, not of `{expected}`")]
    WrongTrustDomain {
        /// The trust domain that was expected.
        expected: TrustDomain,
        /// The trust domain that it names.
        found: TrustDomain,
    },
    /// It holds no anchor.
    #[error("the trust bundle holds no anchor")]
    Empty,
    /// An older one than the one that is held.
    #[error("the trust bundle has version {offered}, and version {held} is held already")]
    Rollback {
        /// The version that is held.
        held: u64,
        /// The version that was offered.
        offered: u64,
    },
    /// The same version as the one that is held, with other contents.
    #[error("the trust bundle has version {version}, as the one that is held, and is another one")]
    Fork {
        /// The version of both.
        version: u64,
    },
    /// The trust domain's key has to be ML-DSA-87.
    #[error("a trust domain's key is ML-DSA-87, this one is {found}")]
    Algorithm {
        /// The algorithm of the key that was given.
        found: KeyAlgorithm,
    },
    /// The key could not be used.
    #[error("the trust domain's key cannot be used: {0}")]
    Key(#[from] KeyError),
}

impl TrustDomainKey {
    /// Draws a fresh key.
    ///
    /// # Errors
    ///
    /// AWS-LC failed.
    pub fn generate() -> Result<Self, BundleError> {
        Ok(Self(PrivateKey::generate(KeyAlgorithm::MlDsa87)?))
    }

    /// Takes a key that was kept.
    ///
    /// # Errors
    ///
    /// It is not ML-DSA-87.
    pub fn new(key: PrivateKey) -> Result<Self, BundleError> {
        match key.algorithm() {
            KeyAlgorithm::MlDsa87 => Ok(Self(key)),
            found => Err(BundleError::Algorithm { found }),
        }
    }

    /// The key itself, to be kept.
    pub const fn key(&self) -> &PrivateKey {
        &self.0
    }

    /// What agents pin: the SHA-384 of its SubjectPublicKeyInfo.
    pub fn pin(&self) -> SpkiHash {
        self.0.public_key().hash()
    }

    /// Signs a bundle.
    ///
    /// # Errors
    ///
    /// The bundle is empty, or AWS-LC failed.
    pub fn sign(&self, draft: &BundleDraft) -> Result<SignedTrustBundle, BundleError> {
        if draft.anchors.is_empty() {
            return Err(BundleError::Empty);
        }
        let payload =
            serde_json::to_vec(&Payload::from(draft)).map_err(|_| BundleError::Malformed)?;
        let signature = self.0.sign(&signed_bytes(&payload))?;
        Ok(SignedTrustBundle {
            payload: Base64::encode_string(&payload),
            key: Base64::encode_string(self.0.public_key().spki_der()),
            signature: Base64::encode_string(&signature),
        })
    }
}

impl fmt::Debug for TrustDomainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TrustDomainKey")
    }
}

impl SignedTrustBundle {
    /// Reads a signed bundle from JSON.
    ///
    /// # Errors
    ///
    /// It is too long, or is not one.
    pub fn from_json(json: &[u8]) -> Result<Self, BundleError> {
        if json.len() > MAX_BUNDLE {
            return Err(BundleError::TooLong { length: json.len() });
        }
        serde_json::from_slice(json).map_err(|_| BundleError::Malformed)
    }

    /// Writes it as JSON.
    pub fn to_json(&self) -> String {
        serde_json::json!({ "payload": self.payload, "key": self.key, "signature": self.signature })
            .to_string()
    }

    /// Verifies that the pinned key signed this bundle for this trust domain.
    ///
    /// # Errors
    ///
    /// It did not, or the bundle cannot be read, or holds no anchor.
    pub fn verify(
        self,
        pin: &SpkiHash,
        trust_domain: &TrustDomain,
    ) -> Result<TrustBundle, BundleError> {
        let payload = decode(&self.payload)?;
        self.check_signature(pin, &payload)?;
        let payload: Payload =
            serde_json::from_slice(&payload).map_err(|_| BundleError::Malformed)?;
        let draft = BundleDraft::try_from(payload)?;
        if draft.trust_domain != *trust_domain {
            return Err(BundleError::WrongTrustDomain {
                expected: trust_domain.clone(),
                found: draft.trust_domain,
            });
        }
        let anchors: Option<Vec<_>> = draft.anchors.iter().map(Anchor::to_webpki).collect();
        let anchors = anchors.ok_or(BundleError::Malformed)?;
        Ok(TrustBundle {
            signed: self,
            draft,
            anchors,
        })
    }

    fn check_signature(&self, pin: &SpkiHash, payload: &[u8]) -> Result<(), BundleError> {
        let spki = decode(&self.key)?;
        let found = SpkiHash::of(&spki);
        if found != *pin {
            return Err(BundleError::WrongKey {
                pinned: *pin,
                found,
            });
        }
        let key = PublicKey::from_spki_der(&spki)?;
        if key.algorithm() != KeyAlgorithm::MlDsa87 {
            return Err(BundleError::Algorithm {
                found: key.algorithm(),
            });
        }
        key.verify(&signed_bytes(payload), &decode(&self.signature)?)
            .map_err(|_| BundleError::Signature)
    }
}

impl TrustBundle {
    /// The trust domain.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.draft.trust_domain
    }

    /// The version.
    pub const fn version(&self) -> u64 {
        self.draft.version
    }

    /// When it was made.
    pub const fn issued_at(&self) -> Timestamp {
        self.draft.issued_at
    }

    /// The anchors.
    pub fn anchors(&self) -> &[Anchor] {
        &self.draft.anchors
    }

    /// The bundle as it was signed, to be sent or kept.
    pub const fn signed(&self) -> &SignedTrustBundle {
        &self.signed
    }

    /// Takes a bundle in place of this one, where it is a newer one of the same trust domain, or the same.
    ///
    /// # Errors
    ///
    /// It is older, or of the same version and another one, or of another trust domain.
    pub fn succeeded_by(&self, next: Self) -> Result<Self, BundleError> {
        if next.trust_domain() != self.trust_domain() {
            return Err(BundleError::WrongTrustDomain {
                expected: self.trust_domain().clone(),
                found: next.draft.trust_domain,
            });
        }
        if next.version() < self.version() {
            return Err(BundleError::Rollback {
                held: self.version(),
                offered: next.version(),
            });
        }
        if next.version() == self.version() && next.draft != self.draft {
            return Err(BundleError::Fork {
                version: self.version(),
            });
        }
        Ok(next)
    }

    pub(crate) fn webpki_anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }
}

#[derive(Serialize, Deserialize)]
struct Payload {
    trust_domain: TrustDomain,
    version: u64,
    issued_at: Timestamp,
    anchors: Vec<String>,
}

impl From<&BundleDraft> for Payload {
    fn from(draft: &BundleDraft) -> Self {
        Self {
            trust_domain: draft.trust_domain.clone(),
            version: draft.version,
            issued_at: draft.issued_at,
            anchors: draft
                .anchors
                .iter()
                .map(|anchor| Base64::encode_string(anchor.der()))
                .collect(),
        }
    }
}

impl TryFrom<Payload> for BundleDraft {
    type Error = BundleError;

    fn try_from(payload: Payload) -> Result<Self, Self::Error> {
        if payload.anchors.is_empty() {
            return Err(BundleError::Empty);
        }
        let anchors = payload
            .anchors
            .iter()
            .map(|anchor| Anchor::from_der(&decode(anchor)?).map_err(|_| BundleError::Malformed))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            trust_domain: payload.trust_domain,
            version: payload.version,
            issued_at: payload.issued_at,
            anchors,
        })
    }
}

fn decode(text: &str) -> Result<Vec<u8>, BundleError> {
    Base64::decode_vec(text).map_err(|_| BundleError::Malformed)
}

fn signed_bytes(payload: &[u8]) -> Vec<u8> {
    [DOMAIN, payload].concat()
}

/// Keeps a signature of a bundle from being read as a signature of anything else.
const DOMAIN: &[u8] = b"countersign trust bundle v1\0";

/// An ML-DSA-87 anchor has 7.5 kB, 13 kB after two layers of Base64: room for nine of them.
const MAX_BUNDLE: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Authority, Validity};

    struct Domain {
        name: TrustDomain,
        key: TrustDomainKey,
        anchor: Anchor,
    }

    impl Domain {
        fn new() -> Self {
            let name = TrustDomain::parse("example.org").unwrap();
            let validity = Validity::anchor(Timestamp::now());
            let authority =
                Authority::generate(name.clone(), KeyAlgorithm::MlDsa87, validity).unwrap();
            let (key, anchor) = (
                TrustDomainKey::generate().unwrap(),
                authority.anchor().clone(),
            );
            Self { name, key, anchor }
        }

        fn draft(&self, version: u64) -> BundleDraft {
            BundleDraft {
                trust_domain: self.name.clone(),
                version,
                issued_at: Timestamp::UNIX_EPOCH,
                anchors: vec![self.anchor.clone()],
            }
        }

        fn bundle(&self, version: u64) -> TrustBundle {
            self.verify(self.key.sign(&self.draft(version)).unwrap())
                .unwrap()
        }

        fn verify(&self, signed: SignedTrustBundle) -> Result<TrustBundle, BundleError> {
            signed.verify(&self.key.pin(), &self.name)
        }
    }

    #[test]
    fn a_bundle_survives_its_json() {
        let domain = Domain::new();
        let bundle = domain.bundle(3);
        let again = SignedTrustBundle::from_json(bundle.signed().to_json().as_bytes()).unwrap();
        let again = domain.verify(again).unwrap();
        assert_eq!(
            (again.version(), again.anchors()),
            (3, &[domain.anchor][..])
        );
    }

    #[test]
    fn an_older_bundle_does_not_succeed_a_newer_one() {
        let domain = Domain::new();
        let held = domain.bundle(7);
        let error = held.succeeded_by(domain.bundle(6)).unwrap_err();
        assert_eq!(
            error,
            BundleError::Rollback {
                held: 7,
                offered: 6
            }
        );
        assert_eq!(held.succeeded_by(domain.bundle(7)).unwrap().version(), 7);
        assert_eq!(held.succeeded_by(domain.bundle(9)).unwrap().version(), 9);
    }

    #[test]
    fn two_bundles_of_one_version_are_a_fork() {
        let domain = Domain::new();
        let held = domain.bundle(7);
        let other = BundleDraft {
            anchors: vec![domain.anchor.clone(); 2],
            ..domain.draft(7)
        };
        let other = domain.verify(domain.key.sign(&other).unwrap()).unwrap();
        assert_eq!(
            held.succeeded_by(other).unwrap_err(),
            BundleError::Fork { version: 7 }
        );
    }

    #[test]
    fn a_bundle_whose_payload_was_changed_does_not_verify() {
        let domain = Domain::new();
        let mut signed = domain.bundle(1).signed().clone();
        let payload = String::from_utf8(Base64::decode_vec(&signed.payload).unwrap()).unwrap();
        let payload = payload.replace(r#""version":1"#, r#""version":2"#);
        signed.payload = Base64::encode_string(payload.as_bytes());
        assert_eq!(domain.verify(signed).unwrap_err(), BundleError::Signature);
    }

    #[test]
    fn a_bundle_signed_by_another_key_is_refused_even_when_it_shows_the_pinned_one() {
        let (domain, thief) = (Domain::new(), Domain::new());
        let mut signed = thief.key.sign(&domain.draft(2)).unwrap();
        let (pinned, found) = (domain.key.pin(), thief.key.pin());
        assert_eq!(
            domain.verify(signed.clone()).unwrap_err(),
            BundleError::WrongKey { pinned, found }
        );
        signed.key = domain.bundle(1).signed().key.clone();
        assert_eq!(domain.verify(signed).unwrap_err(), BundleError::Signature);
    }

    #[test]
    fn a_bare_signature_of_the_payload_is_no_signature_of_a_bundle() {
        let domain = Domain::new();
        let mut signed = domain.bundle(1).signed().clone();
        let payload = Base64::decode_vec(&signed.payload).unwrap();
        signed.signature = Base64::encode_string(&domain.key.key().sign(&payload).unwrap());
        assert_eq!(domain.verify(signed).unwrap_err(), BundleError::Signature);
    }

    #[test]
    fn a_bundle_of_another_trust_domain_is_refused() {
        let domain = Domain::new();
        let expected = TrustDomain::parse("example.com").unwrap();
        let error = domain
            .bundle(1)
            .signed()
            .clone()
            .verify(&domain.key.pin(), &expected)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the trust bundle is of `example.org`, not of `example.com`"
        );
    }

    #[test]
    fn an_empty_bundle_is_neither_signed_nor_read() {
        let domain = Domain::new();
        let empty = BundleDraft {
            anchors: Vec::new(),
            ..domain.draft(1)
        };
        assert_eq!(domain.key.sign(&empty).unwrap_err(), BundleError::Empty);
        let payload = serde_json::to_vec(&Payload::from(&empty)).unwrap();
        let mut signed = domain.bundle(1).signed().clone();
        signed.signature =
            Base64::encode_string(&domain.key.key().sign(&signed_bytes(&payload)).unwrap());
        signed.payload = Base64::encode_string(&payload);
        assert_eq!(domain.verify(signed).unwrap_err(), BundleError::Empty);
    }

    #[test]
    fn what_is_too_long_or_has_unknown_members_is_not_read() {
        let long = vec![b' '; MAX_BUNDLE + 1];
        let length = MAX_BUNDLE + 1;
        assert_eq!(
            SignedTrustBundle::from_json(&long).unwrap_err(),
            BundleError::TooLong { length }
        );
        let extra = br#"{"payload":"","key":"","signature":"","more":1}"#;
        assert_eq!(
            SignedTrustBundle::from_json(extra).unwrap_err(),
            BundleError::Malformed
        );
    }

    #[test]
    fn a_key_that_is_not_ml_dsa_87_is_no_trust_domain_key() {
        let key = PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap();
        let found = KeyAlgorithm::MlDsa65;
        assert_eq!(
            TrustDomainKey::new(key).unwrap_err(),
            BundleError::Algorithm { found }
        );
    }
}
