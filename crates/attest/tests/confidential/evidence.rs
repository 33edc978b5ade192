//! Files whose kind nobody said.

use countersign_attest::azure::AzureError;
use countersign_attest::dcap::QuoteError;
use countersign_attest::nitro::NitroError;
use countersign_attest::snp::SnpError;
use countersign_attest::software::SoftwareError;
use countersign_attest::{Evidence, EvidenceError, Technology};

use crate::support::{evidence, hex, unhex};

/// The file as it is, in hexadecimal of either case, and with a line break after it.
fn check(bytes: Option<Vec<u8>>, expected: Technology) {
    let Some(bytes) = bytes else {
        return;
    };
    let hex = hex(&bytes);
    let texts = [hex.to_uppercase(), format!("{hex}\n"), hex];
    for given in [bytes].into_iter().chain(texts.map(String::into_bytes)) {
        let recognised = Evidence::recognise(&given).map(|evidence| evidence.technology());
        assert_eq!(recognised, Ok(expected));
    }
}

fn refused(bytes: &[u8], expected: impl Into<EvidenceError>) {
    let recognised = Evidence::recognise(bytes).map(drop);
    assert_eq!(recognised, Err(expected.into()));
}

#[test]
fn every_genuine_file_is_recognised() {
    let report = evidence("report_milan.hex").map(|hex| unhex(&hex));
    check(report, Technology::SevSnp);
    check(evidence("tdx_quote"), Technology::Tdx);
    check(evidence("tdx_quote_outdated"), Technology::Tdx);
    check(evidence("sgx_quote"), Technology::Sgx);
    check(evidence("nitro.cose"), Technology::Nitro);
    check(evidence("azure_hcl_report_snp.bin"), Technology::AzureVtpm);
    // The quote of an Azure VM is in an envelope of its crate's: two lengths, a signature of 256 bytes, the quote of 122.
    let quote = evidence("azure_vtpm_quote.bin").map(|file| file[272..394].to_vec());
    check(quote, Technology::Tpm2);
}

#[test]
fn a_file_that_begins_like_evidence_says_why_it_is_none() {
    refused(
        b"\x02\0\0\0",
        SnpError::Length {
            expected: 1184,
            found: 4,
        },
    );
    refused(b"\x04\0\x02\0", QuoteError::Malformed);
    refused(b"\x84\x44", NitroError::NotCose);
    refused(b"HCLA", AzureError::Malformed);
    refused(b" {\"a\":1}", SoftwareError::Malformed);
}

#[test]
fn nothing_and_anything_are_no_evidence() {
    let unknown = |length, beginning: &str| EvidenceError::Unknown {
        length,
        beginning: beginning.to_owned(),
    };
    refused(b"", unknown(0, ""));
    refused(
        b"-----BEGIN CERTIFICATE-----",
        unknown(27, "2d2d2d2d2d424547"),
    );
    refused(b"00ff", unknown(2, "00ff"));
    let too_long = EvidenceError::TooLong {
        found: 100 << 20,
        limit: 65_538,
    };
    refused(&vec![b'0'; 100 << 20], too_long);
}
