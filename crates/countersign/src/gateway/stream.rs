//! One stream, from its permit to its end.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use countersign_channel::tunnel::{Ending, IntoEnd, RelayEnd, RelayLimits, relay};
use countersign_policy::Permit;
use http::StatusCode;
use tokio::time::Instant;

use super::Gateway;
use super::dispatch::Opening;
use super::live::{CutReason, LiveChannel, LiveStream, StreamGuard};
use super::problem::Problem;
use super::services::Service;
use super::upstream::{Caller, UpstreamError, UpstreamStream};
use crate::audit::Event;

/// A stream whose upstream end is open.
pub(crate) struct Stream {
    entry: Entry,
    upstream: UpstreamStream,
}

/// A stream in the register, in metrics and in audit: entered with its permit, and struck out however it ends.
struct Entry {
    gateway: Arc<Gateway>,
    channel: Arc<LiveChannel>,
    guard: StreamGuard,
    service: Arc<Service>,
    since: Instant,
    ended: bool,
}

impl Stream {
    /// Opens the upstream end. Dropping the future closes it.
    ///
    /// # Errors
    ///
    /// What the client is to be told: the audit trail cannot be written, too much is being opened, or the service cannot
    /// be reached.
    pub(crate) async fn open(
        gateway: &Arc<Gateway>,
        channel: &Arc<LiveChannel>,
        opening: Opening,
    ) -> Result<Self, Problem> {
        let Opening {
            permit,
            service,
            session,
        } = opening;
        if let Err(error) = gateway.custody.audit.ready() {
            tracing::error!(%error, "a stream is refused");
            return Err(unavailable("audit_unavailable", NOT_AUDITED));
        }
        let most = gateway.streams_per_channel();
        let Some(guard) = channel.open_stream(&permit, session, most) else {
            let detail = format!("this channel has {most} streams open, and may have no more");
            return Err(unavailable("too_many_streams", detail));
        };
        let entry = Entry::new(gateway, channel, guard, &permit, service);
        let dialled = tokio::select! {
            biased;
            reason = entry.stream().cut.wait() => {
                entry.cut(&reason);
                return Err(Problem::denied(format!("the stream was cut while it was opened: {reason}")));
            }
            dialled = entry.dial(&permit) => dialled,
        };
        match dialled {
            Ok(upstream) => {
                let protection = upstream.protection.name();
                gateway
                    .metrics
                    .upstream_opened(&entry.service.name, protection);
                Ok(Self { entry, upstream })
            }
            Err(problem) => {
                tracing::warn!(
                    service = entry.service.name,
                    problem.detail,
                    "a service cannot be reached"
                );
                entry.closed("unreachable", problem.detail.clone(), 0, 0);
                Err(problem)
            }
        }
    }

    /// Carries bytes between the client and the service until the stream ends.
    pub(crate) async fn carry(self, client: impl IntoEnd) {
        let Self { entry, upstream } = self;
        let (stream, service) = (Arc::clone(entry.stream()), Arc::clone(&entry.service));
        let _open = entry
            .gateway
            .metrics
            .stream_open(&service.name, &stream.counters);
        let limits = RelayLimits {
            idle: Some(service.idle_timeout),
        };
        let (counters, cut) = (&stream.counters, &stream.cut);
        let mut carried = pin!(relay(client, upstream, limits, counters, cut));
        let end = match service.max_stream_age {
            None => carried.await,
            Some(age) => match tokio::time::timeout(age, &mut carried).await {
                Ok(end) => end,
                Err(_) => {
                    cut.cut(CutReason::TooOld);
                    carried.await
                }
            },
        };
        entry.carried(&end);
    }
}

impl Entry {
    fn new(
        gateway: &Arc<Gateway>,
        channel: &Arc<LiveChannel>,
        guard: StreamGuard,
        permit: &Permit,
        service: Arc<Service>,
    ) -> Self {
        gateway.custody.audit.record(Event::StreamAllowed {
            channel: channel.id.to_string(),
            stream: guard.stream.id.to_string(),
            principal: guard.stream.session.principal(),
            service: service.name.clone(),
            rule: permit.rule().to_owned(),
            bundle: permit.bundle_revision().to_owned(),
            policy_revision: permit.policy_revision(),
            decision: permit.id().to_string(),
        });
        // Whatever changed since the permit was given did not find the stream yet; whatever changes from here on does.
        gateway.decide_stream_again(channel, &guard.stream);
        Self {
            gateway: Arc::clone(gateway),
            channel: Arc::clone(channel),
            guard,
            service,
            since: Instant::now(),
            ended: false,
        }
    }

