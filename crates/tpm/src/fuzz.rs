//! What holds for every answer of a TPM, and for everything that was kept for it.
//!
//! The tests run these on mutations of answers made by hand, `fuzz/` at the root of the repository gives them to libFuzzer. Each
//! says whether it accepted the input. Integration tests spoil the answers of a software TPM one place at a time; here the lengths around
//! are right, so what is within is read.

use std::io;
use std::time::Duration;

use crate::{AttestationKey, EndorsementKind, Hash, PcrSelection, Sealed, Tpm, Transport};

/// A key or a sealed secret as it is kept: it is written as it was read.
pub fn saved(input: &[u8]) -> bool {
    let key = AttestationKey::from_bytes(input).map(|key| key.to_bytes());
    let sealed = Sealed::from_bytes(input).map(|sealed| sealed.to_bytes());
    let accepted = [key, sealed].into_iter().flatten();
    accepted.inspect(|again| assert_eq!(again, input)).count() > 0
}

/// A question by its number, then the answers' parameters, each behind 16 bits of length.
pub fn answers(input: &[u8]) -> bool {
    let Some((question, answers)) = input.split_first() else {
        return false;
    };
    let mut tpm = Tpm::over(Box::new(Answers(answers.to_vec())));
    match question {
        0 => tpm.time().is_ok(),
        1 => tpm.capabilities().is_ok(),
        2 => tpm.endorsement_certificates().is_ok(),
        3 => tpm.endorsement_key(EndorsementKind::EccP256).is_ok(),
        4 => tpm.random(48).is_ok_and(|random| {
            assert_eq!(random.expose_secret().len(), 48);
            true
        }),
        _ => pcrs(&mut tpm),
    }
}

/// What was asked for is what is answered, each once.
fn pcrs(tpm: &mut Tpm) -> bool {
    let Ok(values) = tpm.pcrs(&PcrSelection::new(Hash::Sha256, [0, 7])) else {
        return false;
    };
    let mut found: Vec<(Hash, u8)> = Vec::new();
    found.extend(values.0.iter().map(|value| (value.bank, value.index)));
    found.sort_unstable_by_key(|(_, index)| *index);
    assert_eq!(found, [(Hash::Sha256, 0), (Hash::Sha256, 7)]);
    true
}

/// Answers with the next parameters, of any content, in a success of the right form; then no more.
struct Answers(Vec<u8>);

impl Transport for Answers {
    fn transmit(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        let parameters = self.next().ok_or(io::ErrorKind::UnexpectedEof)?;
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
        let handle = match command.get(6..10) {
            Some(code) if code == CREATE_PRIMARY => &[0x80, 0, 0, 0][..],
            _ => &[],
        };
        let body = match command.starts_with(&SESSIONS) {
            true => [handle, &length(&parameters), &parameters, &PASSWORD].concat(),
            false => [handle, &parameters].concat(),
        };
        let tag = command.get(..2).unwrap_or_default();
        let size = length(&[&[0; 10], &body[..]].concat());
        Ok([tag, &size, &[0; 4], &body].concat())
    }

    fn pause(&mut self, _duration: Duration) {}
}

impl Answers {
    fn next(&mut self) -> Option<Vec<u8>> {
        let (length, rest) = self.0.split_first_chunk::<2>()?;
        let (taken, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let (taken, rest) = (taken.to_vec(), rest.to_vec());
        self.0 = rest;
        Some(taken)
    }
}

const CREATE_PRIMARY: [u8; 4] = [0, 0, 1, 0x31];
const SESSIONS: [u8; 2] = [0x80, 2];
/// What a TPM says where there is no session: no nonce, that it goes on, no HMAC.
const PASSWORD: [u8; 5] = [0, 0, 1, 0, 0];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AttestationScheme;

    /// Every seed is accepted, or it would be none.
    fn check(seeds: &[Vec<u8>], target: fn(&[u8]) -> bool) {
        for seed in seeds {
            assert!(target(seed), "{}", seed.escape_ascii());
        }
        let tally = countersign_fuzz::run(seeds, WORDS, target);
        assert!(tally.tried > tally.accepted && tally.accepted > 0);
    }

