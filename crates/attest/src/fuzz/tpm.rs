//! What a TPM and its machine's firmware hand out.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use jiff::Timestamp;

use super::whole;
use crate::hex;
use crate::tpm::{
    AttestationKey, EndorsementKey, EventLog, EventLogError, HashAlgorithm, PcrValues, Quote,
    Quoter, VerifiedQuote, appraise,
};

/// A public area: of an attestation key or of an endorsement key, and never of both. An attestation key's name is the area's hash.
pub fn public_area(input: &[u8]) -> bool {
    let attests = whole(input, |bytes| AttestationKey::parse(bytes).ok());
    let endorses = whole(input, |bytes| EndorsementKey::parse(bytes).ok());
    assert!(!(attests && endorses));
    if let Ok(key) = AttestationKey::parse(input) {
        let name = key.name().expect("its area was read");
        assert_eq!(name.as_bytes(), named(input));
    }
    attests || endorses
}

/// Part 1, section 16: `nameAlg ‖ H(publicArea)`. The algorithm is the area's second field.
fn named(area: &[u8]) -> Vec<u8> {
    let algorithm = area.get(2..4).expect("it was read");
    let hash = match algorithm {
        [0, 0x0b] => &SHA256,
        [0, 0x0c] => &SHA384,
        _ => &SHA512,
    };
    [algorithm, digest(hash, area).as_ref()].concat()
}

/// `TPMS_ATTEST` behind its length, then `TPMT_SIGNATURE`.
pub fn tpm_quote(input: &[u8]) -> bool {
    let Some((attest, signature)) = split(input) else {
        return false;
    };
    let accepted = whole(attest, |bytes| Quote::parse(bytes, signature).ok());
    let again = whole(signature, |bytes| Quote::parse(attest, bytes).ok());
    assert_eq!(accepted, again);
    accepted
}

fn split(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = input.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}

/// An event log. Its events twice over are a log as well; and whatever they make, a TPM that quotes just this is appraised.
pub fn event_log(input: &[u8]) -> bool {
    let Ok(log) = EventLog::parse(input) else {
        return false;
    };
    let (header, events) = parts(input).expect("it was read");
    assert!(EventLog::parse(header).is_ok());
    let twice = EventLog::parse(&[input, events].concat());
    assert!(!matches!(twice, Err(EventLogError::Malformed { .. })));
    assert!(EventLog::parse(&[input, &[0]].concat()).is_err());
    replays(&log);
    true
}

/// The event that describes the log, which has its length at its end, and the others.
fn parts(log: &[u8]) -> Option<(&[u8], &[u8])> {
    let length: [u8; 4] = log.get(28..32)?.try_into().ok()?;
    log.split_at_checked(
        usize::try_from(u32::from_le_bytes(length))
            .ok()?
            .checked_add(32)?,
    )
}

/// Quotes zeros, then what the refusals say that the events make: each PCR is refused once at most.
fn replays(log: &EventLog) {
    let zeros = |values: PcrValues, pcr: &u8| values.with(HashAlgorithm::Sha256, *pcr, &[0; 32]);
    let mut values = PCRS.iter().fold(PcrValues::new(), zeros);
    for _ in PCRS {
        let Some((bank, pcr, replayed)) = contradicted(log, &values) else {
            break;
        };
        assert_ne!(values.value(bank, pcr), Some(replayed.as_slice()));
        values = values.with(bank, pcr, &replayed);
    }
    assert_eq!(contradicted(log, &values), None);
}

/// The PCR whose quoted value is not what the events make, and what they make.
fn contradicted(log: &EventLog, values: &PcrValues) -> Option<(HashAlgorithm, u8, Vec<u8>)> {
    let quoter = Quoter {
        subject: "machine",
        vendor: None,
    };
    let quote = quoted(values.clone());
    match appraise(quoter, &quote, Some(log), Timestamp::UNIX_EPOCH) {
        Err(EventLogError::DoesNotReplay {
            bank,
            pcr,
            replayed,
            ..
        }) => Some((bank, pcr, hex::decode(replayed.as_bytes())?)),
        outcome => {
            assert!(outcome.is_ok(), "{outcome:?}");
            None
        }
    }
}

/// A quote over these values, signed and verified.
fn quoted(values: PcrValues) -> VerifiedQuote {
    let all: Vec<&[u8]> = values.iter().map(|(.., value)| value).collect();
    let attest = attest(digest(&SHA256, &all.concat()).as_ref());
    let quote = Quote::parse(&attest, &signature(&attest)).expect("it was made here");
    let key = KEY.public_key().as_der().map(|der: PublicKeyX509Der<'_>| {
        AttestationKey::unverified_from_spki(der.as_ref()).expect("it is a key of P-256")
    });
    let key = key.expect("a public key has a DER");
    let verified = quote.verify(&key, None, None, values);
    verified.expect("it was signed here")
}

/// `TPMS_ATTEST` (part 2, section 10.12.12) over [`PCRS`] of SHA-256.
pub(super) fn attest(digest: &[u8]) -> Vec<u8> {
    let bits = |octet: u8| PCRS.iter().filter(move |pcr| **pcr / 8 == octet);
    let bitmap = [0, 1, 2].map(|octet| bits(octet).fold(0, |bits, pcr| bits | 1_u8 << (pcr % 8)));
    let beginning = [0xff, b'T', b'C', b'G', 0x80, 0x18, 0, 0, 0, 0];
    let clock_and_firmware = [0; 25];
    let selection = [0, 0, 0, 1, 0, 0x0b, 3];
    let parts: [&[u8]; 6] = [
        &beginning,
        &clock_and_firmware,
        &selection,
        &bitmap,
        &[0, 32],
        digest,
    ];
    parts.concat()
}

/// `TPMT_SIGNATURE` by ECDSA with SHA-256 (part 2, section 11.3.4).
pub(super) fn signature(attest: &[u8]) -> Vec<u8> {
    let signature = KEY.sign(&SystemRandom::new(), attest);
    let signature = signature.expect("there is randomness");
    let (r, s) = signature.as_ref().split_at(32);
    [&[0, 0x18, 0, 0x0b, 0, 32][..], r, &[0, 32], s].concat()
}

static KEY: LazyLock<EcdsaKeyPair> = LazyLock::new(|| {
    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("there is randomness")
});

/// Those that facts are taken from.
pub(super) const PCRS: [u8; 4] = [4, 7, 8, 12];
