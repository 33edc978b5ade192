//! A quote: a TPM's signature over its PCRs and what the verifier asked with (TPM 2.0 part 2, sections 10.12 and 11.3).

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;

use super::attestation_key::AttestationKey;
use super::hash::HashAlgorithm;
use super::pcr::{PcrValues, Selection};
use super::public::{ECDSA, RSAPSS, RSASSA, Scheme, padded};
use super::wire::{Malformed, Reader};
use crate::appraisal::{Freshness, Measurement};

/// A quote whose signature nobody has checked: `TPMS_ATTEST` and `TPMT_SIGNATURE`.
///
/// ```
/// use countersign_attest::tpm::{Quote, QuoteError};
///
/// assert!(matches!(Quote::parse(b"", b""), Err(QuoteError::Malformed(_))));
/// ```
///
/// What it says is not to be had before it is verified:
///
/// ```compile_fail,E0616
/// let quote = countersign_attest::tpm::Quote::parse(b"", b"").unwrap();
/// let clock = quote.attested.clock;
/// ```
#[derive(Clone, Debug)]
pub struct Quote {
    message: Vec<u8>,
    attested: Attested,
    signature: Signature,
}

/// A quote that its key signed, and the PCRs that it is over. Only [`Quote::verify`] makes one.
///
/// ```compile_fail,E0451
/// let forged = countersign_attest::tpm::VerifiedQuote { ..unreachable!() };
/// ```
#[derive(Clone, Debug)]
pub struct VerifiedQuote {
    pub(crate) signer: AttestationKey,
    pub(crate) freshness: Freshness,
    pub(super) clock: Clock,
    pub(super) firmware_version: u64,
    pub(super) pcrs: PcrValues,
}

/// A TPM's sense of time (part 1, section 36): it goes forward as long as nobody clears the TPM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// Milliseconds that the TPM has had power.
    pub milliseconds: u64,
    /// How often it was reset: with each start of the machine.
    pub resets: u32,
    /// How often it was restarted or resumed since.
    pub restarts: u32,
}

/// A TPM's clock went back: it was cleared, or the quote is an older one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the TPM's {what} is {now} and was {before}: the TPM was cleared, or this quote is an older one"
)]
pub struct WentBack {
    what: &'static str,
    before: u64,
    now: u64,
}

#[derive(Clone, Debug)]
struct Attested {
    qualifying_data: Vec<u8>,
    clock: Clock,
    firmware_version: u64,
    selection: Selection,
    digest: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Signature {
    scheme: Scheme,
    parts: Vec<Vec<u8>>,
}

/// Why a quote does not hold.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// It is too long to be one.
    #[error("the quote has {found} bytes, the limit is {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The bytes are no `TPMS_ATTEST` with its `TPMT_SIGNATURE`.
    #[error("the quote is malformed: {0}")]
    Malformed(#[from] Malformed),
    /// It was not made by a TPM, or is of another kind than a quote.
    #[error("this is no quote: {what} is {found:#x}, expected {expected:#x}")]
    NoQuote {
        /// Which field.
        what: &'static str,
        /// What it is.
        found: u32,
        /// What it should be.
        expected: u32,
    },
    /// Its signature is by another scheme than the key's.
    #[error("the quote is signed by another scheme than its key's")]
    Scheme,
    /// The signature does not verify.
    #[error("the quote is not signed by the attestation key")]
    Signature,
    /// It is for another question.
    #[error("the quote answers another question: it is an older one, or another's")]
    AnotherQuestion,
    /// It is over other PCRs than were asked for.
    #[error("the quote is over the PCRs {found}, asked for were {expected}")]
    Selection {
        /// What was asked for.
        expected: String,
        /// What is quoted.
        found: String,
    },
    /// The values that were shown are not those that were quoted.
    #[error("the PCR values that were shown are not those that were quoted")]
    Values,
}

impl Quote {
    /// Reads `TPMS_ATTEST` and `TPMT_SIGNATURE`.
    ///
    /// # Errors
    ///
    /// The bytes are no quote.
    pub fn parse(attest: &[u8], signature: &[u8]) -> Result<Self, QuoteError> {
        for bytes in [attest, signature] {
            if bytes.len() > MAX_LEN {
                return Err(QuoteError::TooLong {
                    found: bytes.len(),
                    limit: MAX_LEN,
                });
            }
        }
        Ok(Self {
            message: attest.to_vec(),
            attested: Attested::parse(attest)?,
            signature: Signature::parse(signature)?,
        })
    }

