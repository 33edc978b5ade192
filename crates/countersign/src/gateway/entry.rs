//! A stream in the register, in metrics and in audit: entered with its permit, and struck out however it ends.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
use crate::audit::Event;
use crate::metrics::OpenStream;

/// A stream that was allowed, until it is told how it ended. Dropped before that, the client has gone away.
pub(super) struct Entry {
    gateway: Arc<Gateway>,
    channel: Arc<LiveChannel>,
    guard: StreamGuard,
    service: Arc<Service>,
    since: Instant,
    open: Option<OpenStream>,
    idle: Arc<AtomicBool>,
    ended: bool,
}

/// Ready when a stream must end though neither of its ends has: it was cut, or has carried nothing for too long.
pub(super) type Over = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Entry {
    /// Enters a stream, with the right to open it.
    ///
    /// # Errors
    ///
    /// What the client is to be told: the audit trail cannot be written, or the channel has too many streams.
    pub(super) fn new(
        gateway: &Arc<Gateway>,
        channel: &Arc<LiveChannel>,
        opening: Opening,
    ) -> Result<(Self, Permit), Problem> {
        let Opening {
            permit,
            service,
            session,
            ..
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
        gateway.custody.audit.record(Event::StreamAllowed {
            channel: channel.id.to_string(),
            stream: guard.stream.id.to_string(),
            principal: guard.stream.session.principal(),
            token_id: guard.stream.session.facts.token_id().map(str::to_owned),
            service: service.name.clone(),
            rule: permit.rule().to_owned(),
            bundle: permit.bundle_revision().to_owned(),
            policy_revision: permit.policy_revision(),
            decision: permit.id().to_string(),
        });
        // Whatever changed since the permit was given did not find the stream yet; whatever changes from here on does.
        gateway.decide_stream_again(channel, &guard.stream);
        let entry = Self {
            gateway: Arc::clone(gateway),
            channel: Arc::clone(channel),
            guard,
            service,
            since: Instant::now(),
            open: None,
            idle: Arc::default(),
            ended: false,
        };
        Ok((entry, permit))
    }

    pub(super) fn stream(&self) -> &Arc<LiveStream> {
        &self.guard.stream
    }

    pub(super) fn channel(&self) -> &Arc<LiveChannel> {
        &self.channel
    }

    pub(super) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    pub(super) fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Counts the stream as open, and its bytes from here on.
    pub(super) fn opened(&mut self) {
        let (metrics, counters) = (&self.gateway.metrics, &self.guard.stream.counters);
        self.open
            .get_or_insert_with(|| metrics.stream_open(&self.service.name, counters));
    }

    /// Counts a tunnel as open whose bytes are counted with the requests in it.
    pub(super) fn opened_to_requests(&mut self) {
        let metrics = &self.gateway.metrics;
        self.open = Some(metrics.stream_open(&self.service.name, &Arc::default()));
    }

    /// Carries bytes between the client and the service until the stream ends.
    pub(super) async fn carry(mut self, client: impl IntoEnd, service: impl IntoEnd) {
        self.opened();
        let stream = Arc::clone(self.stream());
        let limits = RelayLimits {
            idle: Some(self.service.idle_timeout),
        };
        let (counters, cut) = (&stream.counters, &stream.cut);
        let mut carried = pin!(relay(client, service, limits, counters, cut));
        let end = match self.service.max_stream_age {
            None => carried.await,
            Some(age) => match tokio::time::timeout(age, &mut carried).await {
                Ok(end) => end,
                Err(_) => {
                    cut.cut(CutReason::TooOld);
                    carried.await
                }
            },
        };
        self.carried(&end);
    }

    /// Watches over a stream that [`carry`](Self::carry) does not.
    pub(super) fn over(&self) -> Over {
        let (stream, idle) = (Arc::clone(self.stream()), Arc::clone(&self.idle));
        let (limit, age) = (self.service.idle_timeout, self.service.max_stream_age);
        Box::pin(async move {
            tokio::select! {
                _ = stream.cut.wait() => {}
                () = stands_still(&stream, limit) => idle.store(true, Ordering::Relaxed),
                () = sleep_if(age) => stream.cut.cut(CutReason::TooOld),
            }
        })
    }

    /// Notes why the service gave no answer: because of the client, or because it could not be reached.
    pub(super) fn unanswered(self, problem: &Problem) {
        let detail = problem.detail.clone();
        if problem.status.is_client_error() {
            return self.closed("client-failed", detail);
        }
        tracing::warn!(
            service = self.service.name,
            detail,
            "a service cannot be reached"
        );
        self.closed("unreachable", detail);
    }

    /// Notes that the stream was cut before the service answered, and gives what the client is told.
    pub(super) fn cut_early(self) -> Problem {
        let reason = self.stream().cut.reason().unwrap_or_default();
        let problem = Problem::denied(format!("the stream was cut while it was opened: {reason}"));
        self.cut(&reason);
        problem
    }

    /// Notes that both ends are done.
    pub(super) fn finished(self) {
        self.closed("finished", "finished".to_owned());
    }

    /// Notes that the client's end failed.
    pub(super) fn client_failed(self, error: &dyn std::fmt::Display) {
        if self.since.elapsed() < BRIEF {
            self.channel.waste();
        }
        self.closed("client-failed", format!("the client's end failed: {error}"));
    }

    /// Notes that the service's end failed.
    pub(super) fn service_failed(self, error: &dyn std::fmt::Display) {
        self.closed(
            "service-failed",
            format!("the service's end failed: {error}"),
        );
    }

    fn carried(self, end: &RelayEnd) {
        match &end.ending {
            Ending::Finished => self.finished(),
            Ending::IdleTimeout => self.closed("idle", IDLE.to_owned()),
            Ending::LocalFailed(error) => self.client_failed(error),
            Ending::RemoteFailed(error) => self.service_failed(error),
            Ending::Cut(reason) => self.cut(reason),
        }
    }

    fn cut(mut self, reason: &str) {
        self.tell_cut(reason);
    }

    fn closed(mut self, outcome: &'static str, end: String) {
        self.tell_closed(outcome, end);
    }

    fn tell_cut(&mut self, reason: &str) {
        let (channel, stream) = self.names();
        let event = Event::StreamCut {
            channel,
            stream,
            principal: self.stream().session.principal(),
            service: self.service.name.clone(),
            reason: reason.to_owned(),
            last_hop: self.stream().hop().cloned(),
        };
        self.tell("cut", event);
    }

    fn tell_closed(&mut self, outcome: &'static str, end: String) {
        let (channel, stream) = self.names();
        let counters = &self.guard.stream.counters;
        let event = Event::StreamClosed {
            channel,
            stream,
            service: self.service.name.clone(),
            end,
            sent: counters.to_remote.load(Ordering::Relaxed),
            received: counters.to_local.load(Ordering::Relaxed),
            last_hop: self.stream().hop().cloned(),
        };
        self.tell(outcome, event);
    }

    fn tell(&mut self, outcome: &'static str, event: Event) {
        self.ended = true;
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
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        if let Some(reason) = self.stream().cut.reason() {
            self.tell_cut(&reason);
        } else if self.idle.load(Ordering::Relaxed) {
            self.tell_closed("idle", IDLE.to_owned());
        } else if self.open.is_none() {
            let end = "the client took it back before it was open";
            self.tell_closed("abandoned", end.to_owned());
        } else {
            if self.since.elapsed() < BRIEF {
                self.channel.waste();
            }
            self.tell_closed("client-failed", "the client went away".to_owned());
        }
    }
}

/// A refusal for want of something that may be there again.
pub(super) fn unavailable(code: &'static str, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
}

/// Waits until a stream has carried nothing for `limit`.
async fn stands_still(stream: &LiveStream, limit: Duration) {
    let carried = || {
        let counters = &stream.counters;
        let to_remote = counters.to_remote.load(Ordering::Relaxed);
        to_remote.wrapping_add(counters.to_local.load(Ordering::Relaxed))
    };
    loop {
        let before = carried();
        tokio::time::sleep(limit).await;
        if carried() == before {
            return;
        }
    }
}

async fn sleep_if(span: Option<Duration>) {
    match span {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

const IDLE: &str = "it carried nothing for too long";

const NOT_AUDITED: &str =
    "the gateway cannot write its audit trail, and opens no streams until it can";

/// What a client resets sooner than this was not opened to be used.
const BRIEF: Duration = Duration::from_secs(1);
