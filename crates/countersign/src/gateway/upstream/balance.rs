//! Which upstream of a service is taken: the one with the least in flight, of those that are well.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use crate::operator::Condition;

/// The upstreams of one service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Endpoints {
    all: Arc<[Arc<Endpoint>]>,
    turn: Arc<AtomicUsize>,
}

/// Something in flight to an upstream: a request, or a stream of bytes. It counts until it is dropped.
pub(crate) struct InFlight {
    endpoint: Arc<Endpoint>,
}

/// What is given back when something is in flight no more.
pub(super) struct Held {
    pub(super) _in_flight: InFlight,
    /// The turn among a service's requests, for those that are requests.
    pub(super) _turn: Option<Turn>,
}

/// A turn among a service's requests, kept through all attempts.
pub(super) type Turn = Arc<OwnedSemaphorePermit>;

impl Endpoints {
    pub(super) fn new(all: Vec<Arc<Endpoint>>) -> Self {
        Self {
            all: all.into(),
            turn: Arc::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        self.all.iter()
    }

    /// Takes an upstream that was not tried yet; none when there is none that may be taken.
    ///
    /// One that is out only for what was seen of it is better than none, since a failure here is a failure there: the
    /// last one is never put out by failures. One that answers its health check with "no" is.
    pub(super) fn take(&self, tried: &[Arc<Endpoint>]) -> Option<InFlight> {
        let now = Instant::now();
        let of = |condition: Condition| {
            let candidates = self.in_turn().filter(move |endpoint| {
                let was_tried = |one: &Arc<Endpoint>| Arc::ptr_eq(one, endpoint);
                endpoint.health.condition(now) == condition && !tried.iter().any(was_tried)
            });
            candidates.min_by_key(|endpoint| endpoint.load())
        };
        let endpoint = of(Condition::Up).or_else(|| of(Condition::Ejected))?;
        Some(InFlight::new(endpoint))
    }

    /// Each upstream once, beginning with another each time: those with as much to do take turns.
    fn in_turn(&self) -> impl Iterator<Item = &Arc<Endpoint>> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.all.len().max(1);
        self.all.iter().cycle().skip(first).take(self.all.len())
    }
}

impl InFlight {
    fn new(endpoint: &Arc<Endpoint>) -> Self {
        endpoint.in_flight.fetch_add(1, Ordering::Relaxed);
        Self {
            endpoint: Arc::clone(endpoint),
        }
    }

    pub(super) fn endpoint(&self) -> &Arc<Endpoint> {
        &self.endpoint
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.endpoint.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}
