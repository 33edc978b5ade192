//! What is open right now: every channel with its streams, and the handshakes that were refused lately.
//!
//! A stream is entered with the request that got its permit, so that it can be decided again whenever
//! grants, policy, stage, an exception or a revocation changes. Whoever ends a channel or a stream does it here, by a cut with a
//! [`CutReason`].

mod channel;
mod reason;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_channel::ChannelRecord;
use countersign_channel::binding::ChannelBinding;
use countersign_channel::server::VerifiedClient;
use countersign_policy::DecisionId;
use jiff::Timestamp;
use tokio::sync::Notify;

pub(crate) use self::channel::{LiveChannel, LiveStream, Session, StreamGuard};
pub(crate) use self::reason::CutReason;
use super::Running;
use crate::state::Snapshot;

/// Every open channel of a gateway.
#[derive(Default)]
pub(crate) struct Live {
    channels: Mutex<HashMap<ChannelId, Arc<LiveChannel>>>,
    refused: Mutex<VecDeque<ChannelRecord>>,
    changed: Notify,
}

/// Names a channel in logs, audit and operator commands: 64 random bits, so that it is never met twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelId(u64);

/// Removes a channel from the register when it ends.
pub(crate) struct ChannelGuard {
    live: Arc<Live>,
    pub(crate) channel: Arc<LiveChannel>,
}

impl Live {
    /// Enters a channel; it leaves when the guard is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        record: ChannelRecord,
        client: Option<VerifiedClient>,
        binding: Option<ChannelBinding>,
        local_address: SocketAddr,
    ) -> ChannelGuard {
        let channel = LiveChannel::new(record, client, binding, local_address);
        let channel = Arc::new(channel);
        lock(&self.channels).insert(channel.id, Arc::clone(&channel));
        ChannelGuard {
            live: Arc::clone(self),
            channel,
        }
    }

    /// Remembers a refused handshake, and forgets the oldest beyond [`REFUSED_KEPT`].
    pub(crate) fn refuse(&self, record: ChannelRecord) {
        let mut refused = lock(&self.refused);
        if refused.len() == REFUSED_KEPT {
            refused.pop_front();
        }
        refused.push_back(record);
    }

    /// The refused handshakes, the newest first.
    pub(crate) fn refused(&self) -> Vec<ChannelRecord> {
        lock(&self.refused).iter().rev().cloned().collect()
    }

    /// How many channels are open.
    pub(crate) fn len(&self) -> usize {
        lock(&self.channels).len()
    }

    /// All open channels, in the order in which they came.
    pub(crate) fn channels(&self) -> Vec<Arc<LiveChannel>> {
        let mut channels: Vec<_> = lock(&self.channels).values().cloned().collect();
        channels.sort_by_key(|channel| channel.record.at);
        channels
    }

    /// How many streams are open to a service.
    pub(crate) fn streams_to(&self, service: &str) -> usize {
        self.count_streams(|stream| stream.request.service == service)
    }

    /// How many streams a token holds open.
    pub(crate) fn streams_by_token(&self, id: &str) -> usize {
        self.count_streams(|stream| stream.session.facts.token_id() == Some(id))
    }

    fn count_streams(&self, counts: impl Fn(&LiveStream) -> bool) -> usize {
        let of = |channel: &Arc<LiveChannel>| {
            let streams = channel.streams();
            streams.iter().filter(|stream| counts(stream)).count()
        };
        self.channels().iter().map(of).sum()
    }

    /// Ends the channel of the stranger who has stood here longest with nothing open; `false` when there is none.
    pub(crate) fn make_room(&self) -> bool {
        let channels = lock(&self.channels);
        let idle = channels
            .values()
            .filter(|channel| channel.is_stranger() && channel.is_idle());
        let Some(oldest) = idle.min_by_key(|channel| channel.record.at) else {
            return false;
        };
        oldest.cut.cut(CutReason::RoomNeeded);
        true
    }

    /// Ends the channel `id` and gives it; `None` when there is none.
    pub(crate) fn close(&self, id: ChannelId, reason: CutReason) -> Option<Arc<LiveChannel>> {
        let channel = lock(&self.channels).get(&id).cloned()?;
        channel.cut.cut(reason);
        Some(channel)
    }

    /// Ends each channel, and in each that stays every stream, that would not be let in any more.
    pub(crate) fn decide_again(&self, running: &Running, snapshot: &Snapshot, now: Timestamp) {
        for channel in self.channels() {
            match running.judge(&channel, snapshot, now) {
                Some(reason) => channel.cut.cut(reason),
                None => channel.decide_again(running, snapshot, now),
            }
        }
    }

    /// Waits until every channel has ended.
    pub(crate) async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.len() == 0 {
                return;
            }
            changed.await;
        }
    }

    fn leave(&self, id: ChannelId) {
        lock(&self.channels).remove(&id);
        self.changed.notify_waiters();
    }
}

impl ChannelId {
    fn new() -> Self {
        Self(u64::from_be_bytes(crate::random::bytes()))
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ChannelId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Drop for ChannelGuard {
    fn drop(&mut self) {
        self.live.leave(self.channel.id);
    }
}

/// A fresh name for a decision.
pub(crate) fn decision_id() -> DecisionId {
    DecisionId::from_random(crate::random::identifier())
}

/// A panic while one of these short locks is held leaves the map whole, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enough to see what a client that keeps trying was told, and bounded, since anyone can be refused.
const REFUSED_KEPT: usize = 512;
