//! Why a service gave nothing, or not all of it, and what the client is told of it.

use std::error::Error;
use std::io;
use std::time::Duration;

use http::StatusCode;

use crate::gateway::exchange::BodyFault;
use crate::gateway::problem::Problem;

/// Why a service could not be reached, or did not answer as it should.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UpstreamError {
    /// The name of an upstream's host has no address.
    #[error("the host of service `{service}` has no address: {source}")]
    Resolve {
        /// The service.
        service: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nothing accepted the connection.
    #[error("service `{service}` does not accept connections: {source}")]
    Connect {
        /// The service.
        service: String,
        /// What the system said.
        source: io::Error,
    },
    /// It did not accept a connection in time.
    #[error("service `{service}` did not accept a connection within {} s", limit.as_secs_f32())]
    Timeout {
        /// The service.
        service: String,
        /// The time it had.
        limit: Duration,
    },
    /// The TLS handshake with it failed.
    #[error(
        "TLS with service `{service}` failed: {}",
        countersign_channel::in_words(source)
    )]
    Tls {
        /// The service.
        service: String,
        /// What failed.
        source: io::Error,
    },
    /// The health checks have taken out every upstream.
    #[error(
        "service `{service}` is down: upstreams that answer their health check: 0 of {upstreams}"
    )]
    AllDown {
        /// The service.
        service: String,
        /// How many it has.
        upstreams: usize,
    },
    /// As many requests are in flight as may be, and none ended in time.
    #[error("service `{service}` is busy with {requests} requests, and none of them ended within {} s", waited.as_secs_f32())]
    Busy {
        /// The service.
        service: String,
        /// How many may be in flight.
        requests: usize,
        /// How long this one waited.
        waited: Duration,
    },
    /// The connection ended before there was an answer.
    #[error("service `{service}` closed the connection before it answered")]
    Closed {
        /// The service.
        service: String,
    },
    /// It took back the request, in HTTP/2's words.
    #[error("service `{service}` reset the request: {reason}")]
    Reset {
        /// The service.
        service: String,
        /// HTTP/2's word for why (RFC 9113, section 7).
        reason: String,
    },
    /// It had the request and said nothing.
    #[error("service `{service}` did not answer within {} s", limit.as_secs_f32())]
    NoAnswer {
        /// The service.
        service: String,
        /// The time it had.
        limit: Duration,
    },
    /// What came is not HTTP, or breaks its rules.
    #[error("service `{service}` answered with what is not HTTP: {detail}")]
    NotHttp {
        /// The service.
        service: String,
        /// Which rule it breaks.
        detail: String,
    },
    /// The answer began, and its connection ended before it did.
    #[error("service `{service}` closed the connection in the middle of its answer")]
    AnswerCut {
        /// The service.
        service: String,
    },
    /// It speaks HTTP/2, and does not take WebSocket on it.
    #[error(
        "service `{service}` does not offer WebSocket over HTTP/2 (RFC 8441); \
         if it does over HTTP/1.1, its `[service.http]` needs `protocol = \"http/1.1\"`"
    )]
    NoUpgrade {
        /// The service.
        service: String,
    },
    /// The request cannot be put into the service's version of HTTP.
    #[error("the request for service `{service}` cannot be sent on: {detail}")]
    Unsendable {
        /// The service.
        service: String,
        /// Why.
        detail: String,
    },
    /// The client's end failed while the request was handed on.
    #[error(transparent)]
    Request(#[from] BodyFault),
}

impl UpstreamError {
    /// What the client is told, as long as nothing of an answer has left.
    pub(crate) fn problem(&self) -> Problem {
        let (status, code) = match self {
            Self::Timeout { .. } => (StatusCode::GATEWAY_TIMEOUT, "service_timeout"),
            Self::NoAnswer { .. } => (StatusCode::GATEWAY_TIMEOUT, "service_silent"),
            Self::Resolve { .. } | Self::Connect { .. } | Self::Tls { .. } => {
                (StatusCode::BAD_GATEWAY, "service_unreachable")
            }
            Self::Closed { .. } | Self::Reset { .. } | Self::AnswerCut { .. } => {
                (StatusCode::BAD_GATEWAY, "service_closed")
            }
            Self::NotHttp { .. } => (StatusCode::BAD_GATEWAY, "service_not_http"),
            Self::AllDown { .. } => (StatusCode::SERVICE_UNAVAILABLE, "service_down"),
            Self::Busy { .. } => (StatusCode::SERVICE_UNAVAILABLE, "service_busy"),
            Self::NoUpgrade { .. } => (StatusCode::NOT_IMPLEMENTED, "no_upgrade"),
            Self::Unsendable { .. } => (StatusCode::BAD_REQUEST, "malformed"),
            Self::Request(fault) => return fault.problem(),
        };
        Problem::new(status, code, self.to_string())
    }
}

