//! Exceptions that operators made while the gateway ran.

use countersign_channel::server::Exception;
use jiff::{SignedDuration, Timestamp};

/// An exception, and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExceptionRecord {
    /// Whom it lets in, by whose word and until when. One that was ended before its time has its end then.
    pub(crate) exception: Exception,
    /// The listener it holds for; every `classical-canary` one when absent.
    pub(crate) listener: Option<String>,
    pub(crate) created_at: Timestamp,
    /// The uid of the operator.
    pub(crate) created_by: u32,
    /// The uid of the operator who ended it before its time.
    pub(crate) ended_by: Option<u32>,
}

impl ExceptionRecord {
    /// Before this, exceptions have been over for so long that they are not listed any more.
    pub(crate) fn long_past(now: Timestamp) -> Timestamp {
        now.saturating_sub(KEPT).unwrap_or(Timestamp::MIN)
    }
}

const KEPT: SignedDuration = SignedDuration::from_hours(24 * 90);
