//! Why an agent does not come in, in words for the operator and codes for the agent.

use std::error::Error;
use std::time::Duration;

use countersign_channel::Profile;
use countersign_channel::identity::{InvalidSpiffeId, KeyAlgorithm, RequestError};
use countersign_paseto::MintError;
use jiff::Timestamp;

use crate::attestation::TpmRefusal;
use crate::audit::AuditError;
use crate::authority::AuthorityServiceError;
use crate::report::{Report, Verdict};
use crate::state::ShutOut;
use crate::store::StoreError;

/// Why an enrolment was refused. The message may go to the agent: it holds a token that authenticates, or it is told
/// nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum EnrolRefusal {
    /// The token ended before it was used.
    #[error("the join string expired at {at}")]
    Expired { at: Timestamp },
    /// Another key used the token.
    #[error("the join string was used at {at}, by a machine with another key")]
    Used { at: Timestamp },
    /// The agent's clock is off; positive when it is ahead of the gateway's.
    #[error("the agent's clock is off by {seconds} seconds")]
    ClockSkew { seconds: i64 },
    /// Another gateway's key sealed the token.
    #[error("the join string is for another gateway")]
    WrongGateway,
    /// Another agent has the name.
    #[error("the name `{name}` is in use by another key")]
    NameInUse { name: String },
    /// The key was revoked and is of no use any more.
    #[error("the agent's key was revoked at {at}")]
    KeyRevoked { at: Timestamp },
    /// The agent was revoked, and the TPM that comes back has not been let in since.
    #[error("the agent `{name}` was revoked at {at}, and its TPM has not been let in since")]
    AgentRevoked { name: String, at: Timestamp },
    /// The certificate request cannot be used.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The TPM does not vouch for the machine.
    #[error(transparent)]
    Tpm(#[from] TpmRefusal),
    /// The token does not authenticate, or nobody knows it.
    #[error("the join string is not known here")]
    Unknown,
    /// The gateway could not; the token is not used up.
    #[error("the gateway cannot enrol agents now{}", because(.0.as_ref()))]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl EnrolRefusal {
    /// The stable `code` of the problem that the agent is told.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Expired { .. } => "join_expired",
            Self::Used { .. } => "join_used",
            Self::ClockSkew { .. } => "clock_skew",
            Self::WrongGateway => "wrong_gateway",
            Self::NameInUse { .. } => "name_in_use",
            Self::KeyRevoked { .. } => "key_revoked",
            Self::AgentRevoked { .. } => "revoked",
            Self::BadRequest(_) => "bad_request",
            Self::Tpm(refusal) => refusal.code(),
            Self::Unknown => "unknown",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// The HTTP status that goes with it.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::BadRequest(_) => 400,
            Self::NameInUse { .. } => 409,
            Self::Unavailable(_) => 503,
            _ => 403,
        }
    }
}

/// A certificate request that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BadRequest {
    /// It is malformed, or does not prove its key.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// Its key is not what the profile has.
    #[error("agents under `{profile}` have {expected} keys, this one is {found}")]
    Algorithm {
        profile: Profile,
        expected: KeyAlgorithm,
        found: KeyAlgorithm,
    },
}

/// Why no certificate or token was given to an agent that has a channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RenewRefusal {
    /// Its key opens nothing any more.
    #[error(transparent)]
    ShutOut(#[from] ShutOut),
    /// The certificate request cannot be used.
    #[error(transparent)]
    BadRequest(#[from] BadRequest),
    /// The gateway could not.
    #[error("the gateway cannot renew certificates now{}", because(.0.as_ref()))]
    Unavailable(#[source] Box<dyn Error + Send + Sync>),
}

impl RenewRefusal {
    /// The stable `code` of the problem that the agent is told.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::ShutOut(shut_out) => shut_out.code(),
            Self::BadRequest(_) => "bad_request",
            Self::Unavailable(_) => "unavailable",
        }
    }

    /// The HTTP status that goes with it.
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::ShutOut(_) => 403,
            Self::BadRequest(_) => 400,
            Self::Unavailable(_) => 503,
        }
    }
}

/// Why no join string was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JoinStringError {
    /// The name cannot be part of a SPIFFE ID.
    #[error(transparent)]
    Name(#[from] InvalidSpiffeId),
    /// An agent has the name.
    #[error("the name `{name}` is in use")]
    NameInUse { name: String },
    /// It would live too long, or not at all.
    #[error("a join string lives from 1 second to {} days, not {} seconds", limit.as_secs() / DAY, asked.as_secs())]
    Lifetime { asked: Duration, limit: Duration },
    /// There is no key or no randomness.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit trail cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Report for JoinStringError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NameInUse { name } => Some(format!(
                "to let another machine take the name over: `countersign join-string create --name {name} --replace`"
            )),
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Name(_) | Self::NameInUse { .. } | Self::Lifetime { .. } => Verdict::No,
            Self::Mint(_) | Self::Store(_) | Self::Audit(_) => Verdict::Unknown,
        }
    }
}

/// Why an agent was not revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RevokeError {
    /// Nobody of that name enrolled.
    #[error("there is no agent `{name}`")]
    NoSuchAgent { name: String },
    /// It was revoked before.
    #[error("the agent `{name}` was revoked at {at}")]
    Already { name: String, at: Timestamp },
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The agent is revoked, but the audit trail does not say so.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Report for RevokeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchAgent { .. } => {
                Some("`countersign agents list` shows every agent".to_owned())
            }
            Self::Already { name, .. } => Some(format!(
                "its channels are closed and it cannot renew; to let a machine in under this name again: `countersign \
                 join-string create --name {name} --replace`"
            )),
            Self::Store(error) => error.hint(),
            Self::Audit(_) => None,
        }
    }
}

/// What an agent may know of the cause; the audit trail has all of it.
fn because(cause: &(dyn Error + Send + Sync + 'static)) -> &'static str {
    match cause.downcast_ref::<AuthorityServiceError>() {
        Some(error) if error.key_did_not_sign() => ": its authority's key is out of reach",
        _ => "",
    }
}

const DAY: u64 = 24 * 60 * 60;

macro_rules! unavailable {
    ($($refusal:ident: $($error:ty),+;)+) => {
        $($(impl From<$error> for $refusal {
            fn from(error: $error) -> Self {
                Self::Unavailable(Box::new(error))
            }
        })+)+
    };
}

unavailable! {
    EnrolRefusal: StoreError, AuditError, AuthorityServiceError, MintError;
    RenewRefusal: StoreError, AuthorityServiceError, MintError;
}
