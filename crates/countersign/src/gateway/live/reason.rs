//! Why the gateway ends what is open.

use std::fmt;
use std::sync::Arc;

/// Why a channel or a stream was ended by the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CutReason {
    /// The agent was revoked.
    AgentRevoked,
    /// The agent's name went to another key.
    KeyReplaced,
    /// The access token ended and was not renewed.
    TokenExpired,
    /// The bearer token ended.
    BearerEnded,
    /// The bearer token was revoked.
    BearerRevoked(String),
    /// The client's certificate ended.
    CertificateEnded,
    /// The client's certificate, or the lack of one, does not hold any more.
    CertificateRefused(String),
    /// The agent's machine shows something else than when the stream was allowed.
    MachineChanged,
    /// Decided again, policy says no.
    PolicyChanged(String),
    /// The listener's stage or profile no longer admits the channel.
    StageChanged,
    /// The exception that let the channel in has ended.
    ExceptionEnded(String),
    /// The service is no longer configured.
    ServiceRemoved,
    /// An operator closed it.
    ClosedByOperator,
    /// It grew older than its service allows.
    TooOld,
    /// The client asked for too much that came to nothing.
    Wasteful,
    /// A client without a certificate opened nothing for too long.
    Idle,
    /// Strangers had all their places, and this one had stood there longest with nothing open.
    RoomNeeded,
    /// The gateway stops, and the time to drain is over.
    Stopping,
}

impl fmt::Display for CutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentRevoked => f.write_str("the agent was revoked"),
            Self::KeyReplaced => f.write_str("the agent has another key now"),
            Self::TokenExpired => f.write_str("the access token ended and was not renewed"),
            Self::BearerEnded => f.write_str("the bearer token ended"),
            Self::BearerRevoked(reason) => write!(f, "the bearer token was revoked: {reason}"),
            Self::CertificateRefused(why) => {
                write!(f, "the client's certificate is not taken any more: {why}")
            }
            Self::CertificateEnded => f.write_str("the client's certificate ended"),
            Self::MachineChanged => f.write_str("the agent's machine is not what it was"),
            Self::PolicyChanged(rule) => write!(f, "policy no longer permits it: {rule}"),
            Self::StageChanged => f.write_str("the listener's stage no longer admits the channel"),
            Self::ExceptionEnded(id) => write!(f, "exception `{id}` has ended"),
            Self::ServiceRemoved => f.write_str("the service is no longer configured"),
            Self::ClosedByOperator => f.write_str("an operator closed it"),
            Self::TooOld => f.write_str("it grew older than its service allows"),
            Self::Wasteful => f.write_str("too many of its requests were refused or taken back"),
            Self::Idle => f.write_str("it opened nothing for too long"),
            Self::RoomNeeded => f.write_str("another stranger needed its place"),
            Self::Stopping => f.write_str("the gateway stops"),
        }
    }
}

impl From<CutReason> for Arc<str> {
    fn from(reason: CutReason) -> Self {
        reason.to_string().into()
    }
}
