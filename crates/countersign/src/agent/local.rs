//! A program's socket beside the agent, which is reset unless both directions came to their end.
//!
//! A stream that failed must not look like one that ended, or a program takes half an answer for all of it. TCP has a
//! reset for that. A Unix socket has none, but Linux reports `ECONNRESET` to a peer whose bytes were not all read; so the
//! last byte that a program sent stays in the socket, handed on but not taken out, until the stream has ended well. What
//! remains: a program that never sent a byte sees the end of the stream.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use countersign_channel::tunnel::Reset;
use rustix::event::{PollFd, PollFlags};
use rustix::net::RecvFlags;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// A local socket with what is known of its end.
#[derive(Debug)]
pub(crate) struct Local {
    socket: Socket,
    early: Bytes,
    read_to_end: bool,
    shut_down: bool,
    failed: bool,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpStream),
    Unix(UnixStream, Held),
}

impl Local {
    /// A socket of which `early` was already read.
    pub(crate) fn after(mut self, early: Bytes) -> Self {
        self.early = early;
        self
    }

    fn new(socket: Socket) -> Self {
        Self {
            socket,
            early: Bytes::new(),
            read_to_end: false,
            shut_down: false,
            failed: false,
        }
    }
}

impl From<TcpStream> for Local {
    fn from(socket: TcpStream) -> Self {
        // Small writes of an interactive program must not wait for an acknowledgement.
        let _best_effort = socket.set_nodelay(true);
        Self::new(Socket::Tcp(socket))
    }
}

impl From<UnixStream> for Local {
    fn from(socket: UnixStream) -> Self {
        Self::new(Socket::Unix(socket, Held::default()))
    }
}

impl Reset for Local {
    fn reset(&mut self) {
        self.failed = true;
        if let Socket::Tcp(socket) = &mut self.socket {
            socket.reset();
        }
    }

    fn settle(&mut self) {
        self.failed = false;
        if let Socket::Tcp(socket) = &mut self.socket {
            socket.settle();
        }
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        let ended = self.read_to_end && self.shut_down && !self.failed;
        match &mut self.socket {
            Socket::Tcp(socket) if !ended => {
                let _gone = socket.set_zero_linger();
            }
            Socket::Unix(socket, held) if ended => held.release(socket),
            Socket::Tcp(_) | Socket::Unix(..) => {}
        }
    }
}

impl AsyncRead for Local {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let length = self.early.len().min(buffer.remaining());
            buffer.put_slice(&self.early.copy_to_bytes(length));
            return Poll::Ready(Ok(()));
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Socket::Unix(socket, held) => held.poll_read(socket, cx, buffer),
        })?;
        self.read_to_end |= buffer.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Local {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Socket::Unix(socket, _) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(match &mut self.socket {
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Socket::Unix(socket, _) => Pin::new(socket).poll_shutdown(cx),
        })?;
        self.shut_down = true;
        Poll::Ready(Ok(()))
    }
}

/// How many bytes at the head of a Unix socket's queue were already handed on: none or one.
#[derive(Debug, Default)]
struct Held {
    bytes: usize,
}

