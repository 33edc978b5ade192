//! AMD SEV-SNP: the report that the secure processor signs over a guest (SEV-SNP ABI Specification, 56860).

mod endorsement;
mod report;

use std::collections::BTreeMap;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use jiff::Timestamp;

use crate::appraisal::{Appraisal, Fact, Measurement, Technology, Unchecked};
use crate::chain::{self, ChainError, RootKeys};
use crate::freshness::{self, WrongBinding};
use crate::hex;

pub use endorsement::Endorsement;
use endorsement::{AmdPss, Chip, Tcb};

/// A report whose signature nobody has checked.
///
/// ```
/// use countersign_attest::snp::{Report, SnpError};
///
/// let refused = Report::parse(b"too short").unwrap_err();
/// assert_eq!(refused, SnpError::Length { expected: 1184, found: 9 });
/// ```
///
/// It says nothing of the guest until it is appraised:
///
/// ```compile_fail,E0616
/// let report = countersign_attest::snp::Report::parse(&[0; 1184]).unwrap();
/// let measurement = report.fields.measurement;
/// ```
#[derive(Clone, Debug)]
pub struct Report {
    fields: report::Fixed,
}

impl Report {
    /// Reads the 1,184 bytes of a report of version 2 to 5.
    ///
    /// # Errors
    ///
    /// [`SnpError`] when the length or the version is another, or bytes beside the signature are not zero.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnpError> {
        report::parse(bytes).map(|fields| Self { fields })
    }

    /// Appraises the report: the chain to one of `roots`, the certificate of this chip and this firmware, the signature, and that
    /// `binding` is the report's data where the caller has one.
    ///
    /// A guest that may be debugged is appraised as well: `debug` is a fact, which a policy refuses.
    ///
    /// # Errors
    ///
    /// [`SnpError`] with what was expected and what was found.
    pub fn appraise(
        &self,
        endorsement: &Endorsement,
        roots: &RootKeys,
        binding: Option<&[u8; 64]>,
        now: Timestamp,
    ) -> Result<Appraisal, SnpError> {
        let report = &self.fields;
        if report.algorithm != ECDSA_P384_SHA384 {
            return Err(SnpError::Algorithm {
                expected: ECDSA_P384_SHA384,
                found: report.algorithm,
            });
        }
        let key = SigningKey::of(report.key_info)?;
        let proven = chain::verify(endorsement.chain(), roots, &[&AmdPss], now)?;
        let chip = Chip::from_certificate(&proven.leaf)?;
        let reported = chip.tcb(report.reported_tcb);
        key.check(&chip, &report.chip_id)?;
        chip.check_tcb(reported)?;
        self.check_signature(proven.public_key())?;
        let asked = binding.map(<[u8; 64]>::as_slice);
        let freshness = freshness::of(Some(&report.report_data), asked)?;
        Ok(Appraisal {
            technology: Technology::SevSnp,
            vendor: Some(proven.vendor.to_owned()),
            subject: hex::encode(chip.id.as_deref().unwrap_or(&report.report_id)),
            freshness,
            measurements: self.measurements(),
            facts: self.facts(key, &chip, reported),
            unchecked: vec![Unchecked(REVOCATION.to_owned())],
            appraised_at: now,
            valid_until: Some(proven.valid_until),
        })
    }

    pub(crate) fn report_data(&self) -> &[u8; 64] {
        &self.fields.report_data
    }

    pub(crate) fn chip_id(&self) -> &[u8; 64] {
        &self.fields.chip_id
    }

    pub(crate) fn measurements(&self) -> Vec<Measurement> {
        let report = &self.fields;
        let all: [(&str, &[u8]); 5] = [
            ("measurement", &report.measurement),
            ("host_data", &report.host_data),
            ("id_key_digest", &report.id_key_digest),
            ("author_key_digest", &report.author_key_digest),
            ("report_data", &report.report_data),
        ];
        let measurement = |(name, value): (&str, &[u8])| Measurement {
            name: name.to_owned(),
            value: value.to_vec(),
        };
        all.map(measurement).into()
    }

    /// What needs no certificate to be read.
    pub(crate) fn guest_facts(&self) -> BTreeMap<&'static str, Fact> {
        let report = &self.fields;
        let flags = |names: &[(&'static str, u32)], bits: u64| -> Vec<_> {
            let flag =
                |(name, bit): &(&'static str, u32)| (*name, Fact::Flag(bits >> bit & 1 == 1));
            names.iter().map(flag).collect()
        };
        let mut facts = BTreeMap::from([
            ("report_version", Fact::Number(report.version.into())),
            ("vmpl", Fact::Number(report.vmpl.into())),
            ("guest_svn", Fact::Number(report.guest_svn.into())),
        ]);
        facts.extend(flags(POLICY, report.policy));
        facts.extend(flags(PLATFORM, report.platform));
        facts
    }

    fn facts(&self, key: SigningKey, chip: &Chip, reported: Tcb) -> BTreeMap<&'static str, Fact> {
        let mut facts = self.guest_facts();
        facts.insert("product", Fact::Text(chip.product.clone()));
        facts.insert("signing_key", Fact::Text(key.name().to_owned()));
        let committed = chip.tcb(self.fields.committed_tcb);
        for part in reported.parts {
            facts.insert(part.reported, Fact::Number(reported.part(part).into()));
            facts.insert(part.committed, Fact::Number(committed.part(part).into()));
        }
        facts
    }

    /// ECDSA on P-384 with SHA-384, over everything before the signature.
    fn check_signature(&self, public_key: &[u8]) -> Result<(), SnpError> {
        UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, public_key)
            .verify(&self.fields.signed, &self.fields.signature)
            .map_err(|_| SnpError::NotAuthentic)
    }
}

