//! A tunnel to an HTTP service: its bytes are requests, read here, so that no client writes what the gateway says of it.
//!
//! HTTP/1.1, or HTTP/2 with prior knowledge (RFC 9113, section 3.3). Each request is decided by itself, in the session of
//! the tunnel.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use countersign_channel::tunnel::{Counters, Reset, Tunnel};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio_util::task::TaskTracker;

use super::client::Client;
use super::dispatch::Opening;
use super::entry::Entry;
use super::problem::Problem;
use super::{http1, http2};

/// A tunnel to an HTTP service, before its client's end is there.
pub(crate) struct Inside {
    client: Client,
    entry: Entry,
}

impl Inside {
    /// Enters the tunnel.
    ///
    /// # Errors
    ///
    /// What the client is to be told: the audit trail cannot be written, or the channel has too many streams.
    pub(crate) fn open(client: &Client, opening: Opening) -> Result<Self, Problem> {
        let inner = client.of_tunnel(opening.session.clone(), Arc::clone(&opening.service));
        let (mut entry, _permit) = Entry::new(&client.gateway, &client.channel, opening)?;
        entry.opened_to_requests();
        Ok(Self {
            client: inner,
            entry,
        })
    }

    /// Serves the requests on `io`, of which `first` was read already, until they end or the tunnel is cut.
    ///
    /// Boxed, since a connection may carry a tunnel that is itself a connection.
    pub(crate) fn serve(
        self,
        first: Bytes,
        io: impl Transport + 'static,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(async move {
            let Self { client, entry } = self;
            let counters = Arc::clone(&entry.stream().counters);
            let over = entry.over();
            let io = Transported {
                first,
                io: Box::new(io),
                counters,
            };
            tokio::select! {
                biased;
                // What is dropped on the way says by itself that it did not end.
                () = over => {}
                () = requests(&client, io) => entry.finished(),
            }
        })
    }
}

async fn requests(client: &Client, mut io: Transported) {
    let wait = client.limits().head_wait;
    let preface = tokio::time::timeout(wait, begins_with_preface(&mut io));
    match preface.await {
        Ok(Ok(true)) => {
            let streams = TaskTracker::new();
            http2::serve(client, io, &streams).await;
            streams.close();
            streams.wait().await;
        }
        Ok(Ok(false)) => {
            http1::serve(client, io).await;
        }
        Ok(Err(_)) | Err(_) => {}
    }
}

/// Whether the client speaks HTTP/2. What was read to find out stays to be read.
async fn begins_with_preface(io: &mut Transported) -> io::Result<bool> {
    let mut begun = BytesMut::from(&*std::mem::take(&mut io.first));
    let speaks = loop {
        let length = begun.len().min(PREFACE.len());
        if begun.get(..length) != PREFACE.get(..length) {
            break false;
        }
        if length == PREFACE.len() {
            break true;
        }
        if io.read_buf(&mut begun).await? == 0 {
            break false;
        }
    };
    io.first = begun.freeze();
    Ok(speaks)
}

/// A client's end of a tunnel.
pub(crate) trait Transport: AsyncRead + AsyncWrite + Reset + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Reset + Unpin + Send> Transport for T {}

/// The same, with what was read of it already, and counted, so that one that carries nothing is noticed.
struct Transported {
    first: Bytes,
    io: Box<dyn Transport>,
    counters: Arc<Counters>,
}

impl Reset for Transported {
    fn reset(&mut self) {
        self.io.reset();
    }

    fn settle(&mut self) {
        self.io.settle();
    }
}

impl AsyncRead for Transported {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buf.remaining());
            buf.put_slice(&self.first.split_to(length));
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let read = u64::try_from(buf.filled().len() - before).unwrap_or(u64::MAX);
        self.counters.to_remote.fetch_add(read, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Transported {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        let bytes = u64::try_from(written).unwrap_or(u64::MAX);
        self.counters.to_local.fetch_add(bytes, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A tunnel of HTTP/2 as a byte stream that can end in failure after it ended its own direction, too.
pub(crate) struct TunnelIo {
    tunnel: Option<Tunnel>,
    failing: bool,
}

impl From<Tunnel> for TunnelIo {
    fn from(tunnel: Tunnel) -> Self {
        Self {
            tunnel: Some(tunnel),
            failing: false,
        }
    }
}

impl TunnelIo {
    fn tunnel(&mut self) -> Pin<&mut Tunnel> {
        Pin::new(self.tunnel.as_mut().expect("it is taken by the drop alone"))
    }
}

impl Reset for TunnelIo {
    fn reset(&mut self) {
        self.failing = true;
    }

    fn settle(&mut self) {
        self.failing = false;
    }
}

impl Drop for TunnelIo {
    fn drop(&mut self) {
        if let Some(tunnel) = self.tunnel.take().filter(|_| self.failing) {
            tunnel.abort();
        }
    }
}

impl AsyncRead for TunnelIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.tunnel().poll_read(cx, buf)
    }
}

impl AsyncWrite for TunnelIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.tunnel().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tunnel().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.tunnel().poll_shutdown(cx)
    }
}

/// What a client of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
