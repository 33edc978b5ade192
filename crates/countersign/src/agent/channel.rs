//! One connection to the gateway, with the access token that keeps it of use.
//!
//! The gateway cuts a channel's streams when the token it last saw on that channel ends, so each channel fetches its own,
//! also while it drains.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_channel::identity::TrustDomain;
use countersign_channel::tunnel::{ConnectError, ConnectionError, Early, Mux, Tunnel};
use http::StatusCode;
use http::uri::Authority;
use tokio::io::AsyncRead;
use tokio::time::Instant;

use super::control::{AccessToken, Control, ControlError, Problem};
use super::dial::{Line, LinkError, fetch_token};
use super::open::OpenError;
use super::prover::Prover;
use crate::config::ServiceName;

/// A connection that opens streams.
#[derive(Debug)]
pub(crate) struct Channel {
    mux: Mux,
    prover: Option<Prover>,
    trust_domain: TrustDomain,
    token: ArcSwap<AccessToken>,
    ports: Mutex<HashMap<String, u16>>,
}

/// Why a channel did not open a stream.
#[derive(Debug)]
pub(crate) enum Unopened {
    /// It takes no new streams: nothing was sent, another channel may do.
    Retired,
    /// The answer is no.
    Failed(OpenError),
}

impl Channel {
    /// Makes a channel of a connection: fetches its first token, and the later ones for as long as it takes streams.
    ///
    /// # Errors
    ///
    /// The gateway gave no token.
    pub(crate) async fn start(
        line: Line,
        trust_domain: &TrustDomain,
    ) -> Result<Arc<Self>, LinkError> {
        let Line { mux, prover } = line;
        let token = fetch_token(Control::new(&mux, trust_domain), prover.as_ref()).await?;
        let channel = Arc::new(Self {
            mux,
            prover,
            trust_domain: trust_domain.clone(),
            token: ArcSwap::from_pointee(token),
            ports: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&channel).keep_token());
        Ok(channel)
    }

    /// Opens a stream to a service, which begins with what the program says meanwhile.
    ///
    /// # Errors
    ///
    /// See [`Unopened`].
    pub(crate) async fn open<R>(
        &self,
        service: &ServiceName,
        early: &mut Early<R>,
    ) -> Result<Tunnel, Unopened>
    where
        R: AsyncRead + Unpin,
    {
        let authority = self.authority(service).await?;
        match self.connect(&authority, early).await {
            Err(ConnectError::Rejected(no)) if no.status == PROXY_AUTHENTICATION_REQUIRED => {
                // The token may have ended while this machine slept, or its key was rotated away.
                let refreshed = self.refresh().await;
                refreshed.map_err(|error| no_token(service, error))?;
                self.connect(&authority, early).await
            }
            Err(ConnectError::Rejected(no))
                if no.status == StatusCode::MISDIRECTED_REQUEST && service.port.is_none() =>
            {
                // The port that the service declares may have changed.
                self.ports().remove(&service.name);
                let authority = self.authority(service).await?;
                self.connect(&authority, early).await
            }
            other => other,
        }
        .map_err(|error| unopened(service, error))
    }

