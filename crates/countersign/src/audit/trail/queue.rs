//! Events on their way to the writer, and when it takes them.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// Told once all lines up to here are on disk; dropped if they are not.
pub(super) type Waiter = oneshot::Sender<()>;

/// What the recorders fill and the writer empties.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    /// When the first line of the batch came.
    since: Option<Instant>,
    /// Events that the writer holds because the disk did not take them.
    held: usize,
    closed: bool,
}

/// Lines for one write, in order, and who waits for it.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) lines: Vec<u8>,
    pub(super) events: usize,
    pub(super) waiters: Vec<Waiter>,
}

/// There are as many events as may wait for the disk.
#[derive(Debug)]
pub(super) struct Full;

impl Queue {
    /// Adds a line, or only a wait for those before it.
    ///
    /// # Errors
    ///
    /// The line is not kept.
    pub(super) fn push(&self, line: &[u8], waiter: Option<Waiter>) -> Result<(), Full> {
        let mut waiting = self.lock();
        if waiting.held + waiting.batch.events >= LIMIT && !line.is_empty() {
            return Err(Full);
        }
        // The writer is woken for the first line, to see when its time is, and by whoever waits: not by all between, since
        // a wake-up for each is what gathering is to spare.
        let wakes = waiter.is_some() || waiting.since.is_none();
        if !line.is_empty() {
            waiting.since.get_or_insert_with(Instant::now);
            waiting.batch.lines.extend_from_slice(line);
            waiting.batch.events += 1;
        }
        waiting.batch.waiters.extend(waiter);
        drop(waiting);
        if wakes {
            self.changed.notify_one();
        }
        Ok(())
    }

    /// Ends the writer, once it has tried to write what is there.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }

    /// Waits until it is time to write, and puts what there is behind what the writer still holds; false if nothing will
    /// follow.
    pub(super) fn take(&self, held: &mut Batch, retry_at: Option<Instant>) -> bool {
        let mut waiting = self.lock();
        loop {
            waiting = match waiting.due(retry_at) {
                None => self.wait(waiting),
                Some(at) => match at.checked_duration_since(Instant::now()) {
                    None | Some(Duration::ZERO) => break,
                    Some(left) => self.wait_for(waiting, left),
                },
            };
        }
        held.append(&mut waiting.batch);
        waiting.since = None;
        waiting.held = held.events;
        !waiting.closed
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        let waiting = self.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, waiting: MutexGuard<'a, Waiting>) -> MutexGuard<'a, Waiting> {
        let waiting = self.changed.wait(waiting);
        waiting.unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_for<'a>(
        &self,
        waiting: MutexGuard<'a, Waiting>,
        left: Duration,
    ) -> MutexGuard<'a, Waiting> {
        let waiting = self.changed.wait_timeout(waiting, left);
        waiting.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Waiting {
    /// When the batch is to be written; none while there is nothing to write. After a failure the disk is left alone
    /// until `retry_at`, unless someone waits for the answer.
    fn due(&self, retry_at: Option<Instant>) -> Option<Instant> {
        if self.closed || !self.batch.waiters.is_empty() {
            return self.since.or_else(|| Some(Instant::now()));
        }
        retry_at.or_else(|| self.since.map(|since| since + GATHERING))
    }
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.events == 0 && self.waiters.is_empty()
    }

    /// Empties it and tells who waits. What a burst took of memory is given back.
    pub(super) fn written(&mut self) {
        self.lines.clear();
        self.lines.shrink_to(KEPT);
        self.events = 0;
        for waiter in self.waiters.drain(..) {
            // One that went away has no use for the answer.
            let _ = waiter.send(());
        }
    }

    fn append(&mut self, later: &mut Self) {
        // Mostly it holds nothing, and the lines move without a copy.
        if self.lines.is_empty() {
            mem::swap(&mut self.lines, &mut later.lines);
        }
        self.lines.append(&mut later.lines);
        self.events += mem::take(&mut later.events);
        self.waiters.append(&mut later.waiters);
    }
}

/// Events that may wait for the disk: 8 MiB at 1 KiB each.
pub(super) const LIMIT: usize = 8192;

/// Room for lines that is kept from one write to the next.
const KEPT: usize = 64 << 10;

/// How long the first event waits for others to be written with it. Measured with one event each 0.5 ms: a write and an
/// `fdatasync` for each cost the gateway 200 µs of CPU a stream.
pub(super) const GATHERING: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue whose first line came `since` ago, and in how long it is to be written.
    fn check(waiting: &Waiting, retry_in: Option<Duration>, expected: Option<Duration>) {
        let now = waiting.since.unwrap_or_else(Instant::now);
        let due = waiting.due(retry_in.map(|span| now + span));
        assert_eq!(due.map(|due| due.saturating_duration_since(now)), expected);
    }

    fn with_a_line() -> Waiting {
        Waiting {
            since: Some(Instant::now()),
            ..Waiting::default()
        }
    }

    fn awaited(mut waiting: Waiting) -> Waiting {
        waiting.batch.waiters.push(oneshot::channel().0);
        waiting
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn nothing_is_written_while_nothing_is_there() {
        check(&Waiting::default(), None, None);
    }

    #[test]
    fn the_first_line_waits_for_others() {
        check(&with_a_line(), None, Some(GATHERING));
    }

    #[test]
    fn who_waits_is_not_made_to_wait_for_others() {
        check(&awaited(with_a_line()), None, Some(Duration::ZERO));
    }

    #[test]
    fn a_disk_that_failed_is_left_alone_for_a_while() {
        check(&with_a_line(), Some(SECOND), Some(SECOND));
        check(&Waiting::default(), Some(SECOND), Some(SECOND));
    }

    #[test]
    fn who_waits_has_a_failed_disk_tried_at_once() {
        check(&awaited(with_a_line()), Some(SECOND), Some(Duration::ZERO));
    }

    #[test]
    fn the_end_waits_for_nothing() {
        let closed = Waiting {
            closed: true,
            ..with_a_line()
        };
        check(&closed, None, Some(Duration::ZERO));
        check(&closed, Some(SECOND), Some(Duration::ZERO));
    }

    #[test]
    fn what_the_disk_did_not_take_comes_first_and_counts() {
        let (queue, mut held) = (Queue::default(), Batch::default());
        queue.push(b"one\n", None).unwrap();
        queue.close();
        assert!(!queue.take(&mut held, None));
        for _ in 1..LIMIT {
            queue.push(b"more\n", None).unwrap();
        }
        queue.push(b"too many\n", None).unwrap_err();
        queue.push(b"", Some(oneshot::channel().0)).unwrap();
        queue.take(&mut held, None);
        assert_eq!((held.events, held.waiters.len()), (LIMIT, 1));
        assert!(held.lines.starts_with(b"one\nmore\n"));
    }
}
