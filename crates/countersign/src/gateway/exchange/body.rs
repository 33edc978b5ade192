//! A request's body on its way from the client to a service.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::{ConnectionError, Counters};
use h2::RecvStream;
use http::{HeaderMap, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::gateway::problem::Problem;

/// A request's body; trailers are its last frame.
///
/// Nothing is taken from the client before the body is polled, so a client that waits for `100 (Continue)` sends nothing
/// to a service that does not want it.
#[derive(Debug, Default)]
pub(crate) struct Body {
    source: Source,
    passage: Option<Passage>,
}

/// Why a request's body did not come whole.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyFault {
    /// It has more bytes than the service takes.
    #[error("the request's body has more than {limit} bytes")]
    TooLarge {
        /// What the service takes.
        limit: u64,
    },
    /// The client stopped sending it.
    #[error("the request's body stood still for {} s", limit.as_secs_f32())]
    TooSlow {
        /// How long it may stand still.
        limit: Duration,
    },
    /// The client, or the way from it, failed.
    #[error("the client broke the request's body off: {0}")]
    Broken(String),
    /// The exchange ended before the body did: nobody waits for the rest.
    #[error("the exchange is over")]
    Over,
}

/// What a request's body may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// How many bytes it may have.
    pub(crate) size: Option<u64>,
    /// How long it may stand still before the service has answered.
    pub(crate) wait: Duration,
}

/// The exchange's view of its request's body. Dropping it ends the body wherever it is by then.
#[derive(Debug)]
pub(crate) struct BodyWatch(Arc<Fate>);

#[derive(Debug, Default)]
enum Source {
    #[default]
    Empty,
    Whole(Bytes),
    Http1(Incoming),
    Http2(Http2Source),
}

#[derive(Debug)]
struct Http2Source {
    stream: RecvStream,
    length: Option<u64>,
    /// What was handed on since the client's window was widened last.
    taken: usize,
    wanted: Option<oneshot::Sender<()>>,
}

/// What is counted, timed and cleaned while the body passes.
#[derive(Debug)]
struct Passage {
    limits: BodyLimits,
    passed: u64,
    stalled: Option<Stalled>,
    counters: Arc<Counters>,
    clean_trailers: fn(&mut HeaderMap),
    fate: Arc<Fate>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A timer that is moved only when it fires, since bytes pass far more often than that.
#[derive(Debug)]
struct Stalled {
    since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug, Default)]
struct Fate {
    answered: AtomicBool,
    over: CancellationToken,
}

impl Body {
    /// A body without a byte.
    pub(crate) fn empty() -> Self {
        Self::default()
    }

    /// The body of an HTTP/1.1 request. hyper answers `100 (Continue)` as soon as it is polled.
    pub(crate) fn http1(incoming: Incoming) -> Self {
        match hyper::body::Body::is_end_stream(&incoming) {
            true => Self::empty(),
            false => Source::Http1(incoming).into(),
        }
    }

    /// The body of an HTTP/2 request, of `length` bytes if it said so; `wanted` resolves as soon as it is polled.
    pub(crate) fn http2(stream: RecvStream, length: Option<u64>) -> (Self, oneshot::Receiver<()>) {
        let (wanted, polled) = oneshot::channel();
        let body = match stream.is_end_stream() {
            true => Self::empty(),
            false => Source::Http2(Http2Source {
                stream,
                length,
                taken: 0,
                wanted: Some(wanted),
            })
            .into(),
        };
        (body, polled)
    }

    /// Sets what the body may cost, and who watches it.
    pub(crate) fn watched(
        mut self,
        limits: BodyLimits,
        counters: Arc<Counters>,
        clean_trailers: fn(&mut HeaderMap),
    ) -> (Self, BodyWatch) {
        let fate = Arc::<Fate>::default();
        if !matches!(self.source, Source::Empty) {
            self.passage = Some(Passage {
                limits,
                passed: 0,
                stalled: None,
                counters,
                clean_trailers,
                over: Box::pin(fate.over.clone().cancelled_owned()),
                fate: Arc::clone(&fate),
            });
        }
        (self, BodyWatch(fate))
    }
}

