//! The figures, their names and their labels.

use std::borrow::Cow;
use std::sync::Arc;

use countersign_channel::ChannelRecord;
use countersign_channel::stage::Kind;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::bytes::StreamBytes;

/// Each figure, by its labels.
#[derive(Clone, Debug, Default)]
pub(super) struct Families {
    pub(super) channels: Family<ChannelLabels, Gauge>,
    pub(super) channels_opened: Family<ChannelLabels, Counter>,
    pub(super) refused: Family<RefusalLabels, Counter>,
    pub(super) streams: Family<ServiceLabels, Gauge>,
    pub(super) streams_ended: Family<StreamLabels, Counter>,
    pub(super) stream_bytes: Arc<StreamBytes>,
    pub(super) decisions: Family<ResultLabels, Counter>,
    pub(super) upstreams: Family<UpstreamLabels, Counter>,
    pub(super) enrolments: Family<ResultLabels, Counter>,
    pub(super) appraisals: Family<ResultLabels, Counter>,
}

impl Families {
    /// A counter's name is another than any gauge's, since OpenMetrics knows a metric by its name without `_total`.
    pub(super) fn register(&self, registry: &mut Registry) {
        let Self {
            channels,
            channels_opened,
            refused,
            streams,
            streams_ended,
            ..
        } = self;
        registry.register("channels", "Channels that are open", channels.clone());
        registry.register(
            "channels_opened",
            "Channels that were opened",
            channels_opened.clone(),
        );
        registry.register(
            "handshakes_refused",
            "Handshakes that came to no channel",
            refused.clone(),
        );
        registry.register("streams", "Streams that are open", streams.clone());
        registry.register(
            "streams_ended",
            "Streams that ended, or could not begin although they were allowed",
            streams_ended.clone(),
        );
        registry.register_collector(Box::new(Arc::clone(&self.stream_bytes)));
        registry.register(
            "decisions",
            "Decisions of the policy",
            self.decisions.clone(),
        );
        registry.register(
            "upstream_connections",
            "Connections that were made to services",
            self.upstreams.clone(),
        );
        registry.register(
            "enrolments",
            "Attempts to enrol an agent",
            self.enrolments.clone(),
        );
        registry.register(
            "appraisals",
            "Evidence of machines, by what it came to",
            self.appraisals.clone(),
        );
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ChannelLabels {
    pub(super) stage: &'static str,
    pub(super) profile: &'static str,
    pub(super) group: Cow<'static, str>,
    pub(super) signature_scheme: Cow<'static, str>,
    pub(super) kind: &'static str,
}

impl ChannelLabels {
    /// The scheme is the gateway's: the one that tells whether the client could check a post-quantum certificate.
    pub(super) fn of(record: &ChannelRecord) -> Self {
        let negotiated = record.negotiated.as_ref();
        Self {
            stage: record.stage.name(),
            profile: record.profile.name(),
            group: negotiated.map(|n| n.group.name()).unwrap_or_default(),
            signature_scheme: negotiated.map(|n| n.scheme.name()).unwrap_or_default(),
            kind: match record.kind {
                Some(Kind::Agent) => "agent",
                Some(Kind::Agentless) => "agentless",
                None => "unknown",
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub(super) reason: String,
    pub(super) listener: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ServiceLabels {
    pub(super) service: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StreamLabels {
    pub(super) service: String,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct UpstreamLabels {
    pub(super) service: String,
    pub(super) protection: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabels {
    pub(super) result: String,
}
