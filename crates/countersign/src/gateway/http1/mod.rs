//! HTTP/1.1 on a channel, or on a tunnel in it: for curl, undici and whatever else speaks no HTTP/2.

mod turns;

use std::convert::Infallible;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::{Reset, Socket};
use http::header::{CONNECTION, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use self::turns::{Answering, Expired, Noticed, Timed, Turns, Watch};
use super::channel::{self, CONTROL_BODY_WAIT, control_body};
use super::client::Client;
use super::exchange::{self, Body, Outcome, ReplyBody};
use super::inside::Inside;
use super::problem::{Audience, Problem};
use super::stream::Stream;

/// Serves a connection until it ends, as a tunnel or a WebSocket if it becomes one, and says how it did.
pub(crate) async fn serve<T>(client: &Client, io: T) -> String
where
    T: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let (turns, next) = (Turns::new(), Next::default());
    let service = service_fn(|request| {
        let (client, turn, next) = (client.clone(), turns.answer(), next.clone());
        async move { Ok::<_, Infallible>(respond::<T>(client, turn, next, request).await) }
    });
    let limits = client.limits();
    let mut connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .max_header_size(2 * limits.head.fields + limits.head.uri)
        .max_buf_size(BUFFER.max(2 * limits.head.fields + limits.head.uri))
        .serve_connection(TokioIo::new(Noticed::new(io, &turns)), service)
        .with_upgrades();
    let mut watch = Watch::new(&turns, limits.head_wait);
    let mut draining = false;
    let end = loop {
        tokio::select! {
            biased;
            end = &mut connection => break end,
            reason = client.channel.cut.wait() => return reason.to_string(),
            expired = poll_fn(|cx| watch.poll_expired(cx)) => match expired {
                Expired::Silent if draining => return "the client did not end".to_owned(),
                Expired::Silent => {
                    draining = true;
                    Pin::new(&mut connection).graceful_shutdown();
                }
                Expired::SlowHead { first } => {
                    let io = connection.into_parts().filter(|_| first);
                    return too_slow(io.map(|parts| parts.io.into_inner())).await;
                }
                Expired::Answer => return "an answer was broken off".to_owned(),
            },
            () = client.gateway.stopping.cancelled(), if !draining => {
                draining = true;
                Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    if let Err(error) = end {
        return error.to_string();
    }
    match connection.into_parts() {
        Some(parts) => linger(parts.io.into_inner()).await,
        None => next.carry().await,
    }
    "finished".to_owned()
}

/// What the connection becomes after the answer.
#[derive(Clone, Default)]
struct Next(Arc<Mutex<Option<Carrying>>>);

type Carrying = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Next {
    fn set(&self, next: impl Future<Output = ()> + Send + 'static) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::pin(next));
    }

    async fn carry(&self) {
        let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(next) = next {
            next.await;
        }
    }
}

async fn respond<T>(
    client: Client,
    turn: Answering,
    next: Next,
    mut request: Request<Incoming>,
) -> Response<Timed>
where
    T: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let is_connect = request.method() == Method::CONNECT;
    let audience = match is_connect {
        true => Audience::Program,
        false => Audience::of(request.headers()),
    };
    let upgrade = hyper::upgrade::on(&mut request);
    if is_connect || request.headers().contains_key(UPGRADE) {
        // hyper gives the connection away whether it was switched or not, once it has answered for the last time.
        next.set(farewell::<T>(upgrade.clone()));
    }
    let answered = if is_connect {
        connect::<T>(&client, &next, request, upgrade).await
    } else {
        serve_request::<T>(&client, &turn, &next, request, upgrade).await
    };
    let response = answered.unwrap_or_else(|problem| {
        client.refused(&problem);
        let mut response = exchange::whole(problem.response_to(audience));
        if is_connect || problem.status == StatusCode::LENGTH_REQUIRED {
            // What the client sent after it may be meant for the tunnel, and must not be read as a request.
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    });
    response.map(|reply| Timed { reply, _turn: turn })
}

async fn connect<T>(
    client: &Client,
    next: &Next,
    request: Request<Incoming>,
    upgrade: OnUpgrade,
) -> Result<Response<ReplyBody>, Problem>
where
    T: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let (parts, _) = request.into_parts();
    let opening = client.decide_connect(&parts)?;
    if opening.service.http.is_some() {
        let inside = Inside::open(client, opening)?;
        next.set(async move {
            if let Some((io, first)) = taken_over::<T>(upgrade).await {
                inside.serve(first, io).await;
            }
        });
    } else {
        let stream = Stream::open(&client.gateway, &client.channel, opening).await?;
        next.set(async move {
            // The client went away before the answer: dropping the stream resets the service's end.
            if let Some((io, first)) = taken_over::<T>(upgrade).await {
                stream.carry(Socket::preceded_by(first, io)).await;
            }
        });
    }
    Ok(Response::new(ReplyBody::empty()))
}

/// The connection itself, and not hyper's wrapping, with what was read of it already: a failure must not say close_notify.
async fn taken_over<T>(upgrade: OnUpgrade) -> Option<(T, Bytes)>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let upgraded = upgrade.await.ok()?;
    let parts = upgraded.downcast::<TokioIo<Noticed<T>>>().ok()?;
    Some((parts.io.into_inner().into_inner(), parts.read_buf))
}

async fn serve_request<T>(
    client: &Client,
    turn: &Answering,
    next: &Next,
    request: Request<Incoming>,
    upgrade: OnUpgrade,
) -> Result<Response<ReplyBody>, Problem>
where
    T: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let (parts, body) = request.into_parts();
    client.check_target(&parts)?;
    if client.means_gateway(&parts)? {
        let request = Request::from_parts(parts, body);
        return control(client, request).await.map(exchange::whole);
    }
    match exchange::serve(client, parts, Body::http1(body)).await? {
        Outcome::Reply { response, over } => {
            turn.until(over);
            Ok(response)
        }
        Outcome::Switch { response, switch } => {
            next.set(async move {
                if let Some((io, first)) = taken_over::<T>(upgrade).await {
                    switch.carry(Socket::preceded_by(first, io)).await;
                }
            });
            Ok(response.map(|()| ReplyBody::empty()))
        }
    }
}