    /// Verifies that `key` signed it, for this question and over these values of the PCRs in `selection`.
    ///
    /// Without a question the quote may be from any time. What costs nothing comes before the signature.
    ///
    /// # Errors
    ///
    /// [`QuoteError`] says what does not hold.
    pub fn verify(
        &self,
        key: &AttestationKey,
        question: Option<&[u8]>,
        selection: Option<&Selection>,
        pcrs: PcrValues,
    ) -> Result<VerifiedQuote, QuoteError> {
        let Attested {
            qualifying_data,
            selection: quoted,
            digest,
            ..
        } = &self.attested;
        let freshness = match question {
            None => Freshness::Undated,
            Some(asked) if bool::from(asked.ct_eq(qualifying_data)) => Freshness::Nonce,
            Some(_) => return Err(QuoteError::AnotherQuestion),
        };
        if let Some(asked) = selection.filter(|asked| *asked != quoted) {
            return Err(QuoteError::Selection {
                expected: asked.to_string(),
                found: quoted.to_string(),
            });
        }
        let hash = key.hash().ok_or(QuoteError::Scheme)?;
        if pcrs.digest(quoted, hash).as_deref() != Some(digest) {
            return Err(QuoteError::Values);
        }
        let signature = self.signature.of(key).ok_or(QuoteError::Scheme)?;
        if !key.signed(&self.message, &signature) {
            return Err(QuoteError::Signature);
        }
        Ok(VerifiedQuote {
            signer: key.clone(),
            freshness,
            clock: self.attested.clock,
            firmware_version: self.attested.firmware_version,
            pcrs,
        })
    }
}

impl VerifiedQuote {
    /// The TPM's clock when it quoted.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// The values that were quoted.
    pub fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }

    /// The same by the names that they have in an appraisal.
    pub(crate) fn measurements(&self) -> impl Iterator<Item = Measurement> {
        self.pcrs.iter().map(|(bank, pcr, value)| Measurement {
            name: format!("pcr.{bank}.{pcr}"),
            value: value.to_vec(),
        })
    }
}

impl Clock {
    /// Checks that it is not before an earlier reading of the same TPM.
    ///
    /// # Errors
    ///
    /// [`WentBack`] says what did.
    pub fn follows(&self, earlier: &Self) -> Result<(), WentBack> {
        let back = |what, before, now| WentBack { what, before, now };
        if self.resets < earlier.resets {
            return Err(back(
                "reset counter",
                earlier.resets.into(),
                self.resets.into(),
            ));
        }
        if self.resets == earlier.resets && self.restarts < earlier.restarts {
            let (before, now) = (earlier.restarts.into(), self.restarts.into());
            return Err(back("restart counter", before, now));
        }
        // After an unclean loss of power the clock may stand where it was last written down: only within one start is it sure.
        if self.resets == earlier.resets && self.milliseconds < earlier.milliseconds {
            return Err(back("clock", earlier.milliseconds, self.milliseconds));
        }
        Ok(())
    }
}

impl Attested {
    fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        let mut reader = Reader::new(bytes);
        check("the magic number", reader.u32()?, TPM_GENERATED)?;
        check("the type", reader.u16()?.into(), ATTEST_QUOTE)?;
        let _qualified_signer = reader.sized()?;
        let qualifying_data = reader.sized()?.to_vec();
        let (milliseconds, resets, restarts) = (reader.u64()?, reader.u32()?, reader.u32()?);
        let _safe = reader.u8()?;
        let firmware_version = reader.u64()?;
        let selection = Selection::parse(&mut reader)?;
        let digest = reader.sized()?.to_vec();
        reader.finish()?;
        Ok(Self {
            qualifying_data,
            clock: Clock {
                milliseconds,
                resets,
                restarts,
            },
            firmware_version,
            selection,
            digest,
        })
    }
}

impl Signature {
    fn parse(bytes: &[u8]) -> Result<Self, QuoteError> {
        let mut reader = Reader::new(bytes);
        let id = reader.u16()?;
        let hash = HashAlgorithm::of_id(reader.u16()?).ok_or(QuoteError::Scheme)?;
        let (scheme, parts) = match id {
            RSASSA => (Scheme::Rsassa(hash), vec![reader.sized()?.to_vec()]),
            RSAPSS => (Scheme::Rsapss(hash), vec![reader.sized()?.to_vec()]),
            ECDSA => {
                let (r, s) = (reader.sized()?.to_vec(), reader.sized()?.to_vec());
                (Scheme::Ecdsa(hash), vec![r, s])
            }
            _ => return Err(QuoteError::Scheme),
        };
        reader.finish()?;
        Ok(Self { scheme, parts })
    }

    /// As AWS-LC takes it: of ECDSA `r ‖ s`, each on the length of a coordinate.
    fn of(&self, key: &AttestationKey) -> Option<Vec<u8>> {
        if self.scheme != key.scheme() {
            return None;
        }
        match key.coordinate() {
            None => Some(self.parts.concat()),
            Some(length) => {
                let padded = self.parts.iter().map(|part| padded(part, length).ok());
                padded
                    .collect::<Option<Vec<_>>>()
                    .map(|parts| parts.concat())
            }
        }
    }
}

fn check(what: &'static str, found: u32, expected: u32) -> Result<(), QuoteError> {
    match found == expected {
        true => Ok(()),
        false => Err(QuoteError::NoQuote {
            what,
            found,
            expected,
        }),
    }
}

/// Part 2, section 6.2: nothing that a restricted key signs from outside begins with it.
const TPM_GENERATED: u32 = 0xff54_4347;

/// Part 2, section 6.9.
const ATTEST_QUOTE: u32 = 0x8018;

/// A quote over every bank has some 200 bytes, a signature of RSA-4096 has 518.
const MAX_LEN: usize = 2048;
