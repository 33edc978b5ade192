//! Requests to an HTTP service.

use std::sync::Arc;
use std::time::Duration;

use countersign_policy::Permit;
use http::Request;
use hyper_util::rt::TokioIo;

use super::Upstream;
use super::answer::Answer;
use super::error::UpstreamError;
use crate::config::HttpServiceConfig;
use crate::gateway::exchange::Body;

/// A service whose requests the gateway reads. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HttpService {
    inner: Arc<Inner>,
}

struct Inner {
    upstream: Arc<Upstream>,
    config: HttpServiceConfig,
}

impl HttpService {
    /// A service at `upstream`, spoken to as `config` says.
    pub(crate) fn new(upstream: &Arc<Upstream>, config: &HttpServiceConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                upstream: Arc::clone(upstream),
                config: config.clone(),
            }),
        }
    }

    /// Bytes that one request's body may have.
    pub(crate) fn max_request_body(&self) -> Option<u64> {
        self.inner.config.max_request_body
    }

    /// Sends the request that `permit` allows to the upstream with the least in flight, and gives its answer as soon as
    /// its head is there; the request's body may still be on its way.
    ///
    /// The request's target is a path, its host the `Host` header or the authority before the path. `Connection` and
    /// `Upgrade` ask for another protocol on HTTP/1.1, as they do anywhere (RFC 9110, section 7.8). With
    /// `Expect: 100-continue` the body is not asked for before the service wants it. Dropping the future takes the
    /// request back.
    ///
    /// # Errors
    ///
    /// Where no upstream answers; what the client is to be told is [`UpstreamError::problem`].
    pub(crate) async fn send(
        &self,
        permit: &Permit,
        request: Request<Body>,
    ) -> Result<Answer, UpstreamError> {
        let upstream = &self.inner.upstream;
        let service = || permit.service().to_owned();
        let taken = upstream.endpoints.take(&[]);
        let taken = taken.ok_or_else(|| upstream.all_down(permit))?;
        let stream = taken
            .endpoint()
            .open(None, upstream.connect_timeout)
            .await?;
        let hop = stream.hop().clone();
        let shaken = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let closed = |_| UpstreamError::Closed { service: service() };
        let (mut sender, connection) = shaken.map_err(closed)?;
        tokio::spawn(connection.with_upgrades());
        let limit = self.inner.config.response_timeout;
        let answered = tokio::time::timeout(limit, sender.send_request(request)).await;
        let response = answered.map_err(|_| UpstreamError::NoAnswer {
            service: service(),
            limit,
        })?;
        Ok(Answer::new(response.map_err(closed)?, hop, taken))
    }
}

/// How long a service that wants to see a body first may take to say so (RFC 9110, section 10.1.1).
#[expect(dead_code, reason = "the gate comes with the pool")]
const CONTINUE_WAIT: Duration = Duration::from_secs(1);
