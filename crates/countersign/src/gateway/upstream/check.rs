//! Asking upstreams whether they are well, again and again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{HOST, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::endpoint::{Endpoint, HTTP1, HTTP2};
use super::health::Threshold;
use super::stream::UpstreamStream;
use crate::config::{HealthConfig, HttpProtocol};

/// Asks one upstream for ever. Each question has a connection of its own, so that it is also asked whether it takes one.
pub(super) async fn watch(endpoint: Arc<Endpoint>, config: HealthConfig) {
    let threshold = Threshold {
        rise: config.rise,
        fall: config.fall,
    };
    let mut ticks = tokio::time::interval(config.interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let asked = tokio::time::timeout(config.timeout, ask(&endpoint, &config)).await;
        let outcome = asked.unwrap_or_else(|_| Err(late(config.timeout)));
        if endpoint.health.checked(outcome.is_ok(), threshold) {
            tell(&endpoint, outcome);
        }
    }
}

fn tell(endpoint: &Endpoint, outcome: Result<(), String>) {
    let (service, upstream) = (&endpoint.service, &endpoint.connect.address);
    match outcome {
        Ok(()) => tracing::info!(service, %upstream, "an upstream is well again"),
        Err(reason) => tracing::warn!(service, %upstream, reason, "an upstream is down"),
    }
}

/// Asks once; what is wrong, if something is.
async fn ask(endpoint: &Endpoint, config: &HealthConfig) -> Result<(), String> {
    let alpn: &[&[u8]] = match endpoint.connect.protocol {
        Some(HttpProtocol::Http2) => &[HTTP2],
        _ => &[HTTP1],
    };
    let (service, limit) = (&endpoint.service, config.timeout);
    let opened = endpoint.connect.open(service, None, alpn, limit).await;
    let stream = opened.map_err(|error| error.to_string())?;
    let host = endpoint.connect.address.to_string();
    let answered = match alpn {
        [HTTP2] => over_http2(stream, &host, config).await,
        _ => over_http1(stream, &host, config).await,
    };
    match answered.map_err(|error| error.to_string())? {
        status if (200..400).contains(&status.as_u16()) => Ok(()),
        status => Err(format!("it answers `{}` with {status}", config.path)),
    }
}

async fn over_http1(
    stream: UpstreamStream,
    host: &str,
    config: &HealthConfig,
) -> hyper::Result<StatusCode> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asked = sender.send_request(question(config.path.clone().into(), host));
    answered(asked, connection).await
}

async fn over_http2(
    stream: UpstreamStream,
    host: &str,
    config: &HealthConfig,
) -> hyper::Result<StatusCode> {
    let scheme = if stream.hop().tls.is_some() {
        "https"
    } else {
        "http"
    };
    let io = TokioIo::new(stream);
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(host)
        .path_and_query(config.path.clone())
        .build();
    let mut question = question(uri.unwrap_or_default(), host);
    question.headers_mut().remove(HOST);
    answered(sender.send_request(question), connection).await
}

/// Drives the connection until there is an answer, and drops it with what comes after the head.
async fn answered<T>(
    asked: impl Future<Output = hyper::Result<http::Response<T>>>,
    connection: impl Future<Output = hyper::Result<()>>,
) -> hyper::Result<StatusCode> {
    let (mut asked, mut connection) = (pin!(asked), pin!(connection));
    tokio::select! {
        answer = &mut asked => answer,
        // hyper has given the answer by then, or the reason why there is none.
        _ = &mut connection => asked.await,
    }
    .map(|answer| answer.status())
}

fn question(uri: Uri, host: &str) -> Request<Empty<Bytes>> {
    let mut question = Request::new(Empty::new());
    *question.uri_mut() = uri;
    let agent = concat!("countersign/", env!("CARGO_PKG_VERSION"));
    let headers = question.headers_mut();
    headers.insert(USER_AGENT, http::HeaderValue::from_static(agent));
    if let Ok(host) = host.parse() {
        headers.insert(HOST, host);
    }
    question
}

fn late(limit: Duration) -> String {
    format!("it did not answer within {} s", limit.as_secs_f32())
}
