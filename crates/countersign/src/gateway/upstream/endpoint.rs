//! One upstream of a service: how it is reached, what is in flight to it, and whether it is well.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::connect::{Caller, Connect};
use super::error::UpstreamError;
use super::health::Health;
use super::stream::UpstreamStream;
use crate::hop::Hop;
use crate::metrics::Metrics;

/// One upstream of a service. It outlives a reload that leaves it as it is, with its connections and all that is known
/// of it.
pub(crate) struct Endpoint {
    pub(super) service: String,
    pub(super) connect: Connect,
    pub(super) health: Health,
    pub(super) in_flight: AtomicUsize,
    last_hop: Mutex<Option<Hop>>,
    metrics: Metrics,
}

impl Endpoint {
    pub(super) fn new(service: &str, connect: Connect, metrics: &Metrics) -> Self {
        Self {
            service: service.to_owned(),
            connect,
            health: Health::default(),
            in_flight: AtomicUsize::new(0),
            last_hop: Mutex::default(),
            metrics: metrics.clone(),
        }
    }

    /// How much is in flight to it.
    pub(super) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// The newest connection to it.
    pub(super) fn last_hop(&self) -> Option<Hop> {
        self.last_hop
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes a connection to it, counts it, and keeps in mind how that went.
    ///
    /// # Errors
    ///
    /// Where it cannot be reached within `limit`.
    pub(super) async fn open(
        &self,
        caller: Option<&Caller<'_>>,
        limit: Duration,
    ) -> Result<UpstreamStream, UpstreamError> {
        let opened = self.connect.open(&self.service, caller, limit).await;
        match &opened {
            Ok(stream) => {
                let (hop, service) = (stream.hop(), &self.service);
                self.metrics.upstream_opened(service, hop.protection.name());
                *self.last_hop.lock().unwrap_or_else(PoisonError::into_inner) = Some(hop.clone());
            }
            Err(_) => self.failed(),
        }
        opened
    }

    /// It did not do what it is there for; too often, and others are taken for a while.
    pub(super) fn failed(&self) {
        if let Some(out) = self.health.failed(Instant::now()) {
            let (service, upstream) = (&self.service, &self.connect.address);
            let seconds = out.as_secs();
            tracing::warn!(
                service,
                %upstream,
                seconds,
                "an upstream fails, and others are taken for a while"
            );
        }
    }
}
