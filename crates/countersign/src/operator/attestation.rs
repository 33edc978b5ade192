//! `attest` and `agents allow-ek`: what machines show, what is expected of them, and which TPMs are let in.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The answer to `GET /join-strings/tpm`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TpmJoinString {
    /// The join string for machines with a TPM: no secret, and good for any number of them.
    pub(crate) join_string: String,
}

/// `GET /eks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllowedEks {
    /// By name.
    pub(crate) eks: Vec<AllowedEk>,
}

/// `POST /eks`: let a TPM in by its endorsement key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AllowEkRequest {
    /// The key's hash, in hexadecimal.
    pub(crate) ek_hash: String,
    /// The name of its agent; one made of the hash when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// An endorsement key that is let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AllowedEk {
    /// The key's hash, in hexadecimal.
    pub(crate) ek_hash: String,
    /// The name of its agent.
    pub(crate) name: String,
    /// Since when.
    pub(crate) added_at: Timestamp,
}

/// The answer to `DELETE /eks/{hash}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EkForbidden {
    /// The key's hash, in hexadecimal.
    pub(crate) ek_hash: String,
}

/// `POST /agents/{name}/attestation/accept`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AcceptRequest {
    /// Why, for the audit.
    pub(crate) reason: String,
}

/// `GET /agents/{name}/attestation`, and the answer to `learn` and `accept`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attestation {
    /// The agent's name.
    pub(crate) name: String,
    /// What vouches for its machine.
    pub(crate) technology: String,
    /// The hash of the TPM's endorsement key, where a TPM does.
    #[serde(default)]
    pub(crate) ek_hash: Option<String>,
    /// Who made what vouches for it, where a maker does.
    #[serde(default)]
    pub(crate) vendor: Option<String>,
    /// When the machine last showed what is compared here.
    #[serde(default)]
    pub(crate) shown_at: Option<Timestamp>,
    /// When an operator said what is expected.
    #[serde(default)]
    pub(crate) expected_since: Option<Timestamp>,
    /// Why, in the operator's words.
    #[serde(default)]
    pub(crate) reason: Option<String>,
    /// What differs from what is expected, a sentence each.
    pub(crate) changes: Vec<String>,
}
