//! WebSocket: asked for by an upgrade on HTTP/1.1 (RFC 6455) or by an extended CONNECT on HTTP/2 (RFC 8441), and asked of
//! the service by an upgrade, which `upstream` turns into an extended CONNECT where the service speaks HTTP/2. Once the service has
//! switched, bytes are carried as in a tunnel.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64ct::{Base64, Encoding};
use countersign_channel::tunnel::IntoEnd;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::{Outcome, fields};
use crate::gateway::entry::Entry;
use crate::gateway::problem::Problem;
use crate::gateway::upstream::{Answer, Switched};

/// A request for WebSocket on its way to a service.
pub(super) struct Handshake {
    /// The gateway's own key, for a client that has none because it speaks HTTP/2.
    key: Option<String>,
}

/// What a service makes of the request.
pub(super) enum Met {
    /// It has switched.
    Switched(Handshake),
    /// It answers in HTTP.
    Declined,
    /// It answers in HTTP with what the client would take for a switch.
    Misunderstood,
}

/// A WebSocket that waits for its client's end.
pub(crate) struct Switch {
    entry: Entry,
    service: Switched,
}

impl Handshake {
    /// Begins one for a client's request.
    pub(super) fn begin(request: &Parts) -> Self {
        let nonce = || Base64::encode_string(&crate::random::bytes::<16>());
        Self {
            key: (request.method == Method::CONNECT).then(nonce),
        }
    }

    /// Asks the service, in the fields of a GET.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        fields::set_upgrade(headers);
        if let Some(key) = &self.key {
            let key = HeaderValue::try_from(key).expect("base64 is visible ASCII");
            headers.insert(SEC_WEBSOCKET_KEY, key);
        }
    }

    /// Reads the status of the service's answer. On HTTP/2 every 2xx opens the WebSocket (RFC 8441, section 5), so one that
    /// is a page instead must not get there.
    pub(super) fn meet(self, status: StatusCode) -> Met {
        match status {
            StatusCode::SWITCHING_PROTOCOLS => Met::Switched(self),
            status if status.is_success() && self.key.is_some() => Met::Misunderstood,
            _ => Met::Declined,
        }
    }

    /// Takes the connection over from a service that has switched.
    ///
    /// # Errors
    ///
    /// It did not prove that it meant to, or the connection ended.
    pub(super) async fn finish(self, entry: Entry, answer: Answer) -> Result<Outcome, Problem> {
        let mut response = Response::new(());
        *response.headers_mut() = answer.response.headers().clone();
        fields::clean_response(response.headers_mut());
        match &self.key {
            None => {
                *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                fields::set_upgrade(response.headers_mut());
            }
            Some(key) => {
                let proof = response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
                if proof.is_none_or(|proof| {
                    proof.as_bytes() != websocket_accept(key.as_bytes()).as_bytes()
                }) {
                    return Err(unproven(entry));
                }
            }
        }
        match answer.upgraded().await {
            Ok(service) => Ok(Outcome::Switch {
                response,
                switch: Switch { entry, service },
            }),
            Err(error) => {
                let problem = error.problem();
                entry.unanswered(&problem);
                Err(problem)
            }
        }
    }
}

impl Switch {
    /// Carries bytes between the client and the service until the WebSocket ends.
    pub(crate) async fn carry(self, client: impl IntoEnd) {
        self.service.carry(self.entry, client).await;
    }
}

/// What a service answers to a key, and nobody who did not read it (RFC 6455, section 4.2.2).
pub(crate) fn websocket_accept(key: &[u8]) -> String {
    let text = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    Base64::encode_string(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text).as_ref())
}

/// What the client is told of a service that answered with a page.
pub(super) fn misunderstood(entry: Entry) -> Problem {
    no_websocket(
        entry,
        "answered a request for WebSocket as if it were for a page",
    )
}

fn unproven(entry: Entry) -> Problem {
    no_websocket(
        entry,
        "switched to WebSocket without the proof that it read the key",
    )
}

fn no_websocket(entry: Entry, what: &str) -> Problem {
    let detail = format!("service `{}` {what}", entry.service().name);
    let problem = Problem::new(StatusCode::BAD_GATEWAY, "service_not_websocket", detail);
    entry.service_failed(&problem.detail);
    problem
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_proof_is_the_one_of_the_rfc() {
        assert_eq!(
            super::websocket_accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }
}
