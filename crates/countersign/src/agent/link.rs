//! The link: at each moment one channel for new streams, and at most two older ones that drain.
//!
//! A fresh connection is made before the old one is let go, at each rekey and at each renewal of the certificate, so that
//! a stream is never dropped for it. When the channel is lost, the link connects again, with back-off.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use countersign_channel::tunnel::{Early, Tunnel};
use jiff::Timestamp;
use tokio::io::AsyncRead;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::backoff::{self, Backoff};
use super::channel::{Channel, Unopened};
use super::dial::{Dial, LinkError};
use super::open::{Carriage, Open, OpenError};
use crate::config::{BackoffConfig, ServiceName};

/// Opens streams on whichever channel is current.
#[derive(Debug)]
pub(crate) struct Link<D> {
    shared: Arc<Shared<D>>,
}

#[derive(Debug)]
struct Shared<D> {
    dial: D,
    current: watch::Sender<Option<Arc<Channel>>>,
    state: watch::Sender<LinkState>,
    draining: Arc<Semaphore>,
}

/// How the link stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum LinkState {
    /// There is no channel.
    Connecting {
        /// Since when.
        since: Timestamp,
        /// What the last attempt came to, or the loss of the last channel.
        last_error: Option<String>,
    },
    /// There is one.
    Connected {
        /// Since when; a rekey does not change it.
        since: Timestamp,
    },
}

impl fmt::Display for LinkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting {
                since,
                last_error: Some(error),
            } => write!(f, "no channel since {since}: {error}"),
            Self::Connecting { since, .. } => write!(f, "connecting since {since}"),
            Self::Connected { since } => write!(f, "connected since {since}"),
        }
    }
}

impl<D> Clone for Link<D> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<D: Dial> Link<D> {
    /// A link that has no channel until [`run`](Self::run) makes one.
    pub(crate) fn new(dial: D) -> Self {
        let connecting = LinkState::Connecting {
            since: Timestamp::now(),
            last_error: None,
        };
        Self {
            shared: Arc::new(Shared {
                dial,
                current: watch::Sender::new(None),
                state: watch::Sender::new(connecting),
                draining: Arc::new(Semaphore::new(MOST_DRAINING)),
            }),
        }
    }

    /// How the link stands, from now on.
    pub(crate) fn state(&self) -> watch::Receiver<LinkState> {
        self.shared.state.subscribe()
    }

    /// Keeps a channel until `stop`; streams that are open then go on.
    pub(crate) async fn run(
        &self,
        rekey_interval: Duration,
        backoff: &BackoffConfig,
        stop: CancellationToken,
    ) {
        let keep = self.keep(rekey_interval, Backoff::new(backoff));
        stop.run_until_cancelled(keep).await;
        if let Some(channel) = self.shared.current.send_replace(None) {
            channel.close();
        }
    }

    async fn keep(&self, rekey_interval: Duration, mut backoff: Backoff) {
        loop {
            let began = Instant::now();
            let (error, hint) = match self.connect().await {
                Ok(channel) => {
                    tracing::info!("channel open");
                    self.publish(&channel);
                    let why = self.serve(channel, rekey_interval).await;
                    self.shared.current.send_replace(None);
                    backoff.lost_after(began.elapsed());
                    (why, None)
                }
                Err(error) => (error.to_string(), error.hint()),
            };
            let wait = backoff.after_failure(backoff::random());
            tracing::warn!(%error, hint, retry_in_ms = wait.as_millis(), "no channel");
            self.failed(error);
            tokio::time::sleep(wait).await;
        }
    }

    /// Replaces the channel whenever it is due, until the one that is current is lost; says why it was.
    async fn serve(&self, mut channel: Arc<Channel>, rekey_interval: Duration) -> String {
        let mut due = self.due(rekey_interval);
        loop {
            tokio::select! {
                why = channel.retired() => return why,
                () = tokio::time::sleep_until(due) => {}
            }
            let replaced = tokio::select! {
                why = channel.retired() => return why,
                replaced = self.replace(&channel) => replaced,
            };
            due = match replaced {
                Ok(Some(fresh)) => {
                    tracing::info!("fresh channel open, the old one drains");
                    channel = fresh;
                    self.due(rekey_interval)
                }
                Ok(None) => Instant::now() + REPLACE_RETRY,
                Err(error) => {
                    tracing::warn!(%error, "the channel was not replaced");
                    Instant::now() + REPLACE_RETRY
                }
            };
        }
    }

