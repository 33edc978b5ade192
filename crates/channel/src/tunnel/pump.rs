use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use super::Tunnel;

/// One end of a [`relay`](super::relay()): where bytes come from and go to, and how it fails.
pub trait End {
    /// The next bytes; `None` is the clean end, and the last call.
    ///
    /// # Errors
    ///
    /// Whatever means that bytes may be missing.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;

    /// Says that as many of the received bytes have been handed on.
    fn received(&mut self, bytes: usize);

    /// Sends from the front of a queue that is not empty, and says how many bytes it took off.
    ///
    /// # Errors
    ///
    /// Whatever means that the bytes cannot arrive.
    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut Queue) -> Poll<io::Result<usize>>;

    /// Sends what the end itself holds back.
    ///
    /// # Errors
    ///
    /// As for [`poll_send`](Self::poll_send).
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when nothing that was sent and flushed would be lost by an [`abort`](Self::abort).
    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ends this direction, and leaves the other open.
    ///
    /// # Errors
    ///
    /// As for [`poll_send`](Self::poll_send).
    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Ready when the end has failed, as far as it can tell without reading or writing.
    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error>;

    /// Makes the drop that follows a failure for the peer.
    fn abort(&mut self);

    /// Makes the death of this process a failure for the peer, until [`settle`](Self::settle): then no drop is run, and a
    /// kernel that closes a socket ends it cleanly.
    fn arm(&mut self);

    /// Takes that back, once both directions have ended.
    fn settle(&mut self);
}

/// What can be an end of a relay: any byte stream that has [`Reset`](super::Reset), and a [`Tunnel`].
pub trait IntoEnd {
    /// The end that it becomes.
    type End: End;

    /// Makes it an end.
    fn into_end(self) -> Self::End;
}

impl IntoEnd for Tunnel {
    type End = Self;

    fn into_end(self) -> Self {
        self
    }
}

impl End for Tunnel {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        self.reader().poll_chunk(cx)
    }

    fn received(&mut self, bytes: usize) {
        self.reader().release(bytes);
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut Queue) -> Poll<io::Result<usize>> {
        let Some(front) = queue.chunks.front_mut() else {
            return Poll::Ready(Ok(0));
        };
        let sent = ready!(self.writer().poll_send(cx, front))?;
        queue.advance_past(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_delivered(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.writer().poll_written(cx)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.writer()).poll_shutdown(cx)
    }

    fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.writer().poll_broken(cx)
    }

    fn abort(&mut self) {
        self.reset();
    }

    /// Its channel is armed as a whole: without close_notify the peer takes no stream for ended.
    fn arm(&mut self) {}

    fn settle(&mut self) {}
}

/// Chunks on their way from one end to the other, in order.
#[derive(Debug, Default)]
pub struct Queue {
    chunks: VecDeque<Bytes>,
    bytes: usize,
}

impl Queue {
    /// How many chunks it holds at most.
    pub const CHUNKS: usize = 16;

    /// The chunks; none is empty.
    #[must_use]
    pub fn chunks(&self) -> &VecDeque<Bytes> {
        &self.chunks
    }

