//! `certificates`: what agentless clients are shown.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::from_files::Problem;

/// `GET /certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificates {
    /// By listener, in the order of the configuration.
    pub(crate) certificates: Vec<Certificate>,
}

/// A certificate that a listener shows to agentless clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// The listener.
    pub(crate) listener: String,
    /// The names in it.
    pub(crate) names: Vec<String>,
    /// Where it comes from.
    pub(crate) source: CertificateSource,
    /// The file it was read from.
    #[serde(default)]
    pub(crate) file: Option<PathBuf>,
    /// When it begins.
    #[serde(default)]
    pub(crate) not_before: Option<Timestamp>,
    /// When it ends.
    #[serde(default)]
    pub(crate) not_after: Option<Timestamp>,
    /// When it is renewed, or when a first one is tried for again; a certificate from files is renewed by others.
    #[serde(default)]
    pub(crate) renewal: Option<Timestamp>,
    /// Why a newer one is not in use.
    #[serde(default)]
    pub(crate) problem: Option<CertificateProblem>,
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CertificateSource {
    /// Files that the configuration names.
    Files,
    /// An ACME server.
    Acme,
}

/// Why a certificate is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateProblem {
    /// Since when.
    pub(crate) since: Timestamp,
    /// What is wrong.
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl CertificateProblem {
    /// As the operator is told of it.
    pub(crate) fn of(problem: &Problem) -> Self {
        Self {
            since: problem.since,
            detail: problem.what.clone(),
            hint: problem.hint.clone(),
        }
    }
}

/// `POST /certificates/{name}/renew`: a new certificate is asked for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateRenewal {
    /// The name that it is for.
    pub(crate) name: String,
}
