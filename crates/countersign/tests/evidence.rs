//! `countersign attest verify` on evidence that real hardware made, in the files that it comes in.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stopped"
)]
#![expect(
    clippy::print_stderr,
    reason = "vectors that are absent are said to be"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where the evidence lies; `None` when there is none, which is said.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("COUNTERSIGN_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let folder = folder.join("evidence");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no evidence in `{}`", folder.display());
    None
}

fn verify(folder: &Path, arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.current_dir(folder).args(["attest", "verify"]);
    command.args(arguments.split(' ')).output().unwrap()
}

/// What it prints has each of these.
fn holds(arguments: &str, expected: &[&str]) {
    let Some(folder) = folder() else { return };
    let done = verify(&folder, arguments);
    let text = String::from_utf8(done.stdout).unwrap();
    let error = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{error}");
    for part in expected {
        assert!(text.contains(part), "{part} is not in:\n{text}");
    }
}

fn refused(arguments: &str, code: i32, expected: &str) {
    let Some(folder) = folder() else { return };
    let done = verify(&folder, arguments);
    let error = String::from_utf8_lossy(&done.stderr).into_owned();
    assert_eq!(done.status.code(), Some(code), "{error}");
    assert!(error.contains(expected), "{expected} is not in:\n{error}");
}

const SNP: &str = "report_milan.hex --certificate vcek_milan.der --certificate-chain cert_chain_milan --at 2024-01-01T00:00:00Z";

#[test]
fn an_snp_report_holds() {
    holds(
        SNP,
        &["sev-snp, by AMD", "debug = no", "measured  measurement = "],
    );
}

#[test]
fn an_snp_report_is_handed_on_as_an_attestation_result() {
    holds(
        &format!("{SNP} --ear"),
        &[
            r#""ear_status": "none""#,
            r#""hardware": 2"#,
            r#""exp": 1901474623"#,
            r#""vendor": "AMD""#,
        ],
    );
}

#[test]
fn an_snp_report_for_another_question_is_refused() {
    let asked = format!("{SNP} --question {}", "00".repeat(64));
    refused(&asked, 1, "the evidence does not hold");
    refused(
        &format!("{SNP} --question 00"),
        2,
        "has 1 bytes, and such evidence holds 64",
    );
}

#[test]
fn an_snp_report_without_the_chips_certificate_cannot_be_told() {
    refused(
        "report_milan.hex",
        2,
        "cannot be checked without `--certificate`",
    );
}

#[test]
fn a_nitro_document_holds_in_its_time_and_not_after_it() {
    holds(
        "nitro.cose --at 2025-01-06T16:10:00Z",
        &["nitro, by AWS", "pcr.sha384.0"],
    );
    refused(
        "nitro.cose --at 2026-01-01T00:00:00Z",
        1,
        "the evidence does not hold",
    );
}

#[test]
fn a_tdx_quote_whose_firmware_is_below_every_level_is_refused() {
    let outdated = "tdx_quote_outdated --collateral tdx_quote_outdated_collateral.json --at 2025-06-20T00:00:00Z";
    refused(outdated, 1, "the evidence does not hold");
}

#[test]
fn what_is_no_evidence_is_said_to_be_none() {
    refused("README.md", 1, "is no evidence");
    refused("absent", 2, "cannot read `absent`");
}

#[test]
fn an_azure_report_wants_the_quote_of_its_virtual_tpm() {
    refused(
        "azure_hcl_report_snp.bin",
        2,
        "cannot be checked without `--quote`",
    );
}

/// The genuine quote of an Azure VM's virtual TPM, in the files that `tpm2_quote` and `tpm2_pcrread` write, and a report of another VM.
fn azure_files() -> Option<tempfile::TempDir> {
    let folder = folder()?;
    let copy = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(copy.path().join(name), content).unwrap();
    for name in ["azure_vtpm_akpub.pem", "azure_hcl_report_snp.bin"] {
        write(name, &fs::read(folder.join(name)).unwrap());
    }
    // Signature, message and 24 PCRs, each behind its length in 8 bytes; TPMT_SIGNATURE names RSASSA and SHA-256 first.
    let genuine = fs::read(folder.join("azure_vtpm_quote.bin")).unwrap();
    let (signature, rest) = genuine.split_at(8 + 256);
    let (message, values) = rest.split_at(8 + 122);
    let scheme = [0x00, 0x14, 0x00, 0x0b, 0x01, 0x00];
    write("signature", &[&scheme, &signature[8..]].concat());
    write("quote", &message[8..]);
    let mut pcrs = "sha256:\n".to_owned();
    for (pcr, value) in values[8..].chunks(32).enumerate() {
        let value: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        pcrs += &format!("  {pcr}: 0x{value}\n");
    }
    write("pcrs", pcrs.as_bytes());
    Some(copy)
}

const QUOTED: &str = "--signature signature --pcrs pcrs --key azure_vtpm_akpub.pem";

#[test]
fn a_tpm_quote_holds() {
    let Some(folder) = azure_files() else { return };
    // `challenge`
    let asked = format!("quote {QUOTED} --question 6368616c6c656e6765");
    let done = verify(folder.path(), &asked);
    let text = String::from_utf8_lossy(&done.stdout);
    assert!(text.contains("tpm2, by nobody's certificate"), "{text}");
    assert!(text.contains("it answers what was asked"), "{text}");
}

#[test]
fn an_azure_report_holds_with_the_quote_of_its_own_virtual_tpm_alone() {
    let Some(folder) = azure_files() else { return };
    let own_key = "--quote quote --signature signature --pcrs pcrs";
    let other_key = format!("--quote quote {QUOTED}");
    for (beside, expected) in [
        (own_key, "the quote is not signed by the attestation key"),
        (&other_key, "the report vouches for b58541a6"),
    ] {
        let done = verify(folder.path(), &format!("azure_hcl_report_snp.bin {beside}"));
        let error = String::from_utf8_lossy(&done.stderr);
        assert_eq!(done.status.code(), Some(1), "{error}");
        assert!(error.contains(expected), "{expected} is not in:\n{error}");
    }
}

#[test]
fn a_tpm_quote_wants_its_key_its_signature_and_its_pcrs() {
    let Some(folder) = folder() else { return };
    let copy = tempfile::tempdir().unwrap();
    let attest = [0xff, b'T', b'C', b'G', 0x80, 0x18];
    fs::write(copy.path().join("quote"), attest).unwrap();
    let key = folder.join("azure_vtpm_akpub.pem");
    fs::copy(key, copy.path().join("key.pem")).unwrap();
    for (arguments, missing) in [
        ("quote", "without `--key`"),
        ("quote --key key.pem", "without `--signature`"),
        ("quote --key key.pem --signature quote", "without `--pcrs`"),
    ] {
        let done = verify(copy.path(), arguments);
        let error = String::from_utf8_lossy(&done.stderr);
        assert!(error.contains(missing), "{error}");
    }
}
