//! Whether evidence answers the verifier: what it asked with is in what was signed.

use crate::appraisal::Freshness;
use crate::hex;

/// The evidence is authentic and answers another question: it is old, or another's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the evidence was made for {found}, expected {expected}")]
pub struct WrongBinding {
    /// What the caller asked with.
    pub expected: String,
    /// What the evidence holds, or `nothing`.
    pub found: String,
}

/// `asked` is nothing where the caller had no question.
pub(crate) fn of(found: Option<&[u8]>, asked: Option<&[u8]>) -> Result<Freshness, WrongBinding> {
    match asked {
        None => Ok(Freshness::Undated),
        Some(expected) if found == Some(expected) => Ok(Freshness::Nonce),
        Some(expected) => Err(WrongBinding {
            expected: hex::encode(expected),
            found: found.map_or("nothing".to_owned(), hex::encode),
        }),
    }
}
