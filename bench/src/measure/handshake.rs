//! Handshakes: how many a core of the server does in a second, and how long one takes.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::microseconds;
use crate::Outcome;
use crate::client::{Client, Kind};
use crate::figures::Figures;
use crate::peer::{Bed, Peer};

/// Of the server's CPU.
pub(crate) const PER_CPU: &str = "handshakes for each second of the server's CPU";
/// By one client, one after the other.
pub(crate) const LATENCY: &str = "one handshake, µs median";

/// The rows, by kind.
pub(crate) const KINDS: [(&str, Kind); 3] = [
    ("X25519, P-256", Kind::Classical),
    ("X25519MLKEM768, P-256", Kind::Hybrid),
    ("X25519MLKEM768, ML-DSA-65 mutual", Kind::MlDsa),
];

/// One round.
pub(crate) fn measure(bed: &Bed, figures: &mut Figures) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for peer in &bed.peers {
        for (row, kind) in KINDS {
            if let Some(client) = peer.tls(kind)? {
                runtime.block_on(one(peer.as_ref(), row, &client, figures))?;
            }
        }
    }
    Ok(())
}

async fn one(peer: &dyn Peer, row: &str, client: &Client, figures: &mut Figures) -> Outcome<()> {
    let mut times = Vec::with_capacity(ALONE);
    for _ in 0..ALONE {
        let since = Instant::now();
        drop(client.connect().await?);
        times.push(since.elapsed());
    }
    if let Some((median, _)) = microseconds(&times) {
        figures.add(LATENCY, row, peer.name(), median);
    }
    let before = peer.gateway().cpu()?;
    let mut tasks = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = client.clone();
        tasks.spawn(async move {
            for _ in 0..EACH {
                client
                    .handshake()
                    .await
                    .map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    // The server's last steps follow the client's.
    tokio::time::sleep(Duration::from_millis(50)).await;
    let spent = peer.gateway().cpu()?.saturating_sub(before);
    let handshakes = f64::from(CLIENTS * EACH);
    figures.add(PER_CPU, row, peer.name(), handshakes / spent.as_secs_f64());
    Ok(())
}

const ALONE: usize = 200;
const CLIENTS: u32 = 4;
const EACH: u32 = 400;
