//! The gateway's file.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::{AuditConfig, HostPort, LogConfig, Network, OperateConfig, TelemetryConfig};

/// Everything a gateway is told. Paths are absolute or relative to the working directory; the file's own folder has been
/// put before relative ones.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GatewayConfig {
    /// The SPIFFE trust domain, such as `example.org`.
    pub(crate) trust_domain: String,
    /// The gateway's name: it is `spiffe://<trust domain>/gateway/<name>`.
    pub(crate) name: String,
    /// The folder for what the gateway keeps.
    pub(crate) state_dir: PathBuf,
    /// The database.
    pub(crate) store_file: PathBuf,
    /// The key under which all others are sealed.
    pub(crate) root_key_file: PathBuf,
    /// Where it listens; never empty.
    pub(crate) listeners: Vec<ListenerConfig>,
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
    /// The audit file.
    pub(crate) audit: AuditConfig,
    /// The log.
    pub(crate) log: LogConfig,
    /// What clients may cost.
    pub(crate) limits: LimitsConfig,
}

/// One port on which channels are accepted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerConfig {
    /// Names the listener in records, exceptions and metrics.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The stage of the migration: `strict`, `hybrid` or `classical-canary`.
    pub(crate) stage: String,
    /// The list of algorithms, such as `hybrid@1`.
    pub(crate) profile: String,
    /// The address that join strings carry, when it is not `address`.
    pub(crate) advertised_address: Option<HostPort>,
    /// Certificates for agentless clients, chosen by the names in them; the first is the default.
    pub(crate) classical_certificates: Vec<ClassicalCertificateConfig>,
    /// Whether agentless clients are served under `strict`.
    pub(crate) agentless_in_strict: bool,
    /// How many connections may be in their handshake at once.
    pub(crate) handshakes: usize,
    /// How long a handshake may take.
    pub(crate) handshake_timeout: Duration,
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClassicalCertificateConfig {
    /// The chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// The leaf's private key.
    pub(crate) key: PathBuf,
}

/// One upstream service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceConfig {
    /// The name in `CONNECT name:port`, a DNS label.
    pub(crate) name: String,
    /// The port in `CONNECT name:port`.
    pub(crate) port: u16,
    /// Where the service is.
    pub(crate) upstream: HostPort,
    /// Whether the last hop may be plain TCP off loopback.
    pub(crate) plaintext: bool,
    /// TLS on the last hop; plain TCP when absent.
    pub(crate) tls: Option<ServiceTlsConfig>,
    /// Whether PROXY protocol v2 is sent before the first byte.
    pub(crate) proxy_protocol: bool,
    /// Names by which agentless clients reach the service.
    pub(crate) sni: Vec<String>,
    /// How long connecting upstream may take, its TLS included.
    pub(crate) connect_timeout: Duration,
    /// How long a stream may carry nothing.
    pub(crate) idle_timeout: Duration,
    /// How old a stream may grow; without end when absent.
    pub(crate) max_stream_age: Option<Duration>,
}

/// TLS on the way to a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceTlsConfig {
    /// The authorities that may vouch for the service, a PEM file.
    pub(crate) ca: PathBuf,
    /// The name its certificate must have, when it is not the upstream's host.
    pub(crate) name: Option<String>,
    /// The gateway's own certificate for it, when it asks for one.
    pub(crate) identity: Option<ClassicalCertificateConfig>,
}

/// Someone who may still use classical key exchange, until a date.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExceptionConfig {
    /// Names the exception in records and metrics.
    pub(crate) id: String,
    /// The listener it holds for; every `classical-canary` one when absent.
    pub(crate) listener: Option<String>,
    /// The network the client comes from. This or `sni` is there.
    pub(crate) source: Option<Network>,
    /// The name the client asks for.
    pub(crate) sni: Option<String>,
    /// Who answers for it.
    pub(crate) owner: String,
    /// Why it is needed.
    pub(crate) reason: String,
    /// When it ends.
    pub(crate) ends: Timestamp,
}

/// A principal that may reach a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GrantConfig {
    /// A SPIFFE ID, or `anonymous`.
    pub(crate) principal: String,
    /// The service's name.
    pub(crate) service: String,
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
    /// How long a stop or a rekey waits for streams to end.
    pub(crate) drain_time: Duration,
}
