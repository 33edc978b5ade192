use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use super::pump::{Broken, Pump};
use super::{Cut, End, IntoEnd, RelayLimits};

/// How a relay ended, and what it carried.
#[derive(Debug)]
pub struct RelayEnd {
    /// Bytes that the remote end took.
    pub to_remote: u64,
    /// Bytes that the local end took.
    pub to_local: u64,
    /// How it ended.
    pub ending: Ending,
}

/// How a relay ended. All but `Finished` reset both ends.
#[derive(Debug)]
pub enum Ending {
    /// Both directions ended cleanly.
    Finished,
    /// Nothing was handed on for as long as the limit allows.
    IdleTimeout,
    /// The local end failed.
    LocalFailed(io::Error),
    /// The remote end failed.
    RemoteFailed(io::Error),
    /// The stream was cut, for this reason.
    Cut(Arc<str>),
}

/// Bytes carried so far, for a view from outside; many relays may share one.
#[derive(Debug, Default)]
pub struct Counters {
    /// Bytes that remote ends took.
    pub to_remote: AtomicU64,
    /// Bytes that local ends took.
    pub to_local: AtomicU64,
}

/// Carries bytes, half-close and failure both ways between two ends until both directions have
/// ended, one end fails, the limit is reached or the line is cut.
///
/// An end is a [`Tunnel`](super::Tunnel) or a byte stream that has [`Reset`](super::Reset).
/// Dropping the future resets both ends, and so does the death of the process.
pub async fn relay(
    local: impl IntoEnd,
    remote: impl IntoEnd,
    limits: RelayLimits,
    counters: &Counters,
    cut: &Cut,
) -> RelayEnd {
    let mut ends = Ends {
        local: local.into_end(),
        remote: remote.into_end(),
        clean: false,
    };
    ends.local.arm();
    ends.remote.arm();
    let mut flow = Flow::default();
    let mut cut = pin!(cut.wait());
    let mut idle = pin!(limits.idle.map(Idle::new));
    let ending = std::future::poll_fn(|cx| {
        if let Poll::Ready(reason) = cut.as_mut().poll(cx) {
            return Poll::Ready(Ending::Cut(reason));
        }
        let before = flow.moved();
        let state = flow.poll(cx, &mut ends);
        flow.count(counters);
        let Some(idle) = idle.as_mut().as_pin_mut() else {
            return state;
        };
        match state {
            Poll::Pending => idle
                .poll_reached(cx, flow.moved() != before)
                .map(|()| Ending::IdleTimeout),
            ended => ended,
        }
    })
    .await;
    ends.clean = matches!(ending, Ending::Finished);
    RelayEnd {
        to_remote: flow.to_remote.moved,
        to_local: flow.to_local.moved,
        ending,
    }
}

struct Ends<L: End, R: End> {
    local: L,
    remote: R,
    clean: bool,
}

impl<L: End, R: End> Drop for Ends<L, R> {
    fn drop(&mut self) {
        if self.clean {
            self.local.settle();
            self.remote.settle();
        } else {
            self.local.abort();
            self.remote.abort();
        }
    }
}

#[derive(Default)]
struct Flow {
    to_remote: Pump,
    to_local: Pump,
    counted: (u64, u64),
}

impl Flow {
    fn poll<L: End, R: End>(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut Ends<L, R>,
    ) -> Poll<Ending> {
        let Ends { local, remote, .. } = ends;
        let up = self.to_remote.poll(cx, local, remote);
        if let Poll::Ready(Err(Broken::Sink(error))) = &up {
            self.to_local.doubt(error);
        }
        let down = self.to_local.poll(cx, remote, local);
        match (up, down) {
            (Poll::Ready(Err(Broken::Source(error))), _) => {
                return Poll::Ready(Ending::LocalFailed(error));
            }
            (_, Poll::Ready(Err(Broken::Source(error)))) => {
                return Poll::Ready(Ending::RemoteFailed(error));
            }
            (_, Poll::Ready(Err(Broken::Sink(error))))
                if !self.to_remote.precedes(&self.to_local) =>
            {
                return Poll::Ready(Ending::LocalFailed(error));
            }
            (Poll::Ready(Err(Broken::Sink(error))), _)
                if !self.to_local.precedes(&self.to_remote) =>
            {
                return Poll::Ready(Ending::RemoteFailed(error));
            }
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Ending::Finished),
            _ => {}
        }
        self.poll_broken(cx, ends)
    }

    /// Listens to an end that no direction reads from just now.
    fn poll_broken<L: End, R: End>(
        &mut self,
        cx: &mut Context<'_>,
        ends: &mut Ends<L, R>,
    ) -> Poll<Ending> {
        if self.to_local.is_deaf()
            && let Poll::Ready(error) = ends.remote.poll_broken(cx)
        {
            return Poll::Ready(Ending::RemoteFailed(error));
        }
        if self.to_remote.is_deaf()
            && let Poll::Ready(error) = ends.local.poll_broken(cx)
        {
            return Poll::Ready(Ending::LocalFailed(error));
        }
        Poll::Pending
    }

    fn moved(&self) -> (u64, u64) {
        (self.to_remote.moved, self.to_local.moved)
    }

    fn count(&mut self, counters: &Counters) {
        let (to_remote, to_local) = self.moved();
        let add = |counter: &AtomicU64, more: u64| {
            if more > 0 {
                counter.fetch_add(more, Ordering::Relaxed);
            }
        };
        add(&counters.to_remote, to_remote - self.counted.0);
        add(&counters.to_local, to_local - self.counted.1);
        self.counted = (to_remote, to_local);
    }
}

/// A timer that is moved only when it fires, since bytes pass far more often than that.
struct Idle {
    limit: Duration,
    last: Instant,
    timer: std::pin::Pin<Box<Sleep>>,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        let timer = Box::pin(tokio::time::sleep(limit));
        let last = Instant::now();
        Self { limit, last, timer }
    }

    fn poll_reached(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
        moved: bool,
    ) -> Poll<()> {
        if moved {
            self.last = Instant::now();
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            let reached = self.last + self.limit;
            if reached <= Instant::now() {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(reached);
        }
        Poll::Pending
    }
}
