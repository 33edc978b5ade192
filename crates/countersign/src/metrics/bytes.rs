//! The bytes of streams, counted while they pass.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Error;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_channel::tunnel::Counters;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;

/// Reads each open stream's own counters when it is asked, so that a stream pays nothing and a long one is seen before
/// it ends.
#[derive(Debug, Default)]
pub(super) struct StreamBytes {
    state: Mutex<Streams>,
}

#[derive(Debug, Default)]
struct Streams {
    ended: BTreeMap<String, Carried>,
    open: HashMap<u64, (String, Arc<Counters>)>,
    last: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Carried {
    to_service: u64,
    to_client: u64,
}

impl StreamBytes {
    /// Counts a stream's bytes, until and after the guard is dropped.
    pub(super) fn count(self: &Arc<Self>, service: &str, bytes: &Arc<Counters>) -> Counted {
        let mut streams = self.lock();
        streams.last += 1;
        let stream = streams.last;
        streams
            .open
            .insert(stream, (service.to_owned(), Arc::clone(bytes)));
        Counted {
            all: Arc::clone(self),
            stream,
        }
    }

    fn totals(&self) -> BTreeMap<String, Carried> {
        let streams = self.lock();
        let mut totals = streams.ended.clone();
        for (service, bytes) in streams.open.values() {
            totals.entry(service.clone()).or_default().add(bytes);
        }
        totals
    }

    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Carried {
    fn add(&mut self, bytes: &Counters) {
        self.to_service += bytes.to_remote.load(Ordering::Relaxed);
        self.to_client += bytes.to_local.load(Ordering::Relaxed);
    }
}

/// A stream whose bytes are counted.
#[derive(Debug)]
pub(super) struct Counted {
    all: Arc<StreamBytes>,
    stream: u64,
}

impl Drop for Counted {
    /// From open to ended under one lock: a total never goes back.
    fn drop(&mut self) {
        let mut streams = self.all.lock();
        if let Some((service, bytes)) = streams.open.remove(&self.stream) {
            streams.ended.entry(service).or_default().add(&bytes);
        }
    }
}

impl Collector for StreamBytes {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let help = "Bytes that streams carried";
        let name = "stream_bytes";
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (service, carried) in self.totals() {
            for (direction, bytes) in [
                ("to-service", carried.to_service),
                ("to-client", carried.to_client),
            ] {
                let labels = ByteLabels {
                    service: service.clone(),
                    direction,
                };
                ConstCounter::new(bytes).encode(metric.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByteLabels {
    service: String,
    direction: &'static str,
}
