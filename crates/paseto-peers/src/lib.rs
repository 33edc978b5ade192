#![doc = include_str!("../README.md")]

use std::fmt;

pub mod clock;
mod foreign;
mod ours;
mod paseto_rs;
mod pasetors;
mod question;

pub use foreign::{Foreign, foreigners};
pub use ours::Countersign;
pub use paseto_rs::{PasetoRs, PasetoRsOnC};
pub use pasetors::Pasetors;
pub use question::Question;

/// A PASETO library, as far as it does what all of them do.
pub trait Library {
    /// The name by which it is known.
    fn name(&self) -> &'static str;

    /// Reads the keys of `question` as far as the library lets one do that once for many calls.
    ///
    /// # Errors
    ///
    /// [`Refusal::Unsupported`] when the library has nothing of the kind, [`Refusal::Refused`] when it refuses a key.
    fn prepare(&self, question: &Question) -> Result<Answer, Refusal>;

    /// What payloads may be.
    fn payloads(&self) -> Payloads {
        Payloads::Bytes
    }

    /// The answer to `question`: the text of a token or key, the bytes of a payload or key.
    ///
    /// # Errors
    ///
    /// [`Refusal`].
    fn ask(&self, question: &Question) -> Result<Vec<u8>, Refusal> {
        let mut answer = Vec::new();
        self.prepare(question)?(&mut |bytes| answer.extend_from_slice(bytes))?;
        Ok(answer)
    }
}

/// Does what was asked, once for each call, and shows the result to the sink without a copy.
pub type Answer = Box<dyn Fn(&mut dyn FnMut(&[u8])) -> Result<(), Refusal>>;

/// What a library takes as a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payloads {
    /// Any bytes.
    Bytes,
    /// UTF-8 text; the same for footers and assertions.
    Text,
    /// A JSON object of claims, which it writes again.
    Claims,
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The library does nothing of the kind.
    Unsupported,
    /// The library refuses, and says why.
    Refused(String),
}

impl Refusal {
    /// A refusal for a reason of our own.
    pub fn because(reason: impl fmt::Display) -> Self {
        Self::Refused(reason.to_string())
    }
}

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self::because(error)
    }
}

/// Refuses a footer that is not the one that the question names.
///
/// Empty ones are not compared: where AVX-512 does it, that costs as much as opening a short token.
fn check_footer(found: &[u8], expected: &[u8]) -> Result<(), Refusal> {
    let both_empty = found.is_empty() && expected.is_empty();
    match both_empty || found == expected {
        true => Ok(()),
        false => Err(Refusal::because("another footer was expected")),
    }
}

/// Every library that is linked into this program, ours first.
pub fn linked() -> Vec<Box<dyn Library>> {
    vec![
        Box::new(Countersign),
        Box::new(Pasetors),
        Box::new(PasetoRs),
        Box::new(PasetoRsOnC),
    ]
}
