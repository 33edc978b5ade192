//! The PKCS#11 tokens that hold keys of the gateway, as they are when somebody asks.

use std::fmt::Error;
use std::sync::OnceLock;

use countersign_hsm::TokenState;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch::Receiver;

/// Looks at what is known of each token.
#[derive(Debug, Default)]
pub(super) struct KeyTokens(pub(super) OnceLock<Vec<(String, Receiver<TokenState>)>>);

impl Collector for KeyTokens {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Whether a PKCS#11 token with keys of the gateway answers";
        let name = "key_token_reachable";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let tokens = self.0.get().into_iter().flatten();
        tokens.into_iter().try_for_each(|(token, state)| {
            let reachable = i64::from(*state.borrow() == TokenState::Reachable);
            let labels = [("token", token.as_str())];
            ConstGauge::new(reachable).encode(family.encode_family(&labels)?)
        })
    }
}
