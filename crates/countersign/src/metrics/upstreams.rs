//! The upstreams of services, as they are when somebody asks.

use std::collections::BTreeMap;
use std::fmt::{self, Error};
use std::sync::OnceLock;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::operator::{Condition, Service};

/// Gives the services that are configured, as the operator sees them.
pub(crate) type Look = Box<dyn Fn() -> Vec<Service> + Send + Sync>;

/// Looks at each upstream's condition when it is asked.
#[derive(Default)]
pub(super) struct Upstreams(pub(super) OnceLock<Look>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    service: String,
    condition: &'static str,
}

impl Upstreams {
    /// How many there are of each condition, none too: what counts down to zero must not vanish.
    fn figures(&self) -> BTreeMap<UpstreamLabels, i64> {
        let services = self.0.get().map(|look| look()).unwrap_or_default();
        let mut figures = BTreeMap::new();
        for service in services {
            for condition in [Condition::Up, Condition::Ejected, Condition::Down] {
                let labels = UpstreamLabels {
                    service: service.name.clone(),
                    condition: condition.name(),
                };
                let upstreams = service.upstreams.iter();
                let such = upstreams.filter(|one| one.condition == condition).count();
                figures.insert(labels, i64::try_from(such).unwrap_or(i64::MAX));
            }
        }
        figures
    }
}

impl Collector for Upstreams {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Upstreams of services, by whether they are used";
        let mut family = encoder.encode_descriptor("upstreams", help, None, MetricType::Gauge)?;
        self.figures().iter().try_for_each(|(labels, number)| {
            ConstGauge::new(*number).encode(family.encode_family(labels)?)
        })
    }
}

impl fmt::Debug for Upstreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstreams")
    }
}
