//! One open channel: who it speaks for, until when, and its streams.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use countersign_channel::ChannelRecord;
use countersign_channel::binding::ChannelBinding;
use countersign_channel::server::VerifiedClient;
use countersign_channel::stage::Kind;
use countersign_channel::tunnel::{Counters, Cut};
use countersign_policy::{Appraisal, Facts, Permit, Principal, Request};
use http::HeaderValue;
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::{ChannelId, CutReason, decision_id, lock};
use crate::attestation::Questions;
use crate::bearer::{self, UnfitBearer};
use crate::gateway::Running;
use crate::gateway::patience::Patience;
use crate::gateway::services::Service;
use crate::hop::Hop;
use crate::identity::{Call, IdentityCache, IdentityError, IdentityTokens};
use crate::operator;
use crate::state::Snapshot;

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
    /// What an agent binds its evidence to.
    pub(crate) binding: Option<ChannelBinding>,
    /// What was asked of the machine at the other end, and is open.
    pub(crate) questions: Questions,
    /// Turns to wait for a service's connection.
    pub(crate) dials: Semaphore,
    patience: Patience,
    client: Mutex<Option<VerifiedClient>>,
    session: Mutex<Option<Session>>,
    own_session: OnceLock<Session>,
    last_token: Mutex<Option<([u8; 32], Session)>>,
    identities: IdentityCache,
    session_changed: Notify,
    streams: Mutex<HashMap<u64, Arc<LiveStream>>>,
    last_stream: AtomicU64,
}

/// Whom a request speaks for, until when.
#[derive(Clone)]
pub(crate) struct Session {
    /// What policy sees.
    pub(crate) facts: Arc<Facts>,
    /// The end of what proved it: a token, or a certificate. An anonymous session has none.
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
    /// Who opened it. An agent's stream goes on in the session that the channel has by then.
    pub(crate) session: Session,
    /// When it was opened.
    pub(crate) opened_at: Timestamp,
    /// What it has carried.
    pub(crate) counters: Arc<Counters>,
    /// Ends it.
    pub(crate) cut: Cut,
    hop: OnceLock<Arc<Hop>>,
}

/// Removes a stream from its channel when it ends.
pub(crate) struct StreamGuard {
    channel: Arc<LiveChannel>,
    pub(crate) stream: Arc<LiveStream>,
}

impl LiveChannel {
    pub(super) fn new(
        record: ChannelRecord,
        client: Option<VerifiedClient>,
        binding: Option<ChannelBinding>,
        local_address: SocketAddr,
    ) -> Self {
        let (burst, each) = match record.peer {
            Some(_) => PATIENCE_WITH_AGENTS,
            None => PATIENCE_WITH_STRANGERS,
        };
        Self {
            id: ChannelId::new(),
            record,
            local_address,
            cut: Cut::new(),
            binding,
            questions: Questions::default(),
            dials: Semaphore::new(DIALS),
            patience: Patience::new(burst, each),
            client: Mutex::new(client),
            session: Mutex::default(),
            own_session: OnceLock::new(),
            last_token: Mutex::default(),
            identities: IdentityCache::default(),
            session_changed: Notify::new(),
            streams: Mutex::default(),
            last_stream: AtomicU64::new(0),
        }
    }

    /// Whether the client has the certificate that a service wants of those without an agent.
    pub(crate) fn shows_what_is_required(&self, service: &Service) -> bool {
        let bound = self.record.kind != Some(Kind::Agent) && service.requires_client_certificate();
        !bound || self.record.client.is_some()
    }

    /// Whether the client is no agent. A certificate of another authority does not make it one.
    pub(crate) fn is_stranger(&self) -> bool {
        self.record.peer.is_none()
    }

    /// Whether it has nothing open and is not about to end.
    pub(crate) fn is_idle(&self) -> bool {
        lock(&self.streams).is_empty() && self.cut.reason().is_none()
    }

    /// Counts something that came to nothing by the client's doing, and ends the channel when there is too much of it.
    pub(crate) fn waste(&self) {
        if !self.patience.bears(Instant::now()) {
            self.cut.cut(CutReason::Wasteful);
        }
    }

    /// Counts a refusal. The programs behind an agent are many, and none of them may end the channel of the others by
    /// asking for what it may not have.
    pub(crate) fn refused(&self) {
        if self.is_stranger() {
            self.waste();
        }
    }

