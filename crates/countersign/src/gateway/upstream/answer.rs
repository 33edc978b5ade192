//! What a service answers, on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::Socket;
use http::uri::Scheme;
use http::{HeaderMap, Response, StatusCode};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;

use super::balance::Held;
use super::endpoint::Endpoint;
use super::error::{UpstreamError, in_answer};
use super::extended::{Asked, ExtendedStream};
use super::line::{Line, Sending};
use super::pool::Keep;
use super::request::Outgoing;
use super::stream::{Switched, UpstreamStream};
use super::upload::Upload;
use crate::hop::Hop;

/// A service's answer.
pub(crate) struct Answer {
    /// Its head as the service sent it, and its body.
    pub(crate) response: Response<AnswerBody>,
    /// The connection that it comes by.
    pub(crate) hop: Arc<Hop>,
}

/// The body of an answer; trailers are its last frame. The request counts as in flight until this is dropped.
///
/// Dropped before its end, it takes back what is left of the request too.
pub(crate) struct AnswerBody {
    content: Content,
    flight: Flight,
}

enum Content {
    Line(Incoming),
    Extended(ExtendedStream),
    /// It has become a connection.
    Gone,
}

/// A request on a connection, until its answer is through.
pub(super) struct Flight {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) line: Option<Line>,
    pub(super) keep: Keep,
    pub(super) upload: Upload,
    pub(super) held: Option<Held>,
}

impl Answer {
    pub(super) fn new(response: Response<Incoming>, hop: Arc<Hop>, mut flight: Flight) -> Self {
        flight.heed(response.headers());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            // The connection is no pool's any more, and must not end with the head.
            flight.line = None;
        }
        let response = response.map(|incoming| AnswerBody {
            content: Content::Line(incoming),
            flight,
        });
        Self { response, hop }
    }

    /// An answer on a stream of its own.
    pub(super) fn extended(asked: Asked, flight: Flight) -> Self {
        let response = asked.response.map(|stream| AnswerBody {
            content: Content::Extended(stream),
            flight,
        });
        Self {
            response,
            hop: asked.hop,
        }
    }

    /// The connection itself, after an answer of 101 (RFC 9110, section 7.8), with what was read of it already, or the
    /// stream that stands for it. A failure on it is a reset.
    ///
    /// # Errors
    ///
    /// The connection ended before it changed.
    pub(crate) async fn upgraded(self) -> Result<Switched, UpstreamError> {
        let (parts, mut body) = self.response.into_parts();
        let held = body.flight.held.take();
        if let Content::Extended(stream) = std::mem::replace(&mut body.content, Content::Gone) {
            return Ok(Switched::stream(stream.into_tunnel(), held));
        }
        let upgraded = hyper::upgrade::on(Response::from_parts(parts, ())).await;
        let upgraded = upgraded.map_err(|_| UpstreamError::Closed {
            service: body.flight.endpoint.service.clone(),
        })?;
        let parts = upgraded
            .downcast::<TokioIo<UpstreamStream>>()
            .expect("every HTTP/1.1 connection to an upstream is a `TokioIo<UpstreamStream>`");
        let stream = parts.io.into_inner().holding(held);
        let socket = Socket::preceded_by(parts.read_buf, stream);
        Ok(Switched::connection(socket))
    }
}

impl Flight {
    /// Puts a request on the connection.
    ///
    /// # Errors
    ///
    /// It cannot be put into the connection's version of HTTP.
    pub(super) fn start(&mut self, outgoing: &Outgoing) -> Result<Sending, UpstreamError> {
        let line = self.line.as_mut().expect("a flight begins on a line");
        let request = match line.is_http2() {
            false => outgoing.http1(),
            true if line.hop().tls.is_some() => outgoing.http2(Scheme::HTTPS),
            true => outgoing.http2(Scheme::HTTP),
        };
        let request = request.map_err(|detail| UpstreamError::Unsendable {
            service: self.endpoint.service.clone(),
            detail,
        })?;
        Ok(line.send(request))
    }

    /// No other request is to share the connection any more.
    pub(super) fn retire(&self) {
        if let Some(Line::Http2(line)) = &self.line {
            line.retire();
        }
    }

    /// Keeps the connection no longer than the upstream says that it will. `Keep-Alive` is in no RFC; Node and others send
    /// it, and close on time.
    fn heed(&mut self, headers: &HeaderMap) {
        let told = headers.get("keep-alive").and_then(|value| {
            let mut parameters = value.to_str().ok()?.split(',').map(str::trim);
            let seconds = parameters.find_map(|one| one.strip_prefix("timeout="))?;
            seconds.parse().ok().map(Duration::from_secs)
        });
        if let Some(told) = told {
            self.keep.time = self.keep.time.min(told.saturating_sub(KEPT_SHORTER));
        }
    }

    /// Gives the connection back, if request and answer are through.
    fn finished(&mut self) {
        match self.line.take() {
            Some(Line::Http1(line)) if !self.upload.is_over() => line.abandon(),
            Some(line) => self.endpoint.pool.put_back(line, self.keep),
            None => {}
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        match self.line.take() {
            Some(Line::Http1(line)) => line.abandon(),
            // Dropping the answer, or who waits for it, resets the one stream.
            Some(line) => self.endpoint.pool.put_back(line, self.keep),
            None => {}
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let Self { content, flight } = &mut *self;
        let incoming = match content {
            Content::Line(incoming) => incoming,
            Content::Extended(stream) => return stream.poll_frame(cx, &flight.endpoint.service),
            Content::Gone => return Poll::Ready(None),
        };
        Poll::Ready(match ready!(Pin::new(incoming).poll_frame(cx)) {
            Some(Ok(frame)) => Some(Ok(frame)),
            Some(Err(error)) => Some(Err(match flight.upload.fault() {
                Some(fault) => UpstreamError::Request(fault),
                None => in_answer(&flight.endpoint.service, &error),
            })),
            None => {
                flight.finished();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Line(incoming) => incoming.is_end_stream(),
            Content::Extended(stream) => stream.is_end_stream(),
            Content::Gone => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Line(incoming) => incoming.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // A body of no bytes is not polled, and one of known length not once more.
        if self.is_end_stream() {
            self.flight.finished();
        }
    }
}

/// An upstream's clock begins with its answer, ours with the end of it.
const KEPT_SHORTER: Duration = Duration::from_secs(1);