impl From<Source> for Body {
    fn from(source: Source) -> Self {
        Self {
            source,
            passage: None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(whole: Bytes) -> Self {
        match whole.is_empty() {
            true => Self::empty(),
            false => Source::Whole(whole).into(),
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Self { source, passage } = &mut *self;
        let frame = source.poll_frame(cx);
        match passage {
            Some(passage) => passage.poll(cx, frame),
            None => frame,
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Empty => true,
            Source::Whole(_) => false,
            Source::Http1(incoming) => incoming.is_end_stream(),
            Source::Http2(source) => source.stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Empty => SizeHint::with_exact(0),
            Source::Whole(whole) => {
                SizeHint::with_exact(u64::try_from(whole.len()).unwrap_or(u64::MAX))
            }
            Source::Http1(incoming) => incoming.size_hint(),
            Source::Http2(source) => source
                .length
                .map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}

impl BodyWatch {
    /// Says that the service has answered: from here on the body may take its time, as a conversation does.
    pub(crate) fn answered(&self) {
        self.0.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for BodyWatch {
    fn drop(&mut self) {
        self.0.over.cancel();
    }
}

impl Source {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        match self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(whole) => {
                let whole = std::mem::take(whole);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(whole))))
            }
            Self::Http1(incoming) => {
                let frame = ready!(hyper::body::Body::poll_frame(Pin::new(incoming), cx));
                Poll::Ready(frame.map(|frame| frame.map_err(|error| BodyFault::broken(&error))))
            }
            Self::Http2(source) => source.poll_frame(cx),
        }
    }
}

impl Http2Source {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if let Some(wanted) = self.wanted.take() {
            // Nobody waits for it where the client does not.
            let _ = wanted.send(());
        }
        // Being asked for more is what tells that the chunk before was handed on.
        let taken = std::mem::take(&mut self.taken);
        if taken > 0 {
            // It fails only on a stream that has ended, where there is no window left to widen.
            let _ = self.stream.flow_control().release_capacity(taken);
        }
        match ready!(self.stream.poll_data(cx)) {
            Some(Ok(chunk)) => {
                self.taken = chunk.len();
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(lost(error)))),
            None => match ready!(self.stream.poll_trailers(cx)) {
                Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
                Err(error) => Poll::Ready(Some(Err(lost(error)))),
            },
        }
    }
}

impl Passage {
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        frame: Poll<Option<Result<Frame<Bytes>, BodyFault>>>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        if self.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(BodyFault::Over)));
        }
        Poll::Ready(match frame {
            Poll::Pending => Some(Err(ready!(self.poll_stalled(cx)))),
            Poll::Ready(None) => None,
            Poll::Ready(Some(frame)) => Some(frame.and_then(|frame| self.pass(frame))),
        })
    }

    fn pass(&mut self, mut frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyFault> {
        if let Some(stalled) = &mut self.stalled {
            stalled.since = None;
        }
        if let Some(trailers) = frame.trailers_mut() {
            (self.clean_trailers)(trailers);
        }
        let bytes = frame
            .data_ref()
            .map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
        self.passed = self.passed.saturating_add(bytes);
        match self.limits.size {
            Some(limit) if self.passed > limit => Err(BodyFault::TooLarge { limit }),
            _ => {
                self.counters.to_remote.fetch_add(bytes, Ordering::Relaxed);
                Ok(frame)
            }
        }
    }

    /// Ready when the client has sent nothing for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BodyFault> {
        if self.fate.answered.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let (now, limit) = (Instant::now(), self.limits.wait);
        let stalled = self.stalled.get_or_insert_with(|| Stalled {
            since: None,
            timer: Box::pin(tokio::time::sleep(limit)),
        });
        let until = *stalled.since.get_or_insert(now) + limit;
        while stalled.timer.as_mut().poll(cx).is_ready() {
            if until <= now {
                return Poll::Ready(BodyFault::TooSlow { limit });
            }
            stalled.timer.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl BodyFault {
    /// What the client is told of it.
    pub(crate) fn problem(&self) -> Problem {
        let (status, code) = match self {
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::TooSlow { .. } => (StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Self::Broken(_) | Self::Over => (StatusCode::BAD_REQUEST, "malformed"),
        };
        Problem::new(status, code, self.to_string())
    }

    fn broken(error: &hyper::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

fn lost(error: h2::Error) -> BodyFault {
    BodyFault::Broken(ConnectionError::from(error).to_string())
}
