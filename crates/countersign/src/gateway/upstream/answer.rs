//! What a service answers, on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use countersign_channel::tunnel::Socket;
use http::Response;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper_util::rt::TokioIo;

use super::balance::InFlight;
use super::error::UpstreamError;
use super::stream::UpstreamStream;
use crate::hop::Hop;

/// A service's answer.
pub(crate) struct Answer {
    /// Its head as the service sent it, and its body.
    pub(crate) response: Response<AnswerBody>,
    /// The connection that it came by.
    pub(crate) hop: Hop,
}

/// The body of an answer; trailers are its last frame. The request counts as in flight until this is dropped.
pub(crate) struct AnswerBody {
    incoming: Incoming,
    in_flight: InFlight,
}

impl Answer {
    pub(super) fn new(response: Response<Incoming>, hop: Hop, in_flight: InFlight) -> Self {
        let response = response.map(|incoming| AnswerBody {
            incoming,
            in_flight,
        });
        Self { response, hop }
    }

    /// The connection itself, after an answer of 101 (RFC 9110, section 7.8), with what was read of it already. A failure
    /// on it is a reset.
    ///
    /// # Errors
    ///
    /// The connection ended before it changed.
    pub(crate) async fn upgraded(self) -> Result<Socket<UpstreamStream>, UpstreamError> {
        let (parts, body) = self.response.into_parts();
        let service = body.in_flight.endpoint().service.clone();
        let closed = || UpstreamError::Closed { service };
        let upgraded = hyper::upgrade::on(Response::from_parts(parts, ())).await;
        let upgraded = upgraded.map_err(|_| closed())?;
        let parts = upgraded
            .downcast::<TokioIo<UpstreamStream>>()
            .expect("every HTTP/1.1 connection to an upstream is a `TokioIo<UpstreamStream>`");
        let stream = parts.io.into_inner().holding(body.in_flight);
        Ok(Socket::preceded_by(parts.read_buf, stream))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let service = &self.in_flight.endpoint().service;
        let cut = UpstreamError::AnswerCut {
            service: service.clone(),
        };
        Pin::new(&mut self.incoming)
            .poll_frame(cx)
            .map(|frame| frame.map(|frame| frame.map_err(|_| cut)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
