//! Connections to one upstream that are kept for the next request.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::Instant;

use super::line::{Http1, Http2, Line};

/// Connections to one upstream that are kept for the next request.
#[derive(Default)]
pub(super) struct Pool {
    state: Mutex<State>,
    /// One connection at a time is made where the next request may share it.
    pub(super) dialling: tokio::sync::Mutex<()>,
}

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// Idle HTTP/1.1 connections.
    pub(super) idle: usize,
    /// How long a connection is kept that carries nothing.
    pub(super) time: Duration,
}

#[derive(Default)]
struct State {
    /// The newest last, and the first to be used: those that are not needed grow old.
    idle: Vec<Kept<Http1>>,
    shared: Vec<Kept<Arc<Http2>>>,
    closed: bool,
    reaping: bool,
}

struct Kept<T> {
    line: T,
    until: Instant,
}

impl Pool {
    /// A place on a connection that is there already.
    pub(super) async fn take(&self) -> Option<Line> {
        if let Some(line) = self.take_shared() {
            return Some(Line::Http2(line));
        }
        loop {
            let mut kept = self.state().idle.pop()?;
            if kept.until <= Instant::now() || kept.line.is_closed() {
                continue;
            }
            if kept.line.ready().await {
                return Some(Line::Http1(kept.line));
            }
            kept.line.abandon();
        }
    }

    fn take_shared(&self) -> Option<Arc<Http2>> {
        let mut state = self.state();
        state.shared.retain(|kept| !kept.line.is_closed());
        let with_room = state.shared.iter().filter(|kept| kept.line.has_room());
        let load = |kept: &&Kept<Arc<Http2>>| kept.line.in_flight.load(Ordering::Relaxed);
        let line = &with_room.min_by_key(load)?.line;
        line.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(Arc::clone(line))
    }

    /// Shares a new connection, and gives the first place on it.
    pub(super) fn share(self: &Arc<Self>, line: Http2, keep: Keep) -> Line {
        let line = Arc::new(line);
        line.in_flight.fetch_add(1, Ordering::Relaxed);
        let mut state = self.state();
        if !state.closed {
            state.shared.push(Kept {
                line: Arc::clone(&line),
                until: Instant::now() + keep.time,
            });
        }
        Line::Http2(line)
    }

    /// Takes a place back whose request and answer are through.
    pub(super) fn put_back(self: &Arc<Self>, line: Line, keep: Keep) {
        let until = Instant::now() + keep.time;
        let mut state = self.state();
        match line {
            Line::Http1(line) => {
                if state.closed || line.is_closed() || state.idle.len() >= keep.idle {
                    return;
                }
                state.idle.push(Kept { line, until });
            }
            Line::Http2(line) => {
                line.in_flight.fetch_sub(1, Ordering::Relaxed);
                let kept = state.shared.iter_mut();
                for kept in kept.filter(|kept| Arc::ptr_eq(&kept.line, &line)) {
                    kept.until = until;
                }
            }
        }
        if !state.reaping {
            state.reaping = self.reap();
        }
    }

    /// Closes what carries nothing, and keeps nothing from now on.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.idle.clear();
        // Those with requests on them close once these are through.
        state.shared.clear();
    }

    /// Closes connections as they grow old, for as long as there are any; false where no task can be had.
    fn reap(self: &Arc<Self>) -> bool {
        let Ok(runtime) = Handle::try_current() else {
            return false;
        };
        let pool = Arc::downgrade(self);
        runtime.spawn(async move {
            while let Some(next) = pool.upgrade().and_then(|pool| pool.expire(Instant::now())) {
                tokio::time::sleep_until(next).await;
            }
        });
        true
    }

    /// Closes what is too old, and says when the next will be.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        state
            .idle
            .retain(|kept| kept.until > now && !kept.line.is_closed());
        state.shared.retain(|kept| {
            let busy = kept.line.in_flight.load(Ordering::Relaxed) > 0;
            (busy || kept.until > now) && !kept.line.is_closed()
        });
        let idle = state.idle.iter().map(|kept| kept.until);
        let shared = state
            .shared
            .iter()
            .map(|kept| kept.until.max(now + BUSY_LOOK));
        let next = idle.chain(shared).min();
        state.reaping = next.is_some();
        next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever a panic left behind is a list of connections.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How soon a connection is looked at again that is in use.
const BUSY_LOOK: Duration = Duration::from_secs(1);
