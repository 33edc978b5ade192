//! The words between the operator commands and a running gateway: JSON over HTTP/1.1 on a Unix socket.
//!
//! Both ends use these types, `--format json` prints them, and docs/operator-api.md describes them. A field may be added; none
//! is renamed or removed within a major version, so what an older gateway does not send has a default here.

mod agents;
mod attestation;
mod backup;
mod certificates;
mod exceptions;
mod grants;
mod problem;
mod services;
mod sessions;
mod stages;
#[cfg(test)]
mod tests;
mod tokens;

pub(crate) use agents::{
    Agent, AgentRevoked, Agents, JoinStringCreated, JoinStringRequest, Revocation, RevokeRequest,
};
pub(crate) use attestation::{
    AcceptRequest, AllowEkRequest, AllowedEk, AllowedEks, Attestation, EkForbidden, TpmJoinString,
};
pub(crate) use backup::{BackupDone, BackupRequest};
pub(crate) use certificates::{
    Certificate, CertificateProblem, CertificateRenewal, CertificateSource, Certificates,
};
pub(crate) use exceptions::{Exception, ExceptionEnded, ExceptionRequest, Exceptions};
pub(crate) use grants::{Grant, GrantChanged, GrantRequest, Grants, Origin};
pub(crate) use problem::OperatorProblem;
pub(crate) use services::{Condition, LastHop, Service, Services, Upstream};
pub(crate) use sessions::{Refused, Session, SessionClosed, Sessions, Stream};
pub(crate) use stages::{ExceptionInForce, ListenerStage, Residue, Stages};
pub(crate) use tokens::{Token, TokenIssued, TokenRequest, TokenRevoked, Tokens};
