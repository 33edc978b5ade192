//! HTTP/1.1 on a channel: for curl, undici and whatever else speaks no HTTP/2 to a proxy.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::Socket;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;

use super::Gateway;
use super::channel::{self, CONTROL_BODY, CONTROL_BODY_WAIT};
use super::live::LiveChannel;
use super::problem::Problem;

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
    let end = tokio::select! {
        end = connection.as_mut() => end,
        reason = channel.cut.wait() => return reason.to_string(),
        () = gateway.stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    end.map_or_else(|error| error.to_string(), |()| "finished".to_owned())
}

async fn respond(
    gateway: Arc<Gateway>,
    channel: Arc<LiveChannel>,
    streams: TaskTracker,
    request: Request<Incoming>,
) -> Response<Bytes> {
    let answered = if request.method() == Method::CONNECT {
        connect(gateway, channel, &streams, request).await
    } else {
        control(&gateway, &channel, request).await
    };
    answered.unwrap_or_else(|problem| problem.response())
}

async fn connect(
    gateway: Arc<Gateway>,
    channel: Arc<LiveChannel>,
    streams: &TaskTracker,
    request: Request<Incoming>,
) -> Result<Response<Bytes>, Problem> {
    let (parts, body) = request.into_parts();
    let stream = channel::connect(&gateway, &channel, &parts).await?;
    let request = Request::from_parts(parts, body);
    streams.spawn(async move {
        // The client went away before the answer: dropping the stream resets the service's end.
        let Ok(upgraded) = hyper::upgrade::on(request).await else {
            return;
        };
        // The TLS stream itself is carried, not hyper's wrapping: a failure must not say close_notify.
        if let Ok(parts) = upgraded.downcast::<TokioIo<TlsStream<TcpStream>>>() {
            let client = Socket::preceded_by(parts.read_buf, parts.io.into_inner());
            stream.carry(&gateway, &channel, client).await;
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
    channel::is_control(gateway, channel, &parts)?;
    let read = Limited::new(body, CONTROL_BODY).collect();
    let body = tokio::time::timeout(CONTROL_BODY_WAIT, read)
        .await
        .map_err(|_| Problem::malformed("the body did not arrive in time"))?
        .map_err(|error| Problem::malformed(format!("the body cannot be read: {error}")))?
        .to_bytes();
    Ok(super::control::answer(gateway, channel, &parts, &body).await)
}

/// A client that sends its headers more slowly than this is not waited for.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// What hyper asks of a buffer at least.
const LEAST_BUFFER: usize = 8192;