    /// Makes a fresh channel current and lets the old one drain, with a fresh certificate where that is due.
    ///
    /// Gives nothing while two older channels drain: streams that last for days may hold both places.
    async fn replace(&self, old: &Arc<Channel>) -> Result<Option<Arc<Channel>>, LinkError> {
        let shared = &self.shared;
        if shared.dial.renew_in().is_zero() {
            shared.dial.renew(old.control()).await?;
        }
        let Ok(place) = Arc::clone(&shared.draining).try_acquire_owned() else {
            return Ok(None);
        };
        let fresh = self.connect().await?;
        self.publish(&fresh);
        let old = Arc::clone(old);
        tokio::spawn(async move {
            old.drain().await;
            drop(place);
        });
        Ok(Some(fresh))
    }

    async fn connect(&self) -> Result<Arc<Channel>, LinkError> {
        let line = self.shared.dial.dial().await?;
        Channel::start(line, self.shared.dial.trust_domain()).await
    }

    fn due(&self, rekey_interval: Duration) -> Instant {
        Instant::now() + rekey_interval.min(self.shared.dial.renew_in())
    }

    fn publish(&self, channel: &Arc<Channel>) {
        self.shared.current.send_replace(Some(Arc::clone(channel)));
        self.shared.state.send_modify(|state| {
            if let LinkState::Connecting { .. } = state {
                let since = Timestamp::now();
                *state = LinkState::Connected { since };
            }
        });
    }

    fn failed(&self, error: String) {
        self.shared.state.send_modify(|state| {
            let since = match state {
                LinkState::Connecting { since, .. } => *since,
                LinkState::Connected { .. } => Timestamp::now(),
            };
            let last_error = Some(error);
            *state = LinkState::Connecting { since, last_error };
        });
    }

    /// The current channel, unless it is the one that was tried already.
    async fn channel(&self, tried: Option<&Arc<Channel>>) -> Result<Arc<Channel>, OpenError> {
        let mut current = self.shared.current.subscribe();
        let is_other =
            |channel: &Arc<Channel>| tried.is_none_or(|tried| !Arc::ptr_eq(tried, channel));
        let usable = current.wait_for(|current| current.as_ref().is_some_and(is_other));
        match tokio::time::timeout(CHANNEL_WAIT, usable).await {
            Ok(Ok(current)) => current.clone().ok_or_else(|| self.no_channel()),
            Ok(Err(_)) | Err(_) => Err(self.no_channel()),
        }
    }

    fn no_channel(&self) -> OpenError {
        OpenError::NoChannel {
            waited: CHANNEL_WAIT,
            why: match &*self.shared.state.borrow() {
                LinkState::Connecting {
                    last_error: Some(error),
                    ..
                } => error.clone(),
                _ => "it is being made".to_owned(),
            },
        }
    }

    async fn open_shared<R>(
        &self,
        service: &ServiceName,
        early: &mut Early<R>,
    ) -> Result<Tunnel, OpenError>
    where
        R: AsyncRead + Unpin,
    {
        let mut channel = self.channel(None).await?;
        loop {
            match channel.open(service, early).await {
                Ok(tunnel) => return Ok(tunnel),
                Err(Unopened::Failed(error)) => return Err(error),
                Err(Unopened::Retired) => channel = self.channel(Some(&channel)).await?,
            }
        }
    }

    async fn open_own<R>(
        &self,
        service: &ServiceName,
        early: &mut Early<R>,
    ) -> Result<Tunnel, OpenError>
    where
        R: AsyncRead + Unpin,
    {
        let no_channel = |why: String| OpenError::NoChannel {
            waited: Duration::ZERO,
            why,
        };
        let channel = self.connect().await;
        let channel = channel.map_err(|error| no_channel(error.to_string()))?;
        let opened = channel.open(service, early).await;
        tokio::spawn(channel.drain());
        opened.map_err(|unopened| match unopened {
            Unopened::Failed(error) => error,
            Unopened::Retired => no_channel("the gateway closed it at once".to_owned()),
        })
    }
}

impl<D: Dial> Open for Link<D> {
    type Stream = Tunnel;

    async fn open_saying<R>(
        &self,
        service: &ServiceName,
        carriage: Carriage,
        early: &mut Early<R>,
    ) -> Result<Tunnel, OpenError>
    where
        R: AsyncRead + Send + Unpin,
    {
        match carriage {
            Carriage::Shared => self.open_shared(service, early).await,
            Carriage::Own => self.open_own(service, early).await,
        }
    }
}

/// A third would be made only by streams older than two rekeys; their secrets are the oldest, too.
const MOST_DRAINING: usize = 2;
/// How long a program waits while the link connects: a gateway's restart, not an outage.
const CHANNEL_WAIT: Duration = Duration::from_secs(10);
/// How long a channel that could not be replaced is used before the next attempt.
const REPLACE_RETRY: Duration = Duration::from_secs(30);
