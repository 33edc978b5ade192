//! AWS Nitro Enclaves: the attestation document that the hypervisor signs (AWS Nitro Enclaves User Guide, "Verifying the root of trust";
//! COSE_Sign1 of RFC 9052).

mod document;

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use coset::iana::{Algorithm, EnumI64 as _};
use coset::{CborSerializable as _, CoseSign1, RegisteredLabelWithPrivate};
use jiff::Timestamp;
use webpki::aws_lc_rs::ECDSA_P384_SHA384;

use crate::appraisal::{Appraisal, Fact, Measurement, Technology};
use crate::chain::{self, ChainError, RootKeys};
use crate::freshness::{self, WrongBinding};
use crate::hex;
use document::Fields;

/// An attestation document whose signature nobody has checked.
///
/// ```
/// use countersign_attest::nitro::{Document, NitroError};
///
/// assert_eq!(Document::parse(b"no CBOR").unwrap_err(), NitroError::NotCose);
/// ```
///
/// It says nothing of the enclave until it is appraised:
///
/// ```compile_fail,E0616
/// let document = countersign_attest::nitro::Document::parse(&[]).unwrap();
/// let measurements = document.fields.pcrs;
/// ```
#[derive(Clone, Debug)]
pub struct Document {
    envelope: CoseSign1,
    fields: Fields,
}

impl Document {
    /// Reads a COSE_Sign1 structure, with its tag or without.
    ///
    /// # Errors
    ///
    /// [`NitroError`] when it is too long, is not COSE in its one encoding, or a field is not as AWS says.
    pub fn parse(bytes: &[u8]) -> Result<Self, NitroError> {
        if bytes.len() > MAX_LEN {
            return Err(NitroError::TooLong {
                found: bytes.len(),
                limit: MAX_LEN,
            });
        }
        let bare = bytes.strip_prefix(&[COSE_SIGN1_TAG]).unwrap_or(bytes);
        let envelope = CoseSign1::from_slice(bare).map_err(|_| NitroError::NotCose)?;
        // CBOR has many encodings of one structure; only one of them is the hypervisor's.
        let encoded = envelope.clone().to_vec();
        let same = encoded.is_ok_and(|encoded| encoded == bare);
        if !same || !envelope.unprotected.is_empty() {
            return Err(NitroError::NotCose);
        }
        let payload = envelope.payload.as_deref().ok_or(NitroError::NotCose)?;
        let fields = document::parse(payload)?;
        Ok(Self { envelope, fields })
    }

    /// Appraises the document: the chain to one of `roots`, the signature, and that the document's nonce is `nonce` where the caller
    /// has one.
    ///
    /// An enclave in debug mode has PCRs of zeros and is appraised as well: `debug` is a fact, which a policy refuses. Its certificate
    /// is valid for three hours, so a document kept longer is refused as expired.
    ///
    /// # Errors
    ///
    /// [`NitroError`] with what was expected and what was found.
    pub fn appraise(
        &self,
        roots: &RootKeys,
        nonce: Option<&[u8]>,
        now: Timestamp,
    ) -> Result<Appraisal, NitroError> {
        self.check_algorithm()?;
        let proven = chain::verify(&self.fields.chain, roots, &[ECDSA_P384_SHA384], now)?;
        self.check_signature(proven.public_key())?;
        let freshness = freshness::of(self.fields.nonce.as_deref(), nonce)?;
        Ok(Appraisal {
            technology: Technology::Nitro,
            vendor: Some(proven.vendor.to_owned()),
            subject: self.fields.module_id.clone(),
            freshness,
            measurements: self.measurements(),
            facts: self.facts(),
            unchecked: Vec::new(),
            appraised_at: now,
            valid_until: Some(proven.valid_until),
        })
    }

    fn check_algorithm(&self) -> Result<(), NitroError> {
        let expected = RegisteredLabelWithPrivate::Assigned(Algorithm::ES384);
        match &self.envelope.protected.header.alg {
            Some(found) if *found == expected => Ok(()),
            Some(RegisteredLabelWithPrivate::Assigned(found)) => Err(NitroError::Algorithm {
                found: Some(found.to_i64()),
            }),
            Some(RegisteredLabelWithPrivate::PrivateUse(found)) => Err(NitroError::Algorithm {
                found: Some(*found),
            }),
            _ => Err(NitroError::Algorithm { found: None }),
        }
    }

    /// RFC 9052 section 4.4, without external data.
    fn check_signature(&self, public_key: &[u8]) -> Result<(), NitroError> {
        let key = UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public_key);
        self.envelope
            .verify_signature(b"", |signature, signed| key.verify(signed, signature))
            .map_err(|_| NitroError::NotAuthentic)
    }

    /// The PCRs that something was measured into: AWS fills the rest with zeros.
    fn measurements(&self) -> Vec<Measurement> {
        let measured = self.fields.pcrs.iter().filter(|(_, value)| !zero(value));
        let measurement = |(index, value): (&u8, &Vec<u8>)| Measurement {
            name: format!("pcr.sha384.{index}"),
            value: value.clone(),
        };
        measured.map(measurement).collect()
    }

    fn facts(&self) -> BTreeMap<&'static str, Fact> {
        let fields = &self.fields;
        let image = fields.pcrs.get(&ENCLAVE_IMAGE);
        let mut facts = BTreeMap::from([
            ("module_id", Fact::Text(fields.module_id.clone())),
            ("digest", Fact::Text(document::DIGEST.to_owned())),
            ("timestamp", Fact::Number(fields.timestamp)),
            ("debug", Fact::Flag(image.is_none_or(|value| zero(value)))),
        ]);
        for (name, value) in [
            ("public_key", &fields.public_key),
            ("user_data", &fields.user_data),
            ("nonce", &fields.nonce),
        ] {
            if let Some(value) = value {
                facts.insert(name, Fact::Text(hex::encode(value)));
            }
        }
        facts
    }
}

fn zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// An attestation document was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NitroError {
    /// A document is longer than the hypervisor writes any.
    #[error("the attestation document is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes are no COSE_Sign1 structure, or in an encoding that the hypervisor does not write.
    #[error("the attestation document is not a COSE_Sign1 structure")]
    NotCose,
    /// A field of the document is missing, occurs twice or is of another type.
    #[error("the attestation document's field `{name}` is not {expected}")]
    Field {
        /// The field's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The signature is of another algorithm.
    #[error(
        "the attestation document is signed by algorithm {}, expected -35 (ES384)",
        found.map_or("none".to_owned(), |found| found.to_string())
    )]
    Algorithm {
        /// Its number in COSE, where there is one.
        found: Option<i64>,
    },
    /// The chain of its certificate was refused.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The signature does not verify.
    #[error("the attestation document does not authenticate")]
    NotAuthentic,
    /// The document is authentic and answers another question.
    #[error(transparent)]
    Nonce(#[from] WrongBinding),
}

/// AWS's limit of 16 KiB, from `nsm_io`.
const MAX_LEN: usize = 16 * 1024;

/// The CBOR tag 18, in one byte (RFC 9052 section 2).
const COSE_SIGN1_TAG: u8 = 0xd2;

/// PCR0 holds the enclave's image.
const ENCLAVE_IMAGE: u8 = 0;
