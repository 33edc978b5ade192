//! `services`: what is behind the gateway, and how it is reached.

use serde::{Deserialize, Serialize};

use crate::hop::Hop;

/// `GET /services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Services {
    /// By name.
    pub(crate) services: Vec<Service>,
}

/// A service behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: String,
    /// Its port.
    pub(crate) port: u16,
    /// Where it is.
    pub(crate) upstream: String,
    /// How the gateway reaches it.
    pub(crate) last_hop: LastHop,
    /// Whether it is told who calls.
    pub(crate) proxy_protocol: bool,
    /// Names by which agentless clients reach it.
    pub(crate) sni: Vec<String>,
    /// Streams that are open to it.
    #[serde(default)]
    pub(crate) streams: usize,
    /// Each place where it is.
    #[serde(default)]
    pub(crate) upstreams: Vec<Upstream>,
}

/// One place where a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upstream {
    /// Its host and port.
    pub(crate) address: String,
    /// Whether it is used.
    pub(crate) condition: Condition,
    /// Requests and streams that are open to it.
    pub(crate) in_flight: usize,
    /// The newest connection to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_hop: Option<Hop>,
}

/// Whether an upstream is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    /// It is.
    Up,
    /// It failed too often lately: for a while only if there is no other.
    Ejected,
    /// It does not answer its health check as it should: it is not.
    Down,
}

impl Condition {
    /// The word used in metrics and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Ejected => "ejected",
            Self::Down => "down",
        }
    }
}

/// How the gateway reaches a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LastHop {
    /// Over TLS.
    Tls,
    /// Over plain TCP that does not leave the machine.
    Loopback,
    /// Over plain TCP: an unprotected hop.
    Plaintext,
}
