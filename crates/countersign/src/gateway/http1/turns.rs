//! Whose turn it is on an HTTP/1.1 connection, and how long that may last.
//!
//! The client's while it is silent or sends the head of a request, the gateway's until the answer has left. hyper asks a
//! body for more only when the client reads, so what must end an exchange is watched here and not there.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::gateway::entry::Over;
use crate::gateway::exchange::ReplyBody;
use crate::gateway::upstream::UpstreamError;

/// What happens on one connection.
pub(super) struct Turns {
    turn: Mutex<Turn>,
}

enum Turn {
    /// Nothing came of the next request yet.
    Silence { since: Instant, first: bool },
    /// A head is on its way.
    Head { since: Instant, first: bool },
    /// The gateway answers; ready when it must break off.
    Answer(Option<Over>),
}

/// Why a connection ends that did not end by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// The client said nothing any more.
    Silent,
    /// The head did not come in time.
    SlowHead {
        /// Whether it is the connection's first, so that nothing that was sent before it can be on its way.
        first: bool,
    },
    /// The answer had to be broken off.
    Answer,
}

impl Turns {
    /// A connection on which nothing has been sent.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            turn: Mutex::new(Turn::Silence {
                since: Instant::now(),
                first: true,
            }),
        })
    }

    /// Notes that a whole head is there; the gateway's turn ends with the guard.
    pub(super) fn answer(self: &Arc<Self>) -> Answering {
        *self.lock() = Turn::Answer(None);
        Answering(Arc::clone(self))
    }

    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn came(&self) {
        let mut turn = self.lock();
        if let Turn::Silence { first, .. } = *turn {
            let since = Instant::now();
            *turn = Turn::Head { since, first };
        }
    }
}

/// The gateway's turn.
pub(super) struct Answering(Arc<Turns>);

impl Answering {
    /// Says what must break the answer off.
    pub(super) fn until(&self, over: Over) {
        *self.0.lock() = Turn::Answer(Some(over));
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        *self.0.lock() = Turn::Silence {
            since: Instant::now(),
            first: false,
        };
    }
}

/// Notices when a turn lasts too long; polled in the task of the connection, whenever that moves.
pub(super) struct Watch {
    turns: Arc<Turns>,
    head: Duration,
    timer: Pin<Box<Sleep>>,
}

impl Watch {
    /// A watch that gives each head this much time.
    pub(super) fn new(turns: &Arc<Turns>, head: Duration) -> Self {
        Self {
            turns: Arc::clone(turns),
            head,
            timer: Box::pin(tokio::time::sleep(head)),
        }
    }

    /// Ready when the connection must end.
    pub(super) fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<Expired> {
        let (until, expired) = match &mut *self.turns.lock() {
            Turn::Answer(None) => return Poll::Pending,
            Turn::Answer(Some(over)) => {
                return over.as_mut().poll(cx).map(|()| Expired::Answer);
            }
            Turn::Silence { since, .. } => (*since + SILENCE, Expired::Silent),
            Turn::Head { since, first } => {
                (*since + self.head, Expired::SlowHead { first: *first })
            }
        };
        if self.timer.deadline() != until {
            self.timer.as_mut().reset(until);
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(expired)
    }
}

/// A connection whose first bytes of each head are noticed.
pub(super) struct Noticed<T> {
    io: T,
    turns: Arc<Turns>,
}

impl<T> Noticed<T> {
    pub(super) fn new(io: T, turns: &Arc<Turns>) -> Self {
        Self {
            io,
            turns: Arc::clone(turns),
        }
    }

    pub(super) fn into_inner(self) -> T {
        self.io
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Noticed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.turns.came();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Noticed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A reply whose end is the end of the gateway's turn.
pub(super) struct Timed {
    pub(super) reply: ReplyBody,
    pub(super) _turn: Answering,
}

impl Body for Timed {
    type Data = bytes::Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<bytes::Bytes>, UpstreamError>>> {
        Pin::new(&mut self.reply).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.reply.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.reply.size_hint()
    }
}

/// How long a client may keep a connection between two requests. Clients that pool connections keep idle ones as long.
const SILENCE: Duration = Duration::from_secs(60);
