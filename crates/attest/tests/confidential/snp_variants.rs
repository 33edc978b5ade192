//! SEV-SNP as no genuine report at hand has it: reports signed here, by the chain of an authority that certifies as AMD does.

use countersign_attest::snp::{Report, SnpError};
use countersign_attest::{Appraisal, ChainError, Fact, RootKeys};
use countersign_softsnp::Processor;

use crate::support::{at, endorsement, hex, roots};

const NOW: &str = "2026-01-01T00:00:00Z";

const MILAN: (&[u8], &[u8]) = (&[2], b"\x16\x08Milan-B0");
const TURIN: (&[u8], &[u8]) = (&[2], b"\x16\x08Turin-B0");
const BOOT_LOADER: (&[u8], &[u8]) = (&[3, 1], &[2, 1, 3]);
const TEE: (&[u8], &[u8]) = (&[3, 2], &[2, 1, 0]);
const SNP: (&[u8], &[u8]) = (&[3, 3], &[2, 1, 8]);
/// 200: an INTEGER of two bytes.
const MICROCODE: (&[u8], &[u8]) = (&[3, 8], &[2, 2, 0, 200]);
const FMC: (&[u8], &[u8]) = (&[3, 9], &[2, 1, 5]);
const CHIP: (&[u8], &[u8]) = (&[4], &[0xc1; 64]);
const TURIN_CHIP: (&[u8], &[u8]) = (&[4], &[0xc1; 8]);

const VCEK: &[(&[u8], &[u8])] = &[MILAN, BOOT_LOADER, TEE, SNP, MICROCODE, CHIP];
const VLEK: &[(&[u8], &[u8])] = &[MILAN, BOOT_LOADER, TEE, SNP, MICROCODE];

/// A report that a VCEK of Milan signs: version 3, policy with the bit that is always set, these TCBs.
fn milan() -> [u8; 0x2a0] {
    let mut report = [0; 0x2a0];
    report[0] = 3;
    report[0x0a] = 1 << 1;
    report[0x34] = 1;
    report[0x180..0x188].copy_from_slice(&[3, 0, 0, 0, 0, 0, 8, 200]);
    report[0x1e0..0x1e8].copy_from_slice(&[2, 0, 0, 0, 0, 0, 7, 199]);
    report[0x1a0..0x1e0].fill(0xc1);
    report
}

fn appraise(extensions: &[(&[u8], &[u8])], report: &[u8; 0x2a0]) -> Result<Appraisal, SnpError> {
    let processor = Processor::certified(extensions);
    let report = Report::parse(&processor.sign(report)).unwrap();
    report.appraise(&endorsement(&processor), &roots(), None, at(NOW))
}

fn with(change: impl FnOnce(&mut [u8; 0x2a0])) -> [u8; 0x2a0] {
    let mut report = milan();
    change(&mut report);
    report
}

#[test]
fn a_report_is_appraised() {
    let appraisal = appraise(VCEK, &milan()).unwrap();
    assert_eq!(appraisal.vendor(), Some("test"));
    assert_eq!(appraisal.subject(), "c1".repeat(64));
    assert_eq!(appraisal.facts()["debug"], Fact::Flag(false));
    assert_eq!(
        appraisal.facts()["reported_tcb_microcode"],
        Fact::Number(200)
    );
    assert_eq!(
        appraisal.facts()["committed_tcb_microcode"],
        Fact::Number(199)
    );
}

#[test]
fn a_guest_that_may_be_debugged_is_appraised_and_says_so() {
    let report = with(|report| report[0x0a] |= 1 << 3);
    let appraisal = appraise(VCEK, &report).unwrap();
    assert_eq!(appraisal.facts()["debug"], Fact::Flag(true));
}

#[test]
fn each_bit_of_policy_and_platform_is_a_fact_of_its_own() {
    let mut names: Vec<_> = ["migration_agent", "single_socket", "smt_allowed"].into();
    names.extend(["platform_smt", "platform_tsme", "platform_tio"]);
    let bits = [
        (0x0a, 2),
        (0x0a, 4),
        (0x0a, 0),
        (0x40, 0),
        (0x40, 1),
        (0x40, 7),
    ];
    for (name, (byte, bit)) in names.iter().zip(bits) {
        let report = with(|report| report[byte] |= 1 << bit);
        let appraisal = appraise(VCEK, &report).unwrap();
        for other in &names {
            let expected = Fact::Flag(other == name);
            assert_eq!(appraisal.facts()[other], expected, "{name} {other}");
        }
    }
}

