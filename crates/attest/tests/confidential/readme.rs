//! The README names whatever a policy finds in an appraisal.

use countersign_attest::dcap::{Collateral, Quote};
use countersign_attest::nitro::Document;
use countersign_attest::snp::{Endorsement, Report};
use countersign_attest::{Appraisal, RootKeys, Technology};

use crate::support::{at, evidence, unhex};

const README: &str = include_str!("../../README.md");

/// The row of the technology has every name, or what stands for several.
fn check(appraisal: &Appraisal) {
    let technology = appraisal.technology();
    let row = |name: &str| {
        let begin = format!("| `{name}` |");
        README
            .lines()
            .find(|line| line.starts_with(&begin))
            .unwrap()
    };
    let rows = match technology {
        Technology::Sgx => vec![row("sgx"), row("tdx")],
        Technology::AzureVtpm => vec![row("azure-vtpm"), row("sev-snp")],
        other => vec![row(other.name())],
    };
    let names = appraisal.measurements().iter().map(|one| one.name.as_str());
    for name in names.chain(appraisal.facts().keys().copied()) {
        let name = shared(name);
        let named = rows.iter().any(|row| row.contains(&format!("`{name}`")));
        assert!(named, "`{name}` of {technology} is not in the README");
    }
}

/// How the README writes names that many have in common.
fn shared(name: &str) -> &str {
    match name {
        "rtmr1" | "rtmr2" => "rtmr0",
        name if name.starts_with("pcr.sha256.") => "pcr.sha256.N",
        name if name.starts_with("pcr.sha384.") => "pcr.sha384.N",
        name => name
            .strip_prefix("reported_tcb_")
            .or(name.strip_prefix("committed_tcb_"))
            .unwrap_or(name),
    }
}

#[test]
fn every_measurement_and_fact_of_a_report_is_named() {
    let Some(hex) = evidence("report_milan.hex") else {
        return;
    };
    let [vcek, chain] = ["vcek_milan.der", "cert_chain_milan"].map(|file| evidence(file).unwrap());
    let endorsement = Endorsement::new(&vcek, &chain).unwrap();
    let report = Report::parse(&unhex(&hex)).unwrap();
    let now = at("2026-01-01T00:00:00Z");
    check(
        &report
            .appraise(&endorsement, &RootKeys::amd(), None, now)
            .unwrap(),
    );
}

#[test]
fn every_measurement_and_fact_of_a_quote_is_named() {
    for name in ["tdx_quote", "sgx_quote"] {
        let Some(quote) = evidence(name) else {
            return;
        };
        let collateral = evidence(&format!("{name}_collateral.json")).unwrap();
        let collateral = Collateral::from_json(&collateral).unwrap();
        let now = at("2025-07-01T00:00:00Z");
        let quote = Quote::parse(&quote).unwrap();
        check(
            &quote
                .appraise(&collateral, &RootKeys::intel(), None, now)
                .unwrap(),
        );
    }
}

#[test]
fn every_measurement_and_fact_of_a_document_is_named() {
    let Some(document) = evidence("nitro.cose") else {
        return;
    };
    let document = Document::parse(&document).unwrap();
    let now = at("2025-01-06T16:10:00Z");
    check(&document.appraise(&RootKeys::aws(), None, now).unwrap());
}

#[test]
fn every_measurement_and_fact_of_an_azure_vm_is_named() {
    if let Some(appraisal) = crate::azure::appraisal() {
        check(&appraisal);
    }
}
