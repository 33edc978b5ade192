use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::limits::LARGEST_FRAME;
use super::{ConnectionError, OpenGuard};

/// One proxied connection inside a channel.
///
/// `shutdown` ends this end's direction (END_STREAM). Dropped before that, in a panic too, it is
/// reset: the peer reads `ConnectionReset`, not an end of file. Dropped after that but before the
/// peer's end, it fails what the peer still writes, as `close` does on a socket; a server's last
/// bytes arrive all the same, a client's that are still queued are lost, with an error at the peer.
#[derive(Debug)]
pub struct Tunnel {
    reader: TunnelReader,
    writer: TunnelWriter,
}

impl Tunnel {
    pub(super) fn new(body: RecvStream, send: SendStream<Bytes>, open: OpenStream) -> Self {
        let open = Arc::new(open);
        Self {
            reader: TunnelReader {
                body,
                chunk: Bytes::new(),
                ended: false,
                _open: open.clone(),
            },
            writer: TunnelWriter {
                send,
                ended: false,
                mark: None,
                _open: open,
            },
        }
    }

    /// The tunnel that a request becomes which was taken apart and has been answered.
    #[must_use]
    pub fn resumed(body: RecvStream, send: SendStream<Bytes>, open: OpenGuard) -> Self {
        Self::new(body, send, open.into())
    }

    /// Resets the stream: RST_STREAM(CONNECT_ERROR), unless it has ended both ways.
    pub fn abort(mut self) {
        self.reset();
    }

    /// Takes the directions apart. The writer resets the stream when it is dropped before its
    /// end; the reader, dropped first, leaves the peer to fill its window.
    #[must_use]
    pub fn into_split(self) -> (TunnelReader, TunnelWriter) {
        (self.reader, self.writer)
    }

    /// A reset drops what is still to be sent, so a stream that has ended both ways is spared.
    pub(super) fn reset(&mut self) {
        if !self.writer.ended || !self.reader.has_ended() {
            self.writer.send.send_reset(Reason::CONNECT_ERROR);
        }
    }

    pub(super) fn reader(&mut self) -> &mut TunnelReader {
        &mut self.reader
    }

    pub(super) fn writer(&mut self) -> &mut TunnelWriter {
        &mut self.writer
    }
}

/// The direction of a [`Tunnel`] that comes from the peer.
#[derive(Debug)]
pub struct TunnelReader {
    body: RecvStream,
    chunk: Bytes,
    ended: bool,
    _open: Arc<OpenStream>,
}

impl TunnelReader {
    /// The next bytes as they came, without a copy; `None` is the clean end.
    ///
    /// The peer's window stays smaller by their number until they are
    /// [released](Self::release).
    ///
    /// # Errors
    ///
    /// `ConnectionReset` if the peer reset the stream, `ConnectionAborted` if the connection is
    /// lost.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        if !self.chunk.is_empty() {
            return Poll::Ready(Ok(Some(std::mem::take(&mut self.chunk))));
        }
        loop {
            match ready!(self.body.poll_data(cx)) {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => return Poll::Ready(Ok(Some(chunk))),
                Some(Err(error)) => return Poll::Ready(Err(ConnectionError::from(error).into())),
                None => {
                    self.ended = true;
                    return Poll::Ready(Ok(None));
                }
            }
        }
    }

    /// Lets the peer send as many bytes more: call it once they are handed on.
    pub fn release(&mut self, bytes: usize) {
        // It fails only on a stream that has ended, where there is no window left to widen.
        let _ = self.body.flow_control().release_capacity(bytes);
    }

    fn has_ended(&self) -> bool {
        self.ended || (self.chunk.is_empty() && self.body.is_end_stream())
    }
}

impl AsyncRead for TunnelReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(mut chunk) = ready!(self.poll_chunk(cx))? else {
            return Poll::Ready(Ok(()));
        };
        let taken = chunk.split_to(chunk.len().min(buf.remaining()));
        buf.put_slice(&taken);
        self.chunk = chunk;
        self.release(taken.len());
        Poll::Ready(Ok(()))
    }
}

