//! From the start of a server's process to its first handshake.

use std::time::Instant;

use crate::Outcome;
use crate::client::Kind;
use crate::figures::Figures;
use crate::peer::Bed;
use crate::process::wait_until;

/// State exists: it is not the first start.
pub(crate) const START: &str = "start, ms from process to first handshake";
/// The only row.
pub(crate) const ROW: &str = "with state from before";

/// One round.
pub(crate) fn measure(bed: &mut Bed, figures: &mut Figures) -> Outcome<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for peer in &mut bed.peers {
        let Some(client) = peer.tls(Kind::Classical)? else {
            continue;
        };
        let since = Instant::now();
        peer.restart()?;
        wait_until("a handshake succeeds", || {
            Ok(runtime.block_on(client.connect()).ok())
        })?;
        figures.add(START, ROW, peer.name(), since.elapsed().as_secs_f64() * 1e3);
    }
    Ok(())
}
