//! What the gateway and the agent are told: one TOML file each, read once, all or nothing.
//!
//! A file is parsed into types in which a contradiction cannot be written down; everything that could be wrong with it is
//! said here, with the line, before anything starts. The shortest file is the strongest: every default binds to loopback,
//! allows nobody, and speaks post-quantum key exchange. What weakens that is one key spelled `dangerous_…`.

mod agent;
mod gateway;
mod network;
mod operation;

pub(crate) use agent::{AgentConfig, AgentListenerConfig, BackoffConfig, Bind, ProxyConfig};
pub(crate) use gateway::{
    ClassicalCertificateConfig, ExceptionConfig, GatewayConfig, GrantConfig, LimitsConfig,
    ListenerConfig, PolicyConfig, ServiceConfig, ServiceTlsConfig,
};
pub(crate) use network::{HostPort, Network, ServiceName};
pub(crate) use operation::{AuditConfig, LogConfig, LogFormat, OperateConfig, TelemetryConfig};
