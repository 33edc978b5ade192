//! `tokens`: the bearer tokens that operators issue.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Revocation;

/// `POST /tokens`: issue a bearer token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// The one service that it opens.
    pub(crate) service: String,
    /// Whom it names.
    pub(crate) subject: String,
    /// Seconds until it ends.
    pub(crate) expires_in: u64,
}

/// The answer to [`TokenRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenIssued {
    /// The token: a secret, until it is revoked or ends. It is told here and never again.
    pub(crate) token: String,
    /// Its id, for `tokens revoke`.
    pub(crate) id: String,
    /// Whom it names.
    pub(crate) subject: String,
    /// The one service that it opens.
    pub(crate) service: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// `GET /tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tokens {
    /// In the order in which they were issued.
    pub(crate) tokens: Vec<Token>,
}

/// A bearer token that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    /// Its id.
    pub(crate) id: String,
    /// Whom it names.
    pub(crate) subject: String,
    /// The one service that it opens.
    pub(crate) service: String,
    /// When it was issued.
    pub(crate) issued_at: Timestamp,
    /// The user id of the operator who issued it.
    pub(crate) issued_by: u32,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// How many streams it holds open.
    #[serde(default)]
    pub(crate) streams: usize,
    /// When and why it was revoked.
    #[serde(default)]
    pub(crate) revoked: Option<Revocation>,
}

/// The answer to `POST /tokens/{id}/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRevoked {
    /// The token's id.
    pub(crate) id: String,
    /// Whom it named.
    pub(crate) subject: String,
    /// How many streams were cut.
    pub(crate) streams_closed: usize,
}
