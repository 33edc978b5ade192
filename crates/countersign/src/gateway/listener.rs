//! One port: takes connections, has the acceptor make channels of them, and hands those on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_channel::server::{
    Acceptor, ClassicalCertificate, Credentials, Limits, Listener as Settings, Prepared, Refused,
};
use jiff::Timestamp;
use tokio::net::{TcpListener, TcpStream};

use super::error::GatewayError;
use super::places::Places;
use super::refusals::Refusals;
use super::{Gateway, Running, channel};
use crate::authority::AuthorityService;
use crate::config::ListenerConfig;
use crate::custody::Custody;

/// A port that is open, before the gateway serves on it.
pub(super) struct Listener {
    /// What makes channels of its connections; also changed by a reload.
    pub(super) acceptor: Arc<Acceptor>,
    tcp: TcpListener,
    refusals: Arc<Refusals>,
}

impl Listener {
    /// Opens the port.
    ///
    /// # Errors
    ///
    /// The port is taken, or a certificate cannot be used.
    pub(super) async fn bind(
        running: &Running,
        listener: &ListenerConfig,
        certificates: Vec<ClassicalCertificate>,
        custody: &Custody,
    ) -> Result<Self, GatewayError> {
        let limits = Limits {
            unfinished: listener.handshakes,
            handshake: listener.handshake_timeout,
            client_hello: listener
                .handshake_timeout
                .min(Limits::default().client_hello),
            ..Limits::default()
        };
        let credentials = credentials(&custody.authority, listener)?;
        let settings = settings(running, listener, certificates);
        let acceptor = Acceptor::new(settings, credentials, limits)
            .map_err(|error| refused(listener, &error))?
            .answering(custody.acme.challenges());
        let tcp = TcpListener::bind(listener.address)
            .await
            .map_err(|source| GatewayError::Bind {
                what: format!("listener `{}`", listener.name),
                address: listener.address,
                source,
            })?;
        Ok(Self {
            acceptor: Arc::new(acceptor),
            tcp,
            refusals: Arc::new(Refusals::new()),
        })
    }

    /// Where it answers: the port that the system chose, where the configuration leaves it open.
    pub(super) fn address(&self) -> SocketAddr {
        let address = self.tcp.local_addr();
        address.expect("a socket that is bound has an address")
    }

    /// Takes connections until the gateway stops.
    pub(super) async fn serve(self, gateway: Arc<Gateway>, places: Arc<Places>) {
        loop {
            let accepted = tokio::select! {
                () = gateway.stopping.cancelled() => break,
                accepted = self.tcp.accept() => accepted,
            };
            match accepted {
                Ok((tcp, peer)) => self.take(&gateway, &places, tcp, peer),
                Err(error) => {
                    // Out of file descriptors, most likely: existing channels go on, and ending ones make room.
                    tracing::error!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        let listener = self.acceptor.listener();
        self.refusals.tell_number(&gateway, &listener.name);
    }

    fn take(&self, gateway: &Arc<Gateway>, places: &Arc<Places>, tcp: TcpStream, peer: SocketAddr) {
        let (gateway, places) = (Arc::clone(gateway), Arc::clone(places));
        let (acceptor, refusals) = (Arc::clone(&self.acceptor), Arc::clone(&self.refusals));
        gateway.tasks.clone().spawn(async move {
            connection(gateway, &acceptor, &refusals, &places, tcp, peer).await;
        });
    }
}

/// A listener's settings, ready to be put in force.
///
/// # Errors
///
/// The settings do not hold together.
pub(super) fn prepare(
    running: &Running,
    listener: &ListenerConfig,
    certificates: Vec<ClassicalCertificate>,
    authority: &AuthorityService,
) -> Result<Prepared, GatewayError> {
    let credentials = credentials(authority, listener)?;
    Prepared::new(settings(running, listener, certificates), credentials)
        .map_err(|error| refused(listener, &error))
}

/// What an acceptor is told of a listener.
pub(super) fn settings(
    running: &Running,
    listener: &ListenerConfig,
    certificates: Vec<ClassicalCertificate>,
) -> Settings {
    Settings {
        name: listener.name.clone(),
        rules: listener.rules,
        admit_agentless: listener.agentless_in_strict,
        certificates,
        clients: running.clients.asked(),
        exceptions: running
            .exceptions
            .of_listener(&listener.name, Timestamp::now()),
    }
}

/// What the gateway shows to agents on a listener.
///
/// # Errors
///
/// The listener's profile was not prepared.
pub(super) fn credentials(
    authority: &AuthorityService,
    listener: &ListenerConfig,
) -> Result<Credentials, GatewayError> {
    let svid = authority
        .svid(listener.rules.profile())
        .ok_or_else(|| GatewayError::Listener {
            listener: listener.name.clone(),
            detail: "the gateway has no certificate for its profile".to_owned(),
        })?;
    Ok(Credentials {
        svid,
        bundle: authority.trust(),
    })
}

/// A listener that cannot be configured so.
pub(super) fn refused(listener: &ListenerConfig, error: &dyn std::error::Error) -> GatewayError {
    GatewayError::Listener {
        listener: listener.name.clone(),
        detail: error.to_string(),
    }
}

async fn connection(
    gateway: Arc<Gateway>,
    acceptor: &Acceptor,
    refusals: &Refusals,
    places: &Places,
    tcp: TcpStream,
    peer: SocketAddr,
) {
    let _ = tcp.set_nodelay(true);
    // What the kernel queues is what a small stream waits behind: a bulk stream fills no more than this.
    let _ = socket2::SockRef::from(&tcp).set_tcp_notsent_lowat(NOTSENT_LOWAT);
    let Ok(local) = tcp.local_addr() else { return };
    // Each step is boxed, so that a channel that stands does not carry the room for its handshake about.
    match Box::pin(acceptor.accept(tcp, peer)).await {
        // A place is for a channel that stands: handshakes have limits of their own, and one who never finishes his must
        // not take the place of one who does.
        Ok(accepted) => match places.take(&gateway.live, &accepted.record).await {
            Some(_place) => Box::pin(channel::serve(gateway, accepted, local)).await,
            None => {
                let listener = &accepted.record.listener;
                tracing::warn!(listener, %peer, "there are as many channels as `limits.channels` allows");
                gateway.metrics.refused(listener, "too-many-channels");
            }
        },
        Err(Refused { record }) => refusals.tell(&gateway, *record),
    }
}

/// How long to wait when the system gives no more connections.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Measured: with 128 KiB a small stream beside a bulk one on the same connection waits 1.3 ms, without it 6.
const NOTSENT_LOWAT: u32 = 128 * 1024;
