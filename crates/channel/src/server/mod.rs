//! The gateway's end: one port, where each connection gets what its ClientHello asks for.

mod budget;
mod certificate;
mod challenge;
mod choice;
mod client;
mod exception;
mod listener;
pub(crate) mod opening;
pub(crate) mod refusal;

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::StartHandshake;
use tokio_rustls::server::TlsStream;

pub use certificate::{ClassicalCertificate, RenewalId};
pub use challenge::{ChallengeError, Challenges, OpenChallenge};
pub use client::{ClientAuthority, ClientAuthorityError, ClientCertificates, VerifiedClient};
pub use exception::{Exception, InvalidNetwork, Network};
pub use listener::{Credentials, Limits, Listener, ListenerError};

use self::budget::{TakingTurns, WaitingRoom};
use self::choice::{Choice, Live};
use self::opening::Opening;
use crate::binding::{ChannelBinding, exporter};
use crate::identity::Leaf;
use crate::profile::Profile;
use crate::record::{CertificateFlaw, ChannelRecord, Negotiated, Offer, Outcome, Peer, Refusal};
use crate::registry::{Group, Scheme, Suite};
use crate::stage::Kind;

/// Makes channels of connections. One of them serves a listener; it is shared by all its connections.
pub struct Acceptor {
    live: ArcSwap<Live>,
    challenges: Challenges,
    change: Mutex<()>,
    waiting: WaitingRoom,
    unfinished: WaitingRoom,
    turns: Arc<Semaphore>,
    limits: Limits,
}

/// Settings that hold together, to be put in force by [`Acceptor::change`]: a reload of several listeners prepares all of
/// them before it changes one.
pub struct Prepared(Live);

/// A channel that stands.
pub struct Accepted<IO> {
    /// The encrypted stream, on the heap: it is handed on from task to task, and each would keep room for it.
    pub stream: Box<TlsStream<IO>>,
    /// What came of the handshake.
    pub record: ChannelRecord,
    /// Whether it is an agent or another client.
    pub kind: Kind,
    /// An agentless client's certificate, where its service asked for one and it had one.
    pub client: Option<VerifiedClient>,
    /// What an agent may bind its statements to. Agentless clients have none.
    pub binding: Option<ChannelBinding>,
}

/// A handshake that came to nothing. The client has been answered as its protocol wants, and the connection is closed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .record.refusal().map_or_else(String::new, ToString::to_string))]
pub struct Refused {
    /// What came of the handshake, with the reason.
    pub record: Box<ChannelRecord>,
}

impl Prepared {
    /// Checks settings and makes them ready.
    ///
    /// # Errors
    ///
    /// The settings do not hold together; the error says which.
    pub fn new(listener: Listener, credentials: Credentials) -> Result<Self, ListenerError> {
        Live::new(listener, credentials).map(Self)
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prepared({:?})", self.0.listener)
    }
}

impl Acceptor {
    /// Makes an acceptor for a listener.
    ///
    /// # Errors
    ///
    /// The settings do not hold together; the error says which.
    pub fn new(
        listener: Listener,
        credentials: Credentials,
        limits: Limits,
    ) -> Result<Self, ListenerError> {
        Ok(Self {
            live: ArcSwap::from_pointee(Live::new(listener, credentials)?),
            challenges: Challenges::default(),
            change: Mutex::new(()),
            waiting: WaitingRoom::new(limits.waiting),
            unfinished: WaitingRoom::new(limits.unfinished),
            turns: Arc::new(Semaphore::new(limits.computing.max(1))),
            limits,
        })
    }

    /// The same, answering these ACME challenges.
    pub fn answering(self, challenges: Challenges) -> Self {
        Self { challenges, ..self }
    }

    /// Puts other settings in force, for the handshakes to come.
    pub fn change(&self, settings: Prepared) {
        let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.store(Arc::new(settings.0));
    }

    /// Changes the gateway's certificate and the trust bundle for the handshakes to come.
    ///
    /// # Errors
    ///
    /// As [`Acceptor::new`].
    pub fn renew(&self, credentials: Credentials) -> Result<(), ListenerError> {
        let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = self.live.load().listener.clone();
        self.live.store(Arc::new(Live::new(listener, credentials)?));
        Ok(())
    }

