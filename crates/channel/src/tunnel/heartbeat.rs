use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep};

use super::{ConnectionError, Keepalive};

/// Sends PINGs on a connection and notices when one stays without an answer.
pub(super) struct Heartbeat {
    pings: PingPong,
    keepalive: Keepalive,
    timer: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Heartbeat {
    pub(super) fn new(pings: Option<PingPong>, keepalive: Option<Keepalive>) -> Option<Self> {
        let keepalive = keepalive?;
        Some(Self {
            pings: pings?,
            keepalive,
            timer: Box::pin(tokio::time::sleep(keepalive.every)),
            waiting: false,
        })
    }

    /// Ready when the peer has left a PING without an answer.
    pub(super) fn poll_lost(&mut self, cx: &mut Context<'_>) -> Poll<ConnectionError> {
        loop {
            if !self.waiting {
                ready!(self.timer.as_mut().poll(cx));
                if self.pings.send_ping(Ping::opaque()).is_err() {
                    return Poll::Pending;
                }
                self.waiting = true;
                self.arm(self.keepalive.timeout);
                continue;
            }
            match self.pings.poll_pong(cx) {
                Poll::Ready(Ok(_)) => {
                    self.waiting = false;
                    self.arm(self.keepalive.every);
                }
                // The connection is closed, and says why by itself.
                Poll::Ready(Err(_)) => return Poll::Pending,
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    return Poll::Ready(ConnectionError::Unresponsive(self.keepalive.timeout));
                }
            }
        }
    }

    fn arm(&mut self, after: std::time::Duration) {
        self.timer.as_mut().reset(Instant::now() + after);
    }
}
