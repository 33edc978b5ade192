use std::future::pending;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, Empty};

/// What a program says before its tunnel stands. It travels with the CONNECT, which spares a round trip.
///
/// The server holds it within the stream's window and hands it on once it has let the tunnel in. It is kept here until
/// then: one who is refused may ask again, and what was said goes with that too.
#[derive(Debug)]
pub struct Early<R> {
    program: R,
    buffer: BytesMut,
    said: Bytes,
    is_over: bool,
}

impl Early<Empty> {
    /// Of a program that waits for its tunnel before it speaks.
    #[must_use]
    pub fn none() -> Self {
        Self::of(tokio::io::empty())
    }
}

impl<R: AsyncRead + Unpin> Early<R> {
    /// Of whatever this reads. It is read once, and only while a tunnel is being opened.
    pub fn of(program: R) -> Self {
        Self {
            program,
            buffer: BytesMut::new(),
            said: Bytes::new(),
            is_over: false,
        }
    }

    /// What was read: the tunnel, once it stands, carries what follows.
    #[must_use]
    pub fn said(&self) -> &Bytes {
        &self.said
    }

    /// Waits for the program to speak; once, then for ever. It may be cancelled.
    ///
    /// # Errors
    ///
    /// The program's end failed. That has to be passed on: a socket tells of its reset once, and the next read finds an
    /// end that is none.
    pub(super) async fn listen(&mut self) -> io::Result<Bytes> {
        if self.is_over {
            return pending().await;
        }
        self.buffer.reserve(MOST);
        let read = self.program.read_buf(&mut self.buffer).await?;
        self.is_over = true;
        self.said = std::mem::take(&mut self.buffer).freeze();
        match read {
            // An end is told by the tunnel, which finds it again.
            0 => pending().await,
            _ => Ok(self.said.clone()),
        }
    }
}

/// Room for what a program says first, such as the head of a request. Beyond it is bulk, to which a round trip is little.
const MOST: usize = 8 << 10;
