//! What strangers may cost: places to wait in, and turns to compute in.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::PollSemaphore;

/// A bounded number of places. Who comes when all are taken gets the place of the one who has been there longest, so
/// that those who never finish cannot keep out one who does.
pub(super) struct WaitingRoom {
    capacity: usize,
    places: Mutex<Places>,
}

/// A place in a waiting room. It is given up when it is dropped.
pub(super) struct Place<'a> {
    room: &'a WaitingRoom,
    number: u64,
    lost: oneshot::Receiver<()>,
}

/// A handshake that takes a turn for each step, so that the steps computed at the same time are bounded, and waits for
/// the network without one.
pub(super) struct TakingTurns<F> {
    turns: PollSemaphore,
    handshake: F,
}

#[derive(Default)]
struct Places {
    next: u64,
    taken: BTreeMap<u64, oneshot::Sender<()>>,
}

impl WaitingRoom {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            places: Mutex::default(),
        }
    }

    pub(super) fn enter(&self) -> Place<'_> {
        let (sender, lost) = oneshot::channel();
        let mut places = self.places();
        if places.taken.len() >= self.capacity {
            // Dropping the sender is what tells the one who held the place.
            places.taken.pop_first();
        }
        let number = places.next;
        places.next += 1;
        places.taken.insert(number, sender);
        Place {
            room: self,
            number,
            lost,
        }
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Does some work for as long as the place is held.
    pub(super) async fn hold<F: Future>(&mut self, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = work => Some(output),
            _ = &mut self.lost => None,
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.room.places().taken.remove(&self.number);
    }
}

impl<F> TakingTurns<F> {
    pub(super) fn new(turns: Arc<Semaphore>, handshake: F) -> Self {
        Self {
            turns: PollSemaphore::new(turns),
            handshake,
        }
    }
}

impl<F: Future + Unpin> Future for TakingTurns<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let _turn = ready!(self.turns.poll_acquire(context));
        Pin::new(&mut self.handshake).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn the_one_who_waited_longest_makes_room() {
        let room = WaitingRoom::new(2);
        let (mut first, mut second) = (room.enter(), room.enter());
        let mut third = room.enter();
        assert_eq!(first.hold(pending::<()>()).await, None);
        assert_eq!(second.hold(ready(2)).await, Some(2));
        assert_eq!(third.hold(ready(3)).await, Some(3));
    }

    #[tokio::test]
    async fn a_place_given_up_is_free_again() {
        let room = WaitingRoom::new(1);
        drop(room.enter());
        let mut second = room.enter();
        assert_eq!(second.hold(ready(2)).await, Some(2));
        assert_eq!(room.places().taken.len(), 1);
    }
}
