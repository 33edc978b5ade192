mod early;
mod ends;
mod extended;
mod limits;
mod relays;
mod traffic;

use std::io;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use http::HeaderMap;
use http::uri::Authority;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::*;

/// Two ends of a channel over a pipe in memory.
async fn channel(limits: &Limits) -> (Mux, Requests<DuplexStream>, ServerHandle) {
    let (near, far) = duplex(64 << 10);
    let (client, server) = tokio::join!(Mux::handshake(near, limits), serve(far, limits));
    let (mux, driver) = client.unwrap();
    tokio::spawn(driver);
    let (requests, handle) = server.unwrap();
    (mux, requests, handle)
}

/// A channel whose server accepts every tunnel.
struct Tunnels {
    mux: Mux,
    handle: ServerHandle,
    accepted: mpsc::UnboundedReceiver<Tunnel>,
    server: tokio::task::JoinHandle<Result<(), ConnectionError>>,
}

impl Tunnels {
    async fn new(limits: &Limits) -> Self {
        let (mux, requests, handle) = channel(limits).await;
        Self::over(mux, requests, handle)
    }

    fn over<T>(mux: Mux, mut requests: Requests<T>, handle: ServerHandle) -> Self
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (accept, accepted) = mpsc::unbounded_channel();
        let server = tokio::spawn(async move {
            while let Some(incoming) = requests.next().await {
                let _ = accept.send(incoming?.accept(HeaderMap::new())?);
            }
            Ok(())
        });
        Self {
            mux,
            handle,
            accepted,
            server,
        }
    }

    /// A new tunnel: the client's end, the server's end.
    async fn open(&mut self) -> (Tunnel, Tunnel) {
        let near = self.mux.connect(authority(), HeaderMap::new()).await;
        (near.unwrap(), self.accepted.recv().await.unwrap())
    }
}

fn authority() -> Authority {
    Authority::from_static("service:5432")
}

/// Two ends of a TCP connection on loopback.
async fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap());
    let (near, far) = tokio::join!(near, listener.accept());
    (near.unwrap(), far.unwrap().0)
}

/// Sends `bytes` bytes of a pattern, ends, and returns their hash.
async fn send(mut to: impl AsyncWrite + Unpin, bytes: usize) -> io::Result<Digest> {
    let mut hash = Context::new(&SHA256);
    let block: Vec<u8> = (0..=250_u8).cycle().take(100_003).collect();
    let mut left = bytes;
    while left > 0 {
        let (part, _) = block.split_at(left.min(block.len()));
        hash.update(part);
        to.write_all(part).await?;
        left -= part.len();
    }
    to.shutdown().await?;
    Ok(hash.finish())
}

/// Reads to the end, and returns the number of bytes and their hash.
async fn receive(mut from: impl AsyncRead + Unpin) -> io::Result<(usize, Digest)> {
    let mut hash = Context::new(&SHA256);
    let mut block = vec![0; 50_021];
    let mut bytes = 0;
    loop {
        let read = from.read(&mut block).await?;
        if read == 0 {
            return Ok((bytes, hash.finish()));
        }
        bytes += read;
        hash.update(&block[..read]);
    }
}

/// Reads until the failure that must come, and returns its kind.
async fn failure(mut from: impl AsyncRead + Unpin) -> io::ErrorKind {
    let mut sink = Vec::new();
    let end = from.read_to_end(&mut sink).await;
    end.expect_err("a failure must not read as a clean end")
        .kind()
}