    fn sized(bytes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes(), bytes].concat()
    }

    fn asked(question: u8, answers: &[&[u8]]) -> Vec<u8> {
        let answers: Vec<u8> = answers.iter().flat_map(|answer| sized(answer)).collect();
        [&[question], &answers[..]].concat()
    }

    #[test]
    fn what_is_kept_is_written_as_it_was_read() {
        let public = AttestationScheme::EcdsaP256.template().bytes;
        let stored = [sized(&[1; 34]), sized(&[2; 64]), sized(&public)].concat();
        let selection = [0, 0, 0, 1, 0, 0x0b, 3, 0x81, 0, 0];
        let seeds = [
            [KEY, &stored].concat(),
            [SEALED, &selection, &stored].concat(),
        ];
        check(&seeds, saved);
    }

    #[test]
    fn answers_of_the_right_form_and_any_content_do_no_harm() {
        let values = [
            &[0, 0, 0, 1, 0, 0, 0, 1, 0, 0x0b, 3, 0x81, 0, 0, 0, 0, 0, 2][..],
            &sized(&[3; 32]),
            &sized(&[4; 32]),
        ]
        .concat();
        let list = |kind: u8, item: &[u8]| [&[0, 0, 0, 0, kind, 0, 0, 0, 1], item].concat();
        let index = sized(&[&[1, 0xc0, 0, 2, 0, 0x0b, 0, 4, 0, 0, 0, 0, 0, 4][..]].concat());
        let index = [index, sized(&[5; 34])].concat();
        let reads = [index, sized(&[0x30, 2, 5, 0])];
        let certificates: Vec<&[u8]> = reads.iter().cycle().take(16).map(Vec::as_slice).collect();
        let seeds = [
            asked(0, &[&[0; 25]]),
            asked(
                1,
                &[
                    &list(6, &[0, 0, 1, 5, b'I', b'B', b'M', 0]),
                    &list(5, &[0, 0x0b, 3, 0xff, 0xff, 0xff]),
                    &list(0, &[0, 0x0b, 0, 0, 0, 4]),
                    &list(6, &[0, 0, 2, 0, 0, 0, 0, 0]),
                ],
            ),
            asked(2, &certificates),
            asked(4, &[&sized(&[6; 32]), &sized(&[7; 16])]),
            asked(5, &[&values]),
        ];
        check(&seeds, answers);
    }

    /// The answer to a question for PCR 0 and 7 of SHA-256.
    fn check_values(bitmaps: &[u8], expected: bool) {
        let count = |count: usize| u32::try_from(count).unwrap().to_be_bytes();
        let banks = bitmaps.iter().flat_map(|bits| [0, 0x0b, 3, *bits, 0, 0]);
        let banks: Vec<u8> = banks.collect();
        let ones = bitmaps.iter().map(|bits| bits.count_ones()).sum::<u32>();
        let values = sized(&[3; 32]).repeat(usize::try_from(ones).unwrap());
        let selection = [&[0; 4], &count(bitmaps.len())[..], &banks].concat();
        let answer = [&selection, &ones.to_be_bytes()[..], &values].concat();
        assert_eq!(answers(&asked(5, &[&answer])), expected, "{bitmaps:?}");
    }

    #[test]
    fn values_that_were_asked_for_are_taken() {
        check_values(&[0x81], true);
    }

    #[test]
    fn the_value_of_another_pcr_beside_them_is_refused() {
        check_values(&[0x83], false);
    }

    #[test]
    fn a_value_that_comes_twice_is_refused() {
        check_values(&[0x81, 0x01], false);
    }

    const KEY: &[u8] = b"countersign-tpm attestation key 1\n";
    const SEALED: &[u8] = b"countersign-tpm sealed secret 1\n";

    /// Numbers that TPMs use, and lengths that say too much.
    const WORDS: &[&[u8]] = &[
        b"\0",
        b"\x01",
        b"\0\0\0\0",
        b"\xff\xff",
        b"\xff\xff\xff\xff",
        b"\0\x0b",
        b"\0\x0c",
        b"\0\x10",
        b"\0\x0b\x03\x01\0\0",
        b"\0\0\0\x02",
        b"\x80\0\0\0",
    ];
}
