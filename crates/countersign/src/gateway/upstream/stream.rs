//! An open connection to an upstream, as bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use countersign_channel::tunnel::{IntoEnd, Reset, Socket, Tunnel};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::balance::Held;
use crate::gateway::entry::Entry;
use crate::hop::Hop;

/// An open connection to an upstream.
pub(crate) struct UpstreamStream {
    io: UpstreamIo,
    hop: Arc<Hop>,
    /// What counts as in flight for as long as the bytes are carried.
    _held: Option<Held>,
}

pub(super) enum UpstreamIo {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl UpstreamStream {
    pub(super) fn new(io: UpstreamIo, hop: Hop) -> Self {
        Self {
            io,
            hop: Arc::new(hop),
            _held: None,
        }
    }

    /// How its bytes are protected.
    pub(crate) fn hop(&self) -> &Arc<Hop> {
        &self.hop
    }

    /// The protocol that ALPN settled on (RFC 7301).
    pub(super) fn alpn(&self) -> Option<&[u8]> {
        match &self.io {
            UpstreamIo::Plain(_) => None,
            UpstreamIo::Tls(tls) => tls.get_ref().1.alpn_protocol(),
        }
    }

    /// Has the stream count as in flight until it is dropped.
    pub(super) fn holding(mut self, held: Option<Held>) -> Self {
        self._held = held;
        self
    }
}

/// The service's end of what has switched to another protocol.
pub(crate) struct Switched(pub(super) ServiceEnd);

pub(super) enum ServiceEnd {
    Connection(Socket<UpstreamStream>),
    Stream(Tunnel, Option<Held>),
}

impl Switched {
    pub(super) fn connection(socket: Socket<UpstreamStream>) -> Self {
        Self(ServiceEnd::Connection(socket))
    }

    pub(super) fn stream(tunnel: Tunnel, held: Option<Held>) -> Self {
        Self(ServiceEnd::Stream(tunnel, held))
    }

    /// Carries bytes between the client and the service until one of them, or what allows it, is done.
    pub(in crate::gateway) async fn carry(self, entry: Entry, client: impl IntoEnd) {
        match self.0 {
            ServiceEnd::Connection(socket) => entry.carry(client, socket).await,
            ServiceEnd::Stream(tunnel, _held) => entry.carry(client, tunnel).await,
        }
    }
}

impl Reset for UpstreamStream {
    fn reset(&mut self) {
        match &mut self.io {
            UpstreamIo::Plain(tcp) => tcp.reset(),
            UpstreamIo::Tls(tls) => tls.reset(),
        }
    }

    fn settle(&mut self) {
        match &mut self.io {
            UpstreamIo::Plain(tcp) => tcp.settle(),
            UpstreamIo::Tls(tls) => tls.settle(),
        }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            UpstreamIo::Plain(tcp) => tcp.is_write_vectored(),
            UpstreamIo::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
