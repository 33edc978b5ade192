mod extended;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Connection, ResponseFuture, SendRequest};
use h2::{Reason, RecvStream, SendStream};
use http::uri::Authority;
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::body::{self, BodyError};
use super::heartbeat::Heartbeat;
use super::stream::OpenStream;
use super::{ConnectionError, Early, Limits, Tunnel};

pub use self::extended::RawResponse;

/// The client's end of a channel: opens tunnels and sends requests.
///
/// Clones are the same channel. When the last one is dropped the channel drains, as with
/// [`drain`](Self::drain).
#[derive(Clone, Debug)]
pub struct Mux(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// `None` once the channel drains: the connection ends when nothing can open a stream.
    requests: Mutex<Option<SendRequest<Bytes>>>,
    drain: CancellationToken,
    state: watch::Receiver<State>,
    /// Whether the server takes extended CONNECT, once it has said so.
    offer: watch::Receiver<Option<bool>>,
    open: Arc<AtomicUsize>,
    response: Duration,
    response_body: usize,
}

#[derive(Clone, Debug)]
enum State {
    Open,
    Draining,
    Closed(ConnectionError),
}

impl Mux {
    /// Speaks HTTP/2 on a connection. The future that comes with it carries every byte: spawn it.
    /// It ends when the connection does, cleanly after a drain.
    ///
    /// # Errors
    ///
    /// The connection failed, or the peer's preface did not come in time.
    pub async fn handshake<T>(
        io: T,
        limits: &Limits,
    ) -> Result<
        (
            Self,
            impl Future<Output = Result<(), ConnectionError>> + Send + use<T>,
        ),
        ConnectionError,
    >
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (requests, mut connection) =
            tokio::time::timeout(limits.handshake, builder(limits).handshake::<_, Bytes>(io))
                .await
                .map_err(|_| ConnectionError::HandshakeTimeout(limits.handshake))??;
        let heartbeat = Heartbeat::new(connection.ping_pong(), limits.keepalive);
        let (state, watched) = watch::channel(State::Open);
        let asks = limits.extended_connect;
        let (offer, offered) = watch::channel((!asks).then_some(false));
        let drain = CancellationToken::new();
        let mux = Self(Arc::new(Shared {
            requests: Mutex::new(Some(requests.clone())),
            drain: drain.clone(),
            state: watched,
            offer: offered,
            open: Arc::default(),
            response: limits.response,
            response_body: limits.response_body,
        }));
        let told = Told {
            state,
            offer: asks.then_some(offer),
        };
        Ok((mux, drive(connection, requests, heartbeat, told, drain)))
    }

    /// Opens a tunnel: `CONNECT authority`, with `headers`. Waits as long as
    /// [`Limits::response`] says, which includes the wait for a free stream.
    ///
    /// Dropping the future resets the stream.
    ///
    /// # Errors
    ///
    /// The server refused, did not answer in time, or the channel takes no new streams.
    pub async fn connect(
        &self,
        authority: Authority,
        headers: HeaderMap,
    ) -> Result<Tunnel, ConnectError> {
        self.connect_saying(authority, headers, &mut Early::none())
            .await
    }

    /// As [`connect`](Self::connect), and sends what the program says meanwhile without waiting for the answer. The
    /// tunnel carries what comes after that.
    ///
    /// # Errors
    ///
    /// As [`connect`](Self::connect), and the program's end failed.
    pub async fn connect_saying<R>(
        &self,
        authority: Authority,
        headers: HeaderMap,
        early: &mut Early<R>,
    ) -> Result<Tunnel, ConnectError>
    where
        R: AsyncRead + Unpin,
    {
        let uri = Uri::from(authority);
        let mut request = Request::new(());
        *request.method_mut() = Method::CONNECT;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;

        let open = OpenStream::count(&self.0.open);
        let (response, mut send) = self.send(request, false)?;
        let answer = async {
            let response = answered(response, &mut send, early).await?;
            if response.status().is_success() {
                return Ok(Tunnel::new(response.into_body(), send, open));
            }
            let (head, mut stream) = response.into_parts();
            let body = body::read(&mut stream, self.0.response_body).await;
            Err(ConnectError::Rejected(Box::new(Rejected {
                status: head.status,
                headers: head.headers,
                body: body.unwrap_or_default(),
            })))
        };
        tokio::time::timeout(self.0.response, answer)
            .await
            .unwrap_or(Err(ConnectError::TimedOut(self.0.response)))
    }

    /// Sends a request with its body, and reads the response whole. The URI is absolute.
    ///
    /// # Errors
    ///
    /// No answer in time, a body beyond [`Limits::response_body`], or the channel takes no new
    /// streams.
    pub async fn request(&self, request: Request<Bytes>) -> Result<Response<Bytes>, RequestError> {
        let (head, body) = request.into_parts();
        let _open = OpenStream::count(&self.0.open);
        let (response, mut send) = self.send(Request::from_parts(head, ()), body.is_empty())?;
        if !body.is_empty() {
            send.send_data(body, true).map_err(ConnectionError::from)?;
        }
        let answer = async {
            let (head, mut stream) = response.await.map_err(ConnectionError::from)?.into_parts();
            let body = body::read(&mut stream, self.0.response_body).await?;
            Ok(Response::from_parts(head, body))
        };
        tokio::time::timeout(self.0.response, answer)
            .await
            .unwrap_or(Err(RequestError::TimedOut(self.0.response)))
    }

    /// Opens no more streams, and lets the connection end when the open ones have.
    pub fn drain(&self) {
        self.0.drain.cancel();
        self.requests().take();
    }

    /// Whether no stream can be opened any more: [`drain`](Self::drain) was called, the server
    /// sent GOAWAY, or the connection is gone.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        !matches!(self.state(), State::Open)
    }

    /// Waits until [`is_draining`](Self::is_draining).
    pub async fn draining(&self) {
        let mut state = self.0.state.clone();
        tokio::select! {
            () = self.0.drain.cancelled() => {}
            _ = state.wait_for(|state| !matches!(state, State::Open)) => {}
        }
    }

    /// Waits until the connection is gone, and says why it went; `None` is a clean end.
    pub async fn closed(&self) -> Option<ConnectionError> {
        let mut state = self.0.state.clone();
        match state
            .wait_for(|state| matches!(state, State::Closed(_)))
            .await
            .as_deref()
        {
            Ok(State::Closed(error)) => Some(error.clone()),
            _ => None,
        }
    }

    /// Tunnels that are open, and requests without an answer.
    #[must_use]
    pub fn open_streams(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    fn state(&self) -> State {
        // The driver's end of the channel is gone when the driver is.
        if self.0.drain.is_cancelled() || self.0.state.has_changed().is_err() {
            return State::Draining;
        }
        self.0.state.borrow().clone()
    }

    fn send(
        &self,
        request: Request<()>,
        end: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), Unsent> {
        if let State::Closed(error) = &*self.0.state.borrow() {
            return Err(Unsent::Failed(error.clone()));
        }
        if self.is_draining() {
            return Err(Unsent::Draining);
        }
        let requests = self.requests().clone();
        requests
            .ok_or(Unsent::Draining)?
            .send_request(request, end)
            .map_err(|error| Unsent::Failed(error.into()))
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, Option<SendRequest<Bytes>>> {
        let requests = self.0.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.drain.cancel();
    }
}

/// Why a tunnel did not open.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The server answered, and said no.
    #[error("{0}")]
    Rejected(Box<Rejected>),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The channel opens no more streams; nothing was sent.
    #[error("the channel is draining")]
    Draining,
    /// The end that the tunnel was for failed before it stood.
    #[error("the program's end failed: {0}")]
    Program(Arc<io::Error>),
    /// The stream or its connection failed.
    #[error(transparent)]
    Failed(#[from] ConnectionError),
}

/// A server's answer that is not a tunnel.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the server answered {status}")]
pub struct Rejected {
    /// The status: not 2xx.
    pub status: StatusCode,
    /// The answer's header fields.
    pub headers: HeaderMap,
    /// The answer's body; empty if it did not arrive whole or is beyond [`Limits::response_body`].
    pub body: Bytes,
}

/// Why a request got no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The response's body has more bytes than the limit.
    #[error("the body is larger than {0} bytes")]
    BodyTooLarge(usize),
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The channel opens no more streams; nothing was sent.
    #[error("the channel is draining")]
    Draining,
    /// The stream or its connection failed.
    #[error(transparent)]
    Failed(#[from] ConnectionError),
}

impl From<BodyError> for RequestError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(limit) => Self::BodyTooLarge(limit),
            BodyError::TimedOut(limit) => Self::TimedOut(limit),
            BodyError::Lost(error) => Self::Failed(error),
        }
    }
}