    /// Takes bytes off the front.
    pub fn advance(&mut self, mut bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        while let Some(front) = self.chunks.front_mut() {
            if bytes < front.len() {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.chunks.pop_front();
        }
    }

    /// Notes that bytes have been split off the first chunk.
    fn advance_past(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
        if self.chunks.front().is_some_and(Bytes::is_empty) {
            self.chunks.pop_front();
        }
    }

    fn push(&mut self, chunk: Bytes) {
        self.bytes += chunk.len();
        self.chunks.push_back(chunk);
    }

    fn is_full(&self) -> bool {
        self.bytes >= FULL || self.chunks.len() >= Self::CHUNKS
    }
}

/// One direction of a relay.
#[derive(Debug, Default)]
pub(super) struct Pump {
    queue: Queue,
    state: State,
    unflushed: bool,
    /// How the source failed, until its last bytes are delivered.
    failure: Option<io::Error>,
    /// Whether the source was reset, as a write to it has found.
    doubtful: bool,
    /// Bytes that the receiving end has taken.
    pub(super) moved: u64,
}

#[derive(Debug, Default, PartialEq)]
enum State {
    #[default]
    Open,
    /// The source has ended; its last bytes may still be in the queue.
    Ended,
    /// The source has failed; its last bytes may still be in the queue.
    Failed,
    Finished,
}

/// Which end of a direction failed.
pub(super) enum Broken {
    Source(io::Error),
    Sink(io::Error),
}

impl Pump {
    /// Moves bytes until an end makes it wait, or both have finished this direction.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        source: &mut impl End,
        sink: &mut impl End,
    ) -> Poll<Result<(), Broken>> {
        for _ in 0..ROUNDS {
            self.fill(cx, source);
            if !self.queue.chunks.is_empty() {
                let sent = ready!(sink.poll_send(cx, &mut self.queue)).map_err(Broken::Sink)?;
                source.received(sent);
                self.moved += u64::try_from(sent).unwrap_or(u64::MAX);
                self.unflushed = true;
            } else {
                return match self.state {
                    State::Open => self.poll_flushed(cx, sink),
                    State::Failed => self.poll_failed(cx, sink),
                    State::Ended | State::Finished => self.poll_finished(cx, sink),
                };
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Notes what a write to the source has failed with. A socket tells of its reset once, to whichever call comes first;
    /// the next reads an end that is none.
    pub(super) fn doubt(&mut self, error: &io::Error) {
        self.doubtful |= error.kind() == io::ErrorKind::ConnectionReset;
    }

    /// Whether the source would be heard if it failed: it is not while its bytes wait for the
    /// sink, nor after its end.
    pub(super) fn is_deaf(&self) -> bool {
        match self.state {
            State::Open => !self.queue.chunks.is_empty(),
            State::Failed => false,
            State::Ended | State::Finished => true,
        }
    }

    /// Whether it only hands on what came before its source failed, and `other` does not: what the other direction
    /// finds of that failure can wait.
    pub(super) fn precedes(&self, other: &Self) -> bool {
        self.state == State::Failed && other.state != State::Failed
    }

    fn fill(&mut self, cx: &mut Context<'_>, source: &mut impl End) {
        while self.state == State::Open && !self.queue.is_full() {
            match source.poll_receive(cx) {
                Poll::Ready(Ok(Some(chunk))) => self.queue.push(chunk),
                Poll::Ready(Ok(None)) if self.doubtful => {
                    self.state = State::Failed;
                    self.failure = Some(io::ErrorKind::ConnectionReset.into());
                }
                Poll::Ready(Ok(None)) => self.state = State::Ended,
                Poll::Ready(Err(error)) => {
                    self.state = State::Failed;
                    self.failure = Some(error);
                }
                Poll::Pending => break,
            }
        }
    }

    fn poll_flushed(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl End,
    ) -> Poll<Result<(), Broken>> {
        ready!(self.poll_flush(cx, sink))?;
        Poll::Pending
    }

    /// Passes the source's failure on, once its last bytes cannot be overtaken by it.
    fn poll_failed(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl End,
    ) -> Poll<Result<(), Broken>> {
        ready!(self.poll_flush(cx, sink))?;
        ready!(sink.poll_delivered(cx));
        let failure = self.failure.take();
        let failure = failure.unwrap_or_else(|| io::ErrorKind::ConnectionAborted.into());
        Poll::Ready(Err(Broken::Source(failure)))
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl End,
    ) -> Poll<Result<(), Broken>> {
        if self.unflushed {
            ready!(sink.poll_flush(cx)).map_err(Broken::Sink)?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_finished(
        &mut self,
        cx: &mut Context<'_>,
        sink: &mut impl End,
    ) -> Poll<Result<(), Broken>> {
        if self.state == State::Ended {
            ready!(sink.poll_finish(cx)).map_err(Broken::Sink)?;
            self.state = State::Finished;
        }
        Poll::Ready(Ok(()))
    }
}

/// Bytes that a direction takes in before it hands them on.
const FULL: usize = 64 << 10;
/// Turns before other tasks get theirs: h2 streams do not take part in tokio's budget.
const ROUNDS: usize = 32;
