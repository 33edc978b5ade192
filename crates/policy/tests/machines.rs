//! What a policy makes of machines: the built-in one, and the example of docs/attestation.md.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]

mod fixture;

use countersign_policy::{Appraisal, AppraisalResult, Bundle, Limits, Policy};
use fixture::{AGENT, agent_with, built_in, decide, grants, now};
use serde_json::json;

const KNOWN: &str = "9f2c…";

/// A machine with a TPM.
fn machine(result: AppraisalResult, facts: serde_json::Value) -> Appraisal {
    Appraisal {
        result,
        technology: "tpm2".to_owned(),
        facts: serde_json::from_value(facts).unwrap(),
        ..Appraisal::software(now())
    }
}

fn check_built_in(result: AppraisalResult, expected: &str) {
    let facts = agent_with(AGENT, machine(result, json!({})));
    let told = match decide(&built_in(&[(AGENT, "postgres")]), &facts, "postgres") {
        Ok(permit) => permit.rule().to_owned(),
        Err(denial) => denial.rule().to_owned(),
    };
    assert_eq!(told, expected);
}

/// The example of the documentation, on what a log said.
fn check_example(facts: serde_json::Value, allowed: bool) {
    let page = include_str!("../../../docs/attestation.md");
    let (_, rest) = page.split_once("```rego\n").unwrap();
    let (rego, _) = rest.split_once("```").unwrap();
    let limits = Limits::default();
    let bundle = Bundle::load([("policy.rego", rego.as_bytes())], &limits).unwrap();
    let policy = Policy::new(&bundle, &grants(&[(AGENT, "postgres")]), 1, limits).unwrap();
    let facts = agent_with(AGENT, machine(AppraisalResult::Affirming, facts));
    assert_eq!(decide(&policy, &facts, "postgres").is_ok(), allowed);
}

#[test]
fn a_machine_that_is_not_as_expected_is_denied_whatever_is_granted() {
    let rule = "the machine is not what is expected of it";
    check_built_in(AppraisalResult::Contraindicated, rule);
}

#[test]
fn any_other_machine_is_asked_for_a_grant() {
    let rule = format!("grant {AGENT} -> postgres");
    check_built_in(AppraisalResult::Affirming, &rule);
    check_built_in(AppraisalResult::Warning, &rule);
    check_built_in(AppraisalResult::None, &rule);
}

#[test]
fn one_of_the_known_kernels_is_let_in() {
    check_example(
        json!({ "secure_boot": true, "boot_loaders": [KNOWN] }),
        true,
    );
}

#[test]
fn another_kernel_beside_a_known_one_is_not() {
    let both = json!({ "secure_boot": true, "boot_loaders": [KNOWN, "77aa"] });
    check_example(both, false);
}

#[test]
fn without_secure_boot_or_a_log_nobody_is() {
    check_example(
        json!({ "secure_boot": false, "boot_loaders": [KNOWN] }),
        false,
    );
    check_example(json!({ "boot_loaders": [KNOWN] }), false);
    check_example(json!({ "secure_boot": true }), false);
}
