//! Agents, from enrolment to revocation: what each step makes of the record, for the store and for memory alike.

use countersign_channel::identity::SpkiHash;
use jiff::Timestamp;
use serde::Serialize;

use super::{KnownTpm, Machine};

/// What lets an agent in.
#[derive(Clone, Debug)]
pub(crate) enum EntersBy {
    /// The join token of this id, and the TPM that vouches for the machine if one does.
    Token(String, Option<KnownTpm>),
    /// A TPM that is trusted by itself.
    Tpm(KnownTpm),
}

/// An agent that enrols.
#[derive(Clone, Debug)]
pub(crate) struct Enrolment {
    pub(crate) by: EntersBy,
    pub(crate) name: String,
    pub(crate) spiffe_id: String,
    pub(crate) spki: SpkiHash,
    pub(crate) serial: String,
    pub(crate) certificate_expires_at: Timestamp,
    pub(crate) now: Timestamp,
}

/// What came of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum EnrolOutcome {
    /// The agent is in.
    Enrolled(AgentChange),
    /// The same key used the same token before: a lost reply.
    Repeated(AgentChange),
    /// The store knows no such token.
    UnknownToken,
    /// It ended before it was used.
    Expired { at: Timestamp },
    /// Another key used it.
    Used { at: Timestamp },
    /// Another key holds the name and the token may not replace it.
    NameInUse,
    /// The key was revoked, under this name or another.
    KeyRevoked { at: Timestamp },
    /// The TPM's agent was revoked, and no operator has let its endorsement key in since.
    AgentRevoked { at: Timestamp },
}

/// An agent's new certificate.
#[derive(Clone, Debug)]
pub(crate) struct Renewal {
    pub(crate) name: String,
    /// The key that asked.
    pub(crate) from: SpkiHash,
    /// The key that the new certificate holds; the same one, mostly.
    pub(crate) spki: SpkiHash,
    pub(crate) serial: String,
    pub(crate) certificate_expires_at: Timestamp,
    pub(crate) now: Timestamp,
}

/// An agent that enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Agent {
    pub(crate) name: String,
    pub(crate) spiffe_id: String,
    /// The key it holds now.
    pub(crate) spki: SpkiHash,
    /// The key before, good until the certificate it was in ends.
    #[serde(skip)]
    pub(crate) previous: Option<(SpkiHash, Timestamp)>,
    /// Of its newest certificate.
    pub(crate) serial: String,
    pub(crate) certificate_expires_at: Timestamp,
    pub(crate) enrolled_at: Timestamp,
    pub(crate) last_seen: Option<Timestamp>,
    pub(crate) revoked: Option<Revocation>,
}

/// Why and when an agent was shut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Revocation {
    pub(crate) at: Timestamp,
    pub(crate) reason: String,
}

/// An agent as a write left it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentChange {
    pub(crate) revision: u64,
    pub(crate) agent: Agent,
    /// What vouches for its machine.
    pub(crate) machine: Option<Machine>,
}

impl Agent {
    /// The agent that an enrolment makes, whoever had its name before.
    pub(crate) fn entered(enrolment: &Enrolment) -> Self {
        Self {
            name: enrolment.name.clone(),
            spiffe_id: enrolment.spiffe_id.clone(),
            spki: enrolment.spki,
            previous: None,
            serial: enrolment.serial.clone(),
            certificate_expires_at: enrolment.certificate_expires_at,
            enrolled_at: enrolment.now,
            last_seen: Some(enrolment.now),
            revoked: None,
        }
    }

    /// The agent with its new certificate. The key before stays good until the certificate it was in ends.
    #[must_use]
    pub(crate) fn renewed(mut self, renewal: &Renewal) -> Self {
        if self.spki == renewal.spki {
            self.previous = self.previous.filter(|(_, until)| *until > renewal.now);
        } else {
            self.previous = Some((self.spki, self.certificate_expires_at));
        }
        self.spki = renewal.spki;
        self.serial.clone_from(&renewal.serial);
        self.certificate_expires_at = renewal.certificate_expires_at;
        self.last_seen = Some(renewal.now);
        self
    }

    /// Whether this key is the agent's, or was until a renewal and its certificate has not ended.
    pub(crate) fn holds(&self, key: &SpkiHash, now: Timestamp) -> bool {
        let before = self
            .previous
            .is_some_and(|(spki, until)| spki == *key && now < until);
        self.spki == *key || before
    }
}
