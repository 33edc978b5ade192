//! What the client is answered, on its way to it.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use hyper::body::{Body, Frame, SizeHint};

use super::body::BodyWatch;
use super::fields;
use crate::gateway::entry::Entry;
use crate::gateway::upstream::{AnswerBody, UpstreamError};

/// The body of a reply; trailers are its last frame. An error means that no more comes and something is missing: the
/// client must not take it for an end.
pub(crate) struct ReplyBody(Source);

enum Source {
    Whole(Bytes),
    Service(Box<Passing>),
}

/// A service's answer in passing. Dropped before its end, the client has gone away or the stream was cut.
struct Passing {
    answer: AnswerBody,
    entry: Option<Entry>,
    /// Dropped with the answer: a request's body goes no further than that.
    _request: BodyWatch,
}

impl ReplyBody {
    /// The body of a service's answer.
    pub(super) fn passing(answer: AnswerBody, entry: Entry, request: BodyWatch) -> Self {
        Self(Source::Service(Box::new(Passing {
            answer,
            entry: Some(entry),
            _request: request,
        })))
    }

    /// No body at all.
    pub(crate) fn empty() -> Self {
        Bytes::new().into()
    }
}

impl From<Bytes> for ReplyBody {
    fn from(whole: Bytes) -> Self {
        Self(Source::Whole(whole))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match &mut self.0 {
            Source::Whole(whole) if whole.is_empty() => Poll::Ready(None),
            Source::Whole(whole) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(whole))))),
            Source::Service(passing) => passing.poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Whole(whole) => whole.is_empty(),
            Source::Service(passing) => passing.answer.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Whole(whole) => {
                SizeHint::with_exact(u64::try_from(whole.len()).unwrap_or(u64::MAX))
            }
            Source::Service(passing) => passing.answer.size_hint(),
        }
    }
}

impl Passing {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        let frame = match ready!(Pin::new(&mut self.answer).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.end(|entry| match &error {
                    UpstreamError::Request(fault) => entry.client_failed(fault),
                    error => entry.service_failed(error),
                });
                return Poll::Ready(Some(Err(error)));
            }
            None => {
                self.end(Entry::finished);
                return Poll::Ready(None);
            }
        };
        Poll::Ready(Some(Ok(self.pass(frame))))
    }

    fn pass(&mut self, mut frame: Frame<Bytes>) -> Frame<Bytes> {
        if let Some(trailers) = frame.trailers_mut() {
            fields::clean_trailers(trailers);
        }
        if let (Some(data), Some(entry)) = (frame.data_ref(), &self.entry) {
            let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
            let counters = &entry.stream().counters;
            counters.to_local.fetch_add(bytes, Ordering::Relaxed);
        }
        frame
    }

    fn end(&mut self, how: impl FnOnce(Entry)) {
        if let Some(entry) = self.entry.take() {
            how(entry);
        }
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        // A body whose end is known, one of no bytes above all, is not asked for it.
        if self.answer.is_end_stream() {
            self.end(Entry::finished);
        }
    }
}

/// A reply that is there whole.
pub(crate) fn whole(response: Response<Bytes>) -> Response<ReplyBody> {
    response.map(ReplyBody::from)
}
