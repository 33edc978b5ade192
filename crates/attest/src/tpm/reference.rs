//! Reference values: what a machine showed when an operator said that it was right, and what differs from it now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::boot;
use super::event_log::Event;
use super::hash::HashAlgorithm;
use super::pcr::PcrValues;
use crate::hex;

/// What a machine showed in a quote that held: its PCRs, the events behind them, and its TPM's firmware.
///
/// It is data, not proof: it is written down, read again, and compared with what is proven later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineState {
    /// Value by name, such as `sha256:7`.
    pcrs: BTreeMap<String, String>,
    /// Each event that made them, in its order; empty where no log was shown.
    #[serde(default)]
    events: Vec<MeasuredEvent>,
    firmware_version: u64,
}

/// One event, as far as it is compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MeasuredEvent {
    pcr: u8,
    /// For people.
    what: String,
    digest: String,
}

/// How a machine stands to what is expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comparison {
    /// It is as expected.
    Same,
    /// It is as expected as far as it was quoted, with something that an operator wants to know of, in sentences without a full stop.
    Remarkable(Vec<String>),
    /// It is not as expected; what is not, in sentences without a full stop.
    Different(Vec<String>),
}

impl MachineState {
    pub(super) fn new(pcrs: &PcrValues, events: &[&Event], firmware_version: u64) -> Self {
        let bank = pcrs.iter().next().map(|(bank, ..)| bank);
        let bank = bank.unwrap_or(HashAlgorithm::Sha256);
        let named = |(bank, pcr, value): (HashAlgorithm, u8, &[u8])| {
            (format!("{bank}:{pcr}"), hex::encode(value))
        };
        let event = |event: &&Event| MeasuredEvent {
            pcr: event.pcr,
            what: boot::describe(event),
            digest: event
                .digests
                .get(&bank)
                .map(|digest| hex::encode(digest))
                .unwrap_or_default(),
        };
        Self {
            pcrs: pcrs.iter().map(named).collect(),
            events: events.iter().map(event).collect(),
            firmware_version,
        }
    }

    /// Compares what a machine shows with this, which is expected of it.
    pub fn compare(&self, shown: &Self) -> Comparison {
        let mut differences: Vec<String> = Vec::new();
        for (name, expected) in &self.pcrs {
            match shown.pcrs.get(name) {
                Some(found) if found == expected => {}
                Some(found) => {
                    differences.push(format!("PCR {name} is {found} and was {expected}"));
                    differences.extend(self.changed_events(shown, name));
                }
                None => differences.push(format!("PCR {name} is not quoted any more")),
            }
        }
        if !differences.is_empty() {
            return Comparison::Different(differences);
        }
        match self.remarks(shown) {
            remarks if remarks.is_empty() => Comparison::Same,
            remarks => Comparison::Remarkable(remarks),
        }
    }

    /// What holds a policy back nowhere, and is worth a look.
    fn remarks(&self, shown: &Self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.firmware_version != shown.firmware_version {
            let (is, was) = (shown.firmware_version, self.firmware_version);
            remarks.push(format!(
                "the TPM's firmware is {is:#018x} and was {was:#018x}"
            ));
        }
        if shown.events.is_empty() && !self.events.is_empty() {
            remarks.push("the event log is not shown any more".to_owned());
        }
        remarks
    }

    /// Which events of a PCR came, went or changed.
    fn changed_events(&self, shown: &Self, name: &str) -> Vec<String> {
        let pcr = name.rsplit(':').next().and_then(|pcr| pcr.parse().ok());
        let of = |state: &Self| -> Vec<MeasuredEvent> {
            let events = state.events.iter();
            events
                .filter(|event| Some(event.pcr) == pcr)
                .cloned()
                .collect()
        };
        let (before, now) = (of(self), of(shown));
        let gone = before.iter().filter(|event| !now.contains(event));
        let came = now.iter().filter(|event| !before.contains(event));
        let (gone, came): (Vec<_>, Vec<_>) = (gone.collect(), came.collect());
        let changed = gone.iter().map(|event| {
            let (pcr, what, was) = (event.pcr, &event.what, &event.digest);
            match came.iter().find(|new| new.what == event.what) {
                Some(new) => format!("PCR {pcr}, {what}: is {} and was {was}", new.digest),
                None => format!("PCR {pcr}, {what}: {was} is gone"),
            }
        });
        let new = came
            .iter()
            .filter(|new| gone.iter().all(|event| event.what != new.what));
        let new = new.map(|new| format!("PCR {}, {}: {} is new", new.pcr, new.what, new.digest));
        changed.chain(new).take(MOST_CHANGES).collect()
    }
}

/// Enough to see what happened; an update of everything changes hundreds.
const MOST_CHANGES: usize = 20;
