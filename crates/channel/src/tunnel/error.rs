use std::fmt;
use std::io;
use std::time::Duration;

use crate::failure::in_words;

/// Why a connection, or a stream on it, ended.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer reset the stream.
    #[error("the peer reset the stream ({0})")]
    Reset(ErrorCode),
    /// This end reset the stream.
    #[error("the stream was aborted at this end ({0})")]
    Aborted(ErrorCode),
    /// The peer closes the connection and did not process the stream.
    #[error("the peer went away ({0})")]
    GoneAway(ErrorCode),
    /// This end closed the connection, for a fault of the peer unless the code is NO_ERROR.
    #[error("the connection was closed at this end ({0})")]
    Closed(ErrorCode),
    /// The transport failed.
    #[error("the connection failed: {1}")]
    Transport(io::ErrorKind, String),
    /// The peer did not finish the HTTP/2 handshake in time.
    #[error("no HTTP/2 handshake within {} ms", .0.as_millis())]
    HandshakeTimeout(Duration),
    /// The peer did not answer a PING in time.
    #[error("no answer to a ping within {} ms", .0.as_millis())]
    Unresponsive(Duration),
    /// The message breaks a rule of HTTP/2, or the stream is in no state to take it.
    #[error("not possible on this stream: {0}")]
    Misuse(String),
}

impl ConnectionError {
    /// Whether the peer certainly did nothing with the request (RFC 9113, section 8.7), so that
    /// it may be sent again on another connection.
    #[must_use]
    pub fn is_unprocessed(&self) -> bool {
        match self {
            Self::GoneAway(_) => true,
            Self::Reset(code) => code.0 == u32::from(h2::Reason::REFUSED_STREAM),
            _ => false,
        }
    }

    pub(super) fn reset(reason: h2::Reason) -> Self {
        Self::Reset(reason.into())
    }
}

impl From<h2::Error> for ConnectionError {
    fn from(error: h2::Error) -> Self {
        if let Some(io) = error.get_io() {
            return Self::Transport(io.kind(), in_words(io));
        }
        match error.reason().map(ErrorCode::from) {
            Some(code) if error.is_reset() && error.is_remote() => Self::Reset(code),
            Some(code) if error.is_reset() => Self::Aborted(code),
            Some(code) if error.is_remote() => Self::GoneAway(code),
            Some(code) => Self::Closed(code),
            None => Self::Misuse(error.to_string()),
        }
    }
}

/// A reset is `ConnectionReset`, as on a socket; a lost connection is `ConnectionAborted`.
impl From<ConnectionError> for io::Error {
    fn from(error: ConnectionError) -> Self {
        let kind = match &error {
            ConnectionError::Reset(_) => io::ErrorKind::ConnectionReset,
            ConnectionError::HandshakeTimeout(_) | ConnectionError::Unresponsive(_) => {
                io::ErrorKind::TimedOut
            }
            ConnectionError::Misuse(_) => io::ErrorKind::BrokenPipe,
            _ => io::ErrorKind::ConnectionAborted,
        };
        io::Error::new(kind, error)
    }
}

/// An HTTP/2 error code (RFC 9113, section 7); shown by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorCode(u32);

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub fn number(self) -> u32 {
        self.0
    }
}

impl From<h2::Reason> for ErrorCode {
    fn from(reason: h2::Reason) -> Self {
        Self(reason.into())
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", h2::Reason::from(self.0))
    }
}
