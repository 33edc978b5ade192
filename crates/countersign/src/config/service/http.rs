//! `[service.http]`: a service whose requests the gateway reads, one by one.

use std::time::Duration;

use http::uri::PathAndQuery;

use crate::config::error::ConfigError;
use crate::config::key::key;
use crate::config::kind::{BYTES, COUNT, FEW, HTTP_PROTOCOL, SPAN, URL_PATH};
use crate::config::reader::Table;

/// How an HTTP service is spoken to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HttpServiceConfig {
    /// What its upstreams speak.
    pub(crate) protocol: HttpProtocol,
    /// Bytes of one request's body; without limit when absent.
    pub(crate) max_request_body: Option<u64>,
    /// How long an upstream may do nothing about a request before it answers.
    pub(crate) response_timeout: Duration,
    /// How often a request is sent again that no upstream can have acted on, or may act on twice.
    pub(crate) retries: u32,
    /// Requests in flight at once, over all upstreams.
    pub(crate) requests: usize,
    /// Idle connections kept to each upstream.
    pub(crate) idle_connections: usize,
    /// How long a connection is kept that carries nothing.
    pub(crate) idle_connection_timeout: Duration,
    /// How upstreams are asked whether they are well; they are not when absent.
    pub(crate) health: Option<HealthConfig>,
}

/// The version of HTTP that upstreams speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HttpProtocol {
    /// HTTP/1.1, RFC 9112.
    Http1,
    /// HTTP/2, RFC 9113: with prior knowledge over plain TCP, by ALPN over TLS.
    Http2,
    /// Whichever of the two ALPN settles on (RFC 7301).
    Auto,
}

/// How an upstream is asked whether it is well.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct HealthConfig {
    /// What is asked for with GET; an answer of 200 to 399 is well.
    pub(crate) path: PathAndQuery,
    /// The time between two questions.
    pub(crate) interval: Duration,
    /// How long an answer may take.
    pub(crate) timeout: Duration,
    /// Good answers in a row that bring an upstream back.
    pub(crate) rise: usize,
    /// Bad answers in a row that take it out.
    pub(crate) fall: usize,
}

/// Reads `[service.http]`.
pub(super) fn read(mut table: Table<'_>) -> Result<HttpServiceConfig, ConfigError> {
    let protocol = key("protocol", &HTTP_PROTOCOL, "what the upstreams speak");
    let body = key(
        "max_request_body",
        &BYTES,
        "bytes of one request's body; beyond it the client is told 413",
    );
    let response = key(
        "response_timeout",
        &SPAN,
        "how long an upstream may take to answer a request that it has, before the client is told 504",
    );
    let retries = key(
        "retries",
        &FEW,
        "how often a request is sent again when no upstream can have acted on it, or it may be done twice",
    );
    let requests = key(
        "requests",
        &COUNT,
        "requests and WebSockets open at once, over all upstreams; more wait",
    );
    let idle = key(
        "idle_connections",
        &COUNT,
        "idle HTTP/1.1 connections kept to each upstream",
    );
    let idle_timeout = key(
        "idle_connection_timeout",
        &SPAN,
        "how long an idle connection is kept; shorter than the upstream keeps it",
    );
    let http = HttpServiceConfig {
        protocol: table.read(protocol.or("\"http/1.1\""))?,
        max_request_body: table.find(body.absent("without limit"))?,
        response_timeout: table.read(response.or("\"60s\""))?,
        retries: table.read(retries.or("1"))?,
        requests: table.read(requests.or("4096"))?,
        idle_connections: table.read(idle.or("64"))?,
        idle_connection_timeout: table.read(idle_timeout.or("\"4s\""))?,
        health: table.find_table("health")?.map(read_health).transpose()?,
    };
    table.finish().map(|()| http)
}

fn read_health(mut table: Table<'_>) -> Result<HealthConfig, ConfigError> {
    let path = key(
        "path",
        &URL_PATH,
        "what each upstream is asked for; an answer of 200 to 399 is well",
    );
    let interval = key("interval", &SPAN, "the time between two questions");
    let timeout = key("timeout", &SPAN, "how long an answer may take");
    let rise = key("rise", &COUNT, "good answers in a row that bring it back");
    let fall = key("fall", &COUNT, "bad answers in a row that take it out");
    let health = HealthConfig {
        path: table.read(path)?,
        interval: table.read(interval.or("\"5s\""))?,
        timeout: table.read(timeout.or("\"2s\""))?,
        rise: table.read(rise.or("2"))?,
        fall: table.read(fall.or("3"))?,
    };
    table.finish().map(|()| health)
}
