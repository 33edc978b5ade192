//! What is open right now: every channel with its streams, and the handshakes that were refused lately.
//!
//! A stream is entered with the request that got its permit, so that it can be decided again whenever
//! grants, policy, stage, an exception or a revocation changes. Whoever ends a channel or a stream does it here, by a
//! [`Cut`] with a [`CutReason`].

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_channel::ChannelRecord;
use countersign_channel::tunnel::{Counters, Cut};
use countersign_policy::{DecisionId, Facts, Policy, Request};
use jiff::Timestamp;
use tokio::sync::Notify;

use crate::operator;

/// Every open channel of a gateway.
#[derive(Default)]
pub(crate) struct Live {
    channels: Mutex<HashMap<ChannelId, Arc<LiveChannel>>>,
    refused: Mutex<VecDeque<ChannelRecord>>,
    changed: Notify,
}

/// Names a channel in logs, audit and operator commands: 64 random bits, so that it is never met twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChannelId(u64);

/// One open channel.
pub(crate) struct LiveChannel {
    /// Its name.
    pub(crate) id: ChannelId,
    /// How it came to stand.
    pub(crate) record: ChannelRecord,
    /// The gateway's end, as PROXY protocol tells it.
    pub(crate) local_address: SocketAddr,
    /// Ends the channel and all its streams at once.
    pub(crate) cut: Cut,
    session: Mutex<Option<Session>>,
    last_token: Mutex<Option<([u8; 32], Session)>>,
    session_changed: Notify,
    streams: Mutex<HashMap<u64, Arc<LiveStream>>>,
    last_stream: AtomicU64,
}

/// Who the channel speaks for, until when.
#[derive(Clone)]
pub(crate) struct Session {
    /// What policy sees.
    pub(crate) facts: Arc<Facts>,
    /// The end of the access token; an anonymous session has none.
    pub(crate) expires_at: Option<Timestamp>,
}

/// One open stream.
pub(crate) struct LiveStream {
    /// Its number within the channel.
    pub(crate) id: u64,
    /// What was asked for.
    pub(crate) request: Request,
    /// The rule that let it through.
    pub(crate) rule: String,
    /// When it was opened.
    pub(crate) opened_at: Timestamp,
    /// What it has carried.
    pub(crate) counters: Arc<Counters>,
    /// Ends it.
    pub(crate) cut: Cut,
}

/// Why a channel or a stream was ended by the gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CutReason {
    /// The agent was revoked.
    AgentRevoked,
    /// The agent's name went to another key.
    KeyReplaced,
    /// The access token ended and was not renewed.
    TokenExpired,
    /// Decided again, policy says no.
    PolicyChanged(String),
    /// The listener's stage or profile no longer admits the channel.
    StageChanged,
    /// The exception that let the channel in has ended.
    ExceptionEnded(String),
    /// The service is no longer configured.
    ServiceRemoved,
    /// An operator closed it.
    ClosedByOperator,
    /// It grew older than its service allows.
    TooOld,
    /// The gateway stops, and the time to drain is over.
    Stopping,
}

/// Removes a channel from the register when it ends.
pub(crate) struct ChannelGuard {
    live: Arc<Live>,
    pub(crate) channel: Arc<LiveChannel>,
}

/// Removes a stream from its channel when it ends.
pub(crate) struct StreamGuard {
    channel: Arc<LiveChannel>,
    pub(crate) stream: Arc<LiveStream>,
}

impl Live {
    /// Enters a channel; it leaves when the guard is dropped.
    pub(crate) fn enter(
        self: &Arc<Self>,
        record: ChannelRecord,
        local_address: SocketAddr,
    ) -> ChannelGuard {
        let channel = Arc::new(LiveChannel {
            id: ChannelId::new(),
            record,
            local_address,
            cut: Cut::new(),
            session: Mutex::default(),
            last_token: Mutex::default(),
            session_changed: Notify::new(),
            streams: Mutex::default(),
            last_stream: AtomicU64::new(0),
        });
        lock(&self.channels).insert(channel.id, Arc::clone(&channel));
        ChannelGuard {
            live: Arc::clone(self),
            channel,
        }
    }

    /// Remembers a refused handshake, and forgets the oldest beyond [`REFUSED_KEPT`].
    pub(crate) fn refuse(&self, record: ChannelRecord) {
        let mut refused = lock(&self.refused);
        if refused.len() == REFUSED_KEPT {
            refused.pop_front();
        }
        refused.push_back(record);
    }

