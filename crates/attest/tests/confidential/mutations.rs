//! Genuine evidence, altered at random: what is accepted, signatures and all, says nothing that the genuine one does not. What holds
//! for parsers alone is in `src/fuzz.rs`.
//!
//! The alterations come from a seed, so a failure repeats; it names the round. More rounds are one environment variable away:
//! `COUNTERSIGN_MUTATIONS=100` makes a hundred times as many.

use countersign_attest::dcap::{Collateral, Quote};
use countersign_attest::nitro::Document;
use countersign_attest::snp::{Endorsement, Report};
use countersign_attest::{Appraisal, RootKeys};

use crate::support::{at, evidence, unhex};

/// A source of numbers that is always the same (xorshift64*).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap() % limit.max(1)
    }

    /// One to three alterations of a kind that finds mistakes in parsers.
    fn alter(&mut self, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
        for _ in 0..=self.below(3) {
            let (from, length) = (self.below(bytes.len()), 1 + self.below(16));
            let to = bytes.len().min(from + length);
            match self.below(7) {
                0 => bytes
                    .iter_mut()
                    .skip(from)
                    .take(1)
                    .for_each(|byte| *byte ^= 1 << (length % 8)),
                1 => bytes[from.min(to)..to].fill([0x00, 0xff, 0x80, 0x7f][length % 4]),
                2 => bytes.truncate(from),
                3 => drop(bytes.drain(from.min(to)..to)),
                4 => {
                    let again = bytes[from.min(to)..to].to_vec();
                    bytes.splice(from.min(to)..from.min(to), again);
                }
                5 => {
                    let other = &others[self.below(others.len())];
                    let start = self.below(other.len());
                    let end = other.len().min(start + 4 * length);
                    bytes.splice(from.min(to)..to, other[start..end].iter().copied());
                }
                _ => bytes.extend(std::iter::repeat_n(0, length)),
            }
        }
    }
}

/// Alters the genuine bytes `rounds` times; what `appraise` accepts of them is what it says of the genuine ones.
fn check<E: std::fmt::Debug + PartialEq>(
    genuine: &[u8],
    rounds: usize,
    appraise: impl Fn(&[u8]) -> Result<Appraisal, E>,
) {
    let expected = appraise(genuine);
    assert!(expected.is_ok(), "{expected:?}");
    let others = [genuine.to_vec()];
    let mut numbers = Numbers(0x636f_756e_7465_7273);
    for round in 0..rounds * crate::support::mutations() {
        let mut altered = genuine.to_vec();
        numbers.alter(&mut altered, &others);
        let appraised = appraise(&altered);
        assert!(appraised.is_err() || appraised == expected, "round {round}");
    }
}

#[test]
fn altered_reports_say_nothing_new() {
    let (Some(report), Some(vcek)) = (evidence("report_milan.hex"), evidence("vcek_milan.der"))
    else {
        return;
    };
    let chain = evidence("cert_chain_milan").unwrap();
    let report = unhex(&report);
    let now = at("2026-01-01T00:00:00Z");
    let amd = RootKeys::amd();
    let appraise = |report: &[u8], vcek: &[u8], chain: &[u8]| {
        let endorsement = Endorsement::new(vcek, chain).map_err(|error| error.to_string())?;
        let report = Report::parse(report).map_err(|error| error.to_string())?;
        let appraised = report.appraise(&endorsement, &amd, None, now);
        appraised.map_err(|error| error.to_string())
    };
    check(&report, 2_000, |altered| appraise(altered, &vcek, &chain));
    check(&vcek, 2_000, |altered| appraise(&report, altered, &chain));
    check(&chain, 500, |altered| appraise(&report, &vcek, altered));
}

#[test]
fn altered_documents_say_nothing_new() {
    let Some(document) = evidence("nitro.cose") else {
        return;
    };
    let (aws, now) = (RootKeys::aws(), at("2025-01-06T16:10:00Z"));
    check(&document, 3_000, |altered| {
        Document::parse(altered)?.appraise(&aws, None, now)
    });
}

#[test]
fn altered_quotes_and_collateral_say_nothing_new() {
    let (Some(quote), Some(collateral)) =
        (evidence("tdx_quote"), evidence("tdx_quote_collateral.json"))
    else {
        return;
    };
    let (intel, now) = (RootKeys::intel(), at("2025-07-01T00:00:00Z"));
    let appraise = |quote: &[u8], collateral: &[u8]| {
        let collateral = Collateral::from_json(collateral)?;
        Quote::parse(quote)?.appraise(&collateral, &intel, None, now)
    };
    check(&quote, 500, |altered| appraise(altered, &collateral));
    check(&collateral, 500, |altered| appraise(&quote, altered));
}
