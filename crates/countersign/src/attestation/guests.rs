//! Confidential guests in the gateway: whose roots vouch for them, and what their evidence comes to.

use std::borrow::Cow;
use std::path::Path;

use countersign_attest::dcap::{self, Collateral};
use countersign_attest::nitro::NitroError;
use countersign_attest::snp::{Endorsement, SnpError};
use countersign_attest::{
    Appraisal, ChainError, Evidence, EvidenceError, GuestState, RootKeys, Technology,
};
use countersign_policy::AppraisalResult;
use jiff::Timestamp;

use super::folder::{self, RootsError};
use super::rules::{Appraised, Asked, json};
use super::standing::standing;
use super::wire::{Bytes, GuestEvidence};
use crate::config::AttestationConfig;
use crate::store::{KnownGuest, Reference, Shown};

/// The configuration's word on confidential guests.
pub(crate) struct GuestRules {
    snp: RootKeys,
    tdx: RootKeys,
    sgx: RootKeys,
    nitro: RootKeys,
    /// Nothing where each agent brings its own.
    collateral: Option<Vec<Collateral>>,
}

impl GuestRules {
    pub(super) fn read(config: &AttestationConfig) -> Result<Self, RootsError> {
        let collateral = config.collateral.as_deref();
        Ok(Self {
            snp: roots(config, Technology::SevSnp, RootKeys::amd),
            tdx: roots(config, Technology::Tdx, RootKeys::intel),
            sgx: roots(config, Technology::Sgx, RootKeys::intel),
            nitro: roots(config, Technology::Nitro, RootKeys::aws),
            collateral: collateral.map(read_collateral).transpose()?,
        })
    }

    /// What a guest's evidence comes to, if it holds: its hardware signed it for what was asked on this channel.
    ///
    /// # Errors
    ///
    /// [`GuestRefusal`] says what does not hold.
    pub(crate) fn appraise(
        &self,
        reference: Option<&Reference>,
        asked: &Asked,
        evidence: &GuestEvidence,
        now: Timestamp,
    ) -> Result<(Appraised, KnownGuest), GuestRefusal> {
        let found = self.verify(&asked.report_data(), evidence, now)?;
        let state = GuestState::of(&found);
        let (mut result, mut reasons) =
            standing(reference, |expected: &GuestState| expected.compare(&state));
        if state.may_be_debugged() {
            result = AppraisalResult::Contraindicated;
            reasons.insert(0, DEBUGGED.to_owned());
        }
        let guest = KnownGuest {
            technology: found.technology().name().to_owned(),
            vendor: found.vendor().map(str::to_owned),
        };
        let appraised = Appraised {
            appraisal: countersign_policy::Appraisal::of(&found, result, reasons),
            shown: Shown {
                state: json(&state),
                at: now,
            },
            clock: None,
            is_expected: reference.is_some(),
        };
        Ok((appraised, guest))
    }

    fn verify(
        &self,
        asked: &[u8; 64],
        shown: &GuestEvidence,
        now: Timestamp,
    ) -> Result<Appraisal, GuestRefusal> {
        Ok(match Evidence::recognise(&shown.report.0)? {
            Evidence::Snp(report) => {
                let key = given(shown.certificate.as_ref(), CERTIFICATE)?;
                let chain = given(shown.certificate_chain.as_ref(), CERTIFICATE_CHAIN)?;
                let endorsement = Endorsement::new(key, chain)?;
                report.appraise(&endorsement, &self.snp, Some(asked), now)?
            }
            Evidence::Quote(quote) => {
                let roots = match quote.technology() {
                    Technology::Sgx => &self.sgx,
                    _ => &self.tdx,
                };
                let collateral = self.collateral_for(&quote, shown)?;
                quote.appraise(&collateral, roots, Some(asked), now)?
            }
            Evidence::Nitro(document) => document.appraise(&self.nitro, Some(asked), now)?,
            other => return Err(GuestRefusal::Technology(other.technology())),
        })
    }

    /// The gateway's own, where it keeps any: an agent could bring one from before its platform was revoked.
    fn collateral_for(
        &self,
        quote: &dcap::Quote,
        shown: &GuestEvidence,
    ) -> Result<Cow<'_, Collateral>, GuestRefusal> {
        let Some(kept) = &self.collateral else {
            let json = given(shown.collateral.as_ref(), COLLATERAL)?;
            return Ok(Cow::Owned(Collateral::from_json(json)?));
        };
        let found = kept.iter().find(|collateral| collateral.covers(quote));
        found.map(Cow::Borrowed).ok_or(GuestRefusal::NoCollateral)
    }
}

/// Those that the configuration names for the technology, else the ones that are built in.
fn roots(
    config: &AttestationConfig,
    technology: Technology,
    built_in: fn() -> RootKeys,
) -> RootKeys {
    let mut named = config
        .roots
        .iter()
        .filter(|root| root.technology == technology)
        .peekable();
    if named.peek().is_none() {
        return built_in();
    }
    named.fold(RootKeys::none(), |roots, root| {
        roots.with(&root.vendor, root.sha256)
    })
}

fn read_collateral(folder: &Path) -> Result<Vec<Collateral>, RootsError> {
    let mut all = Vec::new();
    for (path, content) in folder::files(folder)? {
        let collateral = Collateral::from_json(&content);
        all.push(collateral.map_err(|error| RootsError::unusable(&path, &error))?);
    }
    Ok(all)
}

fn given<'e>(shown: Option<&'e Bytes>, key: &'static str) -> Result<&'e [u8], GuestRefusal> {
    let shown = shown.map(|bytes| bytes.0.as_slice());
    shown.ok_or(GuestRefusal::Lacks { key })
}

/// Why a confidential guest's evidence does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum GuestRefusal {
    /// It is no evidence.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// It is evidence that is not shown like this.
    #[error("evidence of {0} is not taken from a command")]
    Technology(Technology),
    /// Something that it is checked with was not shown beside it.
    #[error("the evidence cannot be checked without `evidence.{key}` in the agent's configuration")]
    Lacks {
        /// The key of the agent's configuration.
        key: &'static str,
    },
    /// The gateway keeps collateral, and none for this kind of platform.
    #[error("the gateway has no collateral for this kind of platform")]
    NoCollateral,
    /// The chip's certificate or its chain cannot be read.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The report does not hold.
    #[error(transparent)]
    Snp(#[from] SnpError),
    /// The quote does not hold.
    #[error(transparent)]
    Quote(#[from] dcap::QuoteError),
    /// The document does not hold.
    #[error(transparent)]
    Nitro(#[from] NitroError),
}

const CERTIFICATE: &str = "certificate";
const CERTIFICATE_CHAIN: &str = "certificate_chain";
const COLLATERAL: &str = "collateral";
const DEBUGGED: &str = "its host may look into the guest: it was started with debugging allowed";

#[cfg(test)]
mod tests;
