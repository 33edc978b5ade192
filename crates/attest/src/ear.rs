//! An appraisal as others read it: the claims of an EAT attestation result (draft-ietf-rats-ear-04, section 3), in JSON.
//!
//! Claims alone prove nothing: whoever hands them on signs them, as a JWT or otherwise.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::appraisal::{Appraisal, Fact, Freshness, Technology};
use crate::hex;
use crate::tpm::Comparison;

/// Who appraised.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Verifier<'a> {
    /// Who makes the verifier, as a URI or a name.
    pub developer: &'a str,
    /// Which build of it.
    pub build: &'a str,
}

/// How far a machine is to be trusted (draft-ietf-rats-ar4si, section 2.3.2), the best last but for the first, which says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Nothing is expected of the machine, so nothing can be said.
    None,
    /// It is as expected.
    Affirming,
    /// It is as expected, with something to look at.
    Warning,
    /// It is not as expected.
    Contraindicated,
}

/// The claims, to be written with `serde_json`. They are not read again: nobody's appraisal is taken for ours.
///
/// ```compile_fail,E0277
/// let taken: countersign_attest::Ear = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Ear<'a> {
    eat_profile: &'static str,
    iat: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exp: Option<i64>,
    ear_verifier_id: Verifier<'a>,
    submods: BTreeMap<&'static str, Submodule<'a>>,
}

#[derive(Clone, Debug, Serialize)]
struct Submodule<'a> {
    ear_status: Tier,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ear_trustworthiness_vector: BTreeMap<&'static str, i8>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ear_appraisal_policy_ids: Vec<&'a str>,
    ear_attester_claims: AttesterClaims<'a>,
    ear_verifier_claims: VerifierClaims<'a>,
}

/// What the evidence says.
#[derive(Clone, Debug, Serialize)]
struct AttesterClaims<'a> {
    measurements: BTreeMap<&'a str, String>,
    facts: &'a BTreeMap<&'static str, Fact>,
}

/// What was found out about it.
#[derive(Clone, Debug, Serialize)]
struct VerifierClaims<'a> {
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'a str>,
    freshness: Freshness,
    unchecked: Vec<&'a str>,
}

impl Appraisal {
    /// The claims of an EAR. `tier` is how the machine stands to what is expected of it, `policy` what says so, where anything does.
    ///
    /// A machine that may be debugged is never affirmed, whatever the tier.
    pub fn to_ear<'a>(
        &'a self,
        verifier: Verifier<'a>,
        tier: Tier,
        policy: Option<&'a str>,
    ) -> Ear<'a> {
        let submodule = Submodule {
            ear_status: if self.may_be_debugged() {
                tier.max(Tier::Warning)
            } else {
                tier
            },
            ear_trustworthiness_vector: self.vector(tier),
            ear_appraisal_policy_ids: policy.into_iter().collect(),
            ear_attester_claims: AttesterClaims {
                measurements: self
                    .measurements
                    .iter()
                    .map(|one| (one.name.as_str(), hex::encode(&one.value)))
                    .collect(),
                facts: &self.facts,
            },
            ear_verifier_claims: VerifierClaims {
                subject: &self.subject,
                vendor: self.vendor.as_deref(),
                freshness: self.freshness,
                unchecked: self.unchecked.iter().map(|one| one.0.as_str()).collect(),
            },
        };
        Ear {
            eat_profile: PROFILE,
            iat: self.appraised_at.as_second(),
            exp: self.valid_until.map(|end| end.as_second()),
            ear_verifier_id: verifier,
            submods: BTreeMap::from([(self.technology.name(), submodule)]),
        }
    }

    /// Only what this crate can answer for; of the rest the draft wants no word (ar4si, section 2.3.3).
    fn vector(&self, tier: Tier) -> BTreeMap<&'static str, i8> {
        let mut vector = BTreeMap::new();
        if self.vendor.is_some() && self.technology != Technology::Software {
            vector.insert("hardware", GENUINE);
        }
        if self.may_be_debugged() {
            vector.insert("configuration", UNSAFE);
        }
        let executables = match tier {
            Tier::None => return vector,
            Tier::Affirming => APPROVED_AT_BOOT,
            Tier::Warning => UNSAFE,
            Tier::Contraindicated => CONTRAINDICATED,
        };
        vector.insert("executables", executables);
        vector
    }

    fn may_be_debugged(&self) -> bool {
        self.facts.get("debug") == Some(&Fact::Flag(true))
    }
}