    /// Changes the certificates for agentless clients for the handshakes to come; the first is the default.
    ///
    /// # Errors
    ///
    /// The listener's profile does not allow one of them; those before stay.
    pub fn certify(&self, certificates: Vec<ClassicalCertificate>) -> Result<(), ListenerError> {
        self.change_to(|listener| listener.certificates = certificates)
    }

    /// Changes who may use classical key exchange, for the handshakes to come.
    ///
    /// # Errors
    ///
    /// An exception is for everyone, or nobody answers for it; those before stay.
    pub fn except(&self, exceptions: Vec<Exception>) -> Result<(), ListenerError> {
        self.change_to(|listener| listener.exceptions = exceptions)
    }

    /// The listener's name.
    pub fn name(&self) -> String {
        self.live.load().listener.name.clone()
    }

    /// The listener's settings as they are now.
    pub fn listener(&self) -> Listener {
        self.live.load().listener.clone()
    }

    fn change_to(&self, change: impl FnOnce(&mut Listener)) -> Result<(), ListenerError> {
        let _one_at_a_time = self.change.lock().unwrap_or_else(PoisonError::into_inner);
        let live = self.live.load();
        let mut listener = live.listener.clone();
        change(&mut listener);
        let next = Live::new(listener, live.credentials.clone())?;
        self.live.store(Arc::new(next));
        Ok(())
    }

    /// Makes a channel of a connection.
    ///
    /// # Errors
    ///
    /// The handshake came to nothing; the record in the error says why.
    pub async fn accept<IO>(
        &self,
        io: IO,
        peer_address: SocketAddr,
    ) -> Result<Accepted<IO>, Refused>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let deadline = Instant::now() + self.limits.handshake;
        let mut record = started(&self.live.load().listener, peer_address);
        // Each half is boxed, so that a channel that stands does not carry the room for its handshake about.
        let start = match Box::pin(self.client_hello(io)).await {
            Ok(start) => start,
            Err(refusal) => return Err(refused(record, refusal)),
        };
        // The settings may have changed while the client took its time: judged by those of now.
        let live = self.live.load_full();
        record.stage = live.listener.rules.stage();
        record.profile = live.listener.rules.profile();
        record.offered = opening::offer(&start.client_hello());
        let challenge = self.challenges.choose(&record.offered);
        let choice = challenge
            .unwrap_or_else(|| live.choose(&record.offered, peer_address.ip(), Timestamp::now()));
        record.kind = Some(choice.kind);
        record.exception.clone_from(&choice.exception);
        let handshake = self.handshake(start, &choice, &record.offered, deadline);
        match Box::pin(handshake).await {
            Ok(mut stream) if choice.is_challenge => {
                Box::pin(opening::hang_up(&mut stream)).await;
                Err(refused(record, Refusal::AcmeChallenge))
            }
            Ok(stream) => accepted(stream, record, &choice),
            Err(refusal) => Err(refused(record, refusal)),
        }
    }

    /// The cheap half: one who sends nothing, or not all, costs a socket and a buffer.
    async fn client_hello<IO>(&self, mut io: IO) -> Result<StartHandshake<IO>, Refusal>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut place = self.waiting.enter();
        let opening = place.hold(timeout(self.limits.client_hello, opening::read(&mut io)));
        match opening.await.ok_or(Refusal::Crowded)? {
            Err(_) => Err(Refusal::HandshakeTimeout),
            Ok(Opening::ClientHello(accepted)) => Ok(StartHandshake::from_parts(*accepted, io)),
            Ok(Opening::Refused(refusal, answer)) => {
                place.hold(opening::answer(&mut io, &answer)).await;
                Err(refusal)
            }
        }
    }

    /// The dear half: a key exchange and two signatures.
    async fn handshake<IO>(
        &self,
        start: StartHandshake<IO>,
        choice: &Choice,
        offer: &Offer,
        deadline: Instant,
    ) -> Result<Box<TlsStream<IO>>, Refusal>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut place = self.unfinished.enter();
        let handshake = self.compute(start, choice);
        match place.hold(timeout_at(deadline, handshake)).await {
            None => Err(Refusal::Crowded),
            Some(Err(_)) => Err(Refusal::HandshakeTimeout),
            Some(Ok(Ok(stream))) => Ok(Box::new(stream)),
            Some(Ok(Err((error, mut io)))) => {
                place.hold(opening::hang_up(&mut io)).await;
                let seen = refusal::of_io(&error, offer, choice.exception.is_some());
                Err(match (&choice.refusal, seen) {
                    // rustls has no word of its own for a configuration that shows no certificate.
                    (Some(refusal), Refusal::Protocol(_)) => refusal.clone(),
                    (_, seen) => seen,
                })
            }
        }
    }

    /// rustls computes its first flight where the stream is made, and the rest where it is polled: each takes a turn.
    async fn compute<IO>(
        &self,
        start: StartHandshake<IO>,
        choice: &Choice,
    ) -> Result<TlsStream<IO>, (std::io::Error, IO)>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let turn = self.turns.acquire().await;
        let handshake = start.into_stream(choice.config.clone()).into_fallible();
        drop(turn);
        TakingTurns::new(self.turns.clone(), handshake).await
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Acceptor({:?})", self.live.load().listener)
    }
}

