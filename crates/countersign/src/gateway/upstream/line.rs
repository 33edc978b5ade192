//! A connection that carries requests: HTTP/1.1 one at a time, HTTP/2 many.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::task::AbortHandle;

use super::stream::UpstreamStream;
use super::upload::Upload;
use crate::hop::Hop;

/// A place for one request on a connection.
pub(super) enum Line {
    Http1(Http1),
    Http2(Arc<Http2>),
}

/// An HTTP/1.1 connection.
pub(super) struct Http1 {
    sender: http1::SendRequest<Upload>,
    driver: AbortHandle,
    hop: Arc<Hop>,
}

/// An HTTP/2 connection, shared by the requests on it.
pub(super) struct Http2 {
    sender: http2::SendRequest<Upload>,
    hop: Arc<Hop>,
    /// Requests that the upstream takes at once.
    most: Arc<AtomicUsize>,
    pub(super) in_flight: AtomicUsize,
    failed: AtomicBool,
}

/// What comes of a request: an answer, or why not, with the request if nothing of it was sent.
pub(super) type Outcome = Result<Response<Incoming>, TrySendError<Request<Upload>>>;

/// A request on its way. Dropping it takes it back.
pub(super) type Sending = Pin<Box<dyn Future<Output = Outcome> + Send>>;

impl Line {
    /// Sends a request.
    pub(super) fn send(&mut self, request: Request<Upload>) -> Sending {
        match self {
            Self::Http1(line) => Box::pin(line.sender.try_send_request(request)),
            Self::Http2(line) => Box::pin(line.sender.clone().try_send_request(request)),
        }
    }

    pub(super) fn hop(&self) -> &Arc<Hop> {
        match self {
            Self::Http1(line) => &line.hop,
            Self::Http2(line) => &line.hop,
        }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Http2(_))
    }
}

impl Http1 {
    /// Speaks HTTP/1.1 (RFC 9112) on a connection.
    pub(super) async fn start(stream: UpstreamStream) -> hyper::Result<Self> {
        let hop = Arc::clone(stream.hop());
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tell(&error);
            }
        });
        Ok(Self {
            sender,
            driver: driver.abort_handle(),
            hop,
        })
    }

    /// Waits until it can take a request; false if it never will.
    pub(super) async fn ready(&mut self) -> bool {
        self.sender.is_ready()
            || matches!(
                tokio::time::timeout(READY_WAIT, self.sender.ready()).await,
                Ok(Ok(()))
            )
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Ends the connection, wherever it is.
    pub(super) fn abandon(self) {
        self.driver.abort();
    }
}

impl Http2 {
    /// Speaks HTTP/2 (RFC 9113) on a connection, of which the upstream is taken to know (section 3.3).
    pub(super) async fn start(stream: UpstreamStream) -> hyper::Result<Self> {
        let hop = Arc::clone(stream.hop());
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(HEAD_LIST)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await?;
        let most = Arc::new(AtomicUsize::new(STREAMS_UNTIL_TOLD));
        let told = Arc::clone(&most);
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            let ended = std::future::poll_fn(|cx| {
                let ended = connection.as_mut().poll(cx);
                told.store(connection.current_max_send_streams(), Ordering::Relaxed);
                ended
            });
            if let Err(error) = ended.await {
                tell(&error);
            }
        });
        Ok(Self {
            sender,
            hop,
            most,
            in_flight: AtomicUsize::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// Whether it takes no request any more.
    pub(super) fn is_closed(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.sender.is_closed()
    }

    /// Whether there is room for one more request.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) < self.most.load(Ordering::Relaxed)
    }

    /// No request is to be sent on it any more; those that were go on.
    pub(super) fn retire(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }
}

/// Says why a connection is over. One on which a request's body broke off has failed through no fault of the upstream.
fn tell(error: &hyper::Error) {
    if error.is_user() {
        tracing::debug!(%error, "a request's body broke off, and its connection is given up");
    } else {
        tracing::debug!(%error, "a connection to an upstream has failed");
    }
}

/// A line that was just kept is ready as soon as its task has run.
const READY_WAIT: Duration = Duration::from_secs(1);

/// Bytes of an answer's head. nginx and Envoy stop at 64 KiB or below.
const HEAD_BYTES: usize = 128 << 10;
pub(super) const HEAD_LIST: u32 = 128 << 10;

/// What one answer may have on the way. Larger ones make the small wait beside the large.
pub(super) const STREAM_WINDOW: u32 = 512 << 10;

/// Eight answers that stand still do not stop the ninth.
pub(super) const CONNECTION_WINDOW: u32 = 4 << 20;

/// What RFC 9113, section 6.5.2, asks of every upstream at least.
const STREAMS_UNTIL_TOLD: usize = 100;

/// An upstream that went away without a word is found out while requests wait for it.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(20);
pub(super) const PING_TIMEOUT: Duration = Duration::from_secs(10);
