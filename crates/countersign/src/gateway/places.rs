//! How many channels may stand at once, and who makes room for whom.
//!
//! Strangers, who show no certificate, share a part of the places, so that they can never keep an agent out. When their
//! part is taken, the stranger who has stood there longest with nothing open makes room for the next.

use std::time::Duration;

use countersign_channel::ChannelRecord;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::live::Live;

/// The places of a gateway, over all its listeners.
pub(super) struct Places {
    all: Semaphore,
    strangers: Semaphore,
}

/// The place of one channel; it is free again when this is dropped.
pub(super) struct Place<'a> {
    _one: SemaphorePermit<'a>,
    _of_strangers: Option<SemaphorePermit<'a>>,
}

impl Places {
    /// As many places as `limits.channels` says.
    pub(super) fn new(channels: usize) -> Self {
        let kept_for_agents = channels / PART_FOR_AGENTS;
        Self {
            all: Semaphore::new(channels),
            strangers: Semaphore::new((channels - kept_for_agents).max(1)),
        }
    }

    /// A place for the channel of this handshake; `None` when there is none.
    pub(super) async fn take(&self, live: &Live, record: &ChannelRecord) -> Option<Place<'_>> {
        let of_strangers = match record.peer {
            Some(_) => None,
            None => Some(self.take_of_strangers(live).await?),
        };
        Some(Place {
            _one: self.all.try_acquire().ok()?,
            _of_strangers: of_strangers,
        })
    }

    async fn take_of_strangers(&self, live: &Live) -> Option<SemaphorePermit<'_>> {
        if let Ok(place) = self.strangers.try_acquire() {
            return Some(place);
        }
        if !live.make_room() {
            return None;
        }
        let freed = tokio::time::timeout(ROOM_WAIT, self.strangers.acquire()).await;
        freed.ok()?.ok()
    }
}

/// A quarter of the places is for agents alone.
const PART_FOR_AGENTS: usize = 4;

/// A channel that is cut says goodbye for a second at most.
const ROOM_WAIT: Duration = Duration::from_secs(2);
