//! What the gateway's and the agent's file have in common: log, telemetry, audit, operator socket.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The log on standard error.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LogConfig {
    /// For people or for machines.
    pub(crate) format: LogFormat,
    /// What is logged: a level, or directives as `tracing` has them (`info,countersign=debug`).
    pub(crate) filter: String,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For people.
    Human,
    /// One JSON object on each line.
    Json,
}

/// `/healthz`, `/readyz` and `/metrics`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TelemetryConfig {
    /// Where they are served; nowhere when absent.
    pub(crate) address: Option<SocketAddr>,
}

/// The audit file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AuditConfig {
    /// Where events are appended.
    pub(crate) file: PathBuf,
    /// Whether streams open although the audit file cannot be written.
    pub(crate) dangerous_allow_unaudited: bool,
}

/// The Unix socket of the operator commands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OperateConfig {
    /// Its path.
    pub(crate) socket: PathBuf,
}
