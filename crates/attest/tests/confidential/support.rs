//! Evidence from files, and what is done to it.

#![expect(clippy::disallowed_methods, reason = "vectors are files")]

use std::path::{Path, PathBuf};

use countersign_attest::RootKeys;
use countersign_attest::snp::Endorsement;
use countersign_softsnp::{Processor, certificate_chain};
use jiff::Timestamp;

/// A file in `evidence` of `COUNTERSIGN_VECTORS`, or of the folder beside the repository; `None` when there is no such folder.
pub(crate) fn evidence(file: &str) -> Option<Vec<u8>> {
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

/// The certificates of a processor that is made here.
pub(crate) fn endorsement(processor: &Processor) -> Endorsement {
    Endorsement::new(processor.certificate(), certificate_chain().as_bytes()).unwrap()
}

/// Who certifies such processors.
pub(crate) fn roots() -> RootKeys {
    RootKeys::none().with("test", countersign_softsnp::root())
}

pub(crate) fn at(time: &str) -> Timestamp {
    time.parse().expect("a time")
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &[u8]) -> Vec<u8> {
    let nibble = |digit: u8| char::from(digit).to_digit(16).expect("hexadecimal");
    let byte = |pair: &[u8]| u8::try_from(nibble(pair[0]) * 16 + nibble(pair[1])).expect("a byte");
    text.trim_ascii().chunks(2).map(byte).collect()
}

/// The bytes with one bit of one of them turned over.
pub(crate) fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut altered = bytes.to_vec();
    altered[at] ^= 1 << (at % 8);
    altered
}

/// How many times as many mutations as usual.
pub(crate) fn mutations() -> usize {
    let factor = std::env::var("COUNTERSIGN_MUTATIONS");
    factor.map_or(1, |factor| {
        factor.parse().expect("COUNTERSIGN_MUTATIONS is a number")
    })
}
