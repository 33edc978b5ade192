//! `exceptions`: who may still use classical key exchange, and until when.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Origin;

/// `GET /exceptions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exceptions {
    /// Those of the configuration, then those that were added, the oldest first.
    pub(crate) exceptions: Vec<Exception>,
}

/// Someone who may still use classical key exchange, until a date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exception {
    /// Its id, for `exceptions end`.
    pub(crate) id: String,
    /// Where it was made.
    pub(crate) origin: Origin,
    /// The network it is for.
    #[serde(default)]
    pub(crate) source: Option<String>,
    /// The name it is for.
    #[serde(default)]
    pub(crate) sni: Option<String>,
    /// The listener it is for; every one that heeds exceptions when absent.
    #[serde(default)]
    pub(crate) listener: Option<String>,
    /// The listeners on which it lets anyone in: those of its that are at stage `classical-canary`.
    #[serde(default)]
    pub(crate) heeded_by: Vec<String>,
    /// Who answers for it.
    pub(crate) owner: String,
    /// Why it is needed.
    pub(crate) reason: String,
    /// When it was made, for those of the store.
    #[serde(default)]
    pub(crate) added_at: Option<Timestamp>,
    /// When it ends, or has ended.
    pub(crate) ends: Timestamp,
    /// Whether it has ended.
    pub(crate) ended: bool,
    /// The uid of the operator who ended it before its time.
    #[serde(default)]
    pub(crate) ended_by: Option<u32>,
    /// Channels that are open under it.
    #[serde(default)]
    pub(crate) channels: usize,
    /// Channels that it let in since the gateway started.
    #[serde(default)]
    pub(crate) used: u64,
    /// When it let in the last of them.
    #[serde(default)]
    pub(crate) last_used: Option<Timestamp>,
}

/// `POST /exceptions`; the answer is the [`Exception`]. `source` or `sni` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExceptionRequest {
    /// Who answers for it.
    pub(crate) owner: String,
    /// Why it is needed.
    pub(crate) reason: String,
    /// When it ends by itself.
    pub(crate) ends: Timestamp,
    /// The network that clients come from, in CIDR notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The name that clients ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sni: Option<String>,
    /// The listener it holds for; every `classical-canary` one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<String>,
}

/// The answer to `POST /exceptions/{id}/end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExceptionEnded {
    /// Its id.
    pub(crate) id: String,
    /// How many channels were cut with it.
    pub(crate) channels_closed: usize,
}
