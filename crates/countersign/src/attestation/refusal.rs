//! Why a TPM does not vouch for a machine, and why evidence does not hold.

use countersign_attest::tpm::{AttestationKeyError, EkHash, EventLogError, QuoteError, WentBack};

/// Why a TPM does not let its machine in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TpmRefusal {
    /// No maker that is known vouches for the endorsement key, and no operator listed it.
    #[error("the TPM's endorsement key {ek_hash} is not trusted: {reason}")]
    Untrusted {
        /// The key's hash.
        ek_hash: String,
        /// What is wrong with its certificate, or that it has none.
        reason: String,
    },
    /// A key that was shown is not what it has to be.
    #[error("the TPM's {key} cannot be used: {reason}")]
    Key {
        /// Which.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The answer does not show that the TPM opened the credential.
    #[error("the TPM did not open the credential that it was given")]
    NotOpened,
    /// No credential is open on this channel.
    #[error("no credential is open on this channel, or its time is over")]
    NotAsked,
    /// There was no randomness.
    #[error("no credential can be made now")]
    Randomness,
}

impl TpmRefusal {
    /// A key that cannot be used.
    pub(super) fn key(key: &'static str, error: &dyn std::error::Error) -> Self {
        Self::Key {
            key,
            reason: error.to_string(),
        }
    }

    /// A TPM that nobody vouches for.
    pub(super) fn untrusted(hash: EkHash, reason: &str) -> Self {
        Self::Untrusted {
            ek_hash: hash.to_string(),
            reason: reason.to_owned(),
        }
    }

    /// The stable `code` of the problem that the agent is told.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Untrusted { .. } => "ek_untrusted",
            Self::Key { .. } => "bad_tpm_key",
            Self::NotOpened => "not_activated",
            Self::NotAsked => "not_asked",
            Self::Randomness => "unavailable",
        }
    }
}

/// Why evidence does not hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EvidenceRefusal {
    /// The key that was enrolled cannot be used any more.
    #[error(transparent)]
    Key(#[from] AttestationKeyError),
    /// The quote does not hold.
    #[error(transparent)]
    Quote(#[from] QuoteError),
    /// The TPM's clock went back.
    #[error(transparent)]
    Clock(#[from] WentBack),
    /// The event log cannot be read, or is not what was quoted.
    #[error(transparent)]
    Log(#[from] EventLogError),
}
