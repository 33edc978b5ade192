//! Azure: a wrapped SNP report and a virtual TPM's quote, of different VMs. The chip's certificate is not at hand, so what is
//! appraised is unsigned, and says so; where the key must match, the report is bound here to the key of the genuine quote.

use aws_lc_rs::digest::{SHA256, digest};
use countersign_attest::azure::{AzureError, Report};
use countersign_attest::snp::{Endorsement, SnpError};
use countersign_attest::tpm::{Quote, VerifiedQuote};
use countersign_attest::{Appraisal, ChainError, Fact, Freshness, RootKeys, Technology};

use crate::azure_quote::Genuine;
use crate::support::{at, evidence, flipped, hex};

const NOW: &str = "2026-01-01T00:00:00Z";

fn genuine() -> Option<Vec<u8>> {
    evidence("azure_hcl_report_snp.bin")
}

fn genuine_quote() -> Option<Genuine> {
    let (key, quote) = (
        evidence("azure_vtpm_akpub.pem")?,
        evidence("azure_vtpm_quote.bin")?,
    );
    Some(Genuine::read(&key, &quote))
}

/// The modulus as it is in the SubjectPublicKeyInfo of a 2,048-bit key: before the last 5 bytes, which are the exponent.
fn modulus(quote: &Genuine) -> &[u8] {
    let end = quote.spki.len() - 5;
    &quote.spki[end - 256..end]
}

/// The genuine report with other runtime data, and its data changed to the hash.
fn wrapped(runtime: &str) -> Option<Vec<u8>> {
    let number = |n: usize| u32::try_from(n).unwrap().to_le_bytes();
    let mut report = genuine()?[..1216].to_vec();
    report[8..12].copy_from_slice(&number(1216 + 20 + runtime.len()));
    let data = 32 + 0x50;
    report[data..data + 32].copy_from_slice(digest(&SHA256, runtime.as_bytes()).as_ref());
    for field in [20 + runtime.len(), 1, 2, 1, runtime.len()] {
        report.extend(number(field));
    }
    report.extend(runtime.as_bytes());
    Some(report)
}