#[test]
fn a_providers_key_is_of_no_chip() {
    let report = with(|report| {
        report[0x48] = 1 << 2;
        report[0x140..0x160].fill(0xab);
    });
    let appraisal = appraise(VLEK, &report).unwrap();
    assert_eq!(
        appraisal.facts()["signing_key"],
        Fact::Text("vlek".to_owned())
    );
    assert_eq!(appraisal.subject(), "ab".repeat(32));
    // Each kind of key where the other is said.
    let other = |found| SnpError::Chip {
        expected: "c1".repeat(64),
        found,
    };
    assert_eq!(appraise(VCEK, &report), Err(other("c1".repeat(64))));
    let missing = SnpError::Extension {
        name: "hardware id",
    };
    assert_eq!(appraise(VLEK, &milan()), Err(missing));
}

#[test]
fn turin_has_another_order_and_short_identifiers() {
    let extensions = [TURIN, FMC, BOOT_LOADER, TEE, SNP, MICROCODE, TURIN_CHIP];
    let report = with(|report| {
        report[0x180..0x188].copy_from_slice(&[5, 3, 0, 8, 0, 0, 0, 200]);
        report[0x1a8..0x1e0].fill(0);
    });
    let appraisal = appraise(&extensions, &report).unwrap();
    assert_eq!(appraisal.subject(), "c1".repeat(8));
    for (name, version) in [
        ("fmc", 5),
        ("boot_loader", 3),
        ("tee", 0),
        ("snp", 8),
        ("microcode", 200),
    ] {
        let name = format!("reported_tcb_{name}");
        assert_eq!(
            appraisal.facts()[name.as_str()],
            Fact::Number(version),
            "{name}"
        );
    }
    // A chip that only begins alike.
    let longer = with(|report| report[0x180..0x188].copy_from_slice(&[5, 3, 0, 8, 0, 0, 0, 200]));
    let expected = SnpError::Chip {
        expected: "c1".repeat(8),
        found: hex(&longer[0x1a0..0x1e0]),
    };
    assert_eq!(appraise(&extensions, &longer), Err(expected));
}

#[test]
fn a_certificate_that_leaves_something_unsaid_is_refused() {
    for (left_out, name) in [
        (0, "product name"),
        (1, "boot loader"),
        (2, "trusted operating system"),
        (3, "SNP firmware"),
        (4, "microcode"),
        (5, "hardware id"),
    ] {
        let mut extensions = VCEK.to_vec();
        extensions.remove(left_out);
        let refused = appraise(&extensions, &milan());
        assert_eq!(refused, Err(SnpError::Extension { name }));
    }
}

#[test]
fn older_firmware_than_the_certificates_is_refused_part_by_part() {
    for (byte, part, expected) in [
        (0, "boot loader", 3),
        (1, "trusted operating system", 0),
        (6, "SNP firmware", 8),
        (7, "microcode", 200),
    ] {
        let report = with(|report| report[0x180 + byte] = 99);
        let expected = SnpError::Tcb {
            part,
            expected,
            found: 99,
        };
        assert_eq!(appraise(VCEK, &report), Err(expected));
    }
}

#[test]
fn a_report_of_another_processor_does_not_authenticate() {
    let (one, other) = (Processor::certified(VCEK), Processor::certified(VCEK));
    let report = Report::parse(&one.sign(&milan())).unwrap();
    let refused = report.appraise(&endorsement(&other), &roots(), None, at(NOW));
    assert_eq!(refused, Err(SnpError::NotAuthentic));
}

#[test]
fn an_authority_that_is_not_amds_is_refused() {
    let processor = Processor::certified(VCEK);
    let report = Report::parse(&processor.sign(&milan())).unwrap();
    let refused = report.appraise(&endorsement(&processor), &RootKeys::amd(), None, at(NOW));
    let untrusted = |error| matches!(error, SnpError::Chain(ChainError::UntrustedRoot { .. }));
    assert!(refused.is_err_and(untrusted));
}
