//! Evidence whose kind nobody said: a file from somewhere.

use crate::appraisal::Technology;
use crate::azure::{self, AzureError};
use crate::dcap::{Quote, QuoteError};
use crate::nitro::{Document, NitroError};
use crate::snp::{self, SnpError};
use crate::software::{self, SoftwareError};
use crate::{hex, nitro};

/// Evidence that was recognised and read, and that nobody has checked.
///
/// ```
/// use countersign_attest::{Evidence, EvidenceError};
///
/// let refused = Evidence::recognise(b"hello").unwrap_err();
/// assert_eq!(refused.to_string(), "the file of 5 bytes is no evidence that is known, it begins with 68656c6c6f");
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Evidence {
    /// A report of SEV-SNP.
    Snp(snp::Report),
    /// A quote of TDX or SGX.
    Quote(Quote),
    /// An attestation document of AWS Nitro Enclaves.
    Nitro(nitro::Document),
    /// An SNP report that vouches for the virtual TPM of an Azure VM.
    Azure(azure::Report),
    /// A `TPMS_ATTEST` structure, which is in `tpm`'s hands: signature, key and PCRs are in other files.
    TpmQuote(Vec<u8>),
    /// A machine's own word.
    Software(software::Document),
}

impl Evidence {
    /// Tells what the bytes are by how they begin, as they are or in hexadecimal, and reads them.
    ///
    /// # Errors
    ///
    /// [`EvidenceError`] when nothing begins like this, or it does and cannot be read.
    pub fn recognise(bytes: &[u8]) -> Result<Self, EvidenceError> {
        if bytes.len() > MAX_LEN {
            return Err(EvidenceError::TooLong {
                found: bytes.len(),
                limit: MAX_LEN,
            });
        }
        // Hexadecimal comes first: no evidence is all digits in its bytes.
        match hex::decode(bytes) {
            Some(decoded) if !decoded.is_empty() => binary(&decoded),
            _ => binary(bytes),
        }
    }

    /// What would vouch for the machine, if it is genuine.
    pub fn technology(&self) -> Technology {
        match self {
            Self::Snp(_) => Technology::SevSnp,
            Self::Quote(quote) => quote.technology(),
            Self::Nitro(_) => Technology::Nitro,
            Self::Azure(_) => Technology::AzureVtpm,
            Self::TpmQuote(_) => Technology::Tpm2,
            Self::Software(_) => Technology::Software,
        }
    }
}

fn binary(bytes: &[u8]) -> Result<Evidence, EvidenceError> {
    match bytes {
        [b'H', b'C', b'L', b'A', ..] => Ok(Evidence::Azure(azure::Report::parse(bytes)?)),
        [0xff, b'T', b'C', b'G', ..] => Ok(Evidence::TpmQuote(bytes.to_vec())),
        // An array of four items that begins with a byte string, with the tag of COSE_Sign1 or without.
        [0x84, 0x40..=0x5b, ..] | [0xd2, 0x84, ..] => Ok(Evidence::Nitro(Document::parse(bytes)?)),
        // The version, and a key type of 2 bytes: an SNP report has a version of 4 bytes.
        [3..=5, 0, 1..=3, 0, ..] => Ok(Evidence::Quote(Quote::parse(bytes)?)),
        [2..=5, 0, 0, 0, ..] => Ok(Evidence::Snp(snp::Report::parse(bytes)?)),
        _ if bytes.trim_ascii_start().starts_with(b"{") => {
            Ok(Evidence::Software(software::Document::parse(bytes)?))
        }
        _ => Err(unknown(bytes)),
    }
}

fn unknown(bytes: &[u8]) -> EvidenceError {
    let beginning = bytes.get(..8).unwrap_or(bytes);
    EvidenceError::Unknown {
        length: bytes.len(),
        beginning: hex::encode(beginning),
    }
}

/// A file is no evidence that can be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EvidenceError {
    /// The file is longer than any evidence.
    #[error("the file is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// Nothing that is known begins like this.
    #[error("the file of {length} bytes is no evidence that is known, it begins with {beginning}")]
    Unknown {
        /// Its length.
        length: usize,
        /// Its first eight bytes, in hexadecimal.
        beginning: String,
    },
    /// It begins like a report of SEV-SNP.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// It begins like a quote of TDX or SGX.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// It begins like an attestation document of Nitro Enclaves.
    #[error(transparent)]
    Nitro(#[from] NitroError),
    /// It begins like Azure's wrapped report.
    #[error(transparent)]
    Azure(#[from] AzureError),
    /// It begins like JSON, as software evidence does.
    #[error(transparent)]
    Software(#[from] SoftwareError),
}

/// The longest is a quote with its padding, in hexadecimal.
const MAX_LEN: usize = 64 * 1024 + 2;
