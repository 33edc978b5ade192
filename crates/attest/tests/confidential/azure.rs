//! Azure: a wrapped SNP report and the key of a virtual TPM, of different VMs. The chip's certificate is not at hand, so what is
//! appraised is unsigned, and says so; where the key must match, the report is written here around the genuine key.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use countersign_attest::azure::{AzureError, Report};
use countersign_attest::snp::{Endorsement, SnpError};
use countersign_attest::{Appraisal, ChainError, Fact, Freshness, RootKeys, Technology};

use crate::support::{at, evidence, flipped, hex};

const NOW: &str = "2026-01-01T00:00:00Z";

fn genuine() -> Option<Vec<u8>> {
    evidence("azure_hcl_report_snp.bin")
}

/// The SubjectPublicKeyInfo in a PEM file.
fn quote_key() -> Option<Vec<u8>> {
    let pem = String::from_utf8(evidence("azure_vtpm_akpub.pem")?).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    Some(base64_simd::STANDARD.decode_to_vec(base64).unwrap())
}

/// The modulus as it is in the SubjectPublicKeyInfo of a 2,048-bit key: before the last 5 bytes, which are the exponent.
fn modulus(spki: &[u8]) -> &[u8] {
    &spki[spki.len() - 5 - 256..spki.len() - 5]
}

/// Runtime data with these keys, wrapped as Azure does, in the genuine SNP report with its data changed to the hash.
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

fn with_key(spki: &[u8]) -> String {
    let n = base64_simd::URL_SAFE_NO_PAD.encode_to_string(modulus(spki));
    let key = format!(r#"{{"kid":"HCLAkPub","kty":"RSA","e":"AQAB","n":"{n}"}}"#);
    let configuration = r#"{"secure-boot":true,"console-enabled":false}"#;
    format!(r#"{{"keys":[{key}],"vm-configuration":{configuration},"user-data":"0a0b"}}"#)
}

fn appraise(report: &[u8], key: &[u8]) -> Result<Appraisal, AzureError> {
    Report::parse(report)?.appraise(None, &RootKeys::amd(), key, at(NOW))
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
    let (Some(report), Some(key)) = (genuine(), quote_key()) else {
        return;
    };
    let Err(AzureError::OtherKey { expected, found }) = appraise(&report, &key) else {
        panic!("the key is of another VM");
    };
    assert!(expected.starts_with("b58541a60001"));
    assert_eq!(found, hex(modulus(&key)));
}

#[test]
fn the_key_of_the_quote_is_the_key_in_the_report() {
    let Some(key) = quote_key() else {
        return;
    };
    let report = wrapped(&with_key(&key)).unwrap();
    let appraisal = appraise(&report, &key).unwrap();
    assert_eq!(appraisal.technology(), Technology::AzureVtpm);
    assert_eq!(appraisal.vendor(), None);
    assert_eq!(appraisal.freshness(), Freshness::Undated);
    assert_eq!(appraisal.facts()["secure_boot"], Fact::Flag(true));
    assert_eq!(appraisal.facts()["debug"], Fact::Flag(false));
    let last = appraisal.measurements().last().unwrap();
    assert_eq!(
        (last.name.as_str(), &last.value[..]),
        ("user_data", &[10, 11][..])
    );
    let unchecked = &appraisal.unchecked()[0].0;
    assert!(unchecked.starts_with("the signature of the SNP report"));
}

/// The other half of the proof, which the caller brings: a genuine quote of that virtual TPM.
#[test]
fn that_key_signed_the_genuine_quote() {
    let (Some(file), Some(key)) = (evidence("azure_vtpm_quote.bin"), quote_key()) else {
        return;
    };
    // Two lengths of eight bytes, a signature of 256, the quote of 122.
    let (signature, quote) = (&file[8..264], &file[272..394]);
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &key)
        .verify(quote, signature)
        .unwrap();
}

/// With a chip's certificate the report is checked, and this one is of another chip.
#[test]
fn a_certificate_of_another_chip_is_refused() {
    let (Some(key), Some(vcek)) = (quote_key(), evidence("vcek_milan.der")) else {
        return;
    };
    let report = Report::parse(&wrapped(&with_key(&key)).unwrap()).unwrap();
    let endorsement = Endorsement::new(&vcek, &evidence("cert_chain_milan").unwrap()).unwrap();
    let refused = report.appraise(Some(&endorsement), &RootKeys::amd(), &key, at(NOW));
    assert!(matches!(
        refused,
        Err(AzureError::Snp(SnpError::Chip { .. }))
    ));
    let refused = report.appraise(Some(&endorsement), &RootKeys::none(), &key, at(NOW));
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
    let Some(key) = quote_key() else {
        return;
    };
    let one = with_key(&key);
    let twice = one.replacen(
        r#"{"kid""#,
        &format!(r#"{},{{"kid""#, &one[9..one.find('}').unwrap() + 1]),
        1,
    );
    let deep = "[".repeat(2000);
    for runtime in ["", "{}", r#"{"keys":[]}"#, &twice, &deep] {
        let refused = Report::parse(&wrapped(runtime).unwrap()).map(drop);
        assert_eq!(refused, Err(AzureError::Runtime), "{runtime:.80}");
    }
}

#[test]
fn a_key_that_is_not_rsa_is_refused() {
    let Some(report) = genuine() else {
        return;
    };
    assert_eq!(appraise(&report, b"no key"), Err(AzureError::QuoteKey));
}