impl<IO> fmt::Debug for Accepted<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Accepted({:?})", self.record)
    }
}

fn started(listener: &Listener, peer_address: SocketAddr) -> ChannelRecord {
    ChannelRecord {
        at: Timestamp::now(),
        listener: listener.name.clone(),
        peer_address,
        stage: listener.rules.stage(),
        profile: listener.rules.profile(),
        kind: None,
        offered: Offer::default(),
        negotiated: None,
        peer: None,
        client: None,
        exception: None,
        outcome: Outcome::Established,
    }
}

fn refused(mut record: ChannelRecord, refusal: Refusal) -> Refused {
    record.outcome = Outcome::Refused(refusal);
    Refused {
        record: Box::new(record),
    }
}

fn accepted<IO>(
    stream: Box<TlsStream<IO>>,
    mut record: ChannelRecord,
    choice: &Choice,
) -> Result<Accepted<IO>, Refused> {
    let connection = stream.get_ref().1;
    record.negotiated = negotiated(connection, choice.scheme);
    let chain = connection.peer_certificates().unwrap_or_default();
    let read = match &choice.asked {
        Some(asked) => client(chain, asked, record.profile).map(|client| (None, client)),
        None => peer(chain).map(|peer| (peer, None)),
    };
    let (peer, client) = match read {
        Ok(read) => read,
        Err(flaw) => return Err(refused(record, Refusal::CertificateInvalid(flaw))),
    };
    record.peer = peer;
    record.client = client.as_ref().map(|client| client.record().clone());
    let binding = choice
        .gateway_certificate
        .zip(exporter(connection).ok())
        .map(|(gateway_certificate, exporter)| ChannelBinding {
            exporter,
            gateway_certificate,
        });
    Ok(Accepted {
        stream,
        record,
        kind: choice.kind,
        client,
        binding,
    })
}

fn negotiated(connection: &rustls::ServerConnection, scheme: Option<Scheme>) -> Option<Negotiated> {
    Some(Negotiated {
        group: Group(connection.negotiated_key_exchange_group()?.name().into()),
        suite: Suite(connection.negotiated_cipher_suite()?.suite().into()),
        scheme: scheme?,
        alpn: connection
            .alpn_protocol()
            .map(|name| name.escape_ascii().to_string()),
    })
}

/// An agent's certificate was verified in the handshake, and is read again here.
fn peer(chain: &[CertificateDer<'_>]) -> Result<Option<Peer>, CertificateFlaw> {
    let leaf = chain
        .first()
        .map(|leaf| Leaf::unverified(leaf))
        .transpose()?;
    Ok(leaf.as_ref().map(Peer::of))
}

/// rustls does not hand on what its verifier found, and several authorities may be asked for: the path is walked again.
fn client(
    chain: &[CertificateDer<'_>],
    asked: &Arc<ClientCertificates>,
    profile: Profile,
) -> Result<Option<VerifiedClient>, CertificateFlaw> {
    match chain {
        [] => Ok(None),
        chain => asked.verify(chain, profile, UnixTime::now()).map(Some),
    }
}
