//! The gateway's file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use countersign_channel::identity::TrustDomain;

use super::error::ConfigError;
use super::key::key;
use super::kind::{COUNT, FILE, HEADER_BYTES, LABEL, SPAN, STREAMS, TRUST_DOMAIN};
use super::reader::{Document, Table};
use super::{
    AcmeConfig, AttestationConfig, AuditConfig, ClientAuthorityConfig, ExceptionConfig,
    GrantConfig, IdentityConfig, KeysConfig, ListenerConfig, LogConfig, OperateConfig,
    ServiceConfig, TelemetryConfig, acme, client_authority, exception, listener, operation,
    service,
};

/// Everything a gateway is told. Paths are absolute or relative to the working directory; the file's own folder has been
/// put before relative ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayConfig {
    /// The SPIFFE trust domain, such as `example.org`.
    pub(crate) trust_domain: TrustDomain,
    /// The gateway's name: it is `spiffe://<trust domain>/gateway/<name>`.
    pub(crate) name: String,
    /// The folder for what the gateway keeps.
    pub(crate) state_dir: PathBuf,
    /// The database.
    pub(crate) store_file: PathBuf,
    /// The key under which all others are sealed.
    pub(crate) root_key_file: PathBuf,
    /// Which keys live elsewhere.
    pub(crate) keys: KeysConfig,
    /// Where it listens; never empty.
    pub(crate) listeners: Vec<ListenerConfig>,
    /// Where certificates for agentless clients come from, beside files.
    pub(crate) acme: Option<AcmeConfig>,
    /// Who vouches for agentless clients.
    pub(crate) client_authorities: Vec<ClientAuthorityConfig>,
    /// What it stands in front of.
    pub(crate) services: Vec<ServiceConfig>,
    /// Who may still use classical key exchange, on `classical-canary` listeners.
    pub(crate) exceptions: Vec<ExceptionConfig>,
    /// Grants beside those in the database.
    pub(crate) grants: Vec<GrantConfig>,
    /// The policy that decides.
    pub(crate) policy: PolicyConfig,
    /// The socket of the operator commands.
    pub(crate) operate: OperateConfig,
    /// Health and metrics; none when switched off.
    pub(crate) telemetry: TelemetryConfig,
    /// What is asked of machines.
    pub(crate) attestation: AttestationConfig,
    /// How upstream services are told who calls.
    pub(crate) identity: IdentityConfig,
    /// The audit file.
    pub(crate) audit: AuditConfig,
    /// The log.
    pub(crate) log: LogConfig,
    /// What clients may cost.
    pub(crate) limits: LimitsConfig,
}

/// Which policy decides.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PolicyConfig {
    /// An OPA bundle (a folder); the built-in one when absent.
    pub(crate) bundle: Option<PathBuf>,
}

/// What clients may cost.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct LimitsConfig {
    /// Channels open at once, over all listeners.
    pub(crate) channels: usize,
    /// Streams open at once in one channel.
    pub(crate) streams_per_channel: u32,
    /// Bytes of one request's headers.
    pub(crate) header_bytes: u32,
    /// Bytes of one request's target.
    pub(crate) uri_bytes: u32,
    /// How long a request's head may take, on HTTP/1.1.
    pub(crate) header_timeout: Duration,
    /// How long a request's body may stand still before its service has answered.
    pub(crate) body_timeout: Duration,
    /// How long a stop or a rekey waits for streams to end.
    pub(crate) drain_time: Duration,
}