/// Waits for the answer to a CONNECT, and sends what the program says before it.
async fn answered<R>(
    mut response: ResponseFuture,
    send: &mut SendStream<Bytes>,
    early: &mut Early<R>,
) -> Result<Response<RecvStream>, ConnectError>
where
    R: AsyncRead + Unpin,
{
    let mut said = early.said().clone();
    loop {
        if !said.is_empty() {
            send.send_data(said, false).map_err(ConnectionError::from)?;
        }
        said = tokio::select! {
            biased;
            response = &mut response => return Ok(response.map_err(ConnectionError::from)?),
            said = early.listen() => said.map_err(|error| ConnectError::Program(Arc::new(error)))?,
        };
    }
}

/// Why a request was not sent.
enum Unsent {
    Draining,
    Failed(ConnectionError),
}

impl From<Unsent> for ConnectError {
    fn from(error: Unsent) -> Self {
        match error {
            Unsent::Draining => Self::Draining,
            Unsent::Failed(error) => Self::Failed(error),
        }
    }
}

impl From<Unsent> for RequestError {
    fn from(error: Unsent) -> Self {
        match error {
            Unsent::Draining => Self::Draining,
            Unsent::Failed(error) => Self::Failed(error),
        }
    }
}

fn builder(limits: &Limits) -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .enable_push(false)
        .max_frame_size(limits.frame)
        .initial_window_size(limits.stream_window)
        .initial_connection_window_size(limits.connection_window)
        .data_frame_budget(limits.frame_budget())
        .max_send_buffer_size(limits.send_buffer)
        .max_header_list_size(limits.header_list);
    if limits.extended_connect {
        // h2 does not say when SETTINGS have come, but they allow more streams than none.
        builder.initial_max_send_streams(0);
    }
    builder
}