impl Held {
    fn poll_read(
        &mut self,
        socket: &UnixStream,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(socket.poll_read_ready(cx))?;
            match socket.try_io(Interest::READABLE, || self.read(socket, buffer)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn read(&mut self, socket: &UnixStream, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        if self.hand_on(socket, buffer)? {
            return Ok(());
        }
        if !is_closed(socket)? {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        // Bytes may have come between the look and the question; if none did, this is the end.
        self.hand_on(socket, buffer).map(|_| ())
    }

    /// Looks at all that is there, hands on what is new, and takes out all but the last byte of that.
    fn hand_on(&mut self, socket: &UnixStream, buffer: &mut ReadBuf<'_>) -> io::Result<bool> {
        let mut seen = [0; CHUNK];
        let wanted = (self.bytes + buffer.remaining()).min(CHUNK);
        let seen = peek(socket, seen.get_mut(..wanted).unwrap_or_default())?;
        let fresh = seen.get(self.bytes..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(false);
        }
        buffer.put_slice(fresh);
        take(socket, seen.len() - 1)?;
        self.bytes = 1;
        Ok(true)
    }

    fn release(&mut self, socket: &UnixStream) {
        let _gone = take(socket, self.bytes);
        self.bytes = 0;
    }
}

fn peek<'a>(socket: &UnixStream, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let (_, length) = rustix::net::recv(socket, &mut *buffer, RecvFlags::PEEK)?;
    Ok(buffer.get(..length).unwrap_or_default())
}

fn take(socket: &UnixStream, mut count: usize) -> io::Result<()> {
    let mut sink = [0; CHUNK];
    while let Some(wanted) = sink.get_mut(..count).filter(|wanted| !wanted.is_empty()) {
        let (_, taken) = rustix::net::recv(socket, wanted, RecvFlags::empty())?;
        if taken == 0 {
            return Ok(());
        }
        count = count.saturating_sub(taken);
    }
    Ok(())
}

fn is_closed(socket: &UnixStream) -> io::Result<bool> {
    let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
    let at_once = rustix::event::Timespec::default();
    rustix::event::poll(&mut asked, Some(&at_once))?;
    let [answer] = asked;
    Ok(answer
        .revents()
        .intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR))
}

const CHUNK: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn tcp() -> (TcpStream, Local) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (server, _) = listener.accept().await.unwrap();
        (client.unwrap(), Local::from(server))
    }

    fn unix() -> (UnixStream, Local) {
        let (client, server) = UnixStream::pair().unwrap();
        (client, Local::from(server))
    }

    async fn failure_is_a_reset(mut client: impl AsyncRead + AsyncWrite + Unpin, mut local: Local) {
        client.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        local.read_exact(&mut question).await.unwrap();
        local.write_all(b"half an ans").await.unwrap();
        let mut answer = [0; 11];
        client.read_exact(&mut answer).await.unwrap();
        drop(local);
        let end = client.read(&mut answer).await;
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }

    async fn an_end_is_an_end(mut client: impl AsyncRead + AsyncWrite + Unpin, mut local: Local) {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        local.read_to_string(&mut question).await.unwrap();
        local.write_all(question.as_bytes()).await.unwrap();
        local.shutdown().await.unwrap();
        drop(local);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "question");
    }

    #[tokio::test]
    async fn a_tcp_socket_dropped_half_way_is_reset() {
        let (client, local) = tcp().await;
        failure_is_a_reset(client, local).await;
    }

    #[tokio::test]
    async fn a_unix_socket_dropped_half_way_is_reset() {
        let (client, local) = unix();
        failure_is_a_reset(client, local).await;
    }

    #[tokio::test]
    async fn a_tcp_socket_that_ended_is_not_reset() {
        let (client, local) = tcp().await;
        an_end_is_an_end(client, local).await;
    }

    #[tokio::test]
    async fn a_unix_socket_that_ended_is_not_reset() {
        let (client, local) = unix();
        an_end_is_an_end(client, local).await;
    }

    #[tokio::test]
    async fn a_unix_socket_hands_on_every_byte_once() {
        let (mut client, mut local) = unix();
        let sent: Vec<u8> = (0..=255).cycle().take(300_000).collect();
        let expected = sent.clone();
        let writer = tokio::spawn(async move {
            for chunk in sent.chunks(777) {
                client.write_all(chunk).await.unwrap();
            }
            client.shutdown().await.unwrap();
            client
        });
        let mut received = Vec::new();
        local.read_to_end(&mut received).await.unwrap();
        assert!(received == expected);
        drop(writer.await.unwrap());
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (mut client, local) = tcp().await;
        let mut local = local.after(Bytes::from_static(b"early "));
        client.write_all(b"late").await.unwrap();
        client.shutdown().await.unwrap();
        let mut received = String::new();
        local.read_to_string(&mut received).await.unwrap();
        assert_eq!(received, "early late");
    }
}
