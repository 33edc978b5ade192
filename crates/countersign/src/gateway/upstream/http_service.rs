//! Requests to an HTTP service.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use countersign_policy::Permit;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::sync::Semaphore;

use super::answer::{Answer, Flight};
use super::balance::{Held, InFlight, Turn};
use super::budget::Budget;
use super::endpoint::Wanted;
use super::error::{UpstreamError, before_answer, is_reset, is_unprocessed};
use super::extended::{self, Patience};
use super::line::{Outcome, Sending};
use super::pool::Keep;
use super::request::{Again, Failed, Outgoing};
use super::upload::Upload;
use super::{TRIES, Upstream};
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
    turns: Arc<Semaphore>,
    budget: Budget,
}

impl HttpService {
    /// A service at `upstream`, spoken to as `config` says.
    pub(crate) fn new(upstream: &Arc<Upstream>, config: &HttpServiceConfig) -> Self {
        Self {
            inner: Arc::new(Inner {
                upstream: Arc::clone(upstream),
                turns: Arc::new(Semaphore::new(config.requests)),
                budget: Budget::new(),
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
    /// The request's target is a path, its host the authority before the path or else the `Host` header. `Connection` and
    /// `Upgrade` ask for another protocol on HTTP/1.1, as they do anywhere (RFC 9110, section 7.8); for WebSocket where the
    /// service is spoken to in HTTP/2 (RFC 8441), whose yes is told as 101 all the same. With
    /// `Expect: 100-continue` the body is not asked for before the service wants it. Dropping the future takes the
    /// request back.
    ///
    /// It is sent again on another connection where no upstream can have acted on it, or where it died with a connection
    /// that was kept, may be done twice and had nothing taken of its body (RFC 9110, section 9.2.2).
    ///
    /// # Errors
    ///
    /// Where no upstream answers; what the client is to be told is [`UpstreamError::problem`].
    pub(crate) async fn send(
        &self,
        permit: &Permit,
        request: Request<Body>,
    ) -> Result<Answer, UpstreamError> {
        let (inner, outgoing) = (&self.inner, Outgoing::new(request));
        let upstream = &inner.upstream;
        let turn = inner.turn(permit.service()).await?;
        inner.budget.earn();
        let mut wanted = match outgoing.upgrades {
            true => Wanted::Upgrade,
            false => Wanted::Any,
        };
        let (mut tried, mut repeated, mut last) = (Vec::new(), 0, None);
        while tried.len() < TRIES {
            let Some(taken) = upstream.endpoints.take(&tried) else {
                break;
            };
            let endpoint = Arc::clone(taken.endpoint());
            let Failed { error, again } = match inner.attempt(taken, &turn, &outgoing, wanted).await
            {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            match again {
                Again::Elsewhere => tried.push(endpoint),
                Again::Here if repeated < inner.config.retries && inner.budget.spend() => {
                    repeated += 1;
                    if wanted == Wanted::Any {
                        wanted = Wanted::New;
                    }
                }
                _ => return Err(error),
            }
            last = Some(error);
        }
        Err(last.unwrap_or_else(|| upstream.all_down(permit)))
    }
}

impl Inner {
    /// Waits until one more request may be in flight.
    async fn turn(&self, service: &str) -> Result<Turn, UpstreamError> {
        let waited = self.upstream.connect_timeout;
        let turn = Arc::clone(&self.turns).acquire_owned();
        match tokio::time::timeout(waited, turn).await {
            Ok(Ok(turn)) => Ok(Arc::new(turn)),
            _ => Err(UpstreamError::Busy {
                service: service.to_owned(),
                requests: self.config.requests,
                waited,
            }),
        }
    }

    /// Sends it once, to one upstream.
    async fn attempt(
        &self,
        taken: InFlight,
        turn: &Turn,
        outgoing: &Outgoing,
        wanted: Wanted,
    ) -> Result<Answer, Failed> {
        let endpoint = Arc::clone(taken.endpoint());
        if outgoing.upgrades && endpoint.is_http2() {
            return self.ask_extended(taken, turn, outgoing).await;
        }
        let (keep, limit) = (self.keep(), self.upstream.connect_timeout);
        let opened = endpoint.line(wanted, keep, limit).await;
        let (line, used) = opened.map_err(Failed::unopened)?;
        let hop = Arc::clone(line.hop());
        let mut flight = Flight {
            endpoint: Arc::clone(&endpoint),
            line: Some(line),
            keep,
            upload: outgoing.upload.clone(),
            held: Some(Held {
                _in_flight: taken,
                _turn: Some(Arc::clone(turn)),
            }),
        };
        let sending = flight.start(outgoing)?;
        let limit = self.config.response_timeout;
        match answered(sending, &outgoing.upload, limit).await {
            None => {
                endpoint.failed();
                let service = endpoint.service.clone();
                Err(UpstreamError::NoAnswer { service, limit }.into())
            }
            Some(Err(failure)) => Err(failed(&flight, outgoing, used, failure)),
            Some(Ok(response)) => {
                endpoint.health.succeeded();
                outgoing.upload.answered();
                check_switch(&response, outgoing, &endpoint.service)?;
                Ok(Answer::new(response, hop, flight))
            }
        }
    }

    /// Asks once, one upstream that speaks HTTP/2, for WebSocket.
    async fn ask_extended(
        &self,
        taken: InFlight,
        turn: &Turn,
        outgoing: &Outgoing,
    ) -> Result<Answer, Failed> {
        let endpoint = Arc::clone(taken.endpoint());
        let patience = Patience {
            connect: self.upstream.connect_timeout,
            answer: self.config.response_timeout,
        };
        let asked = extended::ask(&endpoint, outgoing, patience).await?;
        let flight = Flight {
            endpoint,
            line: None,
            keep: self.keep(),
            upload: outgoing.upload.clone(),
            held: Some(Held {
                _in_flight: taken,
                _turn: Some(Arc::clone(turn)),
            }),
        };
        Ok(Answer::extended(asked, flight))
    }

    fn keep(&self) -> Keep {
        Keep {
            idle: self.config.idle_connections,
            time: self.config.idle_connection_timeout,
        }
    }
}

/// What comes of a request; nothing if the service does nothing about it for `limit`.
async fn answered(mut sending: Sending, upload: &Upload, limit: Duration) -> Option<Outcome> {
    let mut patience = pin!(tokio::time::sleep(limit));
    loop {
        tokio::select! {
            biased;
            outcome = &mut sending => return Some(outcome),
            () = &mut patience => patience.as_mut().reset(upload.patience(limit)?),
        }
    }
}

/// Refuses a change of protocol that nobody asked for: what follows would be read as an answer to the next request.
fn check_switch(
    response: &Response<Incoming>,
    outgoing: &Outgoing,
    service: &str,
) -> Result<(), UpstreamError> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS || outgoing.upgrades {
        return Ok(());
    }
    Err(UpstreamError::NotHttp {
        service: service.to_owned(),
        detail: "it switches to a protocol that nobody asked for".to_owned(),
    })
}

/// What a failure before the answer means, and whether the request may be sent again.
fn failed(
    flight: &Flight,
    outgoing: &Outgoing,
    used: bool,
    mut failure: TrySendError<Request<Upload>>,
) -> Failed {
    let unsent = failure.take_message().is_some();
    let cause = failure.into_error();
    if let Some(fault) = outgoing.upload.fault() {
        return UpstreamError::from(fault).into();
    }
    if !is_reset(&cause) && !cause.is_user() {
        flight.retire();
    }
    let error = before_answer(&flight.endpoint.service, &cause);
    let closed = matches!(error, UpstreamError::Closed { .. });
    if closed && !used {
        flight.endpoint.failed();
    }
    let died_with_its_line = closed && used && outgoing.is_idempotent();
    let may = unsent || is_unprocessed(&cause) || died_with_its_line;
    Failed {
        error,
        again: match may && outgoing.upload.is_untouched() {
            true => Again::Here,
            false => Again::Never,
        },
    }
}
