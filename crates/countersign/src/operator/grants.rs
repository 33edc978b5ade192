//! `grants`: which principal may reach which service.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /grants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grants {
    /// By principal, then service.
    pub(crate) grants: Vec<Grant>,
}

/// A principal that may reach a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// A SPIFFE ID, `cert:AUTHORITY/NAME`, `bearer:NAME`, or `anonymous`.
    pub(crate) principal: String,
    /// The service's name.
    pub(crate) service: String,
    /// Where it was made.
    pub(crate) origin: Origin,
    /// When it was made, for those of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) added_at: Option<Timestamp>,
}

/// Where a grant or an exception was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// By a command.
    Store,
    /// In the gateway's configuration.
    Config,
}

/// `POST /grants`, and the query of `DELETE /grants`. The principal may be an agent's bare name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantRequest {
    /// An agent's name, a SPIFFE ID, `cert:AUTHORITY/NAME`, `bearer:NAME`, or `anonymous`.
    pub(crate) principal: String,
    /// The service's name.
    pub(crate) service: String,
}

/// The answer to [`GrantRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantChanged {
    /// The principal as policy sees it.
    pub(crate) principal: String,
    /// The service's name.
    pub(crate) service: String,
    /// Whether anything changed: `false` when the grant was there already.
    pub(crate) changed: bool,
    /// Whether the gateway's configuration has a service of that name.
    #[serde(default = "yes")]
    pub(crate) service_known: bool,
}

/// What a gateway that does not say so is taken to mean.
fn yes() -> bool {
    true
}