    /// Enters a stream unless there are as many as there may be; it leaves when the guard is dropped.
    pub(crate) fn open_stream(
        self: &Arc<Self>,
        permit: &Permit,
        session: Session,
        most: usize,
    ) -> Option<StreamGuard> {
        let mut streams = lock(&self.streams);
        if streams.len() >= most {
            return None;
        }
        let ends = session.expires_at;
        let stream = Arc::new(LiveStream {
            id: self.last_stream.fetch_add(1, Ordering::Relaxed) + 1,
            request: permit.request().clone(),
            rule: permit.rule().to_owned(),
            session,
            opened_at: Timestamp::now(),
            counters: Arc::default(),
            cut: self.cut.child(),
            hop: OnceLock::new(),
        });
        streams.insert(stream.id, Arc::clone(&stream));
        drop(streams);
        if ends.is_some_and(|end| left(end, stream.opened_at) < LONGEST_NAP) {
            self.session_changed.notify_one();
        }
        Some(StreamGuard {
            channel: Arc::clone(self),
            stream,
        })
    }

    /// The agentless client's certificate, if it has shown one.
    pub(crate) fn client(&self) -> Option<VerifiedClient> {
        lock(&self.client).clone()
    }

    /// Puts the same client in place, verified for newer settings.
    pub(crate) fn set_client(&self, client: VerifiedClient) {
        *lock(&self.client) = Some(client);
    }

    /// The agent's session that is in force at `now`.
    pub(crate) fn session(&self, now: Timestamp) -> Option<Session> {
        lock(&self.session)
            .clone()
            .filter(|session| session.holds_at(now))
    }

    /// The session of requests that show nothing of their own; it is made once, since a handshake does not change.
    ///
    /// # Errors
    ///
    /// It cannot be made.
    pub(crate) fn own_session<E>(
        &self,
        make: impl FnOnce() -> Result<Session, E>,
    ) -> Result<Session, E> {
        if let Some(session) = self.own_session.get() {
            return Ok(session.clone());
        }
        let session = make()?;
        Ok(self.own_session.get_or_init(|| session).clone())
    }

    /// What a session has become by `now`: an agent's is the channel's, and any other holds until it ends.
    pub(crate) fn newest(&self, session: &Session, now: Timestamp) -> Option<Session> {
        match session.facts.principal() {
            Principal::Agent { .. } => self.session(now),
            _ => Some(session.clone()).filter(|session| session.holds_at(now)),
        }
    }

    /// Puts an agent's session in force, unless the one that is lasts longer.
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

    /// Ends the session that is in force and the streams that live by it, if it found of the machine something else than this.
    pub(crate) fn end_other_session(&self, found: &Appraisal, reason: &CutReason) {
        let mut session = lock(&self.session);
        let other = |session: &Session| {
            let before = session.facts.appraisal();
            before.is_some_and(|before| before.result != found.result)
        };
        if session.as_ref().is_some_and(other) {
            *session = None;
            drop(session);
            *lock(&self.last_token) = None;
            self.streams()
                .iter()
                .for_each(|stream| stream.cut.cut(reason.clone()));
        }
    }

    /// The session that this very token gave before, so that a stream does not open the token again.
    pub(crate) fn session_of_token(&self, token: &str, now: Timestamp) -> Option<Session> {
        let last = lock(&self.last_token);
        let (digest, session) = last.as_ref()?;
        let same = *digest == token_digest(token);
        (same && session.expires_at.is_some_and(|end| now < end)).then(|| session.clone())
    }

    /// Remembers the session of a verified token.
    pub(crate) fn remember_token(&self, token: &str, session: Session) {
        *lock(&self.last_token) = Some((token_digest(token), session));
    }

    /// The value of `Countersign-Identity` for a request of this session to a service.
    ///
    /// # Errors
    ///
    /// A token was needed and none could be minted.
    pub(crate) async fn identity_token(
        &self,
        tokens: &IdentityTokens,
        service: &str,
        session: &Session,
        now: Timestamp,
    ) -> Result<HeaderValue, IdentityError> {
        let call = Call {
            channel: &self.id,
            post_quantum: !self.record.is_classical(),
            facts: &session.facts,
            service,
        };
        self.identities.header(tokens, call, now).await
    }