/// What the driver tells of its connection.
struct Told {
    state: watch::Sender<State>,
    /// `None` once it has told it, or was not asked.
    offer: Option<watch::Sender<Option<bool>>>,
}

impl Told {
    /// Says what SETTINGS offer, once they have come.
    fn tell_offer<T>(&mut self, connection: &Connection<T, Bytes>, requests: &SendRequest<Bytes>)
    where
        T: AsyncRead + AsyncWrite + Unpin,
    {
        let have_come = |_: &mut _| connection.max_concurrent_send_streams() > 0;
        if let Some(offer) = self.offer.take_if(have_come) {
            offer.send_replace(Some(requests.is_extended_connect_protocol_enabled()));
        }
    }
}

/// Carries a connection to its end.
async fn drive<T>(
    mut connection: Connection<T, Bytes>,
    probe: SendRequest<Bytes>,
    mut heartbeat: Option<Heartbeat>,
    mut told: Told,
    drain: CancellationToken,
) -> Result<(), ConnectionError>
where
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut drained = pin!(drain.cancelled());
    let mut probe = Some(probe);
    let end = poll_fn(|cx| {
        if probe.is_some() && drained.as_mut().poll(cx).is_ready() {
            probe = None;
        }
        let lost = heartbeat.as_mut().map(|heartbeat| heartbeat.poll_lost(cx));
        if let Some(Poll::Ready(error)) = lost {
            return Poll::Ready(Err(error));
        }
        if let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
            return Poll::Ready(end.map_err(ConnectionError::from));
        }
        if let Some(probe) = &probe {
            told.tell_offer(&connection, probe);
        }
        if probe.as_mut().is_some_and(is_refusing) {
            probe = None;
            told.state.send_replace(State::Draining);
        }
        Poll::Pending
    })
    .await;
    let reason = end.clone().err();
    let reason = reason.unwrap_or_else(|| ConnectionError::Closed(Reason::NO_ERROR.into()));
    told.state.send_replace(State::Closed(reason));
    end
}

/// Whether the connection refuses new streams: h2 shows a GOAWAY nowhere else.
fn is_refusing(requests: &mut SendRequest<Bytes>) -> bool {
    let mut cx = Context::from_waker(Waker::noop());
    matches!(requests.poll_ready(&mut cx), Poll::Ready(Err(_)))
}
