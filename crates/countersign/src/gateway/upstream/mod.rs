//! The last hop: from the gateway to a service.
//!
//! A connection is opened for a [`Permit`], to the service that the permit names, and for nothing else but the question
//! whether an upstream is well. A TCP service gets a connection for each stream ([`Upstream::open`]); an HTTP service
//! gets requests, on connections that are kept ([`HttpService::send`]).

mod answer;
mod balance;
mod budget;
mod check;
mod connect;
mod endpoint;
mod error;
mod extended;
mod health;
mod http_service;
mod line;
mod pool;
mod request;
mod stream;
mod tls;
mod upload;

use std::sync::Arc;
use std::time::Duration;

use countersign_policy::Permit;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use self::answer::{Answer, AnswerBody};
use self::balance::{Endpoints, Held};
pub(crate) use self::connect::Caller;
use self::connect::Connect;
use self::endpoint::Endpoint;
pub(crate) use self::error::UpstreamError;
pub(crate) use self::http_service::HttpService;
pub(crate) use self::stream::{Switched, UpstreamStream};
use self::tls::UpstreamTls;
use crate::config::{HealthConfig, HostPort, ServiceConfig};
use crate::gateway::services::ServiceError;
use crate::metrics::Metrics;
use crate::operator;

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

    /// Has each upstream asked whether it is well, in tasks of `checks`; without `health`, what came of asking before is
    /// forgotten.
    pub(crate) fn watch(&self, health: Option<&HealthConfig>, checks: &mut JoinSet<()>) {
        for endpoint in self.endpoints.iter() {
            match health {
                None => endpoint.health.unchecked(),
                Some(health) => {
                    checks.spawn(check::watch(Arc::clone(endpoint), health.clone()));
                }
            }
        }
    }

    /// Closes the connections that carry nothing, and keeps none from now on.
    pub(crate) fn close_idle(&self) {
        self.endpoints.iter().for_each(|one| one.pool.close());
    }

    /// What an operator is shown of each upstream.
    pub(crate) fn view(&self) -> Vec<operator::Upstream> {
        let now = Instant::now();
        let view = |endpoint: &Arc<Endpoint>| operator::Upstream {
            address: endpoint.connect.address.to_string(),
            condition: endpoint.health.condition(now),
            in_flight: endpoint.load(),
            last_hop: endpoint.last_hop().map(|hop| (*hop).clone()),
        };
        self.endpoints.iter().map(view).collect()
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
            let endpoint = Arc::clone(taken.endpoint());
            match endpoint.open(caller, &[], self.connect_timeout).await {
                Ok(stream) => {
                    endpoint.health.succeeded();
                    return Ok(stream.holding(Some(Held {
                        _in_flight: taken,
                        _turn: None,
                    })));
                }
                Err(error) => last = Some(error),
            }
            tried.push(endpoint);
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
    let connect = |address: &HostPort| {
        let tls = config.tls.as_ref();
        Ok(Connect {
            tls: tls
                .map(|tls| UpstreamTls::new(config, tls, address))
                .transpose()?,
            address: address.clone(),
            protocol: config.http.as_ref().map(|http| http.protocol),
        })
    };
    config.upstreams.iter().map(connect).collect()
}

/// Upstreams that are tried for one stream or request. A client has lost patience before a fourth.
const TRIES: usize = 3;

#[cfg(test)]
mod tests;
