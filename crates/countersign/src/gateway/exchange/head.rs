//! What a request's head must be before anything is decided about it, and what of it decides how the request is carried.

use http::header::{
    CONTENT_LENGTH, EXPECT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode, Version};

use super::fields;
use crate::gateway::problem::Problem;

/// What a head may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeadLimits {
    /// Bytes of the target.
    pub(crate) uri: usize,
    /// Bytes of all fields together, names, values and four for each.
    pub(crate) fields: usize,
}

/// What a good head says about how its request is carried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Head {
    /// The length of the body, where it was said.
    pub(super) length: Option<u64>,
    /// Whether the client asks for WebSocket.
    pub(super) websocket: bool,
}

impl Head {
    /// Reads a request's head.
    ///
    /// # Errors
    ///
    /// What is wrong with it, with the status that says so.
    pub(super) fn read(request: &Parts, limits: HeadLimits) -> Result<Self, Problem> {
        check_size(request, limits)?;
        check_target(request)?;
        check_values(request)?;
        check_coding(request)?;
        check_expectation(request)?;
        let head = Self {
            length: length(request)?,
            websocket: asks_for_websocket(request)?,
        };
        if head.websocket && head.length.is_some_and(|length| length > 0) {
            return Err(Problem::malformed("a request for WebSocket has no content"));
        }
        Ok(head)
    }
}

fn check_size(request: &Parts, limits: HeadLimits) -> Result<(), Problem> {
    let target = request
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    if target > limits.uri {
        return Err(Problem::new(
            StatusCode::URI_TOO_LONG,
            "uri_too_long",
            format!("the target has {target} bytes, and may have {}", limits.uri),
        ));
    }
    let too_large = |detail| {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Err(Problem::new(status, "header_too_large", detail))
    };
    let lines = request.headers.iter();
    let bytes: usize = lines
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if bytes > limits.fields {
        return too_large(format!(
            "the header fields have {bytes} bytes, and may have {}",
            limits.fields
        ));
    }
    if request.headers.len() > MOST_FIELDS {
        return too_large(format!(
            "there are {} header fields, and there may be {MOST_FIELDS}",
            request.headers.len()
        ));
    }
    Ok(())
}

/// A path, or `*` for OPTIONS (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
fn check_target(request: &Parts) -> Result<(), Problem> {
    if request.method == Method::TRACE {
        // It would show the client what the gateway added.
        let detail = "TRACE is not carried";
        return Err(Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "not_implemented",
            detail,
        ));
    }
    let target = request.uri.path_and_query().map(|target| target.as_str());
    match target {
        Some("*") if request.method == Method::OPTIONS => Ok(()),
        Some(target) if target.starts_with('/') => Ok(()),
        target => Err(Problem::malformed(format!(
            "the target `{}` is no path",
            target.unwrap_or_default()
        ))),
    }
}

/// A value that begins or ends with space makes a request malformed on HTTP/2, and such a request is passed on to nobody
/// (RFC 9113, section 8.2.1); on HTTP/1.1 the space belongs to the line.
fn check_values(request: &Parts) -> Result<(), Problem> {
    let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = request.headers.iter().find(|(_, value)| {
        let value = value.as_bytes();
        is_space(value.first()) || is_space(value.last())
    });
    match padded {
        None => Ok(()),
        Some((name, _)) => Err(Problem::malformed(format!(
            "the value of `{name}` begins or ends with space"
        ))),
    }
}

/// A coding that the gateway does not undo cannot be taken off for the next hop (RFC 9112, section 6.1).
fn check_coding(request: &Parts) -> Result<(), Problem> {
    let mut codings = request.headers.get_all(TRANSFER_ENCODING).iter();
    let only_chunked = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        _ => false,
    };
    if only_chunked {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::NOT_IMPLEMENTED,
        "not_implemented",
        "of transfer codings, `chunked` alone is taken, once",
    ))
}

fn check_expectation(request: &Parts) -> Result<(), Problem> {
    let mut expectations = request.headers.get_all(EXPECT).iter();
    let met = expectations.all(|wanted| wanted.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if met {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::EXPECTATION_FAILED,
        "expectation_failed",
        "of expectations, `100-continue` alone can be met",
    ))
}

/// One length, in digits and nothing else: what two readers may take for two lengths is no length.
fn length(request: &Parts) -> Result<Option<u64>, Problem> {
    let mut lengths = request.headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(None);
    };
    let digits = |length: &HeaderValue| {
        let text = length.to_str().ok()?;
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten()
    };
    match (digits(length), lengths.next()) {
        (Some(length), None) => Ok(Some(length)),
        _ => Err(Problem::malformed("the Content-Length is not one number")),
    }
}

/// RFC 6455, section 4.1, on HTTP/1.1; RFC 8441, section 5, on HTTP/2. Any other protocol may be asked for, and is not
/// switched to (RFC 9110, section 7.8).
fn asks_for_websocket(request: &Parts) -> Result<bool, Problem> {
    let headers = &request.headers;
    if request.method == Method::CONNECT {
        let protocol = request.extensions.get::<h2::ext::Protocol>();
        return match protocol.map(h2::ext::Protocol::as_str) {
            Some("websocket") => Ok(true),
            protocol => Err(Problem::new(
                StatusCode::NOT_IMPLEMENTED,
                "not_implemented",
                format!(
                    "an extended CONNECT is for `websocket`, not for `{}`",
                    protocol.unwrap_or_default()
                ),
            )),
        };
    }
    let mut protocols = fields::list(headers, &UPGRADE);
    let asks = request.version == Version::HTTP_11
        && request.method == Method::GET
        && fields::connection_names(headers, "upgrade")
        && protocols.any(|protocol| protocol.eq_ignore_ascii_case("websocket"));
    if asks && !(headers.contains_key(SEC_WEBSOCKET_KEY)) {
        return Err(Problem::malformed("a request for WebSocket has its key"));
    }
    if asks && !headers.contains_key(SEC_WEBSOCKET_VERSION) {
        return Err(Problem::malformed("a request for WebSocket has a version"));
    }
    Ok(asks)
}

/// As many as hyper takes on HTTP/1.1.
const MOST_FIELDS: usize = 100;

#[cfg(test)]
mod tests;