    /// The refused handshakes, the newest first.
    pub(crate) fn refused(&self) -> Vec<ChannelRecord> {
        lock(&self.refused).iter().rev().cloned().collect()
    }

    /// How many channels are open.
    pub(crate) fn len(&self) -> usize {
        lock(&self.channels).len()
    }

    /// All open channels, in the order in which they came.
    pub(crate) fn channels(&self) -> Vec<Arc<LiveChannel>> {
        let mut channels: Vec<_> = lock(&self.channels).values().cloned().collect();
        channels.sort_by_key(|channel| channel.record.at);
        channels
    }

    /// How many streams are open to a service.
    pub(crate) fn streams_to(&self, service: &str) -> usize {
        let to = |channel: &Arc<LiveChannel>| {
            let streams = channel.streams();
            streams
                .iter()
                .filter(|stream| stream.request.service == service)
                .count()
        };
        self.channels().iter().map(to).sum()
    }

    /// Ends the channel `id` and gives it; `None` when there is none.
    pub(crate) fn close(&self, id: ChannelId, reason: CutReason) -> Option<Arc<LiveChannel>> {
        let channel = lock(&self.channels).get(&id).cloned()?;
        channel.cut.cut(reason);
        Some(channel)
    }

    /// Ends each channel for which `judge` finds a reason, and each stream that `policy` would no longer permit.
    pub(crate) fn decide_again(
        &self,
        policy: &Policy,
        now: Timestamp,
        judge: impl Fn(&LiveChannel) -> Option<CutReason>,
    ) {
        for channel in self.channels() {
            match judge(&channel) {
                Some(reason) => channel.cut.cut(reason),
                None => channel.decide_again(policy, now),
            }
        }
    }

    /// Waits until every channel has ended.
    pub(crate) async fn drained(&self) {
        loop {
            let changed = self.changed.notified();
            if self.len() == 0 {
                return;
            }
            changed.await;
        }
    }

    fn leave(&self, id: ChannelId) {
        lock(&self.channels).remove(&id);
        self.changed.notify_waiters();
    }
}

impl LiveChannel {
    /// Enters a stream; it leaves when the guard is dropped.
    pub(crate) fn open_stream(self: &Arc<Self>, request: Request, rule: &str) -> StreamGuard {
        let stream = Arc::new(LiveStream {
            id: self.last_stream.fetch_add(1, Ordering::Relaxed) + 1,
            request,
            rule: rule.to_owned(),
            opened_at: Timestamp::now(),
            counters: Arc::default(),
            cut: self.cut.child(),
        });
        lock(&self.streams).insert(stream.id, Arc::clone(&stream));
        StreamGuard {
            channel: Arc::clone(self),
            stream,
        }
    }

    /// The session that is in force at `now`.
    pub(crate) fn session(&self, now: Timestamp) -> Option<Session> {
        lock(&self.session)
            .clone()
            .filter(|session| session.expires_at.is_none_or(|end| now < end))
    }

    /// Puts a session in force, unless the one that is lasts longer.
    pub(crate) fn set_session(&self, session: Session) {
        let mut current = lock(&self.session);
        let later = match (&*current, session.expires_at) {
            (
                Some(Session {
                    expires_at: Some(have),
                    ..
                }),
                Some(new),
            ) => new >= *have,
            _ => true,
        };
        if later {
            *current = Some(session);
            self.session_changed.notify_one();
        }
    }

    /// The session that this very token gave before, so that a stream does not open the token again.
    pub(crate) fn session_of_token(&self, token: &str, now: Timestamp) -> Option<Session> {
        let last = lock(&self.last_token);
        let (digest, session) = last.as_ref()?;
        let same = *digest == token_digest(token);
        (same && session.expires_at.is_some_and(|end| now < end)).then(|| session.clone())
    }

    /// Puts the session of a verified token in force.
    pub(crate) fn remember_token(&self, token: &str, session: Session) {
        *lock(&self.last_token) = Some((token_digest(token), session.clone()));
        self.set_session(session);
    }

