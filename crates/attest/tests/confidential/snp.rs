//! SEV-SNP: a report of a Milan machine with its VCEK and chain.

use countersign_attest::snp::{Endorsement, Report, SnpError};
use countersign_attest::{
    Appraisal, ChainError, Fact, Freshness, RootKeys, Technology, WrongBinding,
};

use crate::support::{at, evidence, flipped, hex, unhex};

const NOW: &str = "2026-01-01T00:00:00Z";

/// What a verifier is given.
struct Case {
    report: Vec<u8>,
    vcek: Vec<u8>,
    chain: Vec<u8>,
    roots: RootKeys,
    binding: Option<[u8; 64]>,
    now: &'static str,
}

impl Case {
    fn genuine() -> Option<Self> {
        Some(Self {
            report: unhex(&evidence("report_milan.hex")?),
            vcek: evidence("vcek_milan.der")?,
            chain: evidence("cert_chain_milan")?,
            roots: RootKeys::amd(),
            binding: None,
            now: NOW,
        })
    }

    fn appraise(&self) -> Result<Appraisal, SnpError> {
        let report = Report::parse(&self.report)?;
        let endorsement = Endorsement::new(&self.vcek, &self.chain)?;
        report.appraise(
            &endorsement,
            &self.roots,
            self.binding.as_ref(),
            at(self.now),
        )
    }
}

/// The genuine evidence with one thing changed.
fn check(change: impl FnOnce(&mut Case), expected: SnpError) {
    let Some(mut case) = Case::genuine() else {
        return;
    };
    change(&mut case);
    assert_eq!(case.appraise(), Err(expected));
}

#[test]
fn a_genuine_report_is_appraised() {
    let Some(case) = Case::genuine() else {
        return;
    };
    let appraisal = case.appraise().unwrap();
    assert_eq!(appraisal.technology(), Technology::SevSnp);
    assert_eq!(appraisal.vendor(), Some("AMD"));
    assert!(appraisal.subject().starts_with("d49554ec717f4e5b"));
    assert_eq!(appraisal.freshness(), Freshness::Undated);
    assert_eq!(appraisal.valid_until(), Some(at("2030-04-03T19:23:43Z")));
    assert!(
        appraisal.unchecked()[0]
            .0
            .starts_with("whether AMD has revoked")
    );
    let facts = appraisal.facts();
    for (name, value) in [
        ("debug", Fact::Flag(false)),
        ("migration_agent", Fact::Flag(false)),
        ("smt_allowed", Fact::Flag(true)),
        ("vmpl", Fact::Number(0)),
        ("guest_svn", Fact::Number(0)),
        ("product", Fact::Text("Milan-B0".to_owned())),
        ("signing_key", Fact::Text("vcek".to_owned())),
        ("reported_tcb_boot_loader", Fact::Number(3)),
        ("reported_tcb_snp", Fact::Number(8)),
        ("reported_tcb_microcode", Fact::Number(115)),
        ("committed_tcb_microcode", Fact::Number(115)),
    ] {
        assert_eq!(facts.get(name), Some(&value), "{name}");
    }
}

#[test]
fn the_data_of_the_report_is_what_the_verifier_asked_with() {
    let Some(mut case) = Case::genuine() else {
        return;
    };
    let data: [u8; 64] = case.report[0x50..0x90].try_into().unwrap();
    case.binding = Some(data);
    assert_eq!(case.appraise().unwrap().freshness(), Freshness::Nonce);
    case.binding = Some([7; 64]);
    let refused = case.appraise();
    let expected = WrongBinding {
        expected: "07".repeat(64),
        found: hex(&data),
    };
    assert_eq!(refused, Err(expected.into()));
}

#[test]
fn every_byte_of_the_report_is_covered() {
    let Some(genuine) = Case::genuine() else {
        return;
    };
    for place in 0..genuine.report.len() {
        let case = Case {
            report: flipped(&genuine.report, place),
            ..Case::genuine().unwrap()
        };
        assert!(case.appraise().is_err(), "byte {place}");
    }
}

#[test]
fn every_byte_of_the_certificate_is_covered() {
    let Some(genuine) = Case::genuine() else {
        return;
    };
    for place in 0..genuine.vcek.len() {
        let case = Case {
            vcek: flipped(&genuine.vcek, place),
            ..Case::genuine().unwrap()
        };
        assert!(case.appraise().is_err(), "byte {place}");
    }
}

