//! WebSocket at a service that speaks HTTP/2: an extended CONNECT (RFC 8441), on a connection of its own.
//!
//! hyper hands such a stream over as bytes that cannot be reset, and a WebSocket that broke would look as if it had ended.
//! A tunnel breaks as a connection does.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::{
    ConnectError, ConnectionError, Keepalive, Limits, Mux, RawResponse, Tunnel,
};
use http::header::{CONTENT_LENGTH, SEC_WEBSOCKET_ACCEPT};
use http::uri::Scheme;
use http::{HeaderValue, Response, StatusCode, response};
use hyper::body::Frame;

use super::endpoint::{Endpoint, HTTP2};
use super::error::{UpstreamError, in_stream};
use super::line::{CONNECTION_WINDOW, HEAD_LIST, PING_INTERVAL, PING_TIMEOUT, STREAM_WINDOW};
use super::request::{Again, Failed, Outgoing};
use super::stream::UpstreamStream;
use crate::gateway::exchange::websocket_accept;
use crate::hop::Hop;

/// How long an upstream may take.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// For the connection, and again for the word that it takes extended CONNECT.
    pub(super) connect: Duration,
    /// For the head of its answer.
    pub(super) answer: Duration,
}

/// What an upstream has answered.
pub(super) struct Asked {
    pub(super) response: Response<ExtendedStream>,
    pub(super) hop: Arc<Hop>,
}

/// The stream of an extended CONNECT, both ways.
pub(super) struct ExtendedStream(RawResponse);

/// Asks an upstream for WebSocket. Its yes is told as on HTTP/1.1: 101, with the proof that the key was read.
pub(super) async fn ask(
    endpoint: &Endpoint,
    outgoing: &Outgoing,
    patience: Patience,
) -> Result<Asked, Failed> {
    let opened = endpoint.open(None, &[HTTP2], patience.connect).await;
    let stream = opened.map_err(Failed::unopened)?;
    let hop = Arc::clone(stream.hop());
    let scheme = match endpoint.connect.tls {
        Some(_) => Scheme::HTTPS,
        None => Scheme::HTTP,
    };
    let request = outgoing.extended_connect(scheme);
    let (request, key) = request.map_err(|detail| UpstreamError::Unsendable {
        service: endpoint.service.clone(),
        detail,
    })?;
    let mux = offering(endpoint, stream, patience).await?;
    let answer = mux.ask(request).await;
    let mut answer = answer.map_err(|error| unanswered(endpoint, error))?;
    endpoint.health.succeeded();
    match answer.parts.status.is_success() {
        true => tell_as_switch(&mut answer.parts, &key),
        // Nothing follows; an upstream that has ended the stream already need not hear it.
        false => drop(answer.send.send_data(Bytes::new(), true)),
    }
    let mut response = Response::new(());
    *response.status_mut() = answer.parts.status;
    *response.headers_mut() = std::mem::take(&mut answer.parts.headers);
    Ok(Asked {
        response: response.map(|()| ExtendedStream(answer)),
        hop,
    })
}

/// A connection to an upstream that has said that it takes extended CONNECT.
async fn offering(
    endpoint: &Endpoint,
    stream: UpstreamStream,
    patience: Patience,
) -> Result<Mux, Failed> {
    let limit = patience.connect;
    let said = async {
        let (mux, driver) = Mux::handshake(stream, &limits(patience)).await?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a WebSocket's connection to an upstream has failed");
            }
        });
        let offers = mux.offers_extended_connect().await?;
        Ok(offers.then_some(mux))
    };
    let service = endpoint.service.clone();
    match tokio::time::timeout(limit, said).await {
        Ok(Ok(Some(mux))) => Ok(mux),
        Ok(Ok(None)) => Err(UpstreamError::NoUpgrade { service }.into()),
        Ok(Err(error)) => {
            endpoint.failed();
            Err(Failed::unopened(lost(service, error)))
        }
        Err(_) => {
            endpoint.failed();
            Err(Failed::unopened(UpstreamError::Timeout { service, limit }))
        }
    }
}

/// What one WebSocket may have on the way is what one answer may.
fn limits(patience: Patience) -> Limits {
    Limits {
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        header_list: HEAD_LIST,
        extended_connect: true,
        handshake: patience.connect,
        response: patience.answer,
        keepalive: Some(Keepalive {
            every: PING_INTERVAL,
            timeout: PING_TIMEOUT,
        }),
        ..Limits::default()
    }
}

/// What a request without an answer means, and whether it may be sent again.
fn unanswered(endpoint: &Endpoint, error: ConnectError) -> Failed {
    let service = endpoint.service.clone();
    let (error, again) = match error {
        ConnectError::TimedOut(limit) => (UpstreamError::NoAnswer { service, limit }, Again::Never),
        ConnectError::Failed(error) => {
            let again = match error.is_unprocessed() {
                true => Again::Here,
                false => Again::Never,
            };
            (lost(service, error), again)
        }
        // It went away before anything was sent.
        _ => (UpstreamError::Closed { service }, Again::Here),
    };
    if matches!(
        error,
        UpstreamError::NoAnswer { .. } | UpstreamError::Closed { .. }
    ) {
        endpoint.failed();
    }
    Failed { error, again }
}

/// What the end of a stream or its connection before an answer means.
fn lost(service: String, error: ConnectionError) -> UpstreamError {
    match error {
        ConnectionError::Reset(code) | ConnectionError::GoneAway(code) => UpstreamError::Reset {
            service,
            reason: code.to_string(),
        },
        ConnectionError::Closed(code) if code.number() == 0 => UpstreamError::Closed { service },
        ConnectionError::Aborted(_) | ConnectionError::Closed(_) => UpstreamError::NotHttp {
            service,
            detail: error.to_string(),
        },
        ConnectionError::Misuse(detail) => UpstreamError::Unsendable { service, detail },
        _ => UpstreamError::Closed { service },
    }
}

/// What opens a WebSocket on HTTP/2 is any 2xx (RFC 8441, section 5), and there is no key to prove (section 5.1).
fn tell_as_switch(answer: &mut response::Parts, key: &HeaderValue) {
    answer.status = StatusCode::SWITCHING_PROTOCOLS;
    answer.headers.remove(CONTENT_LENGTH);
    let proof = HeaderValue::try_from(websocket_accept(key.as_bytes()));
    let proof = proof.expect("base64 is visible ASCII");
    answer.headers.insert(SEC_WEBSOCKET_ACCEPT, proof);
}

impl ExtendedStream {
    /// The WebSocket's bytes.
    pub(super) fn into_tunnel(self) -> Tunnel {
        let RawResponse {
            body, send, open, ..
        } = self.0;
        Tunnel::resumed(body, send, open)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.0.body.is_end_stream()
    }

    /// The content of a refusal.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
        service: &str,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let body = &mut self.0.body;
        if let Some(data) = ready!(body.poll_data(cx)) {
            let data = data.inspect(|data| {
                // It fails only on a stream that has ended, where there is no window left to widen.
                let _ = body.flow_control().release_capacity(data.len());
            });
            let frame = data.map(Frame::data);
            return Poll::Ready(Some(frame.map_err(|error| in_stream(service, &error))));
        }
        let trailers = ready!(Pin::new(body).poll_trailers(cx));
        let trailers = trailers.map_err(|error| in_stream(service, &error));
        Poll::Ready(trailers.map(|some| some.map(Frame::trailers)).transpose())
    }
}
