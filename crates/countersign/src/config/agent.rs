//! The agent's file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_channel::Profile;

use super::error::ConfigError;
use super::evidence::EvidenceConfig;
use super::key::key;
use super::kind::{
    ADDRESS, BIND, BindTo, FILE, FLAG, HOST_PORT, MODE, PROFILE, SERVICE, SPAN, UIDS,
};
use super::operation::{agent_telemetry, check_loopback, check_socket_path, off_loopback_key};
use super::reader::{Document, Table};
use super::tpm::TpmConfig;
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
    pub(crate) profile: Profile,
    /// The TPM that vouches for the machine.
    pub(crate) tpm: Option<TpmConfig>,
    /// The confidential guest that the machine is.
    pub(crate) evidence: Option<EvidenceConfig>,
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

impl AgentConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line.
    pub(crate) fn read(file: &Path) -> Result<Self, ConfigError> {
        let unreadable = |source| ConfigError::Unreadable {
            file: file.to_owned(),
            source,
        };
        Self::parse(file, std::fs::read_to_string(file).map_err(unreadable)?)
    }

    /// Checks the text of a file. The file's folder is put before relative paths.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong with it, with its line.
    pub(crate) fn parse(file: &Path, text: String) -> Result<Self, ConfigError> {
        let document = Document::new(file, text);
        let config = Self::parse_document(&document)?;
        if config.tpm.is_some() && config.evidence.is_some() {
            let message = "a TPM and a command for evidence both vouch for the machine".to_owned();
            let remedy = "leave `[tpm]` or `[evidence]` out: a gateway asks for one of them";
            return Err(document.root()?.contradiction("evidence", message, remedy));
        }
        Ok(config)
    }

    pub(super) fn parse_document(document: &Document) -> Result<Self, ConfigError> {
        let mut root = document.root()?;
        let gateway = key("gateway", &HOST_PORT, "the gateway's address");
        let state_dir = key(
            "state_dir",
            &FILE,
            "the folder for the agent's key, certificate and trust bundle",
        );
        let join = key(
            "join_string_file",
            &FILE,
            "a file with a join string, read while the agent has not joined",
        );
        let profile = key("profile", &PROFILE, "the algorithms that are allowed");
        let rekey = key(
            "rekey_interval",
            &SPAN,
            "how often a fresh connection, with a fresh secret, takes over",
        );
        let drain = key(
            "drain_time",
            &SPAN,
            "how long a stop waits for streams to end",
        );
        let config = Self {
            gateway: root.find(gateway.absent("the one in the join string"))?,
            state_dir: root.read_path(state_dir.or("\"/var/lib/countersign-agent\""))?,
            join_string_file: root.find_path(join.absent("none"))?,
            profile: root.read(profile.or("\"hybrid@1\""))?,
            rekey_interval: root.read(rekey.or("\"1h\""))?,
            drain_time: root.read(drain.or("\"30s\""))?,
            tpm: TpmConfig::read(root.table("tpm")?)?,
            evidence: EvidenceConfig::read(root.table("evidence")?)?,
            listeners: read_listeners(&mut root)?,
            proxy: ProxyConfig::read(root.table("proxy")?)?,
            backoff: BackoffConfig::read(root.table("backoff")?)?,
            log: LogConfig::read(root.table("log")?)?,
            telemetry: agent_telemetry(root.table("telemetry")?)?,
        };
        root.finish().map(|()| config)
    }
}

fn read_listeners(root: &mut Table<'_>) -> Result<Vec<AgentListenerConfig>, ConfigError> {
    let mut listeners: Vec<AgentListenerConfig> = Vec::new();
    for mut table in root.tables("listener")? {
        let service = key("service", &SERVICE, "the service it leads to");
        let own = key(
            "own_connection",
            &FLAG,
            "carry its streams on a connection apart from all others, for bulk",
        );
        let listener = AgentListenerConfig {
            service: table.read(service)?,
            bind: read_bind(&mut table)?,
            own_connection: table.read(own.or("false"))?,
        };
        if listeners
            .iter()
            .any(|other| other.bind.place() == listener.bind.place() && !other.bind.is_any_port())
        {
            let message = format!("another listener has `{}` already", listener.bind.place());
            return Err(table.contradiction(
                "bind",
                message,
                "give each listener a place of its own",
            ));
        }
        table.finish()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn read_bind(table: &mut Table<'_>) -> Result<Bind, ConfigError> {
    let bind = table.read(key("bind", &BIND, "where it listens"))?;
    let off_loopback = table.read(off_loopback_key())?;
    let mode = table.read(key("mode", &MODE, "the Unix socket's mode").or("0o600"))?;
    let allowed_uids = key(
        "allowed_uids",
        &UIDS,
        "who may connect to the Unix socket, beside the agent's own user",
    );
    let allowed_uids = table.read(allowed_uids.or("[]"))?;
    match bind {
        BindTo::Unix(path) => {
            let path = table.beside(path);
            check_socket_path(table, "bind", &path)?;
            Ok(Bind::Unix {
                path,
                mode,
                allowed_uids,
            })
        }
        BindTo::Tcp(address) => {
            check_loopback(table, "bind", address, off_loopback)?;
            match ["mode", "allowed_uids"]
                .into_iter()
                .find(|key| table.has(key))
            {
                None => Ok(Bind::Tcp(address)),
                Some(key) => {
                    let message = format!("`{key}` means nothing for the TCP port `{address}`");
                    let remedy =
                        "listen on a Unix socket (`bind = \"unix:/path\"`), or remove the key";
                    Err(table.contradiction(key, message, remedy))
                }
            }
        }
    }
}

impl Bind {
    /// Where it listens, as the file spells it.
    pub(crate) fn place(&self) -> String {
        match self {
            Self::Tcp(address) => address.to_string(),
            Self::Unix { path, .. } => format!("unix:{}", path.display()),
        }
    }

    fn is_any_port(&self) -> bool {
        matches!(self, Self::Tcp(address) if address.port() == 0)
    }
}

impl ProxyConfig {
    fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let http = key(
            "http",
            &ADDRESS,
            "a local HTTP CONNECT proxy; names are resolved by the gateway",
        );
        let socks = key(
            "socks",
            &ADDRESS,
            "a local SOCKS5 proxy; names are resolved by the gateway",
        );
        let proxy = Self {
            http: table.find(http.absent("none"))?,
            socks: table.find(socks.absent("none"))?,
        };
        let off_loopback = table.read(off_loopback_key())?;
        for (key, address) in [("http", proxy.http), ("socks", proxy.socks)] {
            if let Some(address) = address {
                check_loopback(&table, key, address, off_loopback)?;
            }
        }
        table.finish().map(|()| proxy)
    }
}

impl BackoffConfig {
    fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let first = key(
            "first",
            &SPAN,
            "the first wait before connecting again; it doubles, with jitter",
        );
        let longest = key("longest", &SPAN, "the longest wait");
        let backoff = Self {
            first: table.read(first.or("\"500ms\""))?,
            longest: table.read(longest.or("\"30s\""))?,
        };
        if backoff.first > backoff.longest {
            let message = "`first` is longer than `longest`".to_owned();
            return Err(table.contradiction("first", message, "make `first` the shorter one"));
        }
        table.finish().map(|()| backoff)
    }
}
