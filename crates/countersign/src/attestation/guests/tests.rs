//! Genuine evidence, and what the gateway makes of it for its own question and for another.

use tempfile::TempDir;

use super::*;

/// Genuine evidence, in a folder beside the repository; nothing where that is not there.
fn vector(file: &str) -> Option<Bytes> {
    let folder = std::env::var_os("COUNTERSIGN_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        Into::into,
    );
    if !folder.is_dir() {
        eprintln!("skipped: no vectors in {}", folder.display());
        return None;
    }
    let content = std::fs::read(folder.join("evidence").join(file));
    Some(Bytes(content.expect(file)))
}

fn rules(collateral: Option<&TempDir>) -> GuestRules {
    GuestRules {
        snp: RootKeys::amd(),
        tdx: RootKeys::intel(),
        sgx: RootKeys::intel(),
        nitro: RootKeys::aws(),
        collateral: collateral.map(|folder| read_collateral(folder.path()).unwrap()),
    }
}

fn folder(files: &[&str]) -> Option<TempDir> {
    let folder = tempfile::tempdir().unwrap();
    for file in files {
        std::fs::write(folder.path().join(file), vector(file)?.0).unwrap();
    }
    Some(folder)
}

fn bare(report: Bytes) -> GuestEvidence {
    GuestEvidence {
        report,
        certificate: None,
        certificate_chain: None,
        collateral: None,
    }
}

fn check(
    rules: &GuestRules,
    shown: &GuestEvidence,
    asked: &[u8; 64],
    now: &str,
    expected: Result<Technology, &str>,
) {
    let found = rules.verify(asked, shown, now.parse().unwrap());
    match (found, expected) {
        (Ok(found), Ok(expected)) => assert_eq!(found.technology(), expected),
        (Err(refusal), Err(expected)) => {
            let told = refusal.to_string();
            assert!(told.starts_with(expected), "{told}");
        }
        (found, expected) => panic!("{found:?}, expected {expected:?}"),
    }
}

const ANOTHER: &str = "the evidence was made for ";
const OTHER: &[u8; 64] = &[7; 64];
const DAY_OF_QUOTES: &str = "2025-07-01T00:00:00Z";

#[test]
fn a_genuine_tdx_quote_answers_its_own_question_with_the_agents_collateral_and_no_other() {
    let Some(report) = vector("tdx_quote") else {
        return;
    };
    let asked: [u8; 64] = report.0[568..632].try_into().unwrap();
    let mut shown = bare(report);
    let (rules, now) = (rules(None), DAY_OF_QUOTES);
    let lacks = "the evidence cannot be checked without `evidence.collateral`";
    check(&rules, &shown, &asked, now, Err(lacks));
    shown.collateral = vector("tdx_quote_collateral.json");
    check(&rules, &shown, &asked, now, Ok(Technology::Tdx));
    check(&rules, &shown, OTHER, now, Err(ANOTHER));
}

#[test]
fn collateral_that_the_gateway_keeps_is_chosen_by_platform_and_counts_alone() {
    let both = ["sgx_quote_collateral.json", "tdx_quote_collateral.json"];
    let (Some(one), Some(both)) = (folder(&both[..1]), folder(&both)) else {
        return;
    };
    let report = vector("tdx_quote").unwrap();
    let asked: [u8; 64] = report.0[568..632].try_into().unwrap();
    let mut shown = bare(report);
    let now = DAY_OF_QUOTES;
    check(
        &rules(Some(&both)),
        &shown,
        &asked,
        now,
        Ok(Technology::Tdx),
    );
    shown.collateral = vector("tdx_quote_collateral.json");
    let none = "the gateway has no collateral for this kind of platform";
    check(&rules(Some(&one)), &shown, &asked, now, Err(none));
}

#[test]
fn a_genuine_snp_report_answers_its_own_question_and_no_other() {
    let Some(report) = vector("report_milan.hex") else {
        return;
    };
    let Ok(Evidence::Snp(_)) = Evidence::recognise(&report.0) else {
        panic!("it is a report");
    };
    let digits = report.0.trim_ascii()[160..288].to_vec();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16);
    let asked: Vec<u8> = digits.chunks(2).map(|pair| byte(pair).unwrap()).collect();
    let shown = GuestEvidence {
        certificate: vector("vcek_milan.der"),
        certificate_chain: vector("cert_chain_milan"),
        ..bare(report)
    };
    let (rules, now) = (rules(None), "2026-01-01T00:00:00Z");
    let asked = asked.try_into().unwrap();
    check(&rules, &shown, &asked, now, Ok(Technology::SevSnp));
    check(&rules, &shown, OTHER, now, Err(ANOTHER));
}

#[test]
fn a_genuine_nitro_document_that_answers_nothing_is_refused() {
    let Some(document) = vector("nitro.cose") else {
        return;
    };
    let expected = Err("the evidence was made for nothing");
    check(
        &rules(None),
        &bare(document),
        OTHER,
        "2025-01-06T16:10:00Z",
        expected,
    );
}

#[test]
fn azures_report_answers_no_question_and_is_not_taken() {
    let Some(report) = vector("azure_hcl_report_snp.bin") else {
        return;
    };
    let expected = Err("evidence of azure-vtpm is not taken from a command");
    check(&rules(None), &bare(report), OTHER, DAY_OF_QUOTES, expected);
}

#[test]
fn a_root_that_is_named_is_trusted_in_place_of_the_makers_and_for_its_technology_alone() {
    let text = "trust_domain = \"example.org\"\n[[attestation.root]]\ntechnology = \"sev-snp\"\nvendor = \"lab\"\nsha256 = \"HASH\"";
    let text = text.replace("HASH", &"5e".repeat(32));
    let config = crate::config::GatewayConfig::parse(Path::new("gateway.toml"), text);
    let rules = GuestRules::read(&config.unwrap().attestation).unwrap();
    let Some(report) = vector("report_milan.hex") else {
        return;
    };
    let shown = GuestEvidence {
        certificate: vector("vcek_milan.der"),
        certificate_chain: vector("cert_chain_milan"),
        ..bare(report)
    };
    let untrusted = Err("the chain ends in a root that is not trusted");
    check(&rules, &shown, OTHER, "2026-01-01T00:00:00Z", untrusted);
    let document = bare(vector("nitro.cose").unwrap());
    check(
        &rules,
        &document,
        OTHER,
        "2025-01-06T16:10:00Z",
        Err(ANOTHER),
    );
}