    /// Cuts the streams whenever the session ends and was not renewed before; runs as long as the channel.
    pub(crate) async fn watch_session(&self) -> Infallible {
        loop {
            let changed = self.session_changed.notified();
            let end = lock(&self.session)
                .as_ref()
                .and_then(|session| session.expires_at);
            let Some(end) = end else {
                changed.await;
                continue;
            };
            let left = Duration::try_from(end.duration_since(Timestamp::now())).unwrap_or_default();
            if left.is_zero() {
                lock(&self.session).take();
                self.cut_streams(&CutReason::TokenExpired);
                continue;
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(left.min(LONGEST_NAP)) => {}
            }
        }
    }

    /// Who is at the other end: a SPIFFE ID, or `anonymous`.
    pub(crate) fn principal(&self) -> String {
        self.record
            .peer
            .as_ref()
            .map_or_else(|| "anonymous".to_owned(), |peer| peer.id.to_string())
    }

    /// The name of the agent at the other end, if one is.
    pub(crate) fn agent_name(&self) -> Option<&str> {
        self.record.peer.as_ref()?.id.agent_name()
    }

    /// How many streams it has opened so far.
    pub(crate) fn streams_opened(&self) -> u64 {
        self.last_stream.load(Ordering::Relaxed)
    }

    /// What an operator is shown.
    pub(crate) fn view(&self) -> operator::Session {
        let mut streams: Vec<_> = self.streams().iter().map(|stream| stream.view()).collect();
        streams.sort_by_key(|stream| stream.id);
        operator::Session {
            id: self.id.to_string(),
            principal: self.principal(),
            token_expires_at: lock(&self.session).as_ref().and_then(|s| s.expires_at),
            record: self.record.clone(),
            streams,
        }
    }

    fn decide_again(&self, policy: &Policy, now: Timestamp) {
        let Some(session) = self.session(now) else {
            return;
        };
        for stream in self.streams() {
            if let Err(denial) = policy.decide(&session.facts, &stream.request, decision_id(), now)
            {
                stream
                    .cut
                    .cut(CutReason::PolicyChanged(denial.rule().to_owned()));
            }
        }
    }

    fn cut_streams(&self, reason: &CutReason) {
        for stream in self.streams() {
            stream.cut.cut(reason.clone());
        }
    }

    fn streams(&self) -> Vec<Arc<LiveStream>> {
        lock(&self.streams).values().cloned().collect()
    }
}

impl LiveStream {
    fn view(&self) -> operator::Stream {
        operator::Stream {
            id: self.id,
            service: self.request.service.clone(),
            rule: self.rule.clone(),
            since: self.opened_at,
            bytes_to_service: self.counters.to_local.load(Ordering::Relaxed),
            bytes_from_service: self.counters.to_remote.load(Ordering::Relaxed),
        }
    }
}

impl ChannelId {
    fn new() -> Self {
        Self(u64::from_be_bytes(crate::random::bytes()))
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for ChannelId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl fmt::Display for CutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AgentRevoked => f.write_str("the agent was revoked"),
            Self::KeyReplaced => f.write_str("the agent has another key now"),
            Self::TokenExpired => f.write_str("the access token ended and was not renewed"),
            Self::PolicyChanged(rule) => write!(f, "policy no longer permits it: {rule}"),
            Self::StageChanged => f.write_str("the listener's stage no longer admits the channel"),
            Self::ExceptionEnded(id) => write!(f, "exception `{id}` has ended"),
            Self::ServiceRemoved => f.write_str("the service is no longer configured"),
            Self::ClosedByOperator => f.write_str("an operator closed it"),
            Self::TooOld => f.write_str("it grew older than its service allows"),
            Self::Stopping => f.write_str("the gateway stops"),
        }
    }
}

impl From<CutReason> for Arc<str> {
    fn from(reason: CutReason) -> Self {
        reason.to_string().into()
    }
}

impl Drop for ChannelGuard {
    fn drop(&mut self) {
        self.live.leave(self.channel.id);
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        lock(&self.channel.streams).remove(&self.stream.id);
    }
}

/// What is kept of a token: enough to know it again, nothing to use it.
fn token_digest(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// A fresh name for a decision.
pub(crate) fn decision_id() -> DecisionId {
    DecisionId::from_random(crate::random::bytes())
}

/// A panic while one of these short locks is held leaves the map whole, so a poisoned lock is still good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Enough to see what a client that keeps trying was told, and bounded, since anyone can be refused.
const REFUSED_KEPT: usize = 512;

/// The wall clock may be set while we wait: look at it again at least this often.
const LONGEST_NAP: Duration = Duration::from_secs(30);
