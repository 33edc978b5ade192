use std::path::{Path, PathBuf};

use super::*;

/// Every seed is accepted, or it would be none. Where there is no genuine evidence, and nothing made in its place, nothing is run.
fn check(seeds: &[Vec<u8>], target: fn(&[u8]) -> bool) {
    for seed in seeds {
        assert!(target(seed), "{}", seed.escape_ascii());
    }
    if !seeds.is_empty() {
        let tally = countersign_fuzz::run(seeds, WORDS, target);
        assert!(tally.tried > tally.accepted && tally.accepted > 0);
    }
}

#[test]
fn an_snp_report_is_whole() {
    let mut seeds = vec![wrapped(b"").unwrap()[32..32 + 1184].to_vec()];
    seeds.extend(genuine("report_milan.hex").and_then(|text| hex::decode(&text)));
    check(&seeds, snp_report);
}

#[test]
fn a_quote_of_intel_is_whole() {
    let files = ["tdx_quote", "tdx_quote_outdated", "sgx_quote"];
    check(&all(&files), dcap_quote);
}

#[test]
fn a_nitro_document_is_whole_with_its_tag_and_without() {
    let mut seeds = all(&["nitro.cose"]);
    let tagged = seeds.iter().map(|bare| [&[COSE_SIGN1], &bare[..]].concat());
    seeds.extend(tagged.collect::<Vec<_>>());
    check(&seeds, nitro_document);
}

#[test]
fn an_azure_report_is_whole() {
    let mut seeds = all(&["azure_hcl_report_snp.bin"]);
    seeds.push(wrapped(&runtime_data()).unwrap());
    check(&seeds, azure_report);
}

#[test]
fn runtime_data_of_azure_is_bound() {
    let mut seeds = all(&["azure_hcl_var_data.bin"]);
    seeds.push(runtime_data());
    check(&seeds, azure_runtime);
}

#[test]
fn software_evidence_says_the_same_in_other_words() {
    check(&[software()], software_document);
}

#[test]
fn evidence_is_the_same_in_hexadecimal() {
    let mut seeds = all(&[
        "tdx_quote",
        "sgx_quote",
        "nitro.cose",
        "azure_hcl_report_snp.bin",
        "report_milan.hex",
    ]);
    seeds.extend([
        software(),
        tpm::attest(&[0; 32]),
        wrapped(&runtime_data()).unwrap(),
    ]);
    check(&seeds, evidence);
}

#[test]
fn a_tpm_quote_is_whole() {
    let attest = tpm::attest(&[0; 32]);
    let mut seeds = vec![quote(&attest, &tpm::signature(&attest))];
    // az-cvm-vtpm keeps the signature, then what is signed, each behind eight bytes of length.
    seeds.extend(genuine("azure_vtpm_quote.bin").map(|file| {
        let signature = [&[0, 0x14, 0, 0x0b, 1, 0][..], &file[8..8 + 256]].concat();
        quote(&file[272..272 + 122], &signature)
    }));
    check(&seeds, tpm_quote);
}

#[test]
fn a_public_area_is_whole() {
    let seeds = include_str!("public_areas.txt").lines();
    let seeds = seeds.filter(|line| !line.starts_with('#'));
    let seeds: Vec<_> = seeds
        .map(|line| hex::decode(line.as_bytes()).unwrap())
        .collect();
    check(&seeds, public_area);
}

#[test]
fn an_event_log_is_replayed() {
    check(&[log(&[]), log(&EVENTS)], event_log);
}

fn quote(attest: &[u8], signature: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attest.len()).unwrap();
    [&length.to_be_bytes(), attest, signature].concat()
}

fn software() -> Vec<u8> {
    let claims = software::Claims {
        binding: "00".repeat(64),
        hostname: "edge-7".to_owned(),
        operating_system: "Debian GNU/Linux 12".to_owned(),
        kernel: "6.1.0-26-amd64".to_owned(),
        architecture: "x86_64".to_owned(),
    };
    let signed = software::Document::make(&claims, |_| Ok::<_, ()>(vec![7; 32]));
    signed.unwrap().into_bytes()
}

