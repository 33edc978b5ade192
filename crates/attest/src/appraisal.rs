//! What a verifier found true of a machine.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::hex;

/// What a verifier found true of a machine: the attestation result of RFC 9334, section 8.4.
///
/// Only the appraisal of evidence makes one. It says what was proven and what was not looked at; whether that is enough is for a
/// policy to say.
///
/// ```compile_fail,E0451
/// let forged = countersign_attest::Appraisal { ..unreachable!() };
/// ```
///
/// ```compile_fail,E0277
/// let forged: countersign_attest::Appraisal = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Appraisal {
    pub(crate) technology: Technology,
    pub(crate) vendor: Option<String>,
    pub(crate) subject: String,
    pub(crate) freshness: Freshness,
    pub(crate) measurements: Vec<Measurement>,
    pub(crate) facts: BTreeMap<&'static str, Fact>,
    pub(crate) unchecked: Vec<Unchecked>,
    pub(crate) appraised_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) valid_until: Option<Timestamp>,
}

impl Appraisal {
    /// What vouches for the machine.
    pub fn technology(&self) -> Technology {
        self.technology
    }

    /// Who made what vouches for it, by the certificate chain, such as `Infineon` or `AMD`. Nothing where no chain was checked.
    pub fn vendor(&self) -> Option<&str> {
        self.vendor.as_deref()
    }

    /// Which machine, in terms of its technology: the SHA-256 hash of an endorsement key, a chip's identifier, an enclave's module.
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// Whether the evidence was made for this verifier's question.
    pub fn freshness(&self) -> Freshness {
        self.freshness
    }

    /// What was measured, in the order of the evidence.
    pub fn measurements(&self) -> &[Measurement] {
        &self.measurements
    }

    /// What a policy may ask by name, such as `secure_boot` or `debug`.
    pub fn facts(&self) -> &BTreeMap<&'static str, Fact> {
        &self.facts
    }

    /// What the evidence could have shown, and did not, or what nobody here could check.
    pub fn unchecked(&self) -> &[Unchecked] {
        &self.unchecked
    }

    /// When it was appraised: the time that the caller gave.
    pub fn appraised_at(&self) -> Timestamp {
        self.appraised_at
    }

    /// Until when what it rests on holds: the earliest end of a certificate or of collateral.
    ///
    /// Nothing for software evidence, which rests on none, and for a TPM's quote. A quote rests on an attestation key that somebody
    /// enrolled, and no certificate says how long that holds. The endorsement key's certificate counted when the key was enrolled:
    /// [`TrustedEk::valid_until`](crate::tpm::TrustedEk::valid_until) is for whoever enrols, to let in until then or not.
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.valid_until
    }
}

/// What vouches for a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Technology {
    /// A Trusted Platform Module, by the TPM 2.0 Library Specification.
    Tpm2,
    /// AMD Secure Encrypted Virtualization with Secure Nested Paging.
    SevSnp,
    /// Intel Trust Domain Extensions.
    Tdx,
    /// Intel Software Guard Extensions.
    Sgx,
    /// AWS Nitro Enclaves.
    Nitro,
    /// The virtual TPM of an Azure confidential VM.
    AzureVtpm,
    /// A key in a file: nothing but the machine's own word.
    Software,
}

impl Technology {
    /// Its name in facts, tokens and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tpm2 => "tpm2",
            Self::SevSnp => "sev-snp",
            Self::Tdx => "tdx",
            Self::Sgx => "sgx",
            Self::Nitro => "nitro",
            Self::AzureVtpm => "azure-vtpm",
            Self::Software => "software",
        }
    }
}

impl fmt::Display for Technology {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Technology {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Whether evidence answers the verifier's own question, or is from any time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Freshness {
    /// The verifier's nonce is in what was signed.
    Nonce,
    /// The verifier gave none: the evidence may be old, or another's.
    Undated,
}

/// One measured value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measurement {
    /// Its name in its technology: `pcr.sha256.7`, `mrtd`, `measurement`.
    pub name: String,
    /// The digest.
    #[serde(serialize_with = "in_hexadecimal")]
    pub value: Vec<u8>,
}

/// The value of a named fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Fact {
    /// Yes or no.
    Flag(bool),
    /// A number, such as a security version.
    Number(u64),
    /// A word or a hash in hexadecimal.
    Text(String),
    /// Several, in order, such as the files a boot loader was read from.
    List(Vec<String>),
}

/// Something that an appraisal does not vouch for, in a sentence without a full stop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Unchecked(pub String);

fn in_hexadecimal<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(bytes))
}
