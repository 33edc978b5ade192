//! Why a quote is refused.

use std::fmt::Write as _;

use dcap_qvl::intel::{PckExtension, parse_pck_extension_with};
use dcap_qvl::quote::Quote;
use dcap_qvl::{SvnComponent, SvnShortfall};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use super::collateral::Collateral;
use super::primitives::OnAwsLc;
use crate::appraisal::Technology;
use crate::chain::{self, ChainError};
use crate::freshness::WrongBinding;
use crate::hex;

/// A quote, or the collateral for it, was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum QuoteError {
    /// A quote or collateral is longer than any.
    #[error("the {what} is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// Quote or collateral.
        what: &'static str,
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The quote has not the layout of its version, or its lengths do not add up.
    #[error("the quote cannot be read")]
    Malformed,
    /// Something follows the quote that is no padding of zeros.
    #[error("the quote ends after {end} bytes, and something follows")]
    Trailing {
        /// Where it ends.
        end: usize,
    },
    /// The quoting enclave is not Intel's.
    #[error("the quote is of vendor {found}, expected {expected}")]
    Vendor {
        /// Intel's identifier.
        expected: String,
        /// The quote's.
        found: String,
    },
    /// The quote is signed by another kind of key.
    #[error("the quote is signed by key type {found}, expected 2 (ECDSA P-256)")]
    KeyType {
        /// The quote's.
        found: u16,
    },
    /// A part of the collateral cannot be read.
    #[error("the collateral's {part} cannot be read")]
    Collateral {
        /// Which part.
        part: &'static str,
    },
    /// A part of the collateral lies ahead of the verifier's time.
    #[error("the {what} was issued at {issued}, it is {now}")]
    NotYetIssued {
        /// Which part.
        what: &'static str,
        /// When it was issued.
        issued: Timestamp,
        /// The verifier's time.
        now: Timestamp,
    },
    /// A part of the collateral has expired: Intel has a newer one.
    #[error("the {what} was to be renewed by {next_update}, it is {now}")]
    Outdated {
        /// Which part.
        what: &'static str,
        /// Its end.
        next_update: Timestamp,
        /// The verifier's time.
        now: Timestamp,
    },
    /// The collateral is of the other technology.
    #[error("the quote is of {expected}, the collateral of {found}")]
    OtherTechnology {
        /// The quote's technology.
        expected: &'static str,
        /// The collateral's.
        found: String,
    },
    /// The collateral is of another platform.
    #[error("the quote is of platform (FMSPC) {expected}, the collateral of {found}")]
    OtherPlatform {
        /// The quote's.
        expected: String,
        /// The collateral's.
        found: String,
    },
    /// A certificate chain of the quote or the collateral was refused.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The platform's firmware is older than any that Intel lists.
    #[error("the platform meets no TCB level, it lacks for the nearest: {lacks}")]
    NoTcbLevel {
        /// Each component with what it is and what the level wants.
        lacks: String,
    },
    /// Intel has revoked the platform's firmware or keys.
    #[error("the platform is revoked")]
    Revoked,
    /// Intel's rules for quotes refuse it, such as a guest that may be migrated or a module that Intel did not sign.
    #[error("the quote is refused: {reason}")]
    Refused {
        /// The rule, in the words of the crate `dcap-qvl`.
        reason: String,
    },
    /// A signature or a hash in the quote or the collateral does not verify.
    #[error("the quote does not authenticate")]
    NotAuthentic,
    /// The quote is authentic and answers another question.
    #[error(transparent)]
    Binding(#[from] WrongBinding),
}