/// Which key signed (56860, table 23, `SIGNING_KEY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SigningKey {
    /// Of the chip.
    Vcek,
    /// Of the cloud provider.
    Vlek,
}

impl SigningKey {
    fn of(key_info: u32) -> Result<Self, SnpError> {
        match key_info >> 2 & 0b111 {
            0 => Ok(Self::Vcek),
            1 => Ok(Self::Vlek),
            found => Err(SnpError::SigningKey { found }),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Vcek => "vcek",
            Self::Vlek => "vlek",
        }
    }

    /// The certificate is of this kind, and a VCEK is of the chip in the report: its first bytes, the rest of the field is zero.
    fn check(self, chip: &Chip, chip_id: &[u8; 64]) -> Result<(), SnpError> {
        let Some(certified) = chip.id.as_deref() else {
            return match self {
                Self::Vlek => Ok(()),
                Self::Vcek => Err(SnpError::Extension {
                    name: "hardware id",
                }),
            };
        };
        let rest = chip_id.strip_prefix(certified);
        if self == Self::Vcek && rest.is_some_and(|rest| rest.iter().all(|byte| *byte == 0)) {
            return Ok(());
        }
        Err(SnpError::Chip {
            expected: hex::encode(certified),
            found: hex::encode(chip_id),
        })
    }
}

/// A report was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SnpError {
    /// A report has one length.
    #[error("the SNP report is {found} bytes long, expected {expected}")]
    Length {
        /// The length of a report.
        expected: usize,
        /// The length of what was given.
        found: usize,
    },
    /// The layout of this version is not known.
    #[error("the SNP report is of version {found}, expected 2 to 5")]
    Version {
        /// Its version.
        found: u32,
    },
    /// Bytes beside the signature that must be zero are not.
    #[error("the SNP report's signature is not two numbers of 48 bytes")]
    Signature,
    /// The signature is of an algorithm that is not known.
    #[error(
        "the SNP report is signed by algorithm {found}, expected {expected} (ECDSA P-384 with SHA-384)"
    )]
    Algorithm {
        /// The one that AMD has defined.
        expected: u32,
        /// The report's.
        found: u32,
    },
    /// The firmware signed with no key, or with one that is not known.
    #[error("the SNP report is signed by key {found}, expected 0 (VCEK) or 1 (VLEK)")]
    SigningKey {
        /// The report's `SIGNING_KEY`; 7 is no signature.
        found: u32,
    },
    /// The chain of the key certificate was refused.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The key certificate lacks what AMD certifies with every such key.
    #[error("the key certificate does not say its {name}")]
    Extension {
        /// What is missing or cannot be read.
        name: &'static str,
    },
    /// The certificate is of another chip.
    #[error("the SNP report is of chip {found}, the certificate of {expected}")]
    Chip {
        /// The certificate's chip.
        expected: String,
        /// The report's.
        found: String,
    },
    /// The certificate is of other firmware, as after an update: the key server has the one for this.
    #[error("the SNP report is of {part} {found}, the certificate of {expected}")]
    Tcb {
        /// Which part of the firmware.
        part: &'static str,
        /// The certificate's security version.
        expected: u8,
        /// The report's.
        found: u8,
    },
    /// The signature does not verify.
    #[error("the SNP report does not authenticate")]
    NotAuthentic,
    /// The report is authentic and answers another question.
    #[error(transparent)]
    Binding(#[from] WrongBinding),
}

/// AMD's list comes from its key server, apart from the chain.
const REVOCATION: &str =
    "whether AMD has revoked a key of the chain: its revocation list is not read";

/// The signature algorithm (56860, table 139).
const ECDSA_P384_SHA384: u32 = 1;

/// Bits of the guest's policy (56860, table 9): what the guest's owner allows the host.
const POLICY: &[(&str, u32)] = &[
    ("smt_allowed", 16),
    ("migration_agent", 18),
    ("debug", 19),
    ("single_socket", 20),
    ("cxl_allowed", 21),
    ("aes_256_xts_required", 22),
    ("rapl_disabled_required", 23),
    ("ciphertext_hiding_required", 24),
];

/// Bits of the platform (56860, table 24).
const PLATFORM: &[(&str, u32)] = &[
    ("platform_smt", 0),
    ("platform_tsme", 1),
    ("platform_ecc", 2),
    ("platform_rapl_disabled", 3),
    ("platform_ciphertext_hiding", 4),
    ("platform_alias_check_complete", 5),
    ("platform_tio", 7),
];
