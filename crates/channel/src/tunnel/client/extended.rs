use h2::{RecvStream, SendStream};
use http::{Request, response};

use super::{Bytes, ConnectError, ConnectionError, Mux, OpenStream, Reason};
use crate::tunnel::OpenGuard;

impl Mux {
    /// Whether the server takes extended CONNECT (RFC 8441, section 3): waits for the SETTINGS that say so. Without
    /// [`Limits::extended_connect`](crate::tunnel::Limits::extended_connect) it was not asked, and the answer is no.
    ///
    /// # Errors
    ///
    /// The connection ended before they came.
    pub async fn offers_extended_connect(&self) -> Result<bool, ConnectionError> {
        let mut offer = self.0.offer.clone();
        if let Ok(offer) = offer.wait_for(Option::is_some).await {
            return Ok(*offer == Some(true));
        }
        let closed = ConnectionError::Closed(Reason::NO_ERROR.into());
        Err(self.closed().await.unwrap_or(closed))
    }

    /// Sends a request whose stream stays open at this end, and waits for the head of the answer as long as
    /// [`Limits::response`](crate::tunnel::Limits::response) says. The URI is absolute; an extended CONNECT carries its
    /// [`h2::ext::Protocol`] as an extension.
    ///
    /// Dropping the future resets the stream.
    ///
    /// # Errors
    ///
    /// No answer in time, or the channel takes no new streams.
    pub async fn ask(&self, request: Request<()>) -> Result<RawResponse, ConnectError> {
        let open = OpenStream::count(&self.0.open);
        let (response, send) = self.send(request, false)?;
        let response = tokio::time::timeout(self.0.response, response)
            .await
            .map_err(|_| ConnectError::TimedOut(self.0.response))?;
        let (parts, body) = response.map_err(ConnectionError::from)?.into_parts();
        Ok(RawResponse {
            parts,
            body,
            send,
            open: OpenGuard(open),
        })
    }
}

/// An answer in h2's own types: [`Tunnel::resumed`](crate::tunnel::Tunnel::resumed) makes a tunnel of them.
#[derive(Debug)]
pub struct RawResponse {
    /// Status and header fields.
    pub parts: response::Parts,
    /// What comes from the server. Its window is freed by hand.
    pub body: RecvStream,
    /// Where what the client still says goes.
    pub send: SendStream<Bytes>,
    /// Keeps the stream in [`Mux::open_streams`].
    pub open: OpenGuard,
}