    /// Certificates are renewed over it.
    pub(crate) fn control(&self) -> Control<'_> {
        Control::new(&self.mux, &self.trust_domain)
    }

    /// Waits until it takes no new streams, and says why.
    pub(crate) async fn retired(&self) -> String {
        self.mux.draining().await;
        let closed = tokio::time::timeout(Duration::ZERO, self.mux.closed()).await;
        match closed {
            Ok(Some(error)) => error.to_string(),
            _ => "the gateway closes the channel".to_owned(),
        }
    }

    /// Ends the connection once its last stream has ended. Its tokens are renewed until then.
    pub(crate) async fn drain(self: Arc<Self>) {
        while self.mux.open_streams() > 0 {
            tokio::select! {
                () = self.mux.draining() => return,
                () = tokio::time::sleep(DRAIN_CHECK) => {}
            }
        }
        self.mux.drain();
    }

    /// Takes no new streams from here on; the connection ends with the last one.
    pub(crate) fn close(&self) {
        self.mux.drain();
    }

    async fn connect<R>(
        &self,
        authority: &Authority,
        early: &mut Early<R>,
    ) -> Result<Tunnel, ConnectError>
    where
        R: AsyncRead + Unpin,
    {
        let (authority, headers) = (authority.clone(), self.token.load().headers());
        self.mux.connect_saying(authority, headers, early).await
    }

    async fn authority(&self, service: &ServiceName) -> Result<Authority, Unopened> {
        let port = match service.port {
            Some(port) => port,
            None => self.declared_port(service).await?,
        };
        format!("{}:{port}", service.name)
            .parse()
            .map_err(|_| Unopened::Failed(OpenError::NoSuchService(service.clone())))
    }

    /// The one port that the gateway declares for a service named without.
    async fn declared_port(&self, service: &ServiceName) -> Result<u16, Unopened> {
        if let Some(port) = self.ports().get(&service.name) {
            return Ok(*port);
        }
        let services = self.control().services().await;
        let services = services.map_err(|error| unanswered(service, error))?;
        let mut ports = services
            .iter()
            .filter(|declared| declared.name == service.name)
            .map(|declared| declared.port);
        let port = match (ports.next(), ports.next()) {
            (Some(port), None) => port,
            (None, _) => return Err(Unopened::Failed(OpenError::NoSuchService(service.clone()))),
            (Some(_), Some(_)) => {
                return Err(Unopened::Failed(OpenError::SeveralPorts(service.clone())));
            }
        };
        self.ports().insert(service.name.clone(), port);
        Ok(port)
    }

    fn ports(&self) -> std::sync::MutexGuard<'_, HashMap<String, u16>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn refresh(&self) -> Result<(), LinkError> {
        let token = fetch_token(self.control(), self.prover.as_ref()).await?;
        self.token.store(Arc::new(token));
        Ok(())
    }

    async fn keep_token(self: Arc<Self>) {
        let mut due = Instant::now() + self.token.load().renew_in();
        loop {
            tokio::select! {
                () = self.mux.draining() => return,
                () = tokio::time::sleep_until(due) => {}
            }
            due = match self.refresh().await {
                Ok(()) => Instant::now() + self.token.load().renew_in(),
                Err(error) => {
                    tracing::warn!(%error, "the access token was not renewed");
                    Instant::now() + TOKEN_RETRY
                }
            };
        }
    }
}

fn unopened(service: &ServiceName, error: ConnectError) -> Unopened {
    let service = service.clone();
    Unopened::Failed(match error {
        ConnectError::Draining => return Unopened::Retired,
        ConnectError::Failed(error) if error.is_unprocessed() => return Unopened::Retired,
        ConnectError::Failed(error) => lost(service, &error),
        ConnectError::TimedOut(waited) => OpenError::Timeout { service, waited },
        ConnectError::Program(error) => OpenError::GivenUp {
            service,
            why: error.to_string(),
        },
        ConnectError::Rejected(no) => {
            let problem = Problem::read(no.status, &no.body);
            OpenError::Refused {
                service,
                status: problem.status,
                reason: problem.detail,
            }
        }
        other => OpenError::Lost {
            service,
            why: other.to_string(),
        },
    })
}

fn lost(service: ServiceName, error: &ConnectionError) -> OpenError {
    OpenError::Lost {
        service,
        why: error.to_string(),
    }
}

/// The token was over, and there is no fresh one.
fn no_token(service: &ServiceName, error: LinkError) -> Unopened {
    match error {
        LinkError::Control(error) => unanswered(service, error),
        error => Unopened::Failed(OpenError::Lost {
            service: service.clone(),
            why: error.to_string(),
        }),
    }
}

/// A question that had to be answered before the stream was asked for.
fn unanswered(service: &ServiceName, error: ControlError) -> Unopened {
    let service = service.clone();
    Unopened::Failed(match error {
        ControlError::Refused(problem) => OpenError::Refused {
            service,
            status: problem.status,
            reason: problem.detail,
        },
        error if error.is_retired() => return Unopened::Retired,
        error => OpenError::Lost {
            service,
            why: error.to_string(),
        },
    })
}

const PROXY_AUTHENTICATION_REQUIRED: StatusCode = StatusCode::PROXY_AUTHENTICATION_REQUIRED;
/// How often a draining channel is asked whether its last stream has ended.
const DRAIN_CHECK: Duration = Duration::from_secs(1);
/// Ten attempts in the third of its life that a token has left.
const TOKEN_RETRY: Duration = Duration::from_secs(20);
