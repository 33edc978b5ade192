use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::RecvStream;

use super::ConnectionError;

/// Why a body could not be read whole.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BodyError {
    /// The body has more bytes than the limit.
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// The stream ended first.
    #[error(transparent)]
    Lost(#[from] ConnectionError),
}

/// Reads a whole body of at most `limit` bytes, and frees the window behind it.
pub(super) async fn read(body: &mut RecvStream, limit: usize) -> Result<Bytes, BodyError> {
    let mut whole = BytesMut::new();
    while let Some(part) = body.data().await {
        let part = part.map_err(ConnectionError::from)?;
        if part.len() > limit - whole.len() {
            return Err(BodyError::TooLarge(limit));
        }
        whole.extend_from_slice(&part);
        body.flow_control()
            .release_capacity(part.len())
            .map_err(ConnectionError::from)?;
    }
    Ok(whole.freeze())
}