    fn stream(&self) -> &Arc<LiveStream> {
        &self.guard.stream
    }

    /// Connects to the service, when it is this stream's turn.
    async fn dial(&self, permit: &Permit) -> Result<UpstreamStream, Problem> {
        let (channel, upstream) = (&self.channel, &self.service.upstream);
        let turn = tokio::time::timeout(upstream.connect_timeout(), channel.dials.acquire());
        let Ok(_turn) = turn.await else {
            return Err(unavailable("too_many_pending", TOO_MANY_PENDING));
        };
        let spiffe_id = channel.record.peer.as_ref().map(|peer| peer.id.to_string());
        let caller = Caller {
            source: channel.record.peer_address,
            gateway: channel.local_address,
            spiffe_id: spiffe_id.as_deref(),
        };
        let opened = upstream.open(permit, &caller).await;
        opened.map_err(|error| unreachable(&error))
    }

    fn carried(self, end: &RelayEnd) {
        let (outcome, detail) = match &end.ending {
            Ending::Finished => ("finished", "finished".to_owned()),
            Ending::IdleTimeout => ("idle", "it carried nothing for too long".to_owned()),
            Ending::LocalFailed(error) => {
                if self.since.elapsed() < BRIEF {
                    self.channel.waste();
                }
                ("client-failed", format!("the client's end failed: {error}"))
            }
            Ending::RemoteFailed(error) => (
                "service-failed",
                format!("the service's end failed: {error}"),
            ),
            Ending::Cut(reason) => return self.cut(reason),
        };
        self.closed(outcome, detail, end.to_remote, end.to_local);
    }

    fn cut(self, reason: &str) {
        let (channel, stream) = self.names();
        let event = Event::StreamCut {
            channel,
            stream,
            principal: self.stream().session.principal(),
            service: self.service.name.clone(),
            reason: reason.to_owned(),
        };
        self.end("cut", event);
    }

    fn closed(self, outcome: &'static str, end: String, sent: u64, received: u64) {
        let (channel, stream) = self.names();
        let event = Event::StreamClosed {
            channel,
            stream,
            service: self.service.name.clone(),
            end,
            sent,
            received,
        };
        self.end(outcome, event);
    }

    fn end(mut self, outcome: &'static str, event: Event) {
        self.ended = true;
        self.tell(outcome, event);
    }

    fn tell(&self, outcome: &'static str, event: Event) {
        self.gateway
            .metrics
            .stream_ended(&self.service.name, outcome);
        self.gateway.custody.audit.record(event);
    }

    fn names(&self) -> (String, String) {
        (
            self.channel.id.to_string(),
            self.guard.stream.id.to_string(),
        )
    }
}

impl Drop for Entry {
    /// The client went away before the stream was open.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        let (channel, stream) = self.names();
        let event = Event::StreamClosed {
            channel,
            stream,
            service: self.service.name.clone(),
            end: "the client took it back before it was open".to_owned(),
            sent: 0,
            received: 0,
        };
        self.tell("abandoned", event);
    }
}

fn unreachable(error: &UpstreamError) -> Problem {
    match error {
        UpstreamError::Timeout { .. } => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "service_timeout",
            error.to_string(),
        ),
        _ => Problem::new(
            StatusCode::BAD_GATEWAY,
            "service_unreachable",
            error.to_string(),
        ),
    }
}

fn unavailable(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
}

const NOT_AUDITED: &str =
    "the gateway cannot write its audit trail, and opens no streams until it can";

const TOO_MANY_PENDING: &str = "too many connections to services are being opened for this channel, and none got ready in time";

/// What a client resets sooner than this was not opened to be used.
const BRIEF: Duration = Duration::from_secs(1);
