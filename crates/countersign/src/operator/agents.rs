//! `join-string` and `agents`: who comes in, who is there, who is shut out.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `POST /join-strings`: let a machine in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinStringRequest {
    /// The agent's name.
    pub(crate) name: String,
    /// Seconds until the join string ends.
    pub(crate) expires_in: u64,
    /// Whether the name may be taken over from the agent that has it.
    #[serde(default)]
    pub(crate) replace: bool,
    /// The address to put into the join string; the listener's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
}

/// The answer to [`JoinStringRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinStringCreated {
    /// The join string: a secret, until it is used or ends.
    pub(crate) join_string: String,
    /// The agent's name.
    pub(crate) name: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// `GET /agents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agents {
    /// By name.
    pub(crate) agents: Vec<Agent>,
}

/// A machine that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agent {
    /// Its name.
    pub(crate) name: String,
    /// Its SPIFFE ID.
    pub(crate) id: String,
    /// When it joined.
    pub(crate) enrolled_at: Timestamp,
    /// When it last enrolled, renewed or connected.
    #[serde(default)]
    pub(crate) last_seen: Option<Timestamp>,
    /// When its newest certificate ends.
    pub(crate) certificate_expires_at: Timestamp,
    /// How many channels it has open.
    #[serde(default)]
    pub(crate) channels: usize,
    /// What vouches for its machine: `tpm2`, or `software` where nothing does.
    #[serde(default)]
    pub(crate) technology: String,
    /// When and why it was shut out.
    #[serde(default)]
    pub(crate) revoked: Option<Revocation>,
}

/// When and why an agent or a token was shut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Revocation {
    /// When.
    pub(crate) at: Timestamp,
    /// Why, in the operator's words.
    pub(crate) reason: String,
}

/// `POST /agents/{name}/revoke` and `POST /tokens/{id}/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeRequest {
    /// Why.
    pub(crate) reason: String,
}

/// The answer to [`RevokeRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentRevoked {
    /// The agent's name.
    pub(crate) name: String,
    /// How many of its channels were cut.
    pub(crate) channels_closed: usize,
}
