//! Measures each verifier beside its peer and the bare signature checks, and prints Markdown.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::hint::black_box;

use countersign_attest_peers::clock::race;
use countersign_attest_peers::floor::Signature;
use countersign_attest_peers::{Intel, Snp, evidence, nitro};
use jiff::Timestamp;

fn main() {
    println!(
        "| evidence | ours, µs | bare signatures, µs | ours / bare | peer, µs | peer / ours |"
    );
    println!("|---|--:|--:|--:|--:|--:|");
    if let Some(report) = Snp::genuine() {
        snp(&report);
    }
    for (file, name) in [("tdx_quote", "TDX quote"), ("sgx_quote", "SGX quote")] {
        if let Some(quote) = Intel::genuine(file) {
            intel(name, &quote);
        }
    }
    if let Some(document) = evidence("nitro.cose") {
        nitro_document(&document);
    }
}

fn snp(report: &Snp) {
    let (rsa, p384) = (Signature::rsa_4096(), Signature::p384());
    let now = at("2026-01-01T00:00:00Z");
    let times = race([
        &mut || assert!(black_box(report.ours(now)).is_some()),
        &mut || {
            rsa.verify(2);
            p384.verify(1);
        },
        &mut || assert!(black_box(report.sev())),
    ]);
    print("SEV-SNP report and chain", times);
}

fn intel(name: &str, quote: &Intel) {
    let p256 = Signature::p256();
    let now = at("2025-07-01T00:00:00Z");
    let times = race([
        &mut || assert!(black_box(quote.ours(now)).is_some()),
        &mut || p256.verify(9),
        &mut || assert!(black_box(quote.dcap_qvl(now))),
    ]);
    print(name, times);
}

fn nitro_document(document: &[u8]) {
    let p384 = Signature::p384();
    let now = at("2025-01-06T16:10:00Z");
    let [ours, bare] = race([
        &mut || assert!(black_box(nitro(document, now)).is_some()),
        &mut || p384.verify(5),
    ]);
    println!(
        "| Nitro document | {ours:.0} | {bare:.0} | {:.2} | – | – |",
        ours / bare
    );
}

fn print(name: &str, [ours, bare, peer]: [f64; 3]) {
    let (over, ahead) = (ours / bare, peer / ours);
    println!("| {name} | {ours:.0} | {bare:.0} | {over:.2} | {peer:.0} | {ahead:.1} |");
}

fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}