impl GatewayConfig {
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
        Self::parse_document(&Document::new(file, text))
    }

    pub(super) fn parse_document(document: &Document) -> Result<Self, ConfigError> {
        let mut root = document.root()?;
        let domain = key("trust_domain", &TRUST_DOMAIN, "the SPIFFE trust domain");
        let name = key(
            "name",
            &LABEL,
            "the gateway is `spiffe://<trust_domain>/gateway/<name>`",
        );
        let state_dir = key("state_dir", &FILE, "the folder for what the gateway keeps");
        let root_key = key(
            "root_key_file",
            &FILE,
            "the key under which all others are sealed; made when missing",
        );
        let trust_domain = root.read(domain.until_restart())?;
        let name = root.read(name.or("\"main\"").until_restart())?;
        let state_dir = root.read_path(state_dir.or("\"/var/lib/countersign\"").until_restart())?;
        let root_key_file =
            root.find_path(root_key.absent("`root.key` in `state_dir`").until_restart())?;
        let listeners = listener::read(&mut root)?;
        let client_authorities = client_authority::read(&mut root)?;
        let own_name = trust_domain.gateway_server_name();
        let services = service::read(&mut root, &own_name, &client_authorities)?;
        let config = Self {
            root_key_file: root_key_file.unwrap_or_else(|| state_dir.join("root.key")),
            acme: acme::read(&mut root, &listeners)?,
            exceptions: exception::read(&mut root, &listeners)?,
            grants: exception::read_grants(&mut root, &trust_domain, &services)?,
            policy: PolicyConfig::read(root.table("policy")?)?,
            attestation: AttestationConfig::read(root.table("attestation")?)?,
            identity: IdentityConfig::read(root.table("identity")?)?,
            keys: KeysConfig::read(root.table("keys")?)?,
            limits: LimitsConfig::read(root.table("limits")?)?,
            operate: OperateConfig::read(root.table("operate")?)?,
            telemetry: operation::gateway_telemetry(root.table("telemetry")?)?,
            audit: AuditConfig::read(root.table("audit")?, &state_dir)?,
            log: LogConfig::read(root.table("log")?)?,
            store_file: read_store(root.table("store")?, &state_dir)?,
            trust_domain,
            name,
            state_dir,
            listeners,
            client_authorities,
            services,
        };
        root.finish().map(|()| config)
    }
}

fn read_store(mut table: Table<'_>, state_dir: &Path) -> Result<PathBuf, ConfigError> {
    let file = key("file", &FILE, "the database, SQLite");
    let file = table.find_path(file.absent("`gateway.db` in `state_dir`").until_restart())?;
    table
        .finish()
        .map(|()| file.unwrap_or_else(|| state_dir.join("gateway.db")))
}

impl PolicyConfig {
    fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let bundle = key(
            "bundle",
            &FILE,
            "a folder with an OPA bundle that decides instead of the built-in one",
        );
        let policy = Self {
            bundle: table.find_path(bundle.absent("the built-in bundle"))?,
        };
        table.finish().map(|()| policy)
    }
}

impl LimitsConfig {
    fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let channels = key(
            "channels",
            &COUNT,
            "channels open at once, over all listeners",
        );
        let streams = key(
            "streams_per_channel",
            &STREAMS,
            "streams open at once in one channel",
        );
        let header = key(
            "header_bytes",
            &HEADER_BYTES,
            "bytes of one request's headers; beyond it the client is told 431",
        );
        let uri = key(
            "uri_bytes",
            &HEADER_BYTES,
            "bytes of one request's path and query; beyond it the client is told 414",
        );
        let header_timeout = key(
            "header_timeout",
            &SPAN,
            "how long the head of an HTTP/1.1 request may take, before the client is told 408",
        );
        let body_timeout = key(
            "body_timeout",
            &SPAN,
            "how long a request's body may stand still before its service has answered; then the client is told 408",
        );
        let drain = key(
            "drain_time",
            &SPAN,
            "how long a stop waits for streams to end",
        );
        let limits = Self {
            channels: table.read(channels.or("20000").until_restart())?,
            streams_per_channel: table.read(streams.or("256"))?,
            header_bytes: table.read(header.or("16384"))?,
            uri_bytes: table.read(uri.or("8192"))?,
            header_timeout: table.read(header_timeout.or("\"10s\""))?,
            body_timeout: table.read(body_timeout.or("\"60s\""))?,
            drain_time: table.read(drain.or("\"30s\""))?,
        };
        table.finish().map(|()| limits)
    }
}
