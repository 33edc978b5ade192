//! Fuzzing in a test, on a stable compiler: a corpus is mutated for some seconds.
//!
//! A target is a function that takes any bytes, says whether they were accepted, and panics when something is wrong. It stands
//! beside the parser that it is for. What it accepts joins the corpus: there is no coverage to go by. Where there is a nightly
//! compiler, `fuzz/` at the root of the repository gives the same targets to libFuzzer.
//!
//! ```
//! let digits = |bytes: &[u8]| {
//!     let Some(number) = std::str::from_utf8(bytes).ok().and_then(|text| text.parse::<u8>().ok()) else {
//!         return false;
//!     };
//!     number.to_string().parse() == Ok(number)
//! };
//! let tally = countersign_fuzz::run(&["1", "23"], &["255"], digits);
//! assert!(tally.accepted >= 2);
//! ```

#![expect(clippy::print_stderr, reason = "a failing test shows its input")]

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;
use std::time::{Duration, Instant};

/// How many inputs a run tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// All of them.
    pub tried: u64,
    /// Those that the target accepted.
    pub accepted: u64,
}

/// Calls `target` with each seed, then with mutations of what it accepted, into which `words` are mixed. It does so for
/// `COUNTERSIGN_FUZZ_SECONDS` seconds, or one.
///
/// Where `target` panics, its input is printed. To take more memory than is in proportion to the input, or longer than anybody would
/// wait, is a panic too.
pub fn run<S: AsRef<[u8]>, W: AsRef<[u8]>>(
    seeds: &[S],
    words: &[W],
    target: impl Fn(&[u8]) -> bool,
) -> Tally {
    let mut corpus: Vec<Vec<u8>> = seeds.iter().map(|seed| seed.as_ref().to_vec()).collect();
    let mut tally = Tally {
        tried: 0,
        accepted: 0,
    };
    let mut call = |input: &[u8]| {
        let accepted = watched(input, &target);
        tally.tried += 1;
        tally.accepted += u64::from(accepted);
        accepted
    };
    for seed in &corpus {
        call(seed);
    }
    let mut chance = Chance::new();
    let ends = Instant::now() + seconds();
    while Instant::now() < ends {
        let input = chance.mutated(&corpus, words);
        if call(&input) && corpus.len() < MOST_INPUTS {
            corpus.push(input);
        }
    }
    tally
}

fn seconds() -> Duration {
    let given = std::env::var("COUNTERSIGN_FUZZ_SECONDS").ok();
    let given = given.and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(given.unwrap_or(1))
}

/// Shows the input if the target panics.
fn watched(input: &[u8], target: impl Fn(&[u8]) -> bool) -> bool {
    struct Shown<'a>(&'a [u8]);

    impl Drop for Shown<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("the input was b\"{}\"", self.0.escape_ascii());
            }
        }
    }

    let _shown = Shown(input);
    let (begins, mut accepted) = (Instant::now(), false);
    let memory = allocation_counter::measure(|| accepted = target(input));
    let length = u64::try_from(input.len()).expect("a length in memory fits 64 bits");
    let bytes = memory.bytes_max;
    assert!(bytes <= MEMORY + length * MEMORY_PER_BYTE, "{bytes} bytes");
    let took = begins.elapsed();
    assert!(took < LONGEST_TIME, "{took:?}");
    accepted
}

/// SplitMix64: a different sequence each time.
struct Chance(u64);

impl Chance {
    fn new() -> Self {
        Self(RandomState::new().build_hasher().finish())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or zero.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).expect("a length in memory fits 64 bits");
        usize::try_from(self.next() % end).expect("it is below a length")
    }

    fn byte(&mut self) -> u8 {
        let [byte, ..] = self.next().to_le_bytes();
        byte
    }

    /// A short part of `length` bytes.
    fn part(&mut self, length: usize) -> Range<usize> {
        let start = self.below(length + 1);
        let longest = (length - start).min(LONGEST_PART);
        start..start + self.below(longest + 1)
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }

    /// One of the corpus with one to four changes.
    fn mutated<W: AsRef<[u8]>>(&mut self, corpus: &[Vec<u8>], words: &[W]) -> Vec<u8> {
        let mut input = self.one_of(corpus).cloned().unwrap_or_default();
        for _ in 0..=self.below(4) {
            self.change(&mut input, corpus, words);
        }
        input.truncate(LONGEST_INPUT);
        input
    }

    fn change<W: AsRef<[u8]>>(&mut self, input: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[W]) {
        let (at, part) = (self.below(input.len()), self.part(input.len()));
        match self.below(7) {
            0 => set(input, at, |byte| byte ^ (1 << self.below(8))),
            1 => set(input, at, |_| self.byte()),
            2 => drop(input.drain(part)),
            3 => input.truncate(at),
            4 => {
                let word = self.one_of(words).map(AsRef::as_ref).unwrap_or_default();
                input.splice(part.start..part.start, word.iter().copied());
            }
            5 => {
                let again = input.get(part).unwrap_or_default().to_vec();
                input.splice(at..at, again);
            }
            _ => {
                let other = self.one_of(corpus).map(Vec::as_slice).unwrap_or_default();
                let taken = other.get(self.part(other.len())).unwrap_or_default();
                input.splice(part, taken.iter().copied());
            }
        }
    }
}

fn set(input: &mut [u8], at: usize, change: impl FnOnce(u8) -> u8) {
    if let Some(byte) = input.get_mut(at) {
        *byte = change(*byte);
    }
}

/// A range of bytes that is moved at once: some numbers, a name, a layer of nesting.
const LONGEST_PART: usize = 64;
/// Longer than any seed; parsers have limits of their own, with tests of their own.
const LONGEST_INPUT: usize = 32 * 1024;
/// At once, whatever the input is.
const MEMORY: u64 = 1024 * 1024;
/// Parsed JSON and CBOR have some 64 bytes for a byte, and targets print what was read to compare it.
const MEMORY_PER_BYTE: u64 = 256;
/// Whole milliseconds are usual; a machine that is busy with other tests may pause for long.
const LONGEST_TIME: Duration = Duration::from_secs(10);
/// So that the seeds are still met.
const MOST_INPUTS: usize = 2_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "bytes")]
    fn memory_out_of_proportion_is_found() {
        run(&["8"], &["9"], |bytes| {
            let length = u32::from(bytes.first().copied().unwrap_or_default()) * 1024 * 1024;
            std::hint::black_box(vec![0_u8; usize::try_from(length).unwrap()]);
            true
        });
    }

    #[test]
    #[should_panic(expected = "found")]
    fn a_fault_three_changes_away_is_found() {
        run(&["v4.local."], &["kid", "}}"], |bytes| {
            let text = String::from_utf8_lossy(bytes);
            assert!(!(text.contains("kid") && text.contains("}}}}")), "found");
            text.starts_with("v4")
        });
    }
}
