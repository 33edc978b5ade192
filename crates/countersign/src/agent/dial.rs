//! How a connection to the gateway is made, for the link and for joining.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use countersign_channel::Profile;
use countersign_channel::binding::ChannelBinding;
use countersign_channel::client::{ConnectError, Connector};
use countersign_channel::identity::{CertificateRequest, RequestError, TrustDomain};
use countersign_channel::tunnel::{ConnectionError, Limits, Mux};
use jiff::Timestamp;
use tokio::net::TcpStream;

use super::attester::AttesterError;
use super::control::{AccessToken, Control, ControlError, Problem};
use super::evidence::CommandError;
use super::identity::{Identity, IdentityError};
use super::join::{JoinError, Place, join_again};
use super::prover::{Prover, Witness};
use crate::config::{AgentConfig, HostPort};

/// A connection, and what proves on it what the machine is.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) mux: Mux,
    /// Absent where the machine has nothing to prove it by.
    pub(crate) prover: Option<Prover>,
}

/// Makes connections and keeps the certificate fresh; a stand-in does in tests.
pub(crate) trait Dial: Send + Sync + 'static {
    /// Opens a connection that is authenticated as the agent.
    ///
    /// # Errors
    ///
    /// There is none.
    fn dial(&self) -> impl Future<Output = Result<Line, LinkError>> + Send;

    /// Renews the certificate over a channel.
    ///
    /// # Errors
    ///
    /// The gateway did not, or what it issued cannot be kept.
    fn renew(&self, control: Control<'_>) -> impl Future<Output = Result<(), LinkError>> + Send;

    /// How long until the certificate is to be renewed.
    fn renew_in(&self) -> Duration;

    /// Whose gateway it is.
    fn trust_domain(&self) -> &TrustDomain;
}

/// The gateway of an agent that has joined.
#[derive(Debug)]
pub(crate) struct Gateway {
    identity: Identity,
    trust_domain: TrustDomain,
    address: HostPort,
    profile: Profile,
    join_string_file: Option<PathBuf>,
    witness: Option<Witness>,
}

impl Gateway {
    /// The gateway where the configuration, or else the join string, says that it is.
    pub(crate) fn new(identity: Identity, config: &AgentConfig, witness: Option<Witness>) -> Self {
        let address = config.gateway.as_ref().unwrap_or(identity.address());
        Self {
            trust_domain: identity.current().bundle.trust_domain().clone(),
            address: address.clone(),
            profile: config.profile,
            join_string_file: config.join_string_file.clone(),
            witness,
            identity,
        }
    }
}

impl Gateway {
    /// Asks whether the gateway still takes this agent's key, and says why not; a gateway that cannot be asked says nothing.
    pub(crate) async fn shut_out(&self) -> Option<Problem> {
        let asked = async {
            let line = self.dial().await?;
            let control = Control::new(&line.mux, &self.trust_domain);
            let token = fetch_token(control, line.prover.as_ref()).await;
            line.mux.drain();
            token
        };
        asked.await.err()?.shut_out().cloned()
    }

    /// Whose gateway it was.
    pub(crate) fn into_identity(self) -> Identity {
        self.identity
    }
}

impl Dial for Gateway {
    async fn dial(&self) -> Result<Line, LinkError> {
        if !self.identity.is_valid_at(Timestamp::now()) {
            let place = Place {
                address: &self.address,
                profile: self.profile,
                attester: self.witness.as_ref().and_then(Witness::tpm),
            };
            let given = self.join_string_file.as_deref();
            join_again(&self.identity, given, place).await?;
        }
        let current = self.identity.current();
        let bundle = current.bundle.clone();
        let connector = Connector::new(self.profile, bundle, &current.svid);
        let connector = connector.map_err(DialError::from)?;
        let (mux, binding) = connect(&self.address, &connector).await?;
        let prover = self.witness.as_ref().map(|witness| Prover {
            witness: witness.clone(),
            binding,
            key: self.identity.key().public_key().hash(),
        });
        Ok(Line { mux, prover })
    }

    async fn renew(&self, control: Control<'_>) -> Result<(), LinkError> {
        let request = CertificateRequest::write(self.identity.key())?;
        Ok(self.identity.renewed(control.renew(&request).await?)?)
    }

