//! How a connection to a service is protected: kept beside the channel's record, since the data's way does not end at
//! the gateway.

use std::fmt;

use countersign_channel::registry::{Group, Scheme, Suite};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A connection between the gateway and an upstream of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hop {
    /// Where the upstream is, as the configuration says it.
    pub(crate) upstream: String,
    /// What protects the bytes.
    pub(crate) protection: Protection,
    /// What TLS settled on, where it is TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<HopTls>,
    /// When the connection was made: a request may find it open.
    pub(crate) since: Timestamp,
}

/// What TLS 1.3 settled on with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HopTls {
    /// The key exchange.
    pub(crate) group: Group,
    /// The signature of the upstream's certificate key over the handshake.
    pub(crate) scheme: Scheme,
    /// The cipher suite.
    pub(crate) suite: Suite,
}

/// How bytes are protected between gateway and service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protection {
    /// TLS 1.3 with a post-quantum key exchange.
    PostQuantumTls,
    /// TLS 1.3 with a classical key exchange.
    ClassicalTls,
    /// Plain TCP that does not leave the machine.
    Loopback,
    /// Plain TCP over a network.
    Plain,
}

impl Protection {
    /// The word used in metrics and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PostQuantumTls => "post-quantum-tls",
            Self::ClassicalTls => "classical-tls",
            Self::Loopback => "loopback",
            Self::Plain => "plain",
        }
    }
}

impl HopTls {
    /// What this makes of the bytes.
    pub(crate) fn protection(&self) -> Protection {
        if self.group.is_post_quantum() {
            Protection::PostQuantumTls
        } else {
            Protection::ClassicalTls
        }
    }
}

/// For people: `X25519MLKEM768, mldsa65, TLS13_AES_256_GCM_SHA384`, or what stands there instead of TLS.
impl fmt::Display for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.tls, self.protection) {
            (Some(tls), _) => write!(f, "{}, {}, {}", tls.group, tls.scheme, tls.suite),
            (None, Protection::Loopback) => f.write_str("plain TCP on this machine"),
            (None, _) => f.write_str("plain TCP, unprotected"),
        }
    }
}
