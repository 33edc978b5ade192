//! The agent's file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{HostPort, LogConfig, ServiceName, TelemetryConfig};

/// Everything an agent is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgentConfig {
    /// The gateway's address; what the join string said when absent.
    pub(crate) gateway: Option<HostPort>,
    /// The folder for the agent's key, certificate and bundle.
    pub(crate) state_dir: PathBuf,
    /// The join string, read when the agent has not joined yet.
    pub(crate) join_string_file: Option<PathBuf>,
    /// The list of algorithms, such as `hybrid@1`.
    pub(crate) profile: String,
    /// How often a fresh connection takes over.
    pub(crate) rekey_interval: Duration,
    /// How long the old connection's streams and a stop's may go on.
    pub(crate) drain_time: Duration,
    /// Local ports and sockets, each leading to one service.
    pub(crate) listeners: Vec<AgentListenerConfig>,
    /// Local proxies through which every service is reached by name.
    pub(crate) proxy: ProxyConfig,
    /// How long to wait before connecting again.
    pub(crate) backoff: BackoffConfig,
    /// The log.
    pub(crate) log: LogConfig,
    /// Health and metrics.
    pub(crate) telemetry: TelemetryConfig,
}

/// A local port or socket that leads to one service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AgentListenerConfig {
    /// The service it leads to.
    pub(crate) service: ServiceName,
    /// Where it listens.
    pub(crate) bind: Bind,
    /// Whether its streams get a connection apart from all others: for bulk.
    pub(crate) own_connection: bool,
}

/// Where a local listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix {
        /// Its path.
        path: PathBuf,
        /// Its mode, such as `0o600`.
        mode: u32,
        /// Who may connect, beside the agent's own user.
        allowed_uids: Vec<u32>,
    },
}

/// The local proxies.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct ProxyConfig {
    /// HTTP CONNECT.
    pub(crate) http: Option<SocketAddr>,
    /// SOCKS5.
    pub(crate) socks: Option<SocketAddr>,
}

/// The wait before connecting again: it doubles from `first` up to `longest`, with jitter.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BackoffConfig {
    /// The first wait.
    pub(crate) first: Duration,
    /// The longest wait.
    pub(crate) longest: Duration,
}