impl From<&Comparison> for Tier {
    fn from(comparison: &Comparison) -> Self {
        match comparison {
            Comparison::Same => Self::Affirming,
            Comparison::Remarkable(_) => Self::Warning,
            Comparison::Different(_) => Self::Contraindicated,
        }
    }
}

const PROFILE: &str = "tag:ietf.org,2026:rats/ear#04";

// draft-ietf-rats-ar4si, section 2.3.4.
const GENUINE: i8 = 2;
const APPROVED_AT_BOOT: i8 = 3;
const UNSAFE: i8 = 32;
const CONTRAINDICATED: i8 = 96;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::appraisal::{Measurement, Unchecked};

    fn appraisal(technology: Technology, vendor: Option<&str>) -> Appraisal {
        Appraisal {
            technology,
            vendor: vendor.map(str::to_owned),
            subject: "ab".to_owned(),
            freshness: Freshness::Nonce,
            measurements: vec![Measurement {
                name: "pcr.sha256.7".to_owned(),
                value: vec![1, 2],
            }],
            facts: BTreeMap::from([("secure_boot", Fact::Flag(true))]),
            unchecked: vec![Unchecked("the weather".to_owned())],
            appraised_at: "2026-01-01T00:00:00Z".parse().unwrap(),
            valid_until: None,
        }
    }

    fn submodule(appraisal: &Appraisal, tier: Tier) -> Value {
        let verifier = Verifier {
            developer: "https://example.org",
            build: "countersign 0.1.0",
        };
        let ear = appraisal.to_ear(verifier, tier, Some("reference"));
        let claims = serde_json::to_value(ear).unwrap();
        assert_eq!(claims["eat_profile"], "tag:ietf.org,2026:rats/ear#04");
        assert_eq!(claims["iat"], 1_767_225_600);
        assert_eq!(claims["ear_verifier_id"]["build"], "countersign 0.1.0");
        claims["submods"][appraisal.technology.name()].clone()
    }

    #[test]
    fn a_machine_as_expected_is_affirmed() {
        let expected = json!({
            "ear_status": "affirming",
            "ear_trustworthiness_vector": { "hardware": 2, "executables": 3 },
            "ear_appraisal_policy_ids": ["reference"],
            "ear_attester_claims": {
                "measurements": { "pcr.sha256.7": "0102" },
                "facts": { "secure_boot": true },
            },
            "ear_verifier_claims": {
                "subject": "ab",
                "vendor": "Infineon",
                "freshness": "nonce",
                "unchecked": ["the weather"],
            },
        });
        let found = submodule(
            &appraisal(Technology::Tpm2, Some("Infineon")),
            Tier::Affirming,
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn nothing_is_said_of_hardware_that_nobody_vouches_for() {
        let found = submodule(&appraisal(Technology::Tpm2, None), Tier::None);
        assert_eq!(found["ear_status"], "none");
        assert_eq!(found.get("ear_trustworthiness_vector"), None);
    }

    #[test]
    fn a_machine_that_may_be_debugged_is_not_affirmed() {
        let mut appraisal = appraisal(Technology::SevSnp, Some("AMD"));
        appraisal.facts.insert("debug", Fact::Flag(true));
        let found = submodule(&appraisal, Tier::Affirming);
        assert_eq!(found["ear_status"], "warning");
        assert_eq!(found["ear_trustworthiness_vector"]["configuration"], 32);
    }

    #[test]
    fn a_machine_that_changed_is_contraindicated() {
        let tier = Tier::from(&Comparison::Different(vec!["PCR".to_owned()]));
        let found = submodule(&appraisal(Technology::Tpm2, None), tier);
        assert_eq!(found["ear_status"], "contraindicated");
        assert_eq!(found["ear_trustworthiness_vector"]["executables"], 96);
    }
}
