//! One stream, from its permit to its end.

use std::pin::pin;
use std::sync::Arc;

use countersign_channel::tunnel::{Ending, IntoEnd, RelayEnd, RelayLimits, relay};
use http::StatusCode;

use super::Gateway;
use super::dispatch::Opening;
use super::live::{CutReason, LiveChannel, StreamGuard};
use super::problem::Problem;
use super::services::Service;
use super::upstream::{Caller, UpstreamError, UpstreamStream};
use crate::audit::Event;

/// A stream whose upstream end is open.
pub(crate) struct Stream {
    guard: StreamGuard,
    upstream: UpstreamStream,
    service: Arc<Service>,
}

impl Stream {
    /// Opens the upstream end.
    ///
    /// # Errors
    ///
    /// What the client is to be told: the audit trail cannot be written, or the service cannot be reached.
    pub(crate) async fn open(
        gateway: &Gateway,
        channel: &Arc<LiveChannel>,
        opening: Opening,
    ) -> Result<Self, Problem> {
        let Opening { permit, service } = opening;
        gateway.custody.audit.ready().map_err(|error| {
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "audit_unavailable",
                error.to_string(),
            )
        })?;
        let spiffe_id = channel.record.peer.as_ref().map(|peer| peer.id.to_string());
        let caller = Caller {
            source: channel.record.peer_address,
            gateway: channel.local_address,
            spiffe_id: spiffe_id.as_deref(),
        };
        // Entered before the connection is made: a cut that comes meanwhile is not missed.
        let guard = channel.open_stream(permit.request().clone(), permit.rule());
        let upstream = tokio::select! {
            reason = guard.stream.cut.wait() => {
                Err(Problem::denied(format!("the stream was cut while it was opened: {reason}")))
            }
            opened = service.upstream.open(&permit, &caller) => opened.map_err(|error| unreachable(gateway, &service, &error)),
        }?;
        gateway
            .metrics
            .upstream_opened(&service.name, upstream.protection.name());
        gateway.custody.audit.record(Event::StreamAllowed {
            channel: channel.id.to_string(),
            stream: guard.stream.id.to_string(),
            principal: channel.principal(),
            service: service.name.clone(),
            rule: permit.rule().to_owned(),
            bundle: permit.bundle_revision().to_owned(),
            policy_revision: permit.policy_revision(),
            decision: permit.id().to_string(),
        });
        Ok(Self {
            guard,
            upstream,
            service,
        })
    }

    /// Carries bytes between the client and the service until the stream ends, and says so in metrics and audit.
    pub(crate) async fn carry(
        self,
        gateway: &Gateway,
        channel: &LiveChannel,
        client: impl IntoEnd,
    ) {
        let Self {
            guard,
            upstream,
            service,
        } = self;
        let _open = gateway
            .metrics
            .stream_open(&service.name, &guard.stream.counters);
        let stream = &guard.stream;
        let limits = RelayLimits {
            idle: Some(service.idle_timeout),
        };
        let mut carried = pin!(relay(
            client,
            upstream,
            limits,
            &stream.counters,
            &stream.cut
        ));
        let end = match service.max_stream_age {
            None => carried.await,
            Some(age) => match tokio::time::timeout(age, &mut carried).await {
                Ok(end) => end,
                Err(_) => {
                    stream.cut.cut(CutReason::TooOld);
                    carried.await
                }
            },
        };
        report(gateway, channel, &guard, &service, &end);
    }
}

/// Says how a stream ended, and what it carried.
fn report(
    gateway: &Gateway,
    channel: &LiveChannel,
    guard: &StreamGuard,
    service: &Service,
    end: &RelayEnd,
) {
    let (outcome, detail) = match &end.ending {
        Ending::Finished => ("finished", "finished".to_owned()),
        Ending::IdleTimeout => ("idle", "it carried nothing for too long".to_owned()),
        Ending::LocalFailed(error) => {
            ("client-failed", format!("the client's end failed: {error}"))
        }
        Ending::RemoteFailed(error) => (
            "service-failed",
            format!("the service's end failed: {error}"),
        ),
        Ending::Cut(reason) => ("cut", reason.to_string()),
    };
    gateway.metrics.stream_ended(&service.name, outcome);
    let (channel_id, stream) = (channel.id.to_string(), guard.stream.id.to_string());
    gateway.custody.audit.record(match &end.ending {
        Ending::Cut(reason) => Event::StreamCut {
            channel: channel_id,
            stream,
            principal: channel.principal(),
            service: service.name.clone(),
            reason: reason.to_string(),
        },
        _ => Event::StreamClosed {
            channel: channel_id,
            stream,
            service: service.name.clone(),
            end: detail,
            sent: end.to_remote,
            received: end.to_local,
        },
    });
}

fn unreachable(gateway: &Gateway, service: &Service, error: &UpstreamError) -> Problem {
    tracing::warn!(service = service.name, %error, "a service cannot be reached");
    gateway.metrics.stream_ended(&service.name, "unreachable");
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