/// What a failure before the answer's head means.
pub(super) fn before_answer(service: &str, error: &hyper::Error) -> UpstreamError {
    let service = service.to_owned();
    match http2_error(error) {
        Some(h2) if h2.is_io() => return UpstreamError::Closed { service },
        Some(h2) => return http2_failure(service, h2),
        None => {}
    }
    if error.is_user() {
        let detail = error.to_string();
        return UpstreamError::Unsendable { service, detail };
    }
    if is_not_http(error) {
        let detail = error.to_string();
        return UpstreamError::NotHttp { service, detail };
    }
    UpstreamError::Closed { service }
}

/// What a failure within the answer's body means.
pub(super) fn in_answer(service: &str, error: &hyper::Error) -> UpstreamError {
    if let Some(h2) = http2_error(error) {
        return in_stream(service, h2);
    }
    let service = service.to_owned();
    // Chunks are read by hyper's decoder, which says so in the words of `io`.
    let decoder = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
        .filter(|source| source.kind() == io::ErrorKind::InvalidInput);
    match decoder {
        Some(rule) => UpstreamError::NotHttp {
            service,
            detail: rule.to_string(),
        },
        None => UpstreamError::AnswerCut { service },
    }
}

/// What a failure within an answer's body on HTTP/2 means.
pub(super) fn in_stream(service: &str, error: &h2::Error) -> UpstreamError {
    let service = service.to_owned();
    match error.is_io() {
        true => UpstreamError::AnswerCut { service },
        false => http2_failure(service, error),
    }
}

/// Whether the upstream has said that it did nothing about the request (RFC 9113, section 8.7).
pub(super) fn is_unprocessed(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|h2| {
        let refused = h2.reason() == Some(h2::Reason::REFUSED_STREAM);
        let told_to_go = h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR);
        h2.is_remote() && (refused || told_to_go)
    })
}

/// Whether one stream has failed and not its connection.
pub(super) fn is_reset(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(h2::Error::is_reset)
}

fn http2_failure(service: String, error: &h2::Error) -> UpstreamError {
    if error.is_remote() {
        let reason = error
            .reason()
            .map_or_else(|| error.to_string(), |reason| reason.to_string());
        return UpstreamError::Reset { service, reason };
    }
    UpstreamError::NotHttp {
        service,
        detail: error.to_string(),
    }
}

fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

fn is_not_http(error: &hyper::Error) -> bool {
    // hyper has no question for a message that came unasked; its words are all there is.
    error.is_parse() || error.to_string().contains("unexpected message")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// One of each that has a code of its own, or a status of its own.
    fn examples() -> Vec<UpstreamError> {
        let service = || "web".to_owned();
        let (limit, detail) = (Duration::from_secs(1), "text".to_owned());
        let source = io::Error::from(io::ErrorKind::ConnectionRefused);
        vec![
            UpstreamError::Resolve {
                service: service(),
                source,
            },
            UpstreamError::Timeout {
                service: service(),
                limit,
            },
            UpstreamError::AllDown {
                service: service(),
                upstreams: 2,
            },
            UpstreamError::Busy {
                service: service(),
                requests: 1,
                waited: limit,
            },
            UpstreamError::Closed { service: service() },
            UpstreamError::NoAnswer {
                service: service(),
                limit,
            },
            UpstreamError::NotHttp {
                service: service(),
                detail: detail.clone(),
            },
            UpstreamError::NoUpgrade { service: service() },
            UpstreamError::Unsendable {
                service: service(),
                detail,
            },
            BodyFault::TooLarge { limit: 1 }.into(),
            BodyFault::TooSlow { limit }.into(),
        ]
    }

    #[test]
    fn the_page_on_services_lists_each_code_with_its_status() {
        let page = include_str!("../../../../../docs/services.md");
        let told = examples().into_iter().map(|error| {
            let problem = error.problem();
            format!("| `{}` | {} |", problem.code, problem.status.as_u16())
        });
        let told: BTreeSet<_> = told.collect();
        let rows = page.lines().filter(|line| line.starts_with("| `"));
        let listed: BTreeSet<_> = rows
            .map(|row| row.split(" | ").take(2).collect::<Vec<_>>().join(" | ") + " |")
            .collect();
        assert_eq!(told, listed);
    }
}
