//! The gateway: terminates channels, decides, and connects to the services behind it.
//!
//! The way of a connection is the way the files lie: [`listener`] → [`channel`] → [`http2`] or [`http1`] → [`dispatch`],
//! which ends in a permit → [`stream`] → [`upstream`]. [`live`] knows what is open; [`reload`] swaps what is configured;
//! [`operate`] is the operator's socket, [`control`] the agents' API.

mod appraise;
mod attest;
mod behind;
mod certificates;
mod channel;
mod client;
mod client_rules;
mod control;
mod dispatch;
mod entry;
mod error;
mod exceptions;
mod exchange;
mod http1;
mod http2;
mod identity_keys;
mod inside;
mod listener;
mod live;
mod operate;
mod patience;
mod places;
mod problem;
mod refusals;
mod reload;
mod running;
mod services;
mod session;
mod start;
mod stream;
mod target;
mod upkeep;
mod upstream;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_channel::Profile;
use countersign_channel::identity::TrustDomain;
use countersign_channel::server::Acceptor;
use countersign_channel::tunnel;
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::exceptions::ExceptionUses;
use self::live::{Live, LiveChannel, LiveStream};
use self::running::{ListenerRules, Running};
use crate::config::HostPort;
use crate::custody::Custody;
use crate::log::LogFilter;
use crate::metrics::{Metrics, Shown};

pub(crate) use self::start::{Handle, check, run, start};

/// All that a gateway's tasks share.
pub(crate) struct Gateway {
    trust_domain: TrustDomain,
    /// The gateway's own SNI and HTTP authority.
    server_name: String,
    custody: Custody,
    metrics: Metrics,
    live: Arc<Live>,
    /// Cancelled when no more streams are taken.
    stopping: CancellationToken,
    /// Cancelled when all is over but for the telling.
    stopped: CancellationToken,
    config_file: PathBuf,
    /// Where each listener answers, in the order of the configuration.
    addresses: Vec<SocketAddr>,
    /// One for each listener, in the order of the configuration.
    acceptors: Vec<Arc<Acceptor>>,
    running: ArcSwap<Running>,
    exception_uses: ExceptionUses,
    /// The certificates for agentless clients, as the operator and `/metrics` see them.
    shown: Shown,
    /// One change of what runs at a time.
    changing: Mutex<()>,
    log: LogFilter,
    ready: watch::Sender<Result<(), String>>,
    tasks: TaskTracker,
}

impl Gateway {
    /// What is configured now.
    pub(crate) fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Who answers for an exception.
    pub(crate) fn owner_of(&self, exception: &str) -> String {
        let running = self.running();
        let found = running.exceptions.find(exception);
        found
            .map(|known| known.exception.owner.clone())
            .unwrap_or_default()
    }

    /// What an HTTP/2 client may cost; one who has shown no certificate, less.
    pub(crate) fn http2_limits(&self, channel: &LiveChannel) -> tunnel::Limits {
        let configured = &self.running().config.limits;
        let limits = tunnel::Limits {
            streams: configured.streams_per_channel + CONTROL_STREAMS,
            // Room for the sentence that says that it is too much; h2's own refusal is bare.
            header_list: 2 * configured.header_bytes + configured.uri_bytes,
            extended_connect: true,
            ..tunnel::Limits::default()
        };
        if !channel.is_stranger() {
            return limits;
        }
        tunnel::Limits {
            streams: limits.streams.min(STRANGER_STREAMS),
            connection_window: STRANGER_WINDOW,
            frame: STRANGER_FRAME,
            send_buffer: STRANGER_BUFFER,
            ..limits
        }
    }

    /// The tunnels that one channel may have open, below what HTTP/2 lets it ask for: its token is renewed all the same.
    pub(crate) fn streams_per_channel(&self) -> usize {
        let configured = self.running().config.limits.streams_per_channel;
        usize::try_from(configured).unwrap_or(usize::MAX)
    }

    /// Judges every channel again, and every stream in it.
    pub(crate) fn decide_again(&self) {
        let snapshot = self.custody.state.snapshot();
        self.live
            .decide_again(&self.running(), &snapshot, Timestamp::now());
    }

    /// Judges one stream again.
    pub(crate) fn decide_stream_again(&self, channel: &LiveChannel, stream: &LiveStream) {
        let (running, snapshot, now) = (
            self.running(),
            self.custody.state.snapshot(),
            Timestamp::now(),
        );
        let judged = running.judge(channel, &snapshot, now);
        if let Some(reason) = judged.or_else(|| channel.judge(stream, &running, &snapshot, now)) {
            stream.cut.cut(reason);
        }
    }

    /// The address that join strings carry, and the profile of the listener there.
    fn advertised(&self) -> (HostPort, Profile) {
        let running = self.running();
        let listener = running.config.listeners.first();
        let listener = listener.expect("a configuration has at least one listener");
        let own = || {
            let address = self.addresses.first().unwrap_or(&listener.address);
            HostPort {
                host: address.ip().to_string(),
                port: address.port(),
            }
        };
        let address = listener.advertised_address.clone().unwrap_or_else(own);
        (address, listener.rules.profile())
    }
}

/// Room for renewals, and for the refusal of tunnels beyond the limit, which are too many as soon as they wait.
const CONTROL_STREAMS: u32 = 16;

/// What RFC 9113, section 6.5.2, recommends at least.
const STRANGER_STREAMS: u32 = 100;

/// What one stream may have on the way, twice: one that stands still does not stop the others, and a thousand strangers
/// hold 2 GiB where they could hold 32.
const STRANGER_WINDOW: u32 = 2 << 20;

/// The least that RFC 9113 lets a receiver take (section 4.2): a frame is held whole before anyone reads of it.
const STRANGER_FRAME: u32 = 16 << 10;

/// Four DATA frames: what a client that does not read may make the gateway hold, for each stream.
const STRANGER_BUFFER: usize = 64 << 10;
