//! What Prometheus is told, and whether this process is well: `/metrics`, `/healthz` and `/readyz`.
//!
//! Every label has few values: names of the configuration, of profiles and of refusals; never an identity or an address.

use std::fmt::Error;
use std::sync::{Arc, OnceLock};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use countersign_channel::ChannelRecord;
use countersign_channel::tunnel::Counters;
use countersign_hsm::TokenState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::sync::watch::Receiver;

use crate::audit::Audit;

mod bytes;
mod certificates;
mod families;
mod key_tokens;
mod upstreams;

pub(crate) use certificates::Shown;
use certificates::ShownCertificates;
use families::{
    ChannelLabels, Families, RefusalLabels, ResultLabels, ServiceLabels, StreamLabels,
    UpstreamLabels,
};
use key_tokens::KeyTokens;
pub(crate) use upstreams::Look;
use upstreams::Upstreams;

/// Counts what happens. Cheap to clone; counting is an atomic addition behind a lookup of its labels.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    registry: Registry,
    families: Families,
    audit: Arc<AuditLosses>,
    certificates: Arc<ShownCertificates>,
    upstreams: Arc<Upstreams>,
    key_tokens: Arc<KeyTokens>,
}

impl Metrics {
    /// Starts counting at zero, now.
    pub(crate) fn new() -> Self {
        let (families, audit) = (Families::default(), Arc::<AuditLosses>::default());
        let mut registry = Registry::with_prefix("countersign");
        families.register(&mut registry);
        registry.register_collector(Box::new(Arc::clone(&audit)));
        let certificates = Arc::<ShownCertificates>::default();
        registry.register_collector(Box::new(Arc::clone(&certificates)));
        let upstreams = Arc::<Upstreams>::default();
        registry.register_collector(Box::new(Arc::clone(&upstreams)));
        let key_tokens = Arc::<KeyTokens>::default();
        registry.register_collector(Box::new(Arc::clone(&key_tokens)));
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "This program", build);
        let started = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        registry.register(
            "start_time_seconds",
            "When this process started, in seconds since 1970",
            ConstGauge::new(started.as_secs_f64()),
        );
        Self {
            inner: Arc::new(Inner {
                registry,
                families,
                audit,
                certificates,
                upstreams,
                key_tokens,
            }),
        }
    }

    /// Counts the events that this trail could not keep.
    pub(crate) fn watch_audit(&self, audit: Arc<Audit>) {
        // A second trail would be counted by nobody: a process has one.
        let _ = self.inner.audit.trail.set(audit);
    }

    /// Shows these certificates.
    pub(crate) fn watch_certificates(&self, shown: Shown) {
        // A second gateway would be shown by nobody: a process has one.
        let _ = self.inner.certificates.0.set(shown);
    }

    /// Shows the upstreams that `look` gives.
    pub(crate) fn watch_upstreams(&self, look: Look) {
        // As above.
        let _ = self.inner.upstreams.0.set(look);
    }

    /// Shows whether these PKCS#11 tokens answer.
    pub(crate) fn watch_key_tokens(&self, tokens: Vec<(String, Receiver<TokenState>)>) {
        // As above.
        let _ = self.inner.key_tokens.0.set(tokens);
    }

    /// Counts a channel, as open until the guard is dropped.
    pub(crate) fn channel_open(&self, record: &ChannelRecord) -> Open {
        let labels = ChannelLabels::of(record);
        self.inner
            .families
            .channels_opened
            .get_or_create(&labels)
            .inc();
        Open::count(self.inner.families.channels.get_or_create_owned(&labels))
    }

    /// Counts a handshake that came to nothing, by the refusal's stable name.
    pub(crate) fn refused(&self, listener: &str, reason: &str) {
        let labels = RefusalLabels {
            reason: reason.to_owned(),
            listener: listener.to_owned(),
        };
        self.inner.families.refused.get_or_create(&labels).inc();
    }

    /// Counts a stream, as open until the guard is dropped, and its bytes as they pass.
    pub(crate) fn stream_open(&self, service: &str, bytes: &Arc<Counters>) -> OpenStream {
        let labels = ServiceLabels {
            service: service.to_owned(),
        };
        let families = &self.inner.families;
        OpenStream {
            _open: Open::count(families.streams.get_or_create_owned(&labels)),
            _bytes: families.stream_bytes.count(service, bytes),
        }
    }

    /// Counts how a stream ended, or why it did not begin.
    pub(crate) fn stream_ended(&self, service: &str, outcome: &'static str) {
        let labels = StreamLabels {
            service: service.to_owned(),
            outcome,
        };
        self.inner
            .families
            .streams_ended
            .get_or_create(&labels)
            .inc();
    }

    /// Counts a decision of the policy.
    pub(crate) fn decided(&self, allowed: bool) {
        let result = if allowed { "allowed" } else { "denied" };
        self.inner
            .families
            .decisions
            .get_or_create(&ResultLabels {
                result: result.to_owned(),
            })
            .inc();
    }

    /// Counts a connection to a service, by what protects it.
    pub(crate) fn upstream_opened(&self, service: &str, protection: &'static str) {
        let labels = UpstreamLabels {
            service: service.to_owned(),
            protection,
        };
        self.inner.families.upstreams.get_or_create(&labels).inc();
    }

    /// Counts evidence by what it came to: a result, or `refused`.
    pub(crate) fn appraised(&self, result: &str) {
        self.inner
            .families
            .appraisals
            .get_or_create(&ResultLabels {
                result: result.to_owned(),
            })
            .inc();
    }

    /// Counts an attempt to enrol: `allowed`, or the refusal's code.
    pub(crate) fn enrolled(&self, result: &str) {
        self.inner
            .families
            .enrolments
            .get_or_create(&ResultLabels {
                result: result.to_owned(),
            })
            .inc();
    }

    /// All figures, in the OpenMetrics text format.
    fn text(&self) -> Result<String, Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.inner.registry)?;
        Ok(text)
    }
}