/// Base64 has letters that mean the same only in the bits that nothing is left of, and PEM has text around it.
#[test]
fn every_letter_of_the_chain_is_covered() {
    let Some(genuine) = Case::genuine() else {
        return;
    };
    let expected = genuine.appraise();
    for place in (0..genuine.chain.len()).step_by(3) {
        let case = Case {
            chain: flipped(&genuine.chain, place),
            ..Case::genuine().unwrap()
        };
        let appraised = case.appraise();
        assert!(appraised.is_err() || appraised == expected, "byte {place}");
    }
}

#[test]
fn another_length_is_refused() {
    let Some(genuine) = Case::genuine() else {
        return;
    };
    let padded = [&genuine.report[..], &[0]].concat();
    for found in (0..1184).chain([1185]) {
        let refused = Report::parse(&padded[..found]).map(drop);
        assert_eq!(
            refused,
            Err(SnpError::Length {
                expected: 1184,
                found
            })
        );
    }
}

#[test]
fn an_unknown_version_is_refused() {
    check(|case| case.report[0] = 6, SnpError::Version { found: 6 });
}

#[test]
fn a_report_that_nobody_signed_is_refused() {
    let unsigned = |case: &mut Case| case.report[0x48] = 7 << 2;
    check(unsigned, SnpError::SigningKey { found: 7 });
}

#[test]
fn an_unknown_signature_algorithm_is_refused() {
    let expected = SnpError::Algorithm {
        expected: 1,
        found: 2,
    };
    check(|case| case.report[0x34] = 2, expected);
}

#[test]
fn bytes_beside_the_signature_are_zero() {
    check(|case| case.report[0x2a0 + 48] = 1, SnpError::Signature);
    check(|case| case.report[1183] = 1, SnpError::Signature);
}

#[test]
fn a_report_of_other_firmware_is_refused() {
    let expected = SnpError::Tcb {
        part: "microcode",
        expected: 115,
        found: 116,
    };
    check(|case| case.report[0x187] = 116, expected);
}

#[test]
fn a_report_of_another_chip_is_refused() {
    let Some(case) = Case::genuine() else {
        return;
    };
    let mut other = case.report[0x1a0..0x1e0].to_vec();
    other[0] = 0;
    let expected = SnpError::Chip {
        expected: hex(&case.report[0x1a0..0x1e0]),
        found: hex(&other),
    };
    check(|case| case.report[0x1a0] = 0, expected);
}

/// Debugging is a fact for policy where it is signed: turned on afterwards it is a forgery.
#[test]
fn an_altered_policy_does_not_authenticate() {
    check(|case| case.report[0x0a] |= 1 << 3, SnpError::NotAuthentic);
}

#[test]
fn a_certificate_that_expired_is_refused() {
    let expected = ChainError::Expired {
        subject: VCEK.to_owned(),
        not_after: at("2030-04-03T19:23:43Z"),
        now: at("2030-04-03T19:23:44Z"),
    };
    check(|case| case.now = "2030-04-03T19:23:44Z", expected.into());
}

#[test]
fn a_certificate_that_is_not_valid_yet_is_refused() {
    let expected = ChainError::NotYetValid {
        subject: VCEK.to_owned(),
        not_before: at("2023-04-03T19:23:43Z"),
        now: at("2023-04-03T19:23:42Z"),
    };
    check(|case| case.now = "2023-04-03T19:23:42Z", expected.into());
}

#[test]
fn a_root_of_another_maker_is_refused() {
    let expected = ChainError::UntrustedRoot {
        found: "69d063b45344d26a2e94e1f4210de49ef55530828 7d4c174445c95639a540bcd".replace(' ', ""),
    };
    check(|case| case.roots = RootKeys::aws(), expected.into());
}

#[test]
fn a_chain_of_another_length_is_refused() {
    let length = |found| ChainError::Length {
        expected: "2 to 6",
        found,
    };
    check(|case| case.chain.clear(), length(1).into());
    check(|case| case.chain = case.chain.repeat(3), length(7).into());
}

#[test]
fn a_certificate_without_end_is_refused_before_it_is_read() {
    let long = ChainError::TooLong {
        found: 1 << 20,
        limit: 4096,
    };
    check(|case| case.vcek.resize(1 << 20, 0x30), long.into());
}

/// The chain's own certificates are genuine, and are no chips.
#[test]
fn an_issuer_is_no_chip() {
    let Some(mut case) = Case::genuine() else {
        return;
    };
    let pem = String::from_utf8(case.chain.clone()).unwrap();
    let base64 = pem.split("-----").nth(2).unwrap().replace('\n', "");
    case.vcek = base64_simd::STANDARD.decode_to_vec(base64).unwrap();
    assert_eq!(case.appraise(), Err(ChainError::NotAuthentic.into()));
}

const VCEK: &str = "CN=SEV-VCEK,O=Advanced Micro Devices,ST=CA,L=Santa Clara,C=US,OU=Engineering";
