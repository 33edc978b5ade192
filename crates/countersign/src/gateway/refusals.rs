//! Telling of refused handshakes, one by one while they are few.
//!
//! A refusal costs a stranger a packet, and the gateway a line on a disk that has an end; when that is reached, no stream
//! is opened any more. Beyond a rate they are counted, and the trail holds their number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use countersign_channel::{ChannelRecord, record::Refusal};
use tokio::time::Instant;

use super::Gateway;
use super::patience::Patience;
use crate::audit::Event;

/// The refusals of one listener.
pub(super) struct Refusals {
    patience: Patience,
    untold: AtomicU64,
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            patience: Patience::new(BURST, EACH),
            untold: AtomicU64::new(0),
        }
    }

    /// Tells of a refusal in metrics, log, audit and to the operator.
    pub(super) fn tell(&self, gateway: &Gateway, record: ChannelRecord) {
        let reason = record.refusal().map_or("unknown", Refusal::name);
        gateway.metrics.refused(&record.listener, reason);
        if !self.patience.bears(Instant::now()) {
            self.untold.fetch_add(1, Ordering::Relaxed);
            return;
        }
        self.tell_number(gateway, &record.listener);
        if record.refusal() == Some(&Refusal::AcmeChallenge) {
            let (peer, name) = (record.peer_address, record.offered.sni);
            tracing::info!(listener = record.listener, %peer, name, "an ACME server checked a name, and had its answer");
            return;
        }
        let (peer, detail) = (
            record.peer_address,
            record.refusal().map(ToString::to_string),
        );
        tracing::warn!(listener = record.listener, %peer, reason, detail, "handshake refused");
        gateway.custody.audit.record(Event::ChannelRefused {
            peer,
            reason: reason.to_owned(),
            record: serde_json::to_value(&record).unwrap_or_default(),
        });
        gateway.live.refuse(record);
    }

    /// Tells how many there were of which nothing was told.
    pub(super) fn tell_number(&self, gateway: &Gateway, listener: &str) {
        let number = self.untold.swap(0, Ordering::Relaxed);
        if number > 0 {
            tracing::warn!(listener, number, "more handshakes were refused");
            gateway.custody.audit.record(Event::ChannelsRefused {
                listener: listener.to_owned(),
                number,
            });
        }
    }
}

/// As many clients as a fleet may have that comes back at once with the wrong profile.
const BURST: u32 = 4096;

/// Five a second, some 300 MB a day at the worst.
const EACH: Duration = Duration::from_millis(200);