/// The direction of a [`Tunnel`] that goes to the peer.
#[derive(Debug)]
pub struct TunnelWriter {
    send: SendStream<Bytes>,
    ended: bool,
    /// Resolves when h2 has let go of everything that was sent before it.
    mark: Option<oneshot::Receiver<Infallible>>,
    _open: Arc<OpenStream>,
}

impl TunnelWriter {
    /// Sends the front of `data` as far as the peer's window allows, without a copy, and says
    /// how many bytes it took off.
    ///
    /// # Errors
    ///
    /// As for [`TunnelReader::poll_chunk`]; `BrokenPipe` after the end.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, data: &mut Bytes) -> Poll<io::Result<usize>> {
        let wanted = data.len().min(LARGEST_FRAME.into());
        let allowed = ready!(self.poll_capacity(cx, wanted))?;
        let part = data.split_to(allowed.min(wanted));
        let sent = part.len();
        self.send_data(part, false)?;
        Poll::Ready(Ok(sent))
    }

    /// Ready when the peer has reset the stream or the connection is lost, though nothing is
    /// being written.
    pub fn poll_broken(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        Poll::Ready(match ready!(self.send.poll_reset(cx)) {
            Ok(reason) => ConnectionError::reset(reason).into(),
            Err(error) => ConnectionError::from(error).into(),
        })
    }

    /// Ready when the connection has written what was sent so far, or never will: a reset discards what h2 still holds.
    ///
    /// h2 does not say when that is, but it drops each frame once it is written: an empty one marks the place.
    pub(super) fn poll_written(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.mark.is_none() {
            let (mark, dropped) = oneshot::channel();
            if self
                .send_data(Bytes::from_owner(Mark(mark)), false)
                .is_err()
            {
                return Poll::Ready(());
            }
            self.mark = Some(dropped);
        }
        match &mut self.mark {
            Some(dropped) => Pin::new(dropped).poll(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    /// Waits for leave to send; asks for `wanted` bytes, gets at least one.
    ///
    /// Capacity is asked for only when there is something to send: h2 takes it from the
    /// connection's window, and idle streams that held some would stop the busy ones.
    fn poll_capacity(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        if self.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        self.send.reserve_capacity(wanted);
        loop {
            // h2 wakes only for an increase: what is already there has to be looked at first.
            let capacity = self.send.capacity();
            if capacity > 0 {
                return Poll::Ready(Ok(capacity));
            }
            match ready!(self.send.poll_capacity(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(ConnectionError::from(error).into())),
                None => return self.poll_broken(cx).map(Err),
            }
        }
    }

    fn send_data(&mut self, data: Bytes, end: bool) -> io::Result<()> {
        self.send.send_data(data, end).map_err(|error| {
            let mut cx = Context::from_waker(Waker::noop());
            match self.poll_broken(&mut cx) {
                Poll::Ready(error) => error,
                Poll::Pending => ConnectionError::from(error).into(),
            }
        })
    }
}

impl AsyncWrite for TunnelWriter {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wanted = buf.len().min(LARGEST_COPY);
        let allowed = ready!(self.poll_capacity(cx, wanted))?.min(wanted);
        let (now, _) = buf.split_at(allowed);
        self.send_data(Bytes::copy_from_slice(now), false)?;
        Poll::Ready(Ok(allowed))
    }

    /// The connection writes as soon as it can: there is nothing to flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            self.send_data(Bytes::new(), true)?;
            self.ended = true;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for TunnelWriter {
    fn drop(&mut self) {
        if !self.ended {
            self.send.send_reset(Reason::CONNECT_ERROR);
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.reader).poll_read(cx, buf)
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

/// The data of an empty frame, which tells by its end that the frame was written.
struct Mark(#[expect(dead_code, reason = "it is held to be dropped")] oneshot::Sender<Infallible>);

impl AsRef<[u8]> for Mark {
    fn as_ref(&self) -> &[u8] {
        &[]
    }
}

/// One in a count of open streams, for as long as it lives.
#[derive(Debug)]
pub(super) struct OpenStream(Arc<AtomicUsize>);

impl OpenStream {
    pub(super) fn count(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What one `poll_write` copies at most.
const LARGEST_COPY: usize = 64 << 10;
