//! One tunnel to a TCP service, from its permit to its end.

use std::sync::Arc;

use countersign_channel::tunnel::IntoEnd;
use countersign_policy::Permit;

use super::Gateway;
use super::dispatch::Opening;
use super::entry::{Entry, unavailable};
use super::live::LiveChannel;
use super::problem::Problem;
use super::upstream::{Caller, UpstreamStream};

/// A stream whose upstream end is open.
pub(crate) struct Stream {
    entry: Entry,
    upstream: UpstreamStream,
}

impl Stream {
    /// Opens the upstream end. Dropping the future closes it.
    ///
    /// # Errors
    ///
    /// What the client is to be told: the audit trail cannot be written, too much is being opened, or the service cannot
    /// be reached.
    pub(crate) async fn open(
        gateway: &Arc<Gateway>,
        channel: &Arc<LiveChannel>,
        opening: Opening,
    ) -> Result<Self, Problem> {
        let (entry, permit) = Entry::new(gateway, channel, opening)?;
        let dialled = tokio::select! {
            biased;
            _ = entry.stream().cut.wait() => return Err(entry.cut_early()),
            dialled = dial(&entry, &permit) => dialled,
        };
        match dialled {
            Ok(upstream) => {
                entry.stream().reached(upstream.hop());
                Ok(Self { entry, upstream })
            }
            Err(problem) => {
                entry.unanswered(&problem);
                Err(problem)
            }
        }
    }

    /// Carries bytes between the client and the service until the stream ends.
    pub(crate) async fn carry(self, client: impl IntoEnd) {
        self.entry.carry(client, self.upstream).await;
    }
}

/// Connects to the service, when it is this stream's turn.
async fn dial(entry: &Entry, permit: &Permit) -> Result<UpstreamStream, Problem> {
    let (channel, upstream) = (entry.channel(), &entry.service().upstream);
    let turn = tokio::time::timeout(upstream.connect_timeout(), channel.dials.acquire());
    let Ok(_turn) = turn.await else {
        return Err(unavailable("too_many_pending", TOO_MANY_PENDING));
    };
    let spiffe_id = channel.record.peer.as_ref().map(|peer| peer.id.to_string());
    let caller = Caller {
        source: channel.record.peer_address,
        gateway: channel.local_address,
        spiffe_id: spiffe_id.as_deref(),
    };
    let opened = upstream.open(permit, &caller).await;
    opened.map_err(|error| error.problem())
}

const TOO_MANY_PENDING: &str = "too many connections to services are being opened for this channel, and none got ready in time";