impl QuoteError {
    /// What the verifier's refusal means. Its reasons are texts, so what can be found out from the evidence is not read from them.
    pub(super) fn of(refused: &impl std::fmt::Display, quote: &Quote, with: &Collateral) -> Self {
        let reason = format!("{refused:#}");
        // A chain with a revoked certificate is named as one that does not verify, so this is asked first.
        if reason.contains("Revoked") {
            return Self::Revoked;
        }
        if CRYPTOGRAPHIC.iter().any(|phrase| reason.contains(phrase)) {
            return Self::NotAuthentic;
        }
        match lacks(quote, with) {
            Some(lacks) => Self::NoTcbLevel { lacks },
            None => Self::Refused { reason },
        }
    }
}

/// What the platform lacks for the level that it lacks least for; nothing when it meets one.
fn lacks(quote: &Quote, with: &Collateral) -> Option<String> {
    let platform = platform(&with.platform_chain(quote).ok()?).ok()?;
    let module = quote.report.as_td10().map(|report| &report.tee_tcb_svn);
    let levels = with.tcb_info.tcb_levels.iter().map(|level| {
        let lacks = level.shortfalls(&platform.cpu_svn, platform.pce_svn, module);
        lacks.ok()
    });
    let all: Vec<_> = levels.collect::<Option<_>>()?;
    let nearest = all.iter().min_by_key(|lacks| lacks.len())?;
    (!nearest.is_empty()).then(|| in_words(nearest))
}

fn in_words(lacks: &[SvnShortfall]) -> String {
    let mut words = String::new();
    for lack in lacks {
        let component = match lack.component {
            SvnComponent::Sgx(index) => format!("SGX component {index}"),
            SvnComponent::Tdx(index) => format!("TDX component {index}"),
            SvnComponent::PceSvn => "PCE".to_owned(),
            SvnComponent::TdxModuleIsvSvn => "TDX module".to_owned(),
        };
        let separator = if words.is_empty() { "" } else { ", " };
        let (have, needs) = (lack.have, lack.needs);
        let written = write!(words, "{separator}{component} is {have}, wanted {needs}");
        written.expect("a string takes every text");
    }
    words
}

/// What the platform's certificate says.
fn platform(chain: &[CertificateDer<'_>]) -> Result<PckExtension, QuoteError> {
    let leaf = chain.first().ok_or(ChainError::Unreadable)?;
    parse_pck_extension_with::<OnAwsLc>(leaf).map_err(|_| ChainError::Unreadable.into())
}

/// The quote and the collateral are of one platform and one technology, and the platform's certificates are valid now.
pub(super) fn check_platform(
    quote: &Quote,
    technology: Technology,
    with: &Collateral,
    now: Timestamp,
) -> Result<(), QuoteError> {
    check_technology(technology, with)?;
    let chain = with.platform_chain(quote)?;
    chain::validity(&chain::read(&chain)?, now)?;
    check_fmspc(&chain, with)
}

/// The quote and the collateral are of one platform and one technology.
pub(super) fn covers(
    quote: &Quote,
    technology: Technology,
    with: &Collateral,
) -> Result<(), QuoteError> {
    check_technology(technology, with)?;
    check_fmspc(&with.platform_chain(quote)?, with)
}

fn check_technology(technology: Technology, with: &Collateral) -> Result<(), QuoteError> {
    let expected = match technology {
        Technology::Sgx => "SGX",
        _ => "TDX",
    };
    if with.tcb_info.id == expected {
        return Ok(());
    }
    Err(QuoteError::OtherTechnology {
        expected,
        found: with.tcb_info.id.clone(),
    })
}

fn check_fmspc(chain: &[CertificateDer<'_>], with: &Collateral) -> Result<(), QuoteError> {
    let expected = hex::encode(&platform(chain)?.fmspc);
    let found = with.tcb_info.fmspc.to_lowercase();
    match expected == found {
        true => Ok(()),
        false => Err(QuoteError::OtherPlatform { expected, found }),
    }
}

/// How `dcap-qvl` and its webpki name what did not verify. Which one it was is no one's business.
const CRYPTOGRAPHIC: &[&str] = &[
    "ignature",
    "hash mismatch",
    "verify certificate chain",
    "UnknownIssuer",
];
