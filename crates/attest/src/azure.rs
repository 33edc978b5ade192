//! Azure confidential VMs: an SEV-SNP report that vouches for the key of the VM's virtual TPM (Azure confidential VM guest attestation,
//! the report at NV index 0x01400001).
//!
//! The paravisor made the report when the VM started, so it answers no question. The virtual TPM's quote does: its key is the one in
//! the report, so a report comes to nothing without a quote that was verified.

mod runtime;

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::appraisal::{Appraisal, Fact, Freshness, Measurement, Technology, Unchecked};
use crate::chain::RootKeys;
use crate::hex;
use crate::little_endian::Fields;
use crate::snp::{self, Endorsement, SnpError};
use crate::tpm::{self, AttestationKey, VerifiedQuote};
use runtime::Runtime;

/// The report and the runtime data that it binds.
///
/// ```
/// use countersign_attest::azure::{AzureError, Report};
///
/// assert_eq!(Report::parse(b"HCLA").unwrap_err(), AzureError::Malformed);
/// ```
///
/// It says nothing of the VM until it is appraised:
///
/// ```compile_fail,E0616
/// let report = countersign_attest::azure::Report::parse(&[]).unwrap();
/// let configuration = report.runtime.configuration;
/// ```
///
/// And it is appraised with its virtual TPM's quote, which somebody verified:
///
/// ```
/// use countersign_attest::azure::{AzureError, Report};
/// use countersign_attest::tpm::VerifiedQuote;
/// use countersign_attest::{Appraisal, RootKeys};
/// use jiff::Timestamp;
///
/// fn found(report: &Report, quote: &VerifiedQuote, now: Timestamp) -> Result<Appraisal, AzureError> {
///     report.appraise(None, &RootKeys::amd(), quote, now)
/// }
/// ```
///
/// ```compile_fail,E0308
/// use countersign_attest::RootKeys;
/// use countersign_attest::azure::Report;
/// use countersign_attest::tpm::Quote;
/// use jiff::Timestamp;
///
/// fn found(report: &Report, quote: &Quote, now: Timestamp) {
///     let _ = report.appraise(None, &RootKeys::amd(), quote, now);
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    report: snp::Report,
    runtime: Runtime,
    key: AttestationKey,
}

impl Report {
    /// Reads what the NV index holds: a header, the SNP report, the runtime data, zeros.
    ///
    /// # Errors
    ///
    /// [`AzureError`] when the lengths do not add up, the wrapped report is not SNP's, or the runtime data is not what the report binds.
    pub fn parse(bytes: &[u8]) -> Result<Self, AzureError> {
        if bytes.len() > MAX_LEN {
            return Err(AzureError::TooLong {
                found: bytes.len(),
                limit: MAX_LEN,
            });
        }
        let wrapped = unwrap(bytes).ok_or(AzureError::Malformed)?;
        if wrapped.kind != SNP {
            return Err(AzureError::Technology {
                expected: SNP,
                found: wrapped.kind,
            });
        }
        let report = snp::Report::parse(wrapped.report)?;
        let expected = runtime::hash(wrapped.hash, wrapped.runtime)?;
        if *report.report_data() != expected {
            return Err(AzureError::Hash {
                expected: hex::encode(&expected),
                found: hex::encode(report.report_data()),
            });
        }
        let runtime = Runtime::parse(wrapped.runtime)?;
        Ok(Self {
            key: runtime.attestation_key()?,
            report,
            runtime,
        })
    }

    /// The key that the report names, to verify the virtual TPM's quote under. Nobody vouches for it before the report is appraised.
    pub fn unverified_key(&self) -> &AttestationKey {
        &self.key
    }

    /// Appraises the report with the quote of its virtual TPM: that the key that signed the quote is the one that the report vouches
    /// for, and the report itself where `endorsement` is there. Whether the evidence is of now is the quote's to say.
    ///
    /// Without the chip's certificate nobody vouches for anything: the appraisal has no vendor, and says in
    /// [`unchecked`](Appraisal::unchecked) that the signature was not checked.
    ///
    /// # Errors
    ///
    /// [`AzureError`] with what was expected and what was found.
    pub fn appraise(
        &self,
        endorsement: Option<&Endorsement>,
        roots: &RootKeys,
        quote: &VerifiedQuote,
        now: Timestamp,
    ) -> Result<Appraisal, AzureError> {
        if !quote.signer.is_same_key(&self.key) {
            return Err(AzureError::OtherKey {
                expected: self.key.numbers(),
                found: quote.signer.numbers(),
            });
        }
        let mut appraisal = match endorsement {
            Some(endorsement) => self.report.appraise(endorsement, roots, None, now)?,
            None => self.unsigned(now),
        };
        appraisal.technology = Technology::AzureVtpm;
        appraisal.freshness = quote.freshness;
        appraisal.facts.extend(self.configuration());
        appraisal.measurements.extend(self.user_data());
        appraisal.measurements.extend(quote.measurements());
        appraisal.unchecked.extend(tpm::unchecked(false));
        Ok(appraisal)
    }

