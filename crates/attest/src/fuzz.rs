//! What holds for every input that a parser of evidence accepts: it is one whole thing, and each of its bytes counts.
//!
//! Most of what is read here is signed and never written, so it cannot be compared with itself written again. Instead a part of it, or it
//! with something behind, has to be refused, and so has it with another byte unless it then says something else. The tests run
//! these on mutations of genuine evidence, `fuzz/` at the root of the repository gives them to libFuzzer. Each says whether it
//! accepted the input.

mod tpm;

use std::fmt::Debug;

use aws_lc_rs::digest::{SHA256, digest};

pub use tpm::{event_log, public_area, tpm_quote};

use crate::{Evidence, azure, dcap, hex, nitro, snp, software};

/// A report of SEV-SNP.
pub fn snp_report(input: &[u8]) -> bool {
    whole(input, |bytes| snp::Report::parse(bytes).ok())
}

/// A quote of TDX or SGX, which zeros may follow.
pub fn dcap_quote(input: &[u8]) -> bool {
    let parse = |bytes: &[u8]| dcap::Quote::parse(bytes).ok();
    let accepted = padded(input, parse);
    if accepted {
        each_byte_counts(input, parse);
    }
    accepted
}

/// A document of Nitro Enclaves, which says the same with its tag and without.
pub fn nitro_document(input: &[u8]) -> bool {
    let parse = |bytes: &[u8]| nitro::Document::parse(bytes).ok();
    let bare = input.strip_prefix(&[COSE_SIGN1]).unwrap_or(input);
    let accepted = whole(bare, parse);
    assert_eq!(says(input, parse).is_some(), accepted);
    assert_eq!(says(input, parse), says(bare, parse));
    accepted
}

/// Azure's wrapped report, which zeros may follow.
pub fn azure_report(input: &[u8]) -> bool {
    padded(input, |bytes| azure::Report::parse(bytes).ok())
}

/// The runtime data of an Azure VM, in a report that binds it, without which nobody would get as far as to its JSON.
pub fn azure_runtime(input: &[u8]) -> bool {
    let Some(wrapped) = wrapped(input) else {
        return false;
    };
    let accepted = azure_report(&wrapped);
    let mut other = wrapped;
    let bound = other.iter_mut().skip(REPORT_DATA).take(32);
    bound.for_each(|byte| *byte ^= 1);
    assert!(azure::Report::parse(&other).is_err());
    accepted
}

/// Software evidence: JSON has many texts, so what is compared is what they say.
pub fn software_document(input: &[u8]) -> bool {
    let parse = |bytes: &[u8]| software::Document::parse(bytes).ok();
    let Some(said) = says(input, parse) else {
        return false;
    };
    let json: serde_json::Value = serde_json::from_slice(input).expect("it was read");
    assert_eq!(says(json.to_string().as_bytes(), parse), Some(said));
    let trimmed = input.trim_ascii();
    cuts(trimmed).for_each(|part| assert!(parse(part).is_none()));
    assert!(parse(&[trimmed, b"}"].concat()).is_none());
    true
}

/// Evidence of any kind, which is the same in hexadecimal.
pub fn evidence(input: &[u8]) -> bool {
    let parse = |bytes: &[u8]| Evidence::recognise(bytes).ok();
    let Some(read) = parse(input) else {
        return false;
    };
    let said = Some(format!("{read:?}"));
    match hex::decode(input) {
        Some(decoded) => assert_eq!(says(&decoded, parse), said),
        None if input.len() > LONGEST => {}
        None => assert_eq!(says(hex::encode(input).as_bytes(), parse), said),
    }
    true
}

/// Holds that what is accepted ends where it ends, and that each of its bytes counts.
fn whole<T: Debug>(input: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> bool {
    if parse(input).is_none() {
        return false;
    }
    cuts(input).for_each(|part| assert!(parse(part).is_none(), "{} bytes", part.len()));
    for more in [0, 1] {
        assert!(parse(&[input, &[more]].concat()).is_none());
    }
    each_byte_counts(input, parse);
    true
}

/// Holds that what is accepted says the same without the zeros behind it, and that nothing else is behind it.
fn padded<T: Debug>(input: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> bool {
    let Some(said) = says(input, &parse) else {
        return false;
    };
    for part in cuts(input) {
        if let Some(read) = says(part, &parse) {
            assert_eq!(read, said);
            assert!(input.iter().skip(part.len()).all(|byte| *byte == 0));
        }
    }
    assert!(parse(&[input, &[1]].concat()).is_none());
    true
}

/// Turns bits over, in bytes that are others for each input: that is refused, or says something else.
fn each_byte_counts<T: Debug>(input: &[u8], parse: impl Fn(&[u8]) -> Option<T>) {
    let said = says(input, &parse);
    let sum: usize = input.iter().map(|byte| usize::from(*byte)).sum();
    for at in (sum % STRIDE..input.len()).step_by(STRIDE) {
        let turn = |(place, byte): (usize, &u8)| byte ^ (u8::from(place == at) << (sum % 8));
        let altered: Vec<u8> = input.iter().enumerate().map(turn).collect();
        assert_ne!(says(&altered, &parse), said, "byte {at}");
    }
}

/// Everything that was read, where it was accepted.
fn says<T: Debug>(input: &[u8], parse: impl Fn(&[u8]) -> Option<T>) -> Option<String> {
    parse(input).map(|read| format!("{read:?}"))
}

/// What is left without the last byte, the last two, four and so on.
fn cuts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lengths = (0..usize::BITS).map_while(|power| input.len().checked_sub(1 << power));
    lengths.filter_map(|length| input.get(..length))
}

/// As an Azure VM's NV index holds it: a header, a report of zeros but for what it binds, and the data, with its lengths.
fn wrapped(runtime: &[u8]) -> Option<Vec<u8>> {
    let length = u32::try_from(runtime.len()).ok()?;
    let number = |number: u32| number.to_le_bytes();
    let hash = digest(&SHA256, runtime);
    let report = [&number(2)[..], &[0; 76], hash.as_ref(), &[0; 1072]].concat();
    let described = length.checked_add(20)?;
    let header = [*b"HCLA", number(1), number(described.checked_add(1216)?)].concat();
    let description = [described, 1, 2, 1, length].map(number).concat();
    Some([&header, &[0; 20][..], &report, &description, runtime].concat())
}

/// The tag of COSE_Sign1 (RFC 9052, section 2), in CBOR.
const COSE_SIGN1: u8 = 0xd2;

/// Where the report in a wrapped one has what it binds.
const REPORT_DATA: usize = 32 + 80;

/// What is longer has no place as hexadecimal.
const LONGEST: usize = 32 * 1024;

/// A prime, so that all bytes have their turn.
const STRIDE: usize = 997;

#[cfg(test)]
mod tests;
