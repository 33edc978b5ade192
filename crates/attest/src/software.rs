//! Software evidence: a machine's own word, signed by its agent's key. It is for machines that have nothing better.
//!
//! Whoever controls the machine, or has copied its key, can write any of it. It is called `software` wherever it is seen, so that a
//! policy has to name it to accept it.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ML_DSA_65, ML_DSA_87, UnparsedPublicKey, VerificationAlgorithm};
use base64_simd::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use x509_cert::der::Decode as _;
use x509_cert::spki::{ObjectIdentifier, SubjectPublicKeyInfoRef};

use crate::appraisal::{Appraisal, Fact, Technology, Unchecked};
use crate::freshness::{self, WrongBinding};
use crate::hex;

/// What a machine claims of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claims {
    /// The question that it answers, in hexadecimal: 64 bytes.
    pub binding: String,
    /// The machine's name.
    pub hostname: String,
    /// Such as `Debian GNU/Linux 12`.
    pub operating_system: String,
    /// Such as `6.1.0-26-amd64`.
    pub kernel: String,
    /// Such as `x86_64`.
    pub architecture: String,
}

/// Claims and a signature that nobody has checked.
///
/// ```
/// use countersign_attest::software::{Document, SoftwareError};
///
/// assert_eq!(Document::parse(b"{}").unwrap_err(), SoftwareError::Malformed);
/// ```
///
/// ```compile_fail,E0616
/// let document = countersign_attest::software::Document::parse(b"{}").unwrap();
/// let kernel = document.claims.kernel;
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    claims: Claims,
    statement: String,
    signature: Vec<u8>,
}

/// The document as JSON: the claims are a text in it, the very one that is signed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    technology: String,
    statement: String,
    signature: String,
}

impl Document {
    /// Makes a document of `claims`. `sign` gets the message and returns the agent's ML-DSA signature without context.
    ///
    /// # Errors
    ///
    /// What `sign` returns.
    pub fn make<E>(
        claims: &Claims,
        sign: impl FnOnce(&[u8]) -> Result<Vec<u8>, E>,
    ) -> Result<String, E> {
        let statement = serde_json::to_string(claims).expect("texts by constant names are JSON");
        let signature = sign(&message(&statement))?;
        let envelope = Envelope {
            technology: Technology::Software.name().to_owned(),
            signature: STANDARD.encode_to_string(signature),
            statement,
        };
        Ok(serde_json::to_string(&envelope).expect("texts by constant names are JSON"))
    }

    /// Reads a document.
    ///
    /// # Errors
    ///
    /// [`SoftwareError`] when it is too long or not of this shape.
    pub fn parse(json: &[u8]) -> Result<Self, SoftwareError> {
        if json.len() > MAX_LEN {
            return Err(SoftwareError::TooLong {
                found: json.len(),
                limit: MAX_LEN,
            });
        }
        let malformed = |_| SoftwareError::Malformed;
        let envelope: Envelope = serde_json::from_slice(json).map_err(malformed)?;
        if envelope.technology != Technology::Software.name() {
            return Err(SoftwareError::Malformed);
        }
        let signature = STANDARD.decode_to_vec(&envelope.signature);
        Ok(Self {
            claims: serde_json::from_str(&envelope.statement).map_err(malformed)?,
            statement: envelope.statement,
            signature: signature.map_err(|_| SoftwareError::Malformed)?,
        })
    }

    /// Appraises the document: that the holder of `key`, the SubjectPublicKeyInfo of an agent, signed it, and for `binding` where the
    /// caller has one. That is all: what it claims is in the facts, and in [`unchecked`](Appraisal::unchecked) that nothing vouches for
    /// it.
    ///
    /// # Errors
    ///
    /// [`SoftwareError`] with what was expected and what was found.
    pub fn appraise(
        &self,
        key: &[u8],
        binding: Option<&[u8; 64]>,
        now: Timestamp,
    ) -> Result<Appraisal, SoftwareError> {
        let (algorithm, public_key) = ml_dsa(key).ok_or(SoftwareError::Key)?;
        UnparsedPublicKey::new(algorithm, public_key)
            .verify(&message(&self.statement), &self.signature)
            .map_err(|_| SoftwareError::NotAuthentic)?;
        let found = hex::decode(self.claims.binding.as_bytes());
        let asked = binding.map(<[u8; 64]>::as_slice);
        Ok(Appraisal {
            technology: Technology::Software,
            vendor: None,
            subject: hex::encode(digest(&SHA256, key).as_ref()),
            freshness: freshness::of(found.as_deref(), asked)?,
            measurements: Vec::new(),
            facts: self.facts(),
            unchecked: vec![Unchecked(
                "every claim: software evidence is the machine's own word".to_owned(),
            )],
            appraised_at: now,
            valid_until: None,
        })
    }

    fn facts(&self) -> BTreeMap<&'static str, Fact> {
        let claims = &self.claims;
        let text = |(name, value): (_, &String)| (name, Fact::Text(value.clone()));
        BTreeMap::from(
            [
                ("software_hostname", &claims.hostname),
                ("software_operating_system", &claims.operating_system),
                ("software_kernel", &claims.kernel),
                ("software_architecture", &claims.architecture),
            ]
            .map(text),
        )
    }
}

/// What is signed: a label first, so that no other signature of the agent's key is one of these.
fn message(statement: &str) -> Vec<u8> {
    [LABEL, statement.as_bytes()].concat()
}

/// The algorithm and the bare key (RFC 9881 section 4).
fn ml_dsa(spki: &[u8]) -> Option<(&'static dyn VerificationAlgorithm, &[u8])> {
    let key = SubjectPublicKeyInfoRef::from_der(spki).ok()?;
    let algorithm: &'static dyn VerificationAlgorithm = match key.algorithm.oid {
        ML_DSA_65_OID => &ML_DSA_65,
        ML_DSA_87_OID => &ML_DSA_87,
        _ => return None,
    };
    Some((algorithm, key.subject_public_key.as_bytes()?))
}

/// Software evidence was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SoftwareError {
    /// The document is longer than any agent's.
    #[error("the software evidence is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The document is not of the shape of software evidence.
    #[error("the software evidence cannot be read")]
    Malformed,
    /// The key is no agent's.
    #[error("the agent's key is not ML-DSA-65 or ML-DSA-87")]
    Key,
    /// The signature does not verify.
    #[error("the software evidence does not authenticate")]
    NotAuthentic,
    /// The document is authentic and answers another question.
    #[error(transparent)]
    Binding(#[from] WrongBinding),
}

const LABEL: &[u8] = b"countersign software evidence 1\0";

const ML_DSA_65_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.18");

const ML_DSA_87_OID: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.3.19");

/// A signature of ML-DSA-87 has 6,172 bytes in Base64; the rest is short texts.
const MAX_LEN: usize = 16 * 1024;
