use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::io::poll_read_buf;

use super::limits::LARGEST_FRAME;
use super::{End, IntoEnd, Queue};
use crate::failure::reworded;

/// A connection that can end in a way that its peer sees as a failure.
pub trait Reset {
    /// Makes the drop that follows a failure for the peer, as far as the transport can say so.
    fn reset(&mut self);

    /// Takes [`reset`](Self::reset) back: the drop that follows leaves the connection ended as it is.
    fn settle(&mut self);
}

/// The peer gets RST: what the kernel has not sent is discarded.
impl Reset for TcpStream {
    fn reset(&mut self) {
        // It fails only on a socket that is closed already.
        let _ = self.set_zero_linger();
    }

    fn settle(&mut self) {
        let _ = socket2::SockRef::from(&*self).set_linger(None);
    }
}

/// The peer gets no close_notify, then what the transport below says.
impl<T: Reset> Reset for tokio_rustls::server::TlsStream<T> {
    fn reset(&mut self) {
        self.get_mut().0.reset();
    }

    fn settle(&mut self) {
        self.get_mut().0.settle();
    }
}

/// The peer gets no close_notify, then what the transport below says.
impl<T: Reset> Reset for tokio_rustls::client::TlsStream<T> {
    fn reset(&mut self) {
        self.get_mut().0.reset();
    }

    fn settle(&mut self) {
        self.get_mut().0.settle();
    }
}

/// The peer gets no close_notify, then what the transport below says.
impl<T: Reset> Reset for tokio_rustls::TlsStream<T> {
    fn reset(&mut self) {
        match self {
            Self::Client(tls) => tls.reset(),
            Self::Server(tls) => tls.reset(),
        }
    }

    fn settle(&mut self) {
        match self {
            Self::Client(tls) => tls.settle(),
            Self::Server(tls) => tls.settle(),
        }
    }
}

/// A Unix socket has no reset: the peer reads an end of file, or `ConnectionReset` if it had
/// written something that was not read.
impl Reset for UnixStream {
    fn reset(&mut self) {}

    fn settle(&mut self) {}
}

/// A pipe in memory has no reset: the peer reads an end of file and cannot write.
impl Reset for DuplexStream {
    fn reset(&mut self) {}

    fn settle(&mut self) {}
}

impl<T: Reset + ?Sized> Reset for Box<T> {
    fn reset(&mut self) {
        (**self).reset();
    }

    fn settle(&mut self) {
        (**self).settle();
    }
}

/// A byte stream as an end of a [`relay`](super::relay()).
///
/// It holds a read buffer only while bytes are on the way.
#[derive(Debug)]
pub struct Socket<T> {
    io: T,
    first: Bytes,
    buffer: BytesMut,
    asking: Asking,
}

impl<T> Socket<T> {
    /// Wraps a connection.
    pub fn new(io: T) -> Self {
        Self::preceded_by(Bytes::new(), io)
    }

    /// Wraps a connection from which `first` has been read already.
    pub fn preceded_by(first: Bytes, io: T) -> Self {
        Self {
            io,
            first,
            buffer: BytesMut::new(),
            asking: Asking::default(),
        }
    }
}

/// How much to ask the kernel for at once, by what it had before: a stream of short messages needs no large buffer, and bulk
/// comes two frames at a time, with half as many system calls and acknowledgements.
#[derive(Clone, Copy, Debug, Default)]
enum Asking {
    #[default]
    Message,
    Frame,
    Frames,
}

impl Asking {
    fn bytes(self) -> usize {
        match self {
            Self::Message => 8 << 10,
            Self::Frame => LARGEST_FRAME.into(),
            Self::Frames => 2 * usize::from(LARGEST_FRAME),
        }
    }

    /// What to ask for after a read that filled all the room there was.
    fn more(self) -> Self {
        match self {
            Self::Message => Self::Frame,
            Self::Frame | Self::Frames => Self::Frames,
        }
    }

    /// What to ask for after a read that a smaller room would have held.
    fn less(self) -> Self {
        match self {
            Self::Frames => Self::Frame,
            Self::Frame | Self::Message => Self::Message,
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Reset + Unpin> End for Socket<T> {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.first.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.first))));
        }
        if self.buffer.capacity() < SMALLEST_READ {
            self.buffer = BytesMut::with_capacity(self.asking.bytes());
        }
        let room = self.buffer.capacity();
        let read = poll_read_buf(Pin::new(&mut self.io), cx, &mut self.buffer);
        if read.is_pending() {
            // An idle connection keeps no buffer.
            self.buffer = BytesMut::new();
        }
        let read = ready!(read).map_err(reworded)?;
        if read == room {
            self.asking = self.asking.more();
        } else if read <= self.asking.less().bytes() {
            self.asking = self.asking.less();
        }
        let chunk = self.buffer.split().freeze();
        Poll::Ready(Ok((read > 0).then_some(chunk)))
    }

    fn received(&mut self, _: usize) {}

    fn poll_send(&mut self, cx: &mut Context<'_>, queue: &mut Queue) -> Poll<io::Result<usize>> {
        let io = Pin::new(&mut self.io);
        let chunks = queue.chunks();
        let sent = if io.is_write_vectored() && chunks.len() > 1 {
            ready!(io.poll_write_vectored(cx, &slices(chunks)))?
        } else {
            ready!(io.poll_write(cx, chunks.front().map_or(&[], Buf::chunk)))?
        };
        if sent == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        queue.advance(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// What the kernel has taken is on its way.
    fn poll_delivered(&mut self, _: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_broken(&mut self, _: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Pending
    }

    fn abort(&mut self) {
        self.io.reset();
    }

    fn arm(&mut self) {
        self.io.reset();
    }

    fn settle(&mut self) {
        self.io.settle();
    }
}

impl<T: AsyncRead + AsyncWrite + Reset + Unpin> IntoEnd for T {
    type End = Socket<T>;

    fn into_end(self) -> Socket<T> {
        Socket::new(self)
    }
}

impl<T: AsyncRead + AsyncWrite + Reset + Unpin> IntoEnd for Socket<T> {
    type End = Self;

    fn into_end(self) -> Self {
        self
    }
}

fn slices(chunks: &VecDeque<Bytes>) -> [IoSlice<'_>; Queue::CHUNKS] {
    let mut slices = [IoSlice::new(&[]); Queue::CHUNKS];
    for (slice, chunk) in slices.iter_mut().zip(chunks) {
        *slice = IoSlice::new(chunk);
    }
    slices
}

/// Room below which a read is not worth its system call.
const SMALLEST_READ: usize = 4 << 10;
