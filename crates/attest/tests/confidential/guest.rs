//! What an operator expects of a guest, against what it shows later.

use countersign_attest::GuestState;
use countersign_attest::snp::Report;
use countersign_attest::tpm::Comparison;
use countersign_softsnp::Processor;

use crate::support::{at, endorsement, roots};

const CHIP: (&[u8], &[u8]) = (&[4], &[0xc1; 64]);
const FIRMWARE: [(&[u8], &[u8]); 5] = [
    (&[2], b"\x16\x08Milan-B0"),
    (&[3, 1], &[2, 1, 3]),
    (&[3, 2], &[2, 1, 0]),
    (&[3, 3], &[2, 1, 8]),
    (&[3, 8], &[2, 1, 20]),
];

fn report() -> [u8; 0x2a0] {
    let mut report = [0; 0x2a0];
    report[0] = 3;
    report[0x0a] = 1 << 1;
    report[0x34] = 1;
    report[0x90..0xc0].fill(0x11);
    report[0x180..0x188].copy_from_slice(&[3, 0, 0, 0, 0, 0, 8, 20]);
    report[0x1a0..0x1e0].fill(0xc1);
    report
}

fn state(report: &[u8; 0x2a0], certified: &[(&[u8], &[u8])]) -> GuestState {
    let processor = Processor::certified(certified);
    let report = Report::parse(&processor.sign(report)).unwrap();
    let now = at("2026-01-01T00:00:00Z");
    let appraisal = report.appraise(&endorsement(&processor), &roots(), None, now);
    GuestState::of(&appraisal.unwrap())
}

fn certified() -> Vec<(&'static [u8], &'static [u8])> {
    FIRMWARE.into_iter().chain([CHIP]).collect()
}

/// A guest whose report and certificate were changed, against the one of before.
fn check(
    change: impl FnOnce(&mut [u8; 0x2a0], &mut Vec<(&'static [u8], &'static [u8])>),
    expected: Comparison,
) {
    let (mut report, mut extensions) = (report(), certified());
    let before = state(&report, &extensions);
    change(&mut report, &mut extensions);
    let shown = state(&report, &extensions);
    // As it is after it was written down.
    let before = serde_json::to_string(&before).unwrap();
    let before: GuestState = serde_json::from_str(&before).unwrap();
    assert_eq!(before.compare(&shown), expected);
}

fn different(reason: &str) -> Comparison {
    Comparison::Different(vec![reason.to_owned()])
}

fn remarkable(reason: &str) -> Comparison {
    Comparison::Remarkable(vec![reason.to_owned()])
}

#[test]
fn the_answer_to_another_question_is_no_change() {
    check(|report, _| report[0x50..0x90].fill(7), Comparison::Same);
}

#[test]
fn another_launch_is_another_guest() {
    let (is, was) = ("22".repeat(48), "11".repeat(48));
    check(
        |report, _| report[0x90..0xc0].fill(0x22),
        different(&format!("measurement is {is} and was {was}")),
    );
}

#[test]
fn what_opens_the_guest_to_its_host_is_no_part_of_the_measurement_and_counts() {
    check(
        |report, _| report[0x0a] |= 1 << 3,
        different("debug is true and was false"),
    );
    check(
        |report, _| report[0x0a] |= 1 << 2,
        different("migration_agent is true and was false"),
    );
}

#[test]
fn firmware_goes_forward() {
    let set = |version: u8| {
        move |report: &mut [u8; 0x2a0], extensions: &mut Vec<(&'static [u8], &'static [u8])>| {
            report[0x186] = version;
            extensions[3].1 = if version == 7 { &[2, 1, 7] } else { &[2, 1, 9] };
        }
    };
    check(set(7), different("reported_tcb_snp is 7 and was 8"));
    check(set(9), remarkable("reported_tcb_snp is 9 and was 8"));
}

#[test]
fn a_guest_that_moved_says_so() {
    let (is, was) = ("c2".repeat(64), "c1".repeat(64));
    let moved = |report: &mut [u8; 0x2a0], extensions: &mut Vec<(&'static [u8], &'static [u8])>| {
        report[0x1a0..0x1e0].fill(0xc2);
        extensions[5].1 = &[0xc2; 64];
    };
    check(
        moved,
        remarkable(&format!("the processor is {is} and was {was}")),
    );
}

#[test]
fn a_guest_that_may_be_debugged_says_so() {
    let mut open = report();
    open[0x0a] |= 1 << 3;
    assert!(state(&open, &certified()).may_be_debugged());
    assert!(!state(&report(), &certified()).may_be_debugged());
}
