//! Machines whose hardware vouches for an agent, and the endorsement keys that an operator lets in.

use countersign_attest::Technology;
use jiff::Timestamp;
use serde::Serialize;

/// A machine whose hardware vouches for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// The agent's name.
    pub(crate) agent: String,
    pub(crate) vouched_by: Voucher,
    /// Since when that vouches for it.
    pub(crate) enrolled_at: Timestamp,
    /// The TPM's clock when it last quoted, as `countersign-attest` writes it: it never goes back.
    pub(crate) clock: Option<String>,
    /// What it showed last.
    pub(crate) shown: Option<Shown>,
    /// What is expected of it.
    pub(crate) reference: Option<Reference>,
}

/// What vouches for a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Voucher {
    Tpm(KnownTpm),
    Guest(KnownGuest),
}

/// A confidential guest that showed evidence which held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KnownGuest {
    /// The name of its technology.
    pub(crate) technology: String,
    /// Who made what vouches for it, by the certificate chain.
    pub(crate) vendor: Option<String>,
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

/// What a machine showed in evidence that held: state as `countersign-attest` writes it.
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
        let same = before.filter(|before| before.has_endorsement_key(&tpm.ek_hash));
        let (clock, shown, reference) = same.map_or((None, None, None), |before| {
            (before.clock, before.shown, before.reference)
        });
        Self {
            agent: agent.to_owned(),
            vouched_by: Voucher::Tpm(tpm),
            enrolled_at: now,
            clock,
            shown,
            reference,
        }
    }

    /// The machine that a guest's evidence makes. What was expected of the agent's guest is expected still.
    pub(crate) fn guest(
        agent: &str,
        guest: KnownGuest,
        shown: Shown,
        before: Option<&Self>,
    ) -> Self {
        let before = before.filter(|before| before.tpm().is_none());
        Self {
            agent: agent.to_owned(),
            vouched_by: Voucher::Guest(guest),
            enrolled_at: before.map_or(shown.at, |before| before.enrolled_at),
            clock: None,
            shown: Some(shown),
            reference: before.and_then(|before| before.reference.clone()),
        }
    }

    /// The TPM, where one vouches for it.
    pub(crate) const fn tpm(&self) -> Option<&KnownTpm> {
        match &self.vouched_by {
            Voucher::Tpm(tpm) => Some(tpm),
            Voucher::Guest(_) => None,
        }
    }

    /// Whether the TPM with this endorsement key vouches for it.
    pub(crate) fn has_endorsement_key(&self, ek_hash: &str) -> bool {
        self.tpm().is_some_and(|tpm| tpm.ek_hash == ek_hash)
    }

    /// The name of the technology that vouches for it.
    pub(crate) fn technology(&self) -> &str {
        match &self.vouched_by {
            Voucher::Tpm(_) => Technology::Tpm2.name(),
            Voucher::Guest(guest) => &guest.technology,
        }
    }

    /// Who made what vouches for it, where a certificate chain says so.
    pub(crate) fn vendor(&self) -> Option<&str> {
        match &self.vouched_by {
            Voucher::Tpm(tpm) => tpm.vendor.as_deref(),
            Voucher::Guest(guest) => guest.vendor.as_deref(),
        }
    }
}