    /// Cuts each stream whose session ends and was not renewed before; runs as long as the channel.
    pub(crate) async fn watch_sessions(&self) -> Infallible {
        loop {
            let changed = self.session_changed.notified();
            let now = Timestamp::now();
            let mut nap = LONGEST_NAP;
            for stream in self.streams() {
                match self.newest(&stream.session, now) {
                    None => stream.cut.cut(stream.session.end_reason()),
                    Some(session) => {
                        nap = session
                            .expires_at
                            .map_or(nap, |end| nap.min(left(end, now)))
                    }
                }
            }
            tokio::select! {
                () = changed => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    /// Ends the channel of a stranger that opens nothing; runs as long as the channel.
    pub(crate) async fn watch_idle(&self) -> Infallible {
        while self.is_stranger() {
            let opened = self.streams_opened();
            tokio::time::sleep(STRANGER_IDLE).await;
            if self.streams_opened() == opened && lock(&self.streams).is_empty() {
                self.cut.cut(CutReason::Idle);
            }
        }
        std::future::pending().await
    }

    /// Who is at the other end, by the handshake alone: a SPIFFE ID, a certificate's name, or `anonymous`.
    pub(crate) fn principal(&self) -> String {
        let ChannelRecord { peer, client, .. } = &self.record;
        match (peer, client) {
            (Some(peer), _) => peer.id.to_string(),
            (_, Some(client)) => format!("cert:{}/{}", client.authority, client.name),
            _ => "anonymous".to_owned(),
        }
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
            token_expires_at: self.session(Timestamp::now()).and_then(|s| s.expires_at),
            record: self.record.clone(),
            streams,
        }
    }

    /// Ends each stream that would not be opened any more.
    pub(crate) fn decide_again(&self, running: &Running, snapshot: &Snapshot, now: Timestamp) {
        for stream in self.streams() {
            if let Some(reason) = self.judge(&stream, running, snapshot, now) {
                stream.cut.cut(reason);
            }
        }
    }

    /// Why a stream may not stay open, if it may not. Without a session it is for [`Self::watch_sessions`] to say.
    pub(crate) fn judge(
        &self,
        stream: &LiveStream,
        running: &Running,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<CutReason> {
        if let Some(reason) = stream.session.revoked(snapshot) {
            return Some(reason);
        }
        let request = &stream.request;
        let Some(service) = running.services.find(&request.service, request.port) else {
            return Some(CutReason::ServiceRemoved);
        };
        if !self.shows_what_is_required(service) {
            return Some(CutReason::CertificateRefused(REQUIRED.to_owned()));
        }
        let facts = self.newest(&stream.session, now)?.facts;
        let decided = running.policy.decide(&facts, request, decision_id(), now);
        let denial = decided.err()?;
        Some(CutReason::PolicyChanged(denial.rule().to_owned()))
    }

    pub(super) fn streams(&self) -> Vec<Arc<LiveStream>> {
        lock(&self.streams).values().cloned().collect()
    }
}

impl Session {
    /// The name that grants and audit have for whom it speaks for.
    pub(crate) fn principal(&self) -> String {
        self.facts.principal().to_string()
    }

    fn holds_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// What its end is called where it ends a stream.
    fn end_reason(&self) -> CutReason {
        match self.facts.principal() {
            Principal::Bearer { .. } => CutReason::BearerEnded,
            Principal::Cert { .. } => CutReason::CertificateEnded,
            _ => CutReason::TokenExpired,
        }
    }

    /// Why the bearer token behind it holds no more, if one is and it does not.
    fn revoked(&self, snapshot: &Snapshot) -> Option<CutReason> {
        let (Principal::Bearer { .. }, Some(id)) = (self.facts.principal(), self.facts.token_id())
        else {
            return None;
        };
        match bearer::standing(snapshot, id).err()? {
            UnfitBearer::Revoked { reason, .. } => Some(CutReason::BearerRevoked(reason)),
            unknown => Some(CutReason::BearerRevoked(unknown.to_string())),
        }
    }
}

impl LiveStream {
    /// Keeps what protects it between gateway and service, once it is known.
    pub(crate) fn reached(&self, hop: &Arc<Hop>) {
        let _ = self.hop.set(Arc::clone(hop));
    }

    /// What protects it between gateway and service, once it is known.
    pub(crate) fn hop(&self) -> Option<&Hop> {
        self.hop.get().map(Arc::as_ref)
    }

    fn view(&self) -> operator::Stream {
        operator::Stream {
            id: self.id,
            principal: self.session.principal(),
            service: self.request.service.clone(),
            rule: self.rule.clone(),
            since: self.opened_at,
            last_hop: self.hop().cloned(),
            bytes_to_service: self.counters.to_remote.load(Ordering::Relaxed),
            bytes_from_service: self.counters.to_local.load(Ordering::Relaxed),
        }
    }
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        lock(&self.channel.streams).remove(&self.stream.id);
    }
}

fn left(end: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(now)).unwrap_or_default()
}

/// What is kept of a token: enough to know it again, nothing to use it.
fn token_digest(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

const REQUIRED: &str = "its service requires one now";

/// The wall clock may be set while we wait: look at it again at least this often.
const LONGEST_NAP: Duration = Duration::from_secs(30);

/// Connections to services that one channel may wait for at a time; the streams beyond wait for their turn.
const DIALS: usize = 64;

/// Streams that an agent may take back at once, and how soon one more. Behind it may be a browser that closes its tabs.
const PATIENCE_WITH_AGENTS: (u32, Duration) = (512, Duration::from_millis(50));

/// As many for one who is nobody in particular, with the requests that were refused.
const PATIENCE_WITH_STRANGERS: (u32, Duration) = (64, Duration::from_millis(500));

/// A stranger's channel costs a place that another may want. Clients that pool connections keep idle ones as long.
const STRANGER_IDLE: Duration = Duration::from_secs(60);
