//! What a client is told when it does not get what it asked for: a status and a sentence (RFC 9457).

use bytes::Bytes;
use http::header::{CONTENT_TYPE, PROXY_AUTHENTICATE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

/// A refusal, as the client sees it. `code` is for programs and stable, `detail` is for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) detail: String,
}

impl Problem {
    /// A problem with this status.
    pub(crate) fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            status,
            code,
            detail: detail.into(),
        }
    }

    /// The request is not one the gateway understands.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed", detail)
    }

    /// The request belongs on another channel, or names no service.
    pub(crate) fn misdirected(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail)
    }

    /// The access token or bearer token is missing or does not hold: what a proxy says of a CONNECT.
    pub(crate) fn token(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PROXY_AUTHENTICATION_REQUIRED, code, detail)
    }

    /// The same where the gateway stands in for a service: there it is not a proxy that asks (RFC 9110, section 15.5.2).
    pub(crate) fn in_place_of_service(mut self) -> Self {
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            self.status = StatusCode::UNAUTHORIZED;
        }
        self
    }

    /// Policy says no.
    pub(crate) fn denied(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "denied", detail)
    }

    /// The response that carries it.
    pub(crate) fn response(&self) -> Response<Bytes> {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        let mut response = Response::new(Bytes::from(format!("{body}\n")));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        let challenge = match self.status {
            StatusCode::PROXY_AUTHENTICATION_REQUIRED => Some(PROXY_AUTHENTICATE),
            StatusCode::UNAUTHORIZED => Some(WWW_AUTHENTICATE),
            _ => None,
        };
        if let Some(challenge) = challenge {
            headers.insert(challenge, HeaderValue::from_static("Bearer"));
        }
        response
    }
}
