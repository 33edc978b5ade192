//! `sessions`: the channels that are open, and those that were refused.

use countersign_channel::ChannelRecord;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hop::Hop;

/// `GET /sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sessions {
    /// The oldest first.
    pub(crate) sessions: Vec<Session>,
}

/// An open channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Its id, for `sessions close`.
    pub(crate) id: String,
    /// A SPIFFE ID, `cert:AUTHORITY/NAME`, or `anonymous`.
    pub(crate) principal: String,
    /// When the access token ends; an anonymous channel has none.
    #[serde(default)]
    pub(crate) token_expires_at: Option<Timestamp>,
    /// How the channel was negotiated.
    pub(crate) record: ChannelRecord,
    /// What is open in it.
    pub(crate) streams: Vec<Stream>,
}

/// An open stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// Its number within the channel.
    pub(crate) id: u64,
    /// Who opened it; empty from a gateway that does not say.
    #[serde(default)]
    pub(crate) principal: String,
    /// The service it leads to.
    pub(crate) service: String,
    /// The rule that let it through.
    pub(crate) rule: String,
    /// When it was opened.
    pub(crate) since: Timestamp,
    /// Bytes carried towards the service.
    pub(crate) bytes_to_service: u64,
    /// Bytes carried back.
    pub(crate) bytes_from_service: u64,
    /// What protects them between gateway and service, once there is a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_hop: Option<Hop>,
}

/// `GET /sessions/refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// The newest first.
    pub(crate) refused: Vec<ChannelRecord>,
}

/// The answer to `POST /sessions/{id}/close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionClosed {
    /// The session's id.
    pub(crate) id: String,
}
