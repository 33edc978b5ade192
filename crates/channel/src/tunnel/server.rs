use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Connection, SendResponse};
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::body::{self, BodyError};
use super::heartbeat::Heartbeat;
use super::stream::OpenStream;
use super::{ConnectionError, Limits, Tunnel};

/// Speaks HTTP/2 on a connection, as its server.
///
/// # Errors
///
/// The connection failed, or the peer's preface did not come in time.
pub async fn serve<T>(
    io: T,
    limits: &Limits,
) -> Result<(Requests<T>, ServerHandle), ConnectionError>
where
    T: AsyncRead + AsyncWrite + Unpin + Send,
{
    let handshake = builder(limits).handshake::<_, Bytes>(io);
    let mut connection = tokio::time::timeout(limits.handshake, handshake)
        .await
        .map_err(|_| ConnectionError::HandshakeTimeout(limits.handshake))??;
    let handle = ServerHandle {
        drain: CancellationToken::new(),
        close: CancellationToken::new(),
        open: Arc::default(),
    };
    let requests = Requests {
        heartbeat: Heartbeat::new(connection.ping_pong(), limits.keepalive),
        connection,
        drain: Some(Box::pin(handle.drain.clone().cancelled_owned())),
        close: Some(Box::pin(handle.close.clone().cancelled_owned())),
        open: handle.open.clone(),
    };
    Ok((requests, handle))
}

/// The requests of one connection.
///
/// The connection moves only while [`next`](Self::next) is awaited, so await it again at once and
/// handle each request in a task of its own. Dropping it closes the connection and fails every
/// stream on it.
pub struct Requests<T> {
    connection: Connection<T, Bytes>,
    heartbeat: Option<Heartbeat>,
    drain: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    close: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    open: Arc<AtomicUsize>,
}

impl<T: AsyncRead + AsyncWrite + Unpin> Requests<T> {
    /// The next request; `None` once the connection has ended cleanly. An error is the last item.
    ///
    /// It may be cancelled and called again.
    pub async fn next(&mut self) -> Option<Result<Incoming, ConnectionError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Incoming, ConnectionError>>> {
        if is_signalled(&mut self.drain, cx) {
            self.connection.graceful_shutdown();
        }
        if is_signalled(&mut self.close, cx) {
            self.connection.abrupt_shutdown(Reason::NO_ERROR);
        }
        let heartbeat = self.heartbeat.as_mut();
        if let Some(Poll::Ready(error)) = heartbeat.map(|heartbeat| heartbeat.poll_lost(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        self.connection.poll_accept(cx).map(|next| {
            next.map(|request| {
                let (request, respond) = request?;
                Ok(Incoming::new(request, respond, &self.open))
            })
        })
    }
}

impl<T> std::fmt::Debug for Requests<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requests")
            .field("open", &self.open)
            .finish_non_exhaustive()
    }
}

/// Ends a connection from outside the task that serves it.
#[derive(Clone, Debug)]
pub struct ServerHandle {
    drain: CancellationToken,
    close: CancellationToken,
    open: Arc<AtomicUsize>,
}

impl ServerHandle {
    /// Sends GOAWAY: streams that are open go on, and the connection ends with the last of them.
    pub fn drain(&self) {
        self.drain.cancel();
    }

    /// Closes the connection now and fails every stream on it, at both ends.
    pub fn close(&self) {
        self.close.cancel();
    }

    /// Requests without an answer, and tunnels that are open.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

/// A request. Dropping it without an answer resets its stream.
#[derive(Debug)]
pub struct Incoming {
    parts: Parts,
    body: RecvStream,
    respond: SendResponse<Bytes>,
    open: OpenStream,
}

impl Incoming {
    fn new(
        request: Request<RecvStream>,
        respond: SendResponse<Bytes>,
        open: &Arc<AtomicUsize>,
    ) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            parts,
            body,
            respond,
            open: OpenStream::count(open),
        }
    }

    /// Method, URI and header fields. The URI of a CONNECT is its authority.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Whether it asks for a tunnel, and not for another protocol (RFC 8441).
    #[must_use]
    pub fn is_tunnel(&self) -> bool {
        self.parts.method == Method::CONNECT
            && self.parts.extensions.get::<h2::ext::Protocol>().is_none()
    }

    /// Reads the whole body.
    ///
    /// # Errors
    ///
    /// It has more than `limit` bytes, did not arrive within `wait`, or the stream ended first.
    pub async fn body(&mut self, limit: usize, wait: Duration) -> Result<Bytes, BodyError> {
        tokio::time::timeout(wait, body::read(&mut self.body, limit))
            .await
            .unwrap_or(Err(BodyError::TimedOut(wait)))
    }

    /// Answers 200 with `headers`; what follows is the tunnel.
    ///
    /// # Errors
    ///
    /// The client has reset the stream.
    pub fn accept(mut self, headers: HeaderMap) -> Result<Tunnel, ConnectionError> {
        let mut response = Response::new(());
        *response.headers_mut() = headers;
        let send = self.respond.send_response(response, false)?;
        Ok(Tunnel::new(self.body, send, self.open))
    }

    /// Answers with a whole response, and takes no more of the request's body.
    ///
    /// # Errors
    ///
    /// The client has reset the stream.
    pub fn reply(mut self, response: Response<Bytes>) -> Result<(), ConnectionError> {
        let (head, body) = response.into_parts();
        let head = Response::from_parts(head, ());
        let mut send = self.respond.send_response(head, body.is_empty())?;
        if !body.is_empty() {
            send.send_data(body, true)?;
        }
        Ok(())
    }

    /// Waits until the client has reset the stream or is gone: nobody waits for the answer then.
    pub async fn abandoned(&mut self) -> ConnectionError {
        match poll_fn(|cx| self.respond.poll_reset(cx)).await {
            Ok(reason) => ConnectionError::reset(reason),
            Err(error) => error.into(),
        }
    }

    /// The parts, to proxy the request as HTTP.
    #[must_use]
    pub fn into_raw(self) -> RawRequest {
        RawRequest {
            parts: self.parts,
            body: self.body,
            respond: self.respond,
            open: OpenGuard(self.open),
        }
    }
}

/// A request in h2's own types.
#[derive(Debug)]
pub struct RawRequest {
    /// Method, URI and header fields.
    pub parts: Parts,
    /// The body. Its window is freed by hand.
    pub body: RecvStream,
    /// Where the response goes.
    pub respond: SendResponse<Bytes>,
    /// Keeps the request in [`ServerHandle::open_streams`].
    pub open: OpenGuard,
}

/// One in the count of open streams, for as long as it lives.
#[derive(Debug)]
pub struct OpenGuard(pub(super) OpenStream);

impl From<OpenGuard> for OpenStream {
    fn from(guard: OpenGuard) -> Self {
        guard.0
    }
}

fn builder(limits: &Limits) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_frame_size(limits.frame)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .data_frame_budget(limits.frame_budget())
        .max_send_buffer_size(limits.send_buffer)
        .max_header_list_size(limits.header_list)
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(limits.pending_resets);
    if limits.extended_connect {
        builder.enable_connect_protocol();
    }
    builder
}

/// Whether a signal has come; true once.
fn is_signalled(
    signal: &mut Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    cx: &mut Context<'_>,
) -> bool {
    let signalled = signal
        .as_mut()
        .is_some_and(|signal| signal.as_mut().poll(cx).is_ready());
    if signalled {
        *signal = None;
    }
    signalled
}
