//! Streams inside a channel: HTTP/2 CONNECT (RFC 9113, section 8.5) on the `h2` crate.
//!
//! A [`Tunnel`] behaves as a TCP connection does. Its clean end is END_STREAM, in each direction
//! by itself; every other end is RST_STREAM(CONNECT_ERROR) and comes out as an error, never as an
//! end of file, so that no failure truncates data in silence. [`relay`] carries both kinds of end
//! between a tunnel and a socket.
//!
//! ```
//! use countersign_channel::tunnel::{self, Limits};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (near, far) = tokio::io::duplex(64 * 1024);
//! tokio::spawn(async move {
//!     let (mut requests, _handle) = tunnel::serve(far, &Limits::default()).await.unwrap();
//!     while let Some(Ok(incoming)) = requests.next().await {
//!         let mut tunnel = incoming.accept(http::HeaderMap::new()).unwrap();
//!         tokio::spawn(async move {
//!             tunnel.write_all(b"hello").await.unwrap();
//!             tunnel.shutdown().await.unwrap();
//!             tunnel.read_to_end(&mut Vec::new()).await.unwrap();
//!         });
//!     }
//! });
//!
//! let (mux, driver) = tunnel::Mux::handshake(near, &Limits::default()).await?;
//! tokio::spawn(driver);
//! let mut tunnel = mux.connect("echo:7".parse()?, http::HeaderMap::new()).await?;
//! let mut said = String::new();
//! tunnel.read_to_string(&mut said).await?;
//! tunnel.shutdown().await?;
//! assert_eq!(said, "hello");
//! # Ok(())
//! # }
//! ```

mod body;
mod client;
mod cut;
mod early;
mod error;
mod heartbeat;
mod limits;
mod pump;
mod relay;
mod server;
mod socket;
mod stream;

pub use body::BodyError;
pub use client::{ConnectError, Mux, RawResponse, Rejected, RequestError};
pub use cut::Cut;
pub use early::Early;
pub use error::{ConnectionError, ErrorCode};
pub use limits::{Keepalive, LARGEST_FRAME, Limits, RelayLimits};
pub use pump::{End, IntoEnd, Queue};
pub use relay::{Counters, Ending, RelayEnd, relay};
pub use server::{Incoming, OpenGuard, RawRequest, Requests, ServerHandle, serve};
pub use socket::{Reset, Socket};
pub use stream::{Tunnel, TunnelReader, TunnelWriter};

#[cfg(test)]
mod tests;