    /// What the report says, with nobody's signature under it.
    fn unsigned(&self, now: Timestamp) -> Appraisal {
        let unchecked = "the signature of the SNP report: the chip's certificate was not given";
        Appraisal {
            technology: Technology::AzureVtpm,
            vendor: None,
            subject: hex::encode(self.report.chip_id()),
            freshness: Freshness::Undated,
            measurements: self.report.measurements(),
            facts: self.report.guest_facts(),
            unchecked: vec![Unchecked(unchecked.to_owned())],
            appraised_at: now,
            valid_until: None,
        }
    }

    fn configuration(&self) -> BTreeMap<&'static str, Fact> {
        let configuration = &self.runtime.configuration;
        let mut facts = BTreeMap::new();
        for (name, flag) in [
            ("console_enabled", configuration.console_enabled),
            ("secure_boot", configuration.secure_boot),
            ("tpm_enabled", configuration.tpm_enabled),
        ] {
            facts.extend(flag.map(|flag| (name, Fact::Flag(flag))));
        }
        let id = configuration.vm_unique_id.clone();
        facts.extend(id.map(|id| ("vm_unique_id", Fact::Text(id))));
        facts
    }

    fn user_data(&self) -> Option<Measurement> {
        let text = self.runtime.user_data.as_deref()?;
        Some(Measurement {
            name: "user_data".to_owned(),
            value: hex::decode(text.as_bytes())?,
        })
    }
}

/// The parts, none of them read.
struct Wrapped<'b> {
    report: &'b [u8],
    kind: u32,
    hash: u32,
    runtime: &'b [u8],
}

/// Each length is fixed or follows from another; zeros fill the NV index.
fn unwrap(bytes: &[u8]) -> Option<Wrapped<'_>> {
    let mut fields = Fields(bytes);
    let magic = fields.bytes()?;
    let _version = fields.u32()?;
    let total = fields.u32()?;
    let _request_and_status: [u8; 20] = fields.bytes()?;
    let report = fields.slice(REPORT_LEN)?;
    let described = fields.u32()?;
    let _version = fields.u32()?;
    let kind = fields.u32()?;
    let hash = fields.u32()?;
    let length = fields.u32()?;
    let runtime = fields.slice(usize::try_from(length).ok()?)?;
    let lengths = described == length.checked_add(DESCRIPTION_LEN)?
        && total == described.checked_add(BEFORE_DESCRIPTION_LEN)?;
    let padded = fields.0.iter().all(|byte| *byte == 0);
    (magic == MAGIC && lengths && padded).then_some(Wrapped {
        report,
        kind,
        hash,
        runtime,
    })
}

/// Evidence of an Azure VM was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AzureError {
    /// The report is longer than the NV index that holds it.
    #[error("the Azure report is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The report has not Azure's header, or its lengths do not add up.
    #[error("the Azure report cannot be read")]
    Malformed,
    /// The wrapped report is of another technology.
    #[error("the Azure report wraps a report of type {found}, expected {expected} (SEV-SNP)")]
    Technology {
        /// SEV-SNP.
        expected: u32,
        /// The report's.
        found: u32,
    },
    /// The runtime data is hashed with an algorithm that is not known.
    #[error(
        "the Azure report hashes its runtime data with algorithm {found}, expected 1 to 3 (SHA-2)"
    )]
    HashAlgorithm {
        /// The report's.
        found: u32,
    },
    /// The runtime data is not what the SNP report binds.
    #[error("the hash of the runtime data is {expected}, the SNP report's data is {found}")]
    Hash {
        /// Of the runtime data.
        expected: String,
        /// In the SNP report.
        found: String,
    },
    /// The runtime data is not Azure's JSON, or has not one attestation key.
    #[error("the runtime data of the Azure report cannot be read")]
    Runtime,
    /// The quote is of another VM's TPM.
    #[error(
        "the quote is signed by the key with modulus {found}, the report vouches for {expected}"
    )]
    OtherKey {
        /// The modulus in the report.
        expected: String,
        /// The modulus of the quote's key, or its point where it is on a curve.
        found: String,
    },
    /// The wrapped report was refused.
    #[error(transparent)]
    Snp(#[from] SnpError),
}

const MAGIC: [u8; 4] = *b"HCLA";

/// The header of 32 bytes and the SNP report.
const BEFORE_DESCRIPTION_LEN: u32 = 32 + 1184;

const REPORT_LEN: usize = 1184;

/// The five numbers before the runtime data.
const DESCRIPTION_LEN: u32 = 20;

/// Type 2; 4 is a TDX report, which only the machine that made it can check.
const SNP: u32 = 2;

/// The NV index has 2,600 bytes in the largest images seen.
const MAX_LEN: usize = 4096;
