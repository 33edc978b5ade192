//! TPM 2.0: whose TPM it is, what it holds, and what it says of its machine (TPM 2.0 Library Specification, revision 1.59).
//!
//! At enrolment an [`EndorsementKey`] becomes a [`TrustedEk`] by a maker's certificate or an operator's list, and a
//! [credential](TrustedEk::credential) that the TPM opens shows that an [`AttestationKey`] is its own. From then on each [`Quote`] is
//! verified under that key, and [`appraise`] says what it comes to.

mod attestation_key;
mod binding;
mod boot;
mod credential;
mod endorsement;
mod event_log;
mod hash;
mod pcr;
mod public;
mod quote;
mod reference;
mod wire;

use jiff::Timestamp;

pub use attestation_key::{AttestationKey, AttestationKeyError};
pub use binding::Binding;
pub use credential::{Credential, CredentialError};
pub use endorsement::{
    EkHash, EndorsementKey, EndorsementKeyError, InvalidEkHash, RootError, TpmRoots, TrustedEk,
};
pub use event_log::{EventLog, EventLogError};
pub use hash::HashAlgorithm;
pub use pcr::{PcrValues, Selection};
pub use public::{Name, PublicAreaError};
pub use quote::{Clock, Quote, QuoteError, VerifiedQuote, WentBack};
pub use reference::{Comparison, MachineState};
pub use wire::Malformed;

use crate::appraisal::{Appraisal, Fact, Technology, Unchecked};

/// Whose TPM quoted, as it was found out when its attestation key was enrolled.
#[derive(Clone, Copy, Debug)]
pub struct Quoter<'a> {
    /// The hash of the endorsement key, in hexadecimal, or what else names the machine.
    pub subject: &'a str,
    /// Who made the TPM, where a maker vouched for it.
    pub vendor: Option<&'a str>,
}

/// Says what a verified quote comes to, with the event log if there is one, and gives what is to be compared with what is expected.
///
/// ```
/// use countersign_attest::Appraisal;
/// use countersign_attest::tpm::{EventLogError, MachineState, Quoter, VerifiedQuote, appraise};
/// use jiff::Timestamp;
///
/// fn found(quote: &VerifiedQuote, now: Timestamp) -> Result<(Appraisal, MachineState), EventLogError> {
///     appraise(Quoter { subject: "edge-7", vendor: None }, quote, None, now)
/// }
/// ```
///
/// A quote that nobody verified comes to nothing:
///
/// ```compile_fail,E0308
/// use countersign_attest::tpm::{Quote, Quoter, appraise};
/// use jiff::Timestamp;
///
/// fn found(quote: &Quote, now: Timestamp) {
///     let _ = appraise(Quoter { subject: "edge-7", vendor: None }, quote, None, now);
/// }
/// ```
///
/// # Errors
///
/// The log does not make the values that were quoted.
pub fn appraise(
    quoter: Quoter<'_>,
    quote: &VerifiedQuote,
    log: Option<&EventLog>,
    now: Timestamp,
) -> Result<(Appraisal, MachineState), EventLogError> {
    let bank = quote.pcrs.iter().next().map(|(bank, ..)| bank);
    let bank = bank.unwrap_or(HashAlgorithm::Sha256);
    let events = match log {
        Some(log) => log.replayed(&quote.pcrs, bank)?,
        None => Vec::new(),
    };
    let mut facts = boot::facts(&events, bank);
    let firmware = format!("{:#018x}", quote.firmware_version);
    facts.insert("tpm_firmware", Fact::Text(firmware));
    let state = MachineState::new(&quote.pcrs, &events, quote.firmware_version);
    let appraisal = Appraisal {
        technology: Technology::Tpm2,
        vendor: quoter.vendor.map(str::to_owned),
        subject: quoter.subject.to_owned(),
        freshness: quote.freshness,
        measurements: quote.measurements().collect(),
        facts,
        unchecked: unchecked(log.is_some()),
        appraised_at: now,
        valid_until: None,
    };
    Ok((appraisal, state))
}

/// What no quote shows.
pub(crate) fn unchecked(has_log: bool) -> Vec<Unchecked> {
    let mut unchecked = vec![
        "the TPM's signature is classical: a quantum computer could forge it",
        "what was started after the last measurement is not in the PCRs",
    ];
    if !has_log {
        unchecked.push("no event log was shown: the PCRs are digests of what nobody named");
    }
    let sentences = unchecked.into_iter();
    sentences.map(|text| Unchecked(text.to_owned())).collect()
}