    fn renew_in(&self) -> Duration {
        let half_life = self.identity.current().svid.half_life();
        Duration::try_from(half_life.duration_since(Timestamp::now())).unwrap_or_default()
    }

    fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }
}

/// Why the link has no channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum LinkError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// There is one, and the gateway does not do what the agent asks.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The certificate has expired, and there is no fresh one.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// What the gateway issued cannot be kept.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The certificate request could not be made.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The TPM gives no quote.
    #[error(transparent)]
    Tpm(#[from] AttesterError),
    /// The program for evidence gives none.
    #[error(transparent)]
    Evidence(#[from] CommandError),
}

impl LinkError {
    /// What the gateway said, if it does not take the agent's key any more.
    pub(crate) fn shut_out(&self) -> Option<&Problem> {
        match self {
            Self::Control(ControlError::Refused(problem))
            | Self::Join(JoinError::Refused(problem)) => {
                SHUT_OUT.contains(&problem.code.as_str()).then_some(problem)
            }
            _ => None,
        }
    }

    /// What to do about it, where waiting does not help.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Tpm(error) => return error.remedy(),
            Self::Evidence(error) => return error.remedy(),
            Self::Dial(DialError::Handshake(ConnectError::Refused { alert }))
                if alert == "handshake_failure" =>
            {
                "check that `profile` is the one of the gateway's listener"
            }
            _ => self.shut_out().map(|_| {
                "on the gateway run `countersign join-string create --name NAME --replace`, and start the agent \
                 with the line: `countersign agent --join FILE`"
            })?,
        };
        Some(hint.to_owned())
    }
}

/// Opens a connection that is authenticated as the connector says.
///
/// # Errors
///
/// Nobody answers, or what answers is not a gateway that the connector takes.
pub(crate) async fn connect(
    address: &HostPort,
    connector: &Connector,
) -> Result<(Mux, ChannelBinding), DialError> {
    let connected = connector.connect(tcp(address).await?).await?;
    let binding = connected.binding()?;
    let (mux, driver) = Mux::handshake(connected.stream, &Limits::default()).await?;
    tokio::spawn(driver);
    Ok((mux, binding))
}

/// Fetches an access token, for fresh evidence where the machine has any.
///
/// # Errors
///
/// There is no evidence, or the gateway gives no token.
pub(crate) async fn fetch_token(
    control: Control<'_>,
    prover: Option<&Prover>,
) -> Result<AccessToken, LinkError> {
    let evidence = match prover {
        None => None,
        Some(prover) => Some(prover.answer(&control.question().await?).await?),
    };
    Ok(control.token(evidence).await?)
}

/// Connects to an address, within bounded time.
///
/// # Errors
///
/// Nobody answers.
pub(crate) async fn tcp(address: &HostPort) -> Result<TcpStream, DialError> {
    let unreachable = |source| DialError::Unreachable {
        address: address.clone(),
        source,
    };
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let tcp = tokio::time::timeout(CONNECT_TIME, connecting).await;
    let timed_out = || io::Error::new(io::ErrorKind::TimedOut, "no answer");
    let tcp = tcp
        .unwrap_or_else(|_| Err(timed_out()))
        .map_err(unreachable)?;
    tcp.set_nodelay(true).map_err(unreachable)?;
    Ok(tcp)
}

/// Why there is no connection to the gateway.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DialError {
    /// Nobody answers at the address.
    #[error("cannot reach the gateway at `{address}`: {source}")]
    Unreachable {
        /// The address.
        address: HostPort,
        /// What the system said.
        source: io::Error,
    },
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] ConnectError),
    /// The connection failed at its beginning.
    #[error("the gateway ended the connection: {0}")]
    Connection(#[from] ConnectionError),
}

/// The codes of a gateway that does not take the agent's key, and will not again.
const SHUT_OUT: [&str; 4] = ["revoked", "not_enrolled", "wrong_key", "key_revoked"];

/// Long enough for two lost SYNs (RFC 6298: after 1 s and 3 s), short enough to try again soon.
const CONNECT_TIME: Duration = Duration::from_secs(10);
