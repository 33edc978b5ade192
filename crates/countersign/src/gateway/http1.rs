//! HTTP/1.1 on a channel: for curl, undici and whatever else speaks no HTTP/2 to a proxy.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::Socket;
use http::header::{CONNECTION, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::channel::{self, CONTROL_BODY, CONTROL_BODY_WAIT};
use super::live::LiveChannel;
use super::problem::Problem;
use super::stream::Stream;
use super::{Gateway, dispatch};

/// Serves a connection until it ends or becomes a tunnel, and says how it did.
pub(crate) async fn serve(
    gateway: &Arc<Gateway>,
    channel: &Arc<LiveChannel>,
    io: TlsStream<TcpStream>,
    streams: &TaskTracker,
) -> String {
    let service = service_fn(|request| {
        let (gateway, channel, streams) =
            (Arc::clone(gateway), Arc::clone(channel), streams.clone());
        async move {
            let response = respond(gateway, channel, streams, request).await;
            Ok::<_, Infallible>(response.map(Full::new))
        }
    });
    let mut connection = std::pin::pin!(
        hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_WAIT)
            .max_buf_size(gateway.header_bytes().max(LEAST_BUFFER))
            .serve_connection(TokioIo::new(io), service)
            .with_upgrades()
    );
    let mut draining = false;
    loop {
        tokio::select! {
            end = connection.as_mut() => {
                return end.map_or_else(|error| error.to_string(), |()| "finished".to_owned());
            }
            reason = channel.cut.wait() => return reason.to_string(),
            () = gateway.stopping.cancelled(), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

async fn respond(
    gateway: Arc<Gateway>,
    channel: Arc<LiveChannel>,
    streams: TaskTracker,
    request: Request<Incoming>,
) -> Response<Bytes> {
    let is_connect = request.method() == Method::CONNECT;
    let answered = if is_connect {
        connect(gateway, Arc::clone(&channel), &streams, request).await
    } else {
        control(&gateway, &channel, request).await
    };
    answered.unwrap_or_else(|problem| {
        channel.refused();
        let mut response = problem.response();
        if is_connect || problem.status == StatusCode::LENGTH_REQUIRED {
            // What the client sent after it may be meant for the tunnel, and must not be read as a request.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    })
}

async fn connect(
    gateway: Arc<Gateway>,
    channel: Arc<LiveChannel>,
    streams: &TaskTracker,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let (parts, body) = request.into_parts();
    let opening = dispatch::connect(&gateway, &channel, &parts)?;
    let stream = Stream::open(&gateway, &channel, opening).await?;
    let request = Request::from_parts(parts, body);
    streams.spawn(async move {
        // The client went away before the answer: dropping the stream resets the service's end.
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        // The TLS stream itself is carried, not hyper's wrapping: a failure must not say close_notify.
        if let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
            let client = Socket::preceded_by(parts.read_buf, parts.io.into_inner());
            stream.carry(client).await;
        }
    });
    Ok(Response::new(Bytes::new()))
}

async fn control(
    gateway: &Gateway,
    channel: &Arc<LiveChannel>,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        // No two readers can differ about where a body ends whose length is said once (RFC 9112, section 11.2).
        return Err(Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "length_required",
            "a body is taken with its Content-Length, not in chunks",
        ));
    }
    channel::is_control(gateway, channel, &parts)?;
    let read = Limited::new(body, CONTROL_BODY).collect();
    let body = tokio::time::timeout(CONTROL_BODY_WAIT, read)
        .await
        .map_err(|_| Problem::malformed("the body did not arrive in time"))?
        .map_err(|error| Problem::malformed(format!("the body cannot be read: {error}")))?
        .to_bytes();
    super::control::answer(gateway, channel, &parts, &body).await
}

/// A client that sends its headers more slowly than this is not waited for.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// What hyper asks of a buffer at least.
const LEAST_BUFFER: usize = 8192;
