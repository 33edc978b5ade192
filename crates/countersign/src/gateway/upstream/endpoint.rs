//! One upstream of a service: how it is reached, what is in flight to it, and whether it is well.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::{Caller, Connect};
use super::error::UpstreamError;
use super::health::Health;
use super::line::{Http1, Http2, Line};
use super::pool::{Keep, Pool};
use super::stream::UpstreamStream;
use crate::config::HttpProtocol;
use crate::hop::Hop;
use crate::metrics::Metrics;

/// One upstream of a service. It outlives a reload that leaves it as it is, with its connections and all that is known
/// of it.
pub(crate) struct Endpoint {
    pub(super) service: String,
    pub(super) connect: Connect,
    pub(super) health: Health,
    pub(super) pool: Arc<Pool>,
    pub(super) in_flight: AtomicUsize,
    /// Whether ALPN has settled on HTTP/2 here, once it was asked.
    settled: OnceLock<bool>,
    last_hop: Mutex<Option<Arc<Hop>>>,
    metrics: Metrics,
}

/// What a request asks of the connection that it is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// One that is there, or a new one.
    Any,
    /// A new one: those that were there may have died with the one before.
    New,
    /// HTTP/1.1, which it is going to leave (RFC 9110, section 7.8).
    Upgrade,
}

impl Endpoint {
    pub(super) fn new(service: &str, connect: Connect, metrics: &Metrics) -> Self {
        Self {
            service: service.to_owned(),
            connect,
            health: Health::default(),
            pool: Arc::default(),
            in_flight: AtomicUsize::new(0),
            settled: OnceLock::new(),
            last_hop: Mutex::default(),
            metrics: metrics.clone(),
        }
    }

    /// How much is in flight to it.
    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The newest connection to it.
    pub(super) fn last_hop(&self) -> Option<Arc<Hop>> {
        self.last_hop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes a connection to it, counts it, and keeps in mind how that went.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached within `limit`.
    pub(super) async fn open(
        &self,
        caller: Option<&Caller<'_>>,
        alpn: &[&[u8]],
        limit: Duration,
    ) -> Result<UpstreamStream, UpstreamError> {
        let opened = self.connect.open(&self.service, caller, alpn, limit).await;
        match &opened {
            Ok(stream) => {
                let (hop, service) = (stream.hop(), &self.service);
                self.metrics.upstream_opened(service, hop.protection.name());
                let mut last = self.last_hop.lock().unwrap_or_else(PoisonError::into_inner);
                *last = Some(Arc::clone(hop));
            }
            Err(_) => self.failed(),
        }
        opened
    }

    /// A place for one request, and whether the connection has carried others before.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached within `limit`.
    pub(super) async fn line(
        &self,
        wanted: Wanted,
        keep: Keep,
        limit: Duration,
    ) -> Result<(Line, bool), UpstreamError> {
        if wanted == Wanted::Upgrade {
            return Ok((self.dial(&[HTTP1], keep, limit).await?, false));
        }
        if wanted == Wanted::Any
            && let Some(line) = self.pool.take().await
        {
            return Ok((line, true));
        }
        let alpn = self.alpn();
        if alpn == [HTTP1] {
            return Ok((self.dial(alpn, keep, limit).await?, false));
        }
        // Who waits for a connection that is being made shares it.
        let turn = tokio::time::timeout(limit, self.pool.dialling.lock());
        let _turn = turn.await.map_err(|_| UpstreamError::Timeout {
            service: self.service.clone(),
            limit,
        })?;
        if let Some(line) = self.pool.take().await {
            return Ok((line, true));
        }
        Ok((self.dial(alpn, keep, limit).await?, false))
    }

    /// Whether HTTP/2 is all that it is spoken to in.
    pub(super) fn is_http2(&self) -> bool {
        self.connect.protocol == Some(HttpProtocol::Http2)
    }

    /// It did not do what it is there for; too often, and others are taken for a while.
    pub(super) fn failed(&self) {
        if let Some(out) = self.health.failed(Instant::now()) {
            let (service, upstream, seconds) =
                (&self.service, &self.connect.address, out.as_secs());
            let happens = "an upstream fails, and others are taken for a while";
            tracing::warn!(service, %upstream, seconds, "{happens}");
        }
    }

    /// The protocols that TLS offers, the best first.
    fn alpn(&self) -> &'static [&'static [u8]] {
        match (self.connect.protocol, self.settled.get()) {
            (Some(HttpProtocol::Http2), _) => &[HTTP2],
            (Some(HttpProtocol::Auto), None | Some(true)) => &[HTTP2, HTTP1],
            _ => &[HTTP1],
        }
    }

    async fn dial(
        &self,
        alpn: &[&[u8]],
        keep: Keep,
        limit: Duration,
    ) -> Result<Line, UpstreamError> {
        let stream = self.open(None, alpn, limit).await?;
        let http2 = match alpn {
            [HTTP1] => false,
            [HTTP2] => true,
            _ => {
                let http2 = stream.alpn() == Some(HTTP2);
                let _ = self.settled.set(http2);
                http2
            }
        };
        let closed = |_| UpstreamError::Closed {
            service: self.service.clone(),
        };
        Ok(match http2 {
            false => Line::Http1(Http1::start(stream).await.map_err(closed)?),
            true => {
                let line = Http2::start(stream).await.map_err(closed)?;
                self.pool.share(line, keep)
            }
        })
    }
}

/// The protocol names of RFC 7301's registry.
pub(super) const HTTP1: &[u8] = b"http/1.1";
pub(super) const HTTP2: &[u8] = b"h2";
