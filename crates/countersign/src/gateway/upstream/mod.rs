//! The last hop: from the gateway to a service.
//!
//! A connection is opened for a [`Permit`], to the service that the permit names, and for nothing else but the question
//! whether an upstream is well. A TCP service gets a connection for each stream ([`Upstream::open`]); an HTTP service
//! gets requests, on connections that are kept ([`HttpService::send`]).

mod answer;
mod balance;
mod connect;
mod endpoint;
mod error;
mod health;
mod http;
mod stream;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use countersign_policy::Permit;

pub(crate) use self::answer::{Answer, AnswerBody};
use self::balance::Endpoints;
pub(crate) use self::connect::Caller;
use self::connect::Connect;
use self::endpoint::Endpoint;
pub(crate) use self::error::UpstreamError;
pub(crate) use self::http::HttpService;
pub(crate) use self::stream::UpstreamStream;
use self::tls::UpstreamTls;
use crate::config::{HttpProtocol, ServiceConfig};
use crate::gateway::services::ServiceError;
use crate::metrics::Metrics;

/// Where a service is and how it is reached.
pub(crate) struct Upstream {
    endpoints: Endpoints,
    proxy_protocol: bool,
    connect_timeout: Duration,
}

impl Upstream {
    /// The upstreams of a service; those that are in `before` too, and did not change, are taken over as they are.
    ///
    /// # Errors
    ///
    /// A file that the configuration names cannot be read or does not hold what it should.
    pub(crate) fn new(
        config: &ServiceConfig,
        before: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<Self, ServiceError> {
        let mut endpoints = Vec::new();
        for connect in connects(config)? {
            let known = before.and_then(|before| {
                let mut known = before.endpoints.iter();
                known.find(|endpoint| endpoint.connect == connect)
            });
            endpoints.push(match known {
                Some(endpoint) => Arc::clone(endpoint),
                None => Arc::new(Endpoint::new(&config.name, connect, metrics)),
            });
        }
        Ok(Self {
            endpoints: Endpoints::new(endpoints),
            proxy_protocol: config.proxy_protocol,
            connect_timeout: config.connect_timeout,
        })
    }

    /// How long opening a connection may take.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Opens the connection that `permit` allows: to the upstream with the fewest, and if that one cannot be reached to
    /// the next.
    ///
    /// # Errors
    ///
    /// Where none can be reached, each within the connect time limit, TLS included: what the last one said.
    pub(crate) async fn open(
        &self,
        permit: &Permit,
        caller: &Caller<'_>,
    ) -> Result<UpstreamStream, UpstreamError> {
        let caller = self.proxy_protocol.then_some(caller);
        let (mut tried, mut last) = (Vec::new(), None);
        while tried.len() < TRIES {
            let Some(taken) = self.endpoints.take(&tried) else {
                break;
            };
            match taken.endpoint().open(caller, self.connect_timeout).await {
                Ok(stream) => {
                    taken.endpoint().health.succeeded();
                    return Ok(stream.holding(taken));
                }
                Err(error) => last = Some(error),
            }
            tried.push(taken);
        }
        Err(last.unwrap_or_else(|| self.all_down(permit)))
    }

    fn all_down(&self, permit: &Permit) -> UpstreamError {
        UpstreamError::AllDown {
            service: permit.service().to_owned(),
            upstreams: self.endpoints.len(),
        }
    }
}

/// How each upstream of a service is reached.
fn connects(config: &ServiceConfig) -> Result<Vec<Connect>, ServiceError> {
    let alpn: &[&[u8]] = match config.http.as_ref().map(|http| http.protocol) {
        None => &[],
        Some(HttpProtocol::Http1) => &[b"http/1.1"],
        Some(HttpProtocol::Http2) => &[b"h2"],
        Some(HttpProtocol::Auto) => &[b"h2", b"http/1.1"],
    };
    let connect = |address: &crate::config::HostPort| {
        let tls = config.tls.as_ref();
        Ok(Connect {
            tls: tls
                .map(|tls| UpstreamTls::new(config, tls, address))
                .transpose()?,
            address: address.clone(),
            alpn,
        })
    };
    config.upstreams.iter().map(connect).collect()
}

/// Upstreams that are tried for one stream or request. A client has lost patience before a fourth.
const TRIES: usize = 3;
