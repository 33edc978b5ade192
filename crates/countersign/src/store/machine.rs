//! Machines whose TPM vouches for an agent, and the endorsement keys that an operator lets in.

use jiff::Timestamp;
use serde::Serialize;

/// A machine whose TPM vouches for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The agent's name.
    pub(crate) agent: String,
    pub(crate) tpm: KnownTpm,
    pub(crate) enrolled_at: Timestamp,
    /// The TPM's clock when it last quoted, as `countersign-attest` writes it: it never goes back.
    pub(crate) clock: Option<String>,
    /// What it showed last.
    pub(crate) shown: Option<Shown>,
    /// What is expected of it.
    pub(crate) reference: Option<Reference>,
}

/// A TPM that proved to be one, by the activation of a credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownTpm {
    /// The hash of its endorsement key, in hexadecimal.
    pub(crate) ek_hash: String,
    /// Who made it, by the certificate of its endorsement key; nothing where an operator listed the key.
    pub(crate) vendor: Option<String>,
    /// The key that it quotes with: a `TPMT_PUBLIC`.
    pub(crate) ak_public: Vec<u8>,
}

/// What a machine showed in a quote that held: state as `countersign-attest` writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    pub(crate) state: String,
    pub(crate) at: Timestamp,
}

/// What an operator expects a machine to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    pub(crate) state: String,
    pub(crate) at: Timestamp,
    /// The uid of the operator.
    pub(crate) by: u32,
    pub(crate) reason: String,
}

/// An endorsement key that an operator lets in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct AllowedEk {
    /// The key's hash, in hexadecimal.
    pub(crate) ek_hash: String,
    /// The name of its agent.
    pub(crate) name: String,
    pub(crate) created_at: Timestamp,
    /// The uid of the operator.
    pub(crate) created_by: u32,
}

impl Machine {
    /// The machine that an enrolment makes. One that was known by the same endorsement key keeps what is expected of it.
    pub(crate) fn entered(
        agent: &str,
        tpm: KnownTpm,
        before: Option<Self>,
        now: Timestamp,
    ) -> Self {
        let same = before.filter(|before| before.tpm.ek_hash == tpm.ek_hash);
        let (clock, shown, reference) = same.map_or((None, None, None), |before| {
            (before.clock, before.shown, before.reference)
        });
        Self {
            agent: agent.to_owned(),
            tpm,
            enrolled_at: now,
            clock,
            shown,
            reference,
        }
    }
}