async fn control(client: &Client, request: Request<Incoming>) -> Result<Response<Bytes>, Problem> {
    let (parts, body) = request.into_parts();
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        // No two readers can differ about where a body ends whose length is said once (RFC 9112, section 11.2).
        return Err(Problem::new(
            StatusCode::LENGTH_REQUIRED,
            "length_required",
            "a body is taken with its Content-Length, not in chunks",
        ));
    }
    channel::is_control(&client.gateway, &client.channel, &parts)?;
    let read = Limited::new(body, control_body(&client.channel)).collect();
    let body = tokio::time::timeout(CONTROL_BODY_WAIT, read)
        .await
        .map_err(|_| Problem::malformed("the body did not arrive in time"))?
        .map_err(|error| Problem::malformed(format!("the body cannot be read: {error}")))?
        .to_bytes();
    super::control::answer(&client.gateway, &client.channel, &parts, &body).await
}

/// Ends a connection whose client is slow with a head. Only the first head's is told: before a later one, part of an
/// answer may still have been on its way, and what follows would be taken for its rest.
async fn too_slow(io: Option<impl AsyncWrite + Unpin>) -> String {
    if let Some(mut io) = io {
        let told = async {
            let _ = io.write_all(slow_head().as_bytes()).await;
            let _ = io.shutdown().await;
        };
        let _ = tokio::time::timeout(LINGER, told).await;
    }
    "a request's head did not come in time".to_owned()
}

fn slow_head() -> String {
    let status = StatusCode::REQUEST_TIMEOUT;
    let detail = "the head of the request did not come in time";
    let response = Problem::new(status, "head_too_slow", detail).response();
    let mut text = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    for (name, value) in response.headers() {
        let value = value.to_str().unwrap_or_default();
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = response.into_body();
    text.push_str(&format!("content-length: {}\r\n\r\n", body.len()));
    text.push_str(&String::from_utf8_lossy(&body));
    text
}

/// Ends a connection that has become nothing else.
async fn farewell<T>(upgrade: OnUpgrade)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    if let Some((mut io, _)) = taken_over::<T>(upgrade).await {
        let _ = tokio::time::timeout(LINGER, io.shutdown()).await;
        linger(io).await;
    }
}

/// Reads on for a moment after the end: a client that still sends when the connection closes gets a reset, and loses the
/// answer that told it to stop.
async fn linger(mut io: impl AsyncRead + Unpin) {
    let mut rest = vec![0; 16 << 10];
    let drained = async { while let Ok(1..) = io.read(&mut rest).await {} };
    let _ = tokio::time::timeout(LINGER, drained).await;
}

/// What hyper reads ahead of a body, when no head needs more.
const BUFFER: usize = 64 << 10;

/// How long the end of a connection may take.
const LINGER: Duration = Duration::from_secs(2);
