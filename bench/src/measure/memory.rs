//! What an idle channel costs the server in memory.

use std::time::Duration;

use bytes::Bytes;
use countersign_channel::tunnel::{Limits, Mux};
use http::{Method, Request};

use crate::client::{Client, Kind};
use crate::figures::Figures;
use crate::peer::{Bed, COUNTERSIGN};
use crate::{DOMAIN, Outcome};

/// Beside the title, the number of channels.
pub(crate) const MEMORY: &str = "memory of an idle channel, KiB, over 2,000";

/// The rows, by kind.
pub(crate) const KINDS: [(&str, Kind); 2] = [
    ("HTTP/2, P-256", Kind::Hybrid),
    ("HTTP/2, ML-DSA-65 mutual", Kind::MlDsa),
];

/// One round: each server is started anew for each row, since memory that was used once is used again.
pub(crate) fn measure(bed: &mut Bed, figures: &mut Figures) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for peer in &mut bed.peers {
        for (row, kind) in KINDS {
            // A server without the hybrid group shows its channel all the same.
            let kind = match (kind, peer.tls(kind)?) {
                (Kind::Hybrid, None) => Kind::Classical,
                _ => kind,
            };
            let Some(client) = peer.tls(kind)? else {
                continue;
            };
            peer.restart()?;
            let has_token = kind == Kind::MlDsa && peer.name() == COUNTERSIGN;
            let warm = runtime.block_on(open(&client, WARM, has_token))?;
            let before = peer.gateway().memory()?;
            let idle = runtime.block_on(open(&client, CHANNELS, has_token))?;
            let after = peer.gateway().memory()?;
            let bytes = u32::try_from(after.saturating_sub(before) / 1024)?;
            figures.add(
                MEMORY,
                row,
                peer.name(),
                f64::from(bytes) / f64::from(CHANNELS),
            );
            drop((warm, idle));
            runtime.block_on(async { tokio::time::sleep(SETTLE).await });
        }
    }
    Ok(())
}

/// Channels that stand, as an agent keeps them: with an access token where the server gives one.
async fn open(client: &Client, count: u32, has_token: bool) -> Outcome<Vec<Mux>> {
    let mut channels = Vec::new();
    for _ in 0..count {
        let stream = client.connect().await?;
        let (mux, driver) = Mux::handshake(stream, &Limits::default()).await?;
        tokio::spawn(driver);
        if has_token {
            let request = Request::builder()
                .method(Method::POST)
                .uri(format!("https://gateway.{DOMAIN}/v1/token"))
                .body(Bytes::from_static(b"{}"))?;
            let answer = mux.request(request).await?;
            if !answer.status().is_success() {
                return Err(format!("no token: {}", answer.status()).into());
            }
        }
        channels.push(mux);
    }
    Ok(channels)
}

/// Until the server has seen the last channel end.
const SETTLE: Duration = Duration::from_millis(200);
const WARM: u32 = 50;
const CHANNELS: u32 = 2000;
