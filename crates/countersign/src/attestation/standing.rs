//! How a machine stands to what is expected of it.

use countersign_attest::GuestState;
use countersign_attest::tpm::{Comparison, MachineState};
use countersign_policy::AppraisalResult;
use serde::de::DeserializeOwned;

use crate::store::{Reference, Voucher};

/// Where nothing is expected nothing is affirmed.
pub(super) fn standing<S: DeserializeOwned>(
    reference: Option<&Reference>,
    compare: impl FnOnce(&S) -> Comparison,
) -> (AppraisalResult, Vec<String>) {
    let Some(reference) = reference else {
        return (AppraisalResult::None, Vec::new());
    };
    let Ok(expected) = serde_json::from_str(&reference.state) else {
        let reason = "what is expected of the machine cannot be read".to_owned();
        return (AppraisalResult::Contraindicated, vec![reason]);
    };
    match compare(&expected) {
        Comparison::Same => (AppraisalResult::Affirming, Vec::new()),
        Comparison::Remarkable(reasons) => (AppraisalResult::Warning, reasons),
        Comparison::Different(reasons) => (AppraisalResult::Contraindicated, reasons),
        _ => (AppraisalResult::Contraindicated, Vec::new()),
    }
}

/// What differs between what is expected of a machine and what it showed, in sentences.
pub(crate) fn differences(vouched_by: &Voucher, reference: &str, shown: &str) -> Vec<String> {
    let compared = match vouched_by {
        Voucher::Tpm(_) => compared(reference, shown, MachineState::compare),
        Voucher::Guest(_) => compared(reference, shown, GuestState::compare),
    };
    match compared {
        None => vec!["what was kept of the machine cannot be read".to_owned()],
        Some(Comparison::Remarkable(reasons) | Comparison::Different(reasons)) => reasons,
        Some(_) => Vec::new(),
    }
}

fn compared<S: DeserializeOwned>(
    reference: &str,
    shown: &str,
    compare: impl FnOnce(&S, &S) -> Comparison,
) -> Option<Comparison> {
    let read = |text| serde_json::from_str::<S>(text).ok();
    let (reference, shown) = read(reference).zip(read(shown))?;
    Some(compare(&reference, &shown))
}