/// `/metrics`; `/healthz`, which answers as long as this process does; `/readyz`, which says why it is not ready.
pub(crate) fn router(metrics: Metrics, ready: watch::Receiver<Result<(), String>>) -> Router {
    Router::new()
        .route("/metrics", get(show).with_state(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readiness).with_state(ready))
}

async fn show(State(metrics): State<Metrics>) -> impl IntoResponse {
    match metrics.text() {
        Ok(text) => Ok(([(CONTENT_TYPE, OPEN_METRICS)], text)),
        Err(error) => Err((StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n"))),
    }
}

async fn readiness(
    State(ready): State<watch::Receiver<Result<(), String>>>,
) -> (StatusCode, String) {
    match &*ready.borrow() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {reason}\n"),
        ),
    }
}

/// One thing that is open; closed when dropped.
#[derive(Debug)]
#[must_use = "it counts as closed once this is dropped"]
pub(crate) struct Open {
    gauge: Gauge,
}

impl Open {
    fn count(gauge: Gauge) -> Self {
        gauge.inc();
        Self { gauge }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A stream that is open; closed when dropped.
#[derive(Debug)]
#[must_use = "it counts as closed once this is dropped"]
pub(crate) struct OpenStream {
    _open: Open,
    _bytes: bytes::Counted,
}

/// Reads the trail's own count when it is asked.
#[derive(Debug, Default)]
struct AuditLosses {
    trail: OnceLock<Arc<Audit>>,
}

impl Collector for AuditLosses {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let lost = ConstCounter::new(self.trail.get().map_or(0, |trail| trail.lost()));
        let help = "Audit events that could not be kept";
        let name = "audit_write_failures";
        lost.encode(encoder.encode_descriptor(name, help, None, lost.metric_type())?)
    }
}

/// OpenMetrics 1.0, "Overall Structure".
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use axum::body::Body;
    use axum::http::Request;
    use countersign_channel::record::{Negotiated, Outcome};
    use countersign_channel::registry::{Group, Scheme, Suite};
    use countersign_channel::stage::Kind;
    use countersign_channel::{Profile, Stage};
    use http_body_util::BodyExt;
    use jiff::Timestamp;
    use tower::ServiceExt;

    use super::*;
    use crate::operator::{
        Certificate, CertificateProblem, CertificateSource, Condition, LastHop, Service, Upstream,
    };

    fn record(kind: Kind) -> ChannelRecord {
        ChannelRecord {
            at: "2026-11-23T00:00:00Z".parse().unwrap(),
            listener: "main".into(),
            peer_address: ([192, 0, 2, 7], 4711).into(),
            stage: Stage::Hybrid,
            profile: Profile::HybridV1,
            kind: Some(kind),
            offered: Default::default(),
            negotiated: Some(Negotiated {
                group: Group::X25519_MLKEM768,
                suite: Suite::AES_256_GCM_SHA384,
                scheme: Scheme::MLDSA65,
                alpn: None,
            }),
            peer: None,
            client: None,
            exception: None,
            outcome: Outcome::Established,
        }
    }

