//! The certificates for agentless clients, as they are when somebody asks.

use std::collections::BTreeMap;
use std::fmt::Error;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::operator::Certificate;

/// Which certificates are in use, as the operator sees them.
pub(crate) type Shown = Arc<ArcSwap<Vec<Certificate>>>;

/// Reads what the operator is shown when it is asked.
#[derive(Debug, Default)]
pub(super) struct ShownCertificates(pub(super) OnceLock<Shown>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct CertificateLabels {
    listener: String,
    name: String,
}

#[derive(Default)]
struct Figures {
    end: i64,
    problem: bool,
}

impl ShownCertificates {
    /// By listener and first name. Of two that are for the same name, the one that ends first is shown.
    fn figures(&self) -> BTreeMap<CertificateLabels, Figures> {
        let shown = self.0.get().map(|shown| shown.load_full());
        let mut all: BTreeMap<_, Figures> = BTreeMap::new();
        for certificate in shown.iter().flat_map(|shown| shown.iter()) {
            let labels = CertificateLabels {
                listener: certificate.listener.clone(),
                name: certificate.names.first().cloned().unwrap_or_default(),
            };
            let end = certificate.not_after.map_or(0, |end| end.as_second());
            let figures = all.entry(labels).or_insert(Figures {
                end,
                problem: false,
            });
            figures.end = figures.end.min(end);
            figures.problem |= certificate.problem.is_some();
        }
        all
    }
}

impl Collector for ShownCertificates {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let figures = self.figures();
        let mut gauge = |name, help, of: fn(&Figures) -> i64| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            figures.iter().try_for_each(|(labels, figures)| {
                let gauge = ConstGauge::new(of(figures));
                gauge.encode(family.encode_family(labels)?)
            })
        };
        let help = "When a certificate for agentless clients ends, in seconds since 1970; 0 while there is none";
        gauge("certificate_end_seconds", help, |figures| figures.end)?;
        let help = "Whether a newer certificate could not be taken";
        gauge("certificate_problem", help, |figures| {
            i64::from(figures.problem)
        })
    }
}
