//! What stands between a local socket and the channel: open a stream to a service, or say why not.

use std::net::IpAddr;
use std::time::Duration;

use countersign_channel::tunnel::{Early, IntoEnd};
use http::StatusCode;
use tokio::io::AsyncRead;

use crate::config::ServiceName;

/// Opens streams to services; the link does, and a stand-in does in tests.
pub(crate) trait Open: Clone + Send + Sync + 'static {
    /// An open stream. Dropped without a shutdown, it tells the far side of a failure.
    type Stream: IntoEnd<End: Send> + Send + 'static;

    /// Opens a stream to a service, which begins with what the program says meanwhile.
    ///
    /// # Errors
    ///
    /// There is no channel, the gateway refused, or the program has gone.
    fn open_saying<R>(
        &self,
        service: &ServiceName,
        carriage: Carriage,
        early: &mut Early<R>,
    ) -> impl Future<Output = Result<Self::Stream, OpenError>> + Send
    where
        R: AsyncRead + Send + Unpin;

    /// Opens a stream to a service for a program that waits for it.
    ///
    /// # Errors
    ///
    /// There is no channel, or the gateway refused.
    fn open(
        &self,
        service: &ServiceName,
        carriage: Carriage,
    ) -> impl Future<Output = Result<Self::Stream, OpenError>> + Send {
        async move {
            self.open_saying(service, carriage, &mut Early::none())
                .await
        }
    }
}

/// Which connection carries a stream.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Carriage {
    /// The channel, with all others.
    #[default]
    Shared,
    /// A connection that is made for this stream and ends with it.
    Own,
}

/// The service that a proxy's client asked for by host and port; letters are made small.
///
/// # Errors
///
/// The host is an address, or no name that a service can have.
pub(crate) fn service_at(host: &str, port: u16) -> Result<ServiceName, NotAService> {
    let name = host.to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Err(NotAService::IpAddress(bare.to_owned()));
    }
    format!("{name}:{port}")
        .parse()
        .map_err(|_| NotAService::Name(host.to_owned()))
}

/// Why a host is not a service.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotAService {
    /// The gateway knows services, not hosts.
    #[error("`{0}` is an IP address; a service is reached by its name")]
    IpAddress(String),
    /// A letter that is in no name, a label that is too long, or nothing.
    #[error("`{}` cannot be the name of a service", .0.escape_debug())]
    Name(String),
}

/// Why no stream was opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum OpenError {
    /// The agent has no channel.
    #[error("no channel to the gateway after {} s: {why}", waited.as_secs())]
    NoChannel {
        /// How long a stream waited for one.
        waited: Duration,
        /// Why the last attempt failed.
        why: String,
    },
    /// The gateway answered no.
    #[error("the gateway refused `{service}` ({}): {reason}", status.as_u16())]
    Refused {
        /// What was asked for.
        service: ServiceName,
        /// The gateway's answer.
        status: StatusCode,
        /// What the gateway says of it.
        reason: String,
    },
    /// The gateway declares no service of that name.
    #[error("the gateway has no service `{0}`")]
    NoSuchService(ServiceName),
    /// The name alone does not say which port is meant.
    #[error("`{0}` has more than one port at the gateway; name the one that is meant")]
    SeveralPorts(ServiceName),
    /// The channel was lost before the gateway answered.
    #[error("the channel was lost while `{service}` was being opened: {why}")]
    Lost {
        /// What was asked for.
        service: ServiceName,
        /// What happened to the channel.
        why: String,
    },
    /// The program failed while it waited.
    #[error("the program gave `{service}` up before it was open: {why}")]
    GivenUp {
        /// What was asked for.
        service: ServiceName,
        /// How its end failed.
        why: String,
    },
    /// The gateway did not answer in time.
    #[error("the gateway did not answer for `{service}` within {} s", waited.as_secs())]
    Timeout {
        /// What was asked for.
        service: ServiceName,
        /// How long the agent waited.
        waited: Duration,
    },
}

impl OpenError {
    /// The status that an HTTP client of the agent gets (RFC 9110, section 15).
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            // The client's own credentials are none of this: 401 and 407 would make it ask its user.
            Self::Refused { status, .. }
                if *status == StatusCode::PROXY_AUTHENTICATION_REQUIRED =>
            {
                StatusCode::BAD_GATEWAY
            }
            Self::Refused { status, .. }
                if status.is_client_error() || status.is_server_error() =>
            {
                *status
            }
            Self::Refused { .. } | Self::Lost { .. } | Self::GivenUp { .. } => {
                StatusCode::BAD_GATEWAY
            }
            Self::NoSuchService(_) | Self::SeveralPorts(_) => StatusCode::NOT_FOUND,
            Self::NoChannel { .. } => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, expected: Result<&str, &str>) {
        let service = service_at(host, 7);
        assert_eq!(
            service
                .map(|service| service.to_string())
                .map_err(|error| error.to_string()),
            expected.map(str::to_owned).map_err(str::to_owned)
        );
    }

    #[test]
    fn a_service_is_named_in_any_case() {
        check("echo", Ok("echo:7"));
        check("Echo", Ok("echo:7"));
    }

    #[test]
    fn addresses_are_not_services() {
        let refused = "is an IP address; a service is reached by its name";
        check("10.0.0.1", Err(&format!("`10.0.0.1` {refused}")));
        check("[::1]", Err(&format!("`::1` {refused}")));
        check(
            "::ffff:10.0.0.1",
            Err(&format!("`::ffff:10.0.0.1` {refused}")),
        );
    }

    #[test]
    fn hostile_names_are_refused_and_shown_harmless() {
        check("", Err("`` cannot be the name of a service"));
        check("a:80", Err("`a:80` cannot be the name of a service"));
        check("a\r\nx", Err("`a\\r\\nx` cannot be the name of a service"));
        check("a@b", Err("`a@b` cannot be the name of a service"));
        let long = "a".repeat(64);
        check(
            &long,
            Err(&format!("`{long}` cannot be the name of a service")),
        );
    }

    fn refused(status: u16) -> OpenError {
        OpenError::Refused {
            service: "echo:7".parse().unwrap(),
            status: StatusCode::from_u16(status).unwrap(),
            reason: "no grant".to_owned(),
        }
    }

    #[test]
    fn a_refusal_keeps_its_status_but_never_asks_for_the_users_password() {
        for (given, expected) in [
            (403, 403),
            (502, 502),
            (504, 504),
            (503, 503),
            (407, 502),
            (302, 502),
        ] {
            assert_eq!(refused(given).status().as_u16(), expected);
        }
    }

    #[test]
    fn a_refusal_names_service_status_and_reason() {
        assert_eq!(
            refused(403).to_string(),
            "the gateway refused `echo:7` (403): no grant"
        );
    }
}