/// The genuine runtime data with the key of `quote` in the place of its own.
fn runtime(quote: &Genuine) -> Option<String> {
    let report = genuine()?;
    let text = str::from_utf8(&report[1236..])
        .unwrap()
        .trim_end_matches('\0');
    let own = text
        .split(r#""n":""#)
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap();
    let other = base64_simd::URL_SAFE_NO_PAD.encode_to_string(modulus(quote));
    let text = text.replacen(own, &other, 1);
    Some(text.replacen('{', r#"{"user-data":"0a0b","#, 1))
}

/// The report that vouches for the genuine quote's key, and the quote.
fn bound() -> Option<(Report, VerifiedQuote)> {
    let quote = genuine_quote()?;
    let report = wrapped(&runtime(&quote)?)?;
    Some((
        Report::parse(&report).unwrap(),
        quote.verify(Some(b"challenge")).unwrap(),
    ))
}

/// What both come to.
pub(crate) fn appraisal() -> Option<Appraisal> {
    let (report, quote) = bound()?;
    Some(
        report
            .appraise(None, &RootKeys::amd(), &quote, at(NOW))
            .unwrap(),
    )
}

/// A wrapped report that was changed.
fn check(change: impl FnOnce(&mut Vec<u8>), expected: AzureError) {
    let Some(mut report) = genuine() else {
        return;
    };
    change(&mut report);
    assert_eq!(Report::parse(&report).map(drop), Err(expected));
}

#[test]
fn a_genuine_report_vouches_for_its_own_tpm_alone() {
    let (Some(report), Some(quote)) = (genuine(), genuine_quote()) else {
        return;
    };
    let report = Report::parse(&report).unwrap();
    let verified = quote.verify(None).unwrap();
    let refused = report.appraise(None, &RootKeys::amd(), &verified, at(NOW));
    let Err(AzureError::OtherKey { expected, found }) = refused else {
        panic!("the quote is of another VM");
    };
    assert!(expected.starts_with("b58541a60001"));
    assert_eq!(found, hex(modulus(&quote)));
}

#[test]
fn a_report_and_the_quote_of_its_tpm_come_to_one_appraisal() {
    let Some(appraisal) = appraisal() else {
        return;
    };
    assert_eq!(appraisal.technology(), Technology::AzureVtpm);
    assert_eq!(appraisal.vendor(), None);
    assert_eq!(appraisal.facts()["secure_boot"], Fact::Flag(true));
    assert_eq!(appraisal.facts()["debug"], Fact::Flag(false));
    let measured = |name: &str| {
        let found = appraisal.measurements().iter().find(|one| one.name == name);
        &found.unwrap().value
    };
    assert_eq!(measured("user_data"), &[10, 11]);
    assert_eq!(measured("pcr.sha256.23"), &[0; 32]);
    let unchecked = &appraisal.unchecked()[0].0;
    assert!(unchecked.starts_with("the signature of the SNP report"));
}

/// The report was made when the VM started; its TPM's quote says when.
#[test]
fn the_quote_says_whether_the_evidence_is_of_now() {
    let (Some((report, asked)), Some(quote)) = (bound(), genuine_quote()) else {
        return;
    };
    let undated = quote.verify(None).unwrap();
    for (quote, expected) in [(asked, Freshness::Nonce), (undated, Freshness::Undated)] {
        let appraisal = report.appraise(None, &RootKeys::amd(), &quote, at(NOW));
        assert_eq!(appraisal.unwrap().freshness(), expected);
    }
}

#[test]
fn the_key_to_verify_the_quote_under_is_in_the_report() {
    let (Some((report, _)), Some(quote)) = (bound(), genuine_quote()) else {
        return;
    };
    let values = quote.values();
    let quote = Quote::parse(&quote.message, &quote.signature).unwrap();
    let verified = quote
        .verify(report.unverified_key(), None, None, values)
        .unwrap();
    let appraisal = report.appraise(None, &RootKeys::amd(), &verified, at(NOW));
    assert!(appraisal.is_ok());
}

/// With a chip's certificate the report is checked, and this one is of another chip.
#[test]
fn a_certificate_of_another_chip_is_refused() {
    let (Some((report, quote)), Some(vcek)) = (bound(), evidence("vcek_milan.der")) else {
        return;
    };
    let endorsement = Endorsement::new(&vcek, &evidence("cert_chain_milan").unwrap()).unwrap();
    let refused = report.appraise(Some(&endorsement), &RootKeys::amd(), &quote, at(NOW));
    assert!(matches!(
        refused,
        Err(AzureError::Snp(SnpError::Chip { .. }))
    ));
    let refused = report.appraise(Some(&endorsement), &RootKeys::none(), &quote, at(NOW));
    let chain = |error| {
        matches!(
            error,
            AzureError::Snp(SnpError::Chain(ChainError::UntrustedRoot { .. }))
        )
    };
    assert!(refused.is_err_and(chain));
}

/// What is hashed is covered, and so is the hash; the report around it is for its signature to cover.
#[test]
fn every_byte_of_the_runtime_data_is_covered() {
    let Some(report) = genuine() else {
        return;
    };
    for place in (32 + 0x50..32 + 0x90).chain(1236..report.len()) {
        let refused = Report::parse(&flipped(&report, place));
        assert!(refused.is_err(), "byte {place}");
    }
}

#[test]
fn every_shorter_report_is_refused() {
    let Some(report) = genuine() else {
        return;
    };
    for length in 0..1819 {
        let cut = Report::parse(&report[..length]).map(drop);
        assert_eq!(cut, Err(AzureError::Malformed), "{length}");
    }
    assert!(Report::parse(&report[..1819]).is_ok());
}

#[test]
fn lengths_that_do_not_add_up_are_refused() {
    for place in [8, 1216, 1232] {
        let huge = |report: &mut Vec<u8>| report[place..place + 4].fill(0xff);
        check(huge, AzureError::Malformed);
        check(|report| report[place] ^= 1, AzureError::Malformed);
    }
    check(|report| report.push(1), AzureError::Malformed);
    let too_long = AzureError::TooLong {
        found: 1 << 20,
        limit: 4096,
    };
    check(|report| report.resize(1 << 20, 0), too_long);
}

#[test]
fn another_technology_and_another_hash_are_refused() {
    let tdx = AzureError::Technology {
        expected: 2,
        found: 4,
    };
    check(|report| report[1224] = 4, tdx);
    check(
        |report| report[1228] = 9,
        AzureError::HashAlgorithm { found: 9 },
    );
}

#[test]
fn runtime_data_with_no_key_or_two_is_refused() {
    let Some(one) = genuine_quote().as_ref().and_then(runtime) else {
        return;
    };
    let key = &one[one.find(r#"{"kid""#).unwrap()..one.find('}').unwrap() + 1];
    let twice = one.replacen(key, &format!("{key},{key}"), 1);
    let other_kind = one.replacen(r#""RSA""#, r#""EC""#, 1);
    let short = one.replacen(r#""n":""#, r#""n":"AQAB","m":""#, 1);
    let deep = "[".repeat(2000);
    for runtime in [
        "",
        "{}",
        r#"{"keys":[]}"#,
        &twice,
        &other_kind,
        &short,
        &deep,
    ] {
        let refused = Report::parse(&wrapped(runtime).unwrap()).map(drop);
        assert_eq!(refused, Err(AzureError::Runtime), "{runtime:.80}");
    }
}