/// A log with banks of SHA-1 and SHA-256: each event has a PCR, a kind, and data that is what was measured.
fn log(events: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let banks = [2, 0, 0, 0, 4, 0, 20, 0, 0x0b, 0, 32, 0, 0];
    let about = [b"Spec ID Event03\0", &[0; 8][..], &banks].concat();
    let mut log = [[0, 0, 0, 0, 3, 0, 0, 0].as_slice(), &[0; 20]].concat();
    log.extend(u32::try_from(about.len()).unwrap().to_le_bytes());
    log.extend(about);
    for (pcr, kind, data) in events {
        log.extend([*pcr, *kind, 2].map(u32::to_le_bytes).concat());
        log.extend([&[4, 0][..], &[0; 20], &[0x0b, 0]].concat());
        log.extend(digest(&SHA256, data).as_ref());
        log.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        log.extend(*data);
    }
    log
}

const EVENTS: [(u32, u32, &[u8]); 6] = [
    (0, 3, b"StartupLocality\0\x03"),
    // Secure Boot is on.
    (
        7,
        0x8000_0001,
        b"0123456789abcdef\x0a\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0S\0e\0c\0u\0r\0e\0B\0o\0o\0t\0\x01",
    ),
    (4, 0x8000_0007, b"Calling EFI Application from Boot Option"),
    (4, 0x8000_0003, b"an image's device path"),
    (8, 13, b"kernel_cmdline: quiet\0"),
    (12, 13, b"q\0u\0i\0e\0t\0\0\0"),
];

/// With a key of 2,048 bits.
fn runtime_data() -> Vec<u8> {
    let modulus = "teg0".repeat(85) + "tQ";
    format!(r#"{{"keys":[{{"kid":"HCLAkPub","kty":"RSA","e":"AQAB","n":"{modulus}"}}],"vm-configuration":{{"secure-boot":true,"vmUniqueId":"0"}},"user-data":"00"}}"#).into_bytes()
}

/// Those of the files that are there.
fn all(files: &[&str]) -> Vec<Vec<u8>> {
    files.iter().filter_map(|file| genuine(file)).collect()
}

/// A file in `evidence` of `COUNTERSIGN_VECTORS`, or of the folder beside the repository; `None` when there is no such folder.
#[expect(clippy::disallowed_methods, reason = "vectors are files")]
fn genuine(file: &str) -> Option<Vec<u8>> {
    let folder = std::env::var_os("COUNTERSIGN_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        eprintln!("skipped: no vectors in {}", folder.display());
        return None;
    }
    Some(std::fs::read(folder.join("evidence").join(file)).expect(file))
}

/// What parsers here look for, and lengths that say too much.
const WORDS: &[&[u8]] = &[
    b"\0",
    b"\0\0",
    b"\0\0\0\0",
    b"\xff",
    b"\xff\xff",
    b"\xff\xff\xff\xff",
    b"\x7f\xff\xff\xff",
    b"\0\x0b",
    b"\x0b\0",
    b"\0\x10",
    b"\xffTCG",
    b"HCLA",
    b"Spec ID Event03\0",
    b"StartupLocality\0",
    b"kernel_cmdline: ",
    b"S\0e\0c\0u\0r\0e\0B\0o\0o\0t\0",
    b"\x00\xd8",
    b"\xd2\x84",
    b"\x9f",
    b"\x81\x81\x81\x81\x81\x81\x81\x81\x81",
    b"\xbf",
    b"\xf6",
    b"\x5b\xff\xff\xff\xff\xff\xff\xff\xff",
    b"-----BEGIN CERTIFICATE-----\n",
    b"{",
    b"}",
    b"[[[[[[[[",
    b"\"",
    b",",
    b":",
    b"\\u0065",
    b"\\ud800",
    b"null",
    b"1e999",
    b"\"kid\":\"HCLAkPub\"",
    b"\"user-data\":",
    b"{\"technology\":\"software\"",
    b" ",
    b"\n",
];
