//! What the gateway's and the agent's file have in common: log, telemetry, audit, operator socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::key::{Key, key};
use super::kind::{ADDRESS_OR_OFF, FILE, FLAG, LOG_FILTER, LOG_FORMAT};
use super::reader::Table;

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

impl LogConfig {
    pub(super) fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let format = key("format", &LOG_FORMAT, "for people or for machines");
        let filter = key("filter", &LOG_FILTER, "what is logged");
        let log = Self {
            format: table.read(format.or("\"human\"").until_restart())?,
            filter: table.read(filter.or("\"info\""))?,
        };
        table.finish().map(|()| log)
    }
}

impl AuditConfig {
    pub(super) fn read(mut table: Table<'_>, state_dir: &Path) -> Result<Self, ConfigError> {
        let file = key(
            "file",
            &FILE,
            "where events are appended, one JSON object on each line",
        );
        let unaudited = key(
            "dangerous_allow_unaudited",
            &FLAG,
            "open streams although the audit file cannot be written",
        );
        let file = table.find_path(file.absent("`audit.jsonl` in `state_dir`").until_restart())?;
        let audit = Self {
            file: file.unwrap_or_else(|| state_dir.join("audit.jsonl")),
            dangerous_allow_unaudited: table.read(unaudited.or("false"))?,
        };
        table.finish().map(|()| audit)
    }
}

impl OperateConfig {
    pub(super) fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let socket = key(
            "socket",
            &FILE,
            "the Unix socket of the operator commands, of mode 0600",
        );
        let socket = socket.or(DEFAULT_SOCKET_TOML).until_restart();
        let operate = Self {
            socket: table.read_path(socket)?,
        };
        check_socket_path(&table, "socket", &operate.socket)?;
        table.finish().map(|()| operate)
    }
}

/// Refuses a path that is too long for a Unix socket.
pub(super) fn check_socket_path(
    table: &Table<'_>,
    key: &str,
    path: &Path,
) -> Result<(), ConfigError> {
    let length = path.as_os_str().len();
    if length <= LONGEST_SOCKET_PATH {
        return Ok(());
    }
    let message = format!(
        "the socket path `{}` of `{key}` has {length} bytes, and the system takes {LONGEST_SOCKET_PATH}",
        path.display()
    );
    let remedy = "choose a shorter one, such as a file in a folder of /run";
    Err(table.contradiction(key, message, remedy))
}

/// The bytes of a socket's address on Linux, without the zero at its end: `sun_path` in unix(7).
pub(crate) const LONGEST_SOCKET_PATH: usize = 107;

/// Where the gateway's operator socket is, unless somebody says otherwise.
pub(crate) const DEFAULT_SOCKET: &str = "/run/countersign/gateway.sock";
const DEFAULT_SOCKET_TOML: &str = "\"/run/countersign/gateway.sock\"";

/// Reads a gateway's `[telemetry]`, which is on unless it is switched off.
pub(super) fn gateway_telemetry(table: Table<'_>) -> Result<TelemetryConfig, ConfigError> {
    read_telemetry(table, "\"127.0.0.1:9464\"")
}

/// Reads an agent's `[telemetry]`, which is off, since the port may be a gateway's.
pub(super) fn agent_telemetry(table: Table<'_>) -> Result<TelemetryConfig, ConfigError> {
    read_telemetry(table, "\"off\"")
}

fn read_telemetry(
    mut table: Table<'_>,
    default: &'static str,
) -> Result<TelemetryConfig, ConfigError> {
    let address = key(
        "address",
        &ADDRESS_OR_OFF,
        "where `/healthz`, `/readyz` and `/metrics` are served",
    );
    let address = table.read(address.or(default).until_restart())?;
    let off_loopback = table.read(off_loopback_key())?;
    if let Some(address) = address {
        check_loopback(&table, "address", address, off_loopback)?;
    }
    table.finish().map(|()| TelemetryConfig { address })
}

/// The key that says that an address may be off loopback.
pub(super) const fn off_loopback_key() -> Key<bool> {
    key(
        "dangerous_bind_off_loopback",
        &FLAG,
        "let other machines connect",
    )
    .or("false")
}

/// Refuses an address that other machines can reach, unless that was said.
pub(super) fn check_loopback(
    table: &Table<'_>,
    key: &str,
    address: SocketAddr,
    allowed: bool,
) -> Result<(), ConfigError> {
    if address.ip().is_loopback() || allowed {
        return Ok(());
    }
    let message = format!("`{key}` would let other machines connect to `{address}`");
    let remedy = "use a loopback address, or say `dangerous_bind_off_loopback = true` beside it";
    Err(table.contradiction(key, message, remedy))
}
