//! Reference values of confidential guests: what one showed when an operator said that it was right, and what differs from it now.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::appraisal::{Appraisal, Fact, Measurement, Technology};
use crate::hex;
use crate::tpm::Comparison;

/// What a confidential guest showed in evidence that held: what was measured at its launch, what its host may do with it, and the
/// versions of the firmware under it.
///
/// It is data, not proof: it is written down, read again, and compared with what is proven later.
///
/// ```
/// use countersign_attest::GuestState;
///
/// # fn example(before: &countersign_attest::Appraisal, now: &countersign_attest::Appraisal) {
/// let expected = GuestState::of(before);
/// let comparison = expected.compare(&GuestState::of(now));
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestState {
    technology: String,
    vendor: Option<String>,
    /// The processor that it ran on, where the evidence names one that stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chip: Option<String>,
    /// The TDX module, which the host replaces under its guests; that it is one of Intel's was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    module: Option<String>,
    /// Hexadecimal, by name.
    measurements: BTreeMap<String, String>,
    /// What decides who else can look into the guest.
    #[serde(default)]
    isolation: BTreeMap<String, String>,
    /// Security versions: they go up.
    #[serde(default)]
    versions: BTreeMap<String, u64>,
    /// What Intel says of the platform's firmware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tcb_status: Option<String>,
}

impl GuestState {
    /// What there is to compare in an appraisal of SEV-SNP, TDX, SGX or Nitro.
    ///
    /// What was asked with is left out, since it is another each time, and so is what names one run of the guest only.
    pub fn of(appraisal: &Appraisal) -> Self {
        let measured = |one: &Measurement| (one.name.clone(), hex::encode(&one.value));
        let mut measurements: BTreeMap<_, _> =
            appraisal.measurements.iter().map(measured).collect();
        measurements.remove(QUESTION);
        let facts = &appraisal.facts;
        Self {
            technology: appraisal.technology.name().to_owned(),
            vendor: appraisal.vendor.clone(),
            chip: names_a_chip(appraisal).then(|| appraisal.subject.clone()),
            module: measurements.remove(MODULE),
            measurements,
            isolation: ISOLATION
                .iter()
                .filter_map(|name| Some(((*name).to_owned(), text(facts.get(name)?))))
                .collect(),
            versions: facts.iter().filter_map(version).collect(),
            tcb_status: facts.get(TCB_STATUS).map(text),
        }
    }

    /// Whether its host may look into it, which leaves nothing of what the technology is for.
    pub fn may_be_debugged(&self) -> bool {
        self.isolation
            .get(DEBUG)
            .is_some_and(|debug| debug == "true")
    }

    /// Compares what a guest shows with this, which is expected of it.
    pub fn compare(&self, shown: &Self) -> Comparison {
        let mut differences = self.other_maker(shown);
        differences.extend(changes(&self.measurements, &shown.measurements));
        differences.extend(changes(&self.isolation, &shown.isolation));
        differences.extend(self.versions(shown, |found, expected| found < expected));
        if !differences.is_empty() {
            return Comparison::Different(differences);
        }
        match self.remarks(shown) {
            remarks if remarks.is_empty() => Comparison::Same,
            remarks => Comparison::Remarkable(remarks),
        }
    }

    fn other_maker(&self, shown: &Self) -> Vec<String> {
        let vendor = |state: &Self| state.vendor.clone().unwrap_or_else(|| "nobody".to_owned());
        let mut differences = Vec::new();
        if self.technology != shown.technology {
            let (is, was) = (&shown.technology, &self.technology);
            differences.push(format!("the technology is {is} and was {was}"));
        }
        if self.vendor != shown.vendor {
            let (is, was) = (vendor(shown), vendor(self));
            differences.push(format!("the vendor is {is} and was {was}"));
        }
        differences
    }

    /// What holds a policy back nowhere, and is worth a look.
    fn remarks(&self, shown: &Self) -> Vec<String> {
        let mut remarks: Vec<_> = self
            .versions(shown, |found, expected| found > expected)
            .collect();
        for (what, was, is) in [
            ("the processor", &self.chip, &shown.chip),
            ("the TDX module", &self.module, &shown.module),
        ] {
            if let Some(is) = is.as_ref().filter(|is| was.as_ref() != Some(is)) {
                let was = was.as_deref().unwrap_or("not named");
                remarks.push(format!("{what} is {is} and was {was}"));
            }
        }
        if let Some(status) = shown
            .tcb_status
            .as_ref()
            .filter(|status| *status != UP_TO_DATE)
        {
            remarks.push(format!("Intel calls the platform's firmware {status}"));
        }
        remarks
    }

    fn versions(
        &self,
        shown: &Self,
        differs: impl Fn(u64, u64) -> bool,
    ) -> impl Iterator<Item = String> {
        self.versions.iter().filter_map(move |(name, expected)| {
            let found = shown.versions.get(name).copied().unwrap_or_default();
            differs(found, *expected).then(|| format!("{name} is {found} and was {expected}"))
        })
    }
}

/// What came, went or changed, by name.
fn changes(expected: &BTreeMap<String, String>, shown: &BTreeMap<String, String>) -> Vec<String> {
    let changed = expected
        .iter()
        .filter_map(|(name, was)| match shown.get(name) {
            Some(is) if is == was => None,
            Some(is) => Some(format!("{name} is {is} and was {was}")),
            None => Some(format!("{name} is not shown any more")),
        });
    let new = shown
        .iter()
        .filter(|(name, _)| !expected.contains_key(*name));
    let new = new.map(|(name, is)| format!("{name} is {is} and was not there"));
    changed.chain(new).collect()
}

/// A provider's key (VLEK) names no chip, and a Nitro module is one run of an enclave.
fn names_a_chip(appraisal: &Appraisal) -> bool {
    match appraisal.technology {
        Technology::SevSnp => appraisal.facts.get(SIGNING_KEY).map(text).as_deref() == Some(VCEK),
        Technology::Tdx | Technology::Sgx => true,
        _ => false,
    }
}

fn version((name, fact): (&&'static str, &Fact)) -> Option<(String, u64)> {
    let is_version = name.starts_with(REPORTED_TCB) || VERSIONS.contains(name);
    match fact {
        Fact::Number(number) if is_version => Some(((*name).to_owned(), *number)),
        _ => None,
    }
}

fn text(fact: &Fact) -> String {
    match fact {
        Fact::Flag(flag) => flag.to_string(),
        Fact::Number(number) => number.to_string(),
        Fact::Text(text) => text.clone(),
        Fact::List(list) => list.join(", "),
    }
}

const QUESTION: &str = "report_data";
const MODULE: &str = "mrseam";
const DEBUG: &str = "debug";
const SIGNING_KEY: &str = "signing_key";
const VCEK: &str = "vcek";
const TCB_STATUS: &str = "tcb_status";
const UP_TO_DATE: &str = "UpToDate";

/// SNP's guest policy and privilege level, TDX's and SGX's attributes: none of them is in the launch measurement.
const ISOLATION: [&str; 7] = [
    DEBUG,
    "migration_agent",
    "vmpl",
    "td_attributes",
    "xfam",
    "attributes",
    "isv_prod_id",
];

const VERSIONS: [&str; 3] = ["guest_svn", "isv_svn", "pce_svn"];
const REPORTED_TCB: &str = "reported_tcb_";