    async fn ask(router: &Router, path: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let kind = answer
            .headers()
            .get(CONTENT_TYPE)
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned();
        let status = answer.status();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[track_caller]
    fn check(metrics: &Metrics, line: &str) {
        let text = metrics.text().unwrap();
        assert!(
            text.lines().any(|have| have == line),
            "no line `{line}` in:\n{text}"
        );
    }

    #[test]
    fn a_channel_counts_as_open_until_it_ends_and_as_opened_ever_after() {
        let metrics = Metrics::new();
        let labels = |kind| {
            format!(
                r#"{{stage="hybrid",profile="hybrid@1",group="X25519MLKEM768",signature_scheme="mldsa65",kind="{kind}"}}"#
            )
        };
        let (agent, agentless) = (labels("agent"), labels("agentless"));
        let open = [Kind::Agent, Kind::Agent, Kind::Agentless]
            .map(|kind| metrics.channel_open(&record(kind)));
        check(&metrics, &format!("countersign_channels{agent} 2"));
        check(&metrics, &format!("countersign_channels{agentless} 1"));
        drop(open);
        check(&metrics, &format!("countersign_channels{agent} 0"));
        check(
            &metrics,
            &format!("countersign_channels_opened_total{agent} 2"),
        );
    }

    #[test]
    fn bytes_are_counted_while_they_pass_and_never_go_back() {
        let metrics = Metrics::new();
        let bytes = [Arc::<Counters>::default(), Arc::default()];
        let open = bytes
            .each_ref()
            .map(|bytes| metrics.stream_open("postgres", bytes));
        check(&metrics, r#"countersign_streams{service="postgres"} 2"#);
        for (bytes, sent) in bytes.iter().zip([5, 7]) {
            bytes.to_remote.store(sent, Ordering::Relaxed);
            bytes.to_local.store(10 * sent, Ordering::Relaxed);
        }
        let [first, second] = open;
        for step in [None, Some(first), Some(second)] {
            drop(step);
            check(
                &metrics,
                r#"countersign_stream_bytes_total{service="postgres",direction="to-service"} 12"#,
            );
            check(
                &metrics,
                r#"countersign_stream_bytes_total{service="postgres",direction="to-client"} 120"#,
            );
        }
        metrics.stream_ended("postgres", "finished");
        check(&metrics, r#"countersign_streams{service="postgres"} 0"#);
        check(
            &metrics,
            r#"countersign_streams_ended_total{service="postgres",outcome="finished"} 1"#,
        );
    }

    #[test]
    fn what_happens_once_is_counted_by_its_words() {
        let metrics = Metrics::new();
        metrics.refused("main", "classical-key-exchange");
        metrics.decided(true);
        metrics.decided(false);
        metrics.enrolled("join_expired");
        metrics.appraised("contraindicated");
        metrics.upstream_opened("web", "loopback");
        check(
            &metrics,
            r#"countersign_handshakes_refused_total{reason="classical-key-exchange",listener="main"} 1"#,
        );
        check(
            &metrics,
            r#"countersign_decisions_total{result="allowed"} 1"#,
        );
        check(
            &metrics,
            r#"countersign_decisions_total{result="denied"} 1"#,
        );
        check(
            &metrics,
            r#"countersign_enrolments_total{result="join_expired"} 1"#,
        );
        check(
            &metrics,
            r#"countersign_appraisals_total{result="contraindicated"} 1"#,
        );
        check(
            &metrics,
            r#"countersign_upstream_connections_total{service="web",protection="loopback"} 1"#,
        );
    }

    fn certificate() -> Certificate {
        Certificate {
            listener: "main".to_owned(),
            names: vec!["web.test".to_owned()],
            source: CertificateSource::Files,
            file: None,
            not_before: None,
            not_after: Some("2026-11-23T00:00:00Z".parse().unwrap()),
            renewal: None,
            problem: None,
        }
    }

    #[test]
    fn of_two_certificates_for_a_name_the_one_that_ends_first_is_shown() {
        let metrics = Metrics::new();
        let certificates = Shown::default();
        metrics.watch_certificates(Arc::clone(&certificates));
        let problem = CertificateProblem {
            since: Timestamp::UNIX_EPOCH,
            detail: String::new(),
            hint: None,
        };
        let later = Certificate {
            not_after: Some(Timestamp::MAX),
            problem: Some(problem),
            ..certificate()
        };
        certificates.store(Arc::new(vec![later, certificate()]));
        let labels = r#"{listener="main",name="web.test"}"#;
        check(
            &metrics,
            &format!("countersign_certificate_end_seconds{labels} 1795392000"),
        );
        check(
            &metrics,
            &format!("countersign_certificate_problem{labels} 1"),
        );
    }

    fn service() -> Service {
        let upstream = |condition| Upstream {
            address: "127.0.0.1:80".to_owned(),
            condition,
            in_flight: 0,
            last_hop: None,
        };
        Service {
            name: "web".to_owned(),
            port: 80,
            upstream: String::new(),
            last_hop: LastHop::Loopback,
            proxy_protocol: false,
            sni: Vec::new(),
            streams: 0,
            upstreams: [Condition::Up, Condition::Down, Condition::Up]
                .map(upstream)
                .to_vec(),
        }
    }

    #[test]
    fn upstreams_are_counted_by_their_condition_and_none_is_a_number_too() {
        let metrics = Metrics::new();
        metrics.watch_upstreams(Box::new(|| vec![service()]));
        for (condition, number) in [("up", 2), ("ejected", 0), ("down", 1)] {
            let labels = format!(r#"service="web",condition="{condition}""#);
            check(
                &metrics,
                &format!("countersign_upstreams{{{labels}}} {number}"),
            );
        }
    }

    /// A metric of each name.
    fn everything() -> String {
        let metrics = Metrics::new();
        let _channel = metrics.channel_open(&record(Kind::Agent));
        let _stream = metrics.stream_open("postgres", &Arc::default());
        metrics.stream_ended("postgres", "finished");
        metrics.refused("main", "not-tls");
        metrics.decided(true);
        metrics.enrolled("allowed");
        metrics.appraised("affirming");
        metrics.upstream_opened("postgres", "loopback");
        let certificates = Shown::default();
        certificates.store(Arc::new(vec![certificate()]));
        metrics.watch_certificates(certificates);
        metrics.watch_upstreams(Box::new(|| vec![service()]));
        let (_told, state) = watch::channel(TokenState::Reachable);
        metrics.watch_key_tokens(vec![("gateway".to_owned(), state)]);
        metrics.text().unwrap()
    }

    #[test]
    fn no_two_metrics_share_a_name_and_the_text_ends_as_openmetrics_does() {
        let text = everything();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let names: Vec<_> = types.map(|line| line.split(' ').next().unwrap()).collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!((names.len(), distinct.len()), (17, 17), "{text}");
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_page_of_metrics_lists_each_with_its_labels_and_nothing_else() {
        let text = everything();
        let served = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| {
                let (name, rest) = line.split_once(['{', ' ']).unwrap();
                let labels = rest.split(',').filter_map(|pair| pair.split_once("=\""));
                (name, labels.map(|(label, _)| label).collect::<Vec<_>>())
            });
        let page = include_str!("../../../docs/metrics.md");
        let listed = page
            .lines()
            .filter(|line| line.starts_with("| `countersign_"))
            .map(|line| {
                let mut quoted = line.split('`').skip(1).step_by(2);
                let mut cells = line.split(" | ");
                let labels = cells.nth(1).unwrap().split('`').skip(1).step_by(2);
                (quoted.next().unwrap(), labels.collect::<Vec<_>>())
            });
        let (served, listed): (std::collections::BTreeSet<_>, std::collections::BTreeSet<_>) =
            (served.collect(), listed.collect());
        assert_eq!(served, listed);
    }

    #[tokio::test]
    async fn health_metrics_and_readiness_are_served() {
        let (ready, watched) = watch::channel(Ok(()));
        let router = router(Metrics::new(), watched);
        let (status, kind, text) = ask(&router, "/metrics").await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, OPEN_METRICS));
        assert!(text.contains("countersign_start_time_seconds "), "{text}");
        assert_eq!(ask(&router, "/healthz").await.2, "ok\n");
        let readiness = async || ask(&router, "/readyz").await;
        assert_eq!(
            (readiness().await.0, readiness().await.2.as_str()),
            (StatusCode::OK, "ready\n")
        );
        let _ = ready.send_replace(Err("the gateway stops".to_owned()));
        let (status, _, text) = readiness().await;
        assert_eq!(
            (status, text.as_str()),
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: the gateway stops\n"
            )
        );
    }
}
