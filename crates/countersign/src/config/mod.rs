//! What the gateway and the agent are told: one TOML file each, read once, all or nothing.
//!
//! A file is parsed into types in which a contradiction cannot be written down; everything that could be wrong with it is
//! said here, with the line, before anything starts. The shortest file is the strongest: every default binds to loopback,
//! allows nobody, and speaks post-quantum key exchange. What weakens that is one key spelled `dangerous_…`.

mod acme;
mod agent;
mod attestation;
mod client_authority;
mod error;
mod evidence;
mod exception;
mod gateway;
mod identity;
mod key;
mod keys;
mod kind;
mod listener;
mod network;
mod operation;
mod reader;
mod reload;
mod service;
mod tpm;
mod weakening;

pub(crate) use acme::AcmeConfig;
pub(crate) use agent::{AgentConfig, AgentListenerConfig, BackoffConfig, Bind};
pub(crate) use attestation::AttestationConfig;
pub(crate) use client_authority::ClientAuthorityConfig;
pub(crate) use error::ConfigError;
pub(crate) use evidence::EvidenceConfig;
pub(crate) use exception::{ExceptionConfig, GrantConfig, principal_named};
pub(crate) use gateway::GatewayConfig;
pub(crate) use identity::{IdentityConfig, IdentityVersion};
pub(crate) use keys::{KeysConfig, RootProtection};
pub(crate) use listener::{ClassicalCertificateConfig, ListenerConfig};
pub(crate) use network::{HostPort, ServiceName, is_domain};
pub(crate) use operation::{
    AuditConfig, DEFAULT_SOCKET, LONGEST_SOCKET_PATH, LogConfig, LogFormat, OperateConfig,
    TelemetryConfig,
};
pub(crate) use service::{
    HealthConfig, HttpProtocol, HttpServiceConfig, ServiceConfig, ServiceTlsConfig,
};
pub(crate) use tpm::TpmConfig;

#[cfg(test)]
mod tests;
