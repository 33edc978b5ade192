//! The agent's end: a connector for channels to the gateway, and the introduction before the first one.

mod introduction;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::client::Resumption;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, ClientConnection};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use introduction::{Introduced, Introduction, IntroductionError, Known};

use crate::binding::{ChannelBinding, certificate_hash, exporter};
use crate::failure::in_words;
use crate::identity::{Leaf, SpiffeId, Svid, TrustBundle, TrustDomain};
use crate::profile::Profile;
use crate::provider::crypto_provider;
use crate::record::{CertificateFlaw, Negotiated, Peer};
use crate::registry::{Group, Scheme, Suite};
use crate::server::refusal::alert_name;
use crate::verifier::{GatewayVerifier, flaw};

/// Makes channels to the gateway of one trust domain. It offers the profile's groups, schemes and suites and nothing
/// else, and accepts only a gateway that an anchor of the trust bundle vouches for.
#[derive(Clone)]
pub struct Connector {
    config: Arc<ClientConfig>,
    server_name: ServerName<'static>,
    profile: Profile,
    own: Option<SpiffeId>,
}

/// A channel that stands.
pub struct Connected<IO> {
    /// The encrypted stream.
    pub stream: TlsStream<IO>,
    /// What was settled on.
    pub view: ChannelView,
}

/// A channel, as the agent sees it: the counterpart of the gateway's [`ChannelRecord`](crate::ChannelRecord).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelView {
    /// When the handshake was done.
    pub at: Timestamp,
    /// The agent's profile.
    pub profile: Profile,
    /// What both ends settled on; the scheme is the one with which the gateway signed.
    pub negotiated: Negotiated,
    /// The gateway, verified.
    pub gateway: Peer,
    /// Who the agent said it is; `None` before it is enrolled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<SpiffeId>,
}

/// Why there is no channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The profile does not allow our own key.
    #[error("profile `{profile}` does not allow our own key, {found}")]
    KeyNotAllowed {
        /// The profile.
        profile: Profile,
        /// The scheme that the key signs with.
        found: Scheme,
    },
    /// The gateway's certificate does not hold.
    #[error("the gateway's certificate does not hold: {0}")]
    GatewayCertificate(CertificateFlaw),
    /// The gateway ended the connection with an alert.
    #[error("the gateway refused the channel with the alert `{alert}`")]
    Refused {
        /// The alert's name in RFC 8446.
        alert: String,
    },
    /// What answered does not do what the profile asks, or does not speak TLS 1.3.
    #[error("what answered is no gateway for this profile: {reason}")]
    Incompatible {
        /// What it did.
        reason: String,
    },
    /// The handshake was not done in time.
    #[error("the handshake was not done within {} seconds", HANDSHAKE_TIME.as_secs())]
    Timeout,
    /// The connection was lost.
    #[error("the connection was lost during the handshake: {reason}")]
    Lost {
        /// The system's reason.
        reason: String,
    },
    /// The TLS library refused the configuration.
    #[error("the TLS library refused the configuration: {reason}")]
    Library {
        /// Its reason.
        reason: String,
    },
}

impl Connector {
    /// A connector for an agent that is enrolled.
    ///
    /// # Errors
    ///
    /// The profile does not allow the agent's key.
    pub fn new(
        profile: Profile,
        bundle: Arc<TrustBundle>,
        svid: &Svid,
    ) -> Result<Self, ConnectError> {
        Self::build(profile, bundle, Some(svid))
    }

    /// A connector for an agent that has no certificate yet. The gateway is verified all the same.
    ///
    /// # Errors
    ///
    /// The TLS library refuses the configuration.
    pub fn anonymous(profile: Profile, bundle: Arc<TrustBundle>) -> Result<Self, ConnectError> {
        Self::build(profile, bundle, None)
    }

    /// Makes a channel of a connection.
    ///
    /// A gateway looks at our certificate when we are already done, so its refusal may come with the first read from
    /// the stream: [`ConnectError::from_io`] reads it.
    ///
    /// # Errors
    ///
    /// The gateway is not one of the trust domain, refused us, or the connection was lost.
    pub async fn connect<IO>(&self, io: IO) -> Result<Connected<IO>, ConnectError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = handshake(&self.config, &self.server_name, io).await?;
        let view = self.view(stream.get_ref().1)?;
        Ok(Connected { stream, view })
    }

    fn build(
        profile: Profile,
        bundle: Arc<TrustBundle>,
        svid: Option<&Svid>,
    ) -> Result<Self, ConnectError> {
        let server_name = server_name(bundle.trust_domain())?;
        let verifier = Arc::new(GatewayVerifier::new(profile, bundle));
        Ok(Self {
            config: config(profile, verifier, svid, b"h2")?,
            server_name,
            profile,
            own: svid.map(|svid| svid.id().clone()),
        })
    }

    fn view(&self, connection: &ClientConnection) -> Result<ChannelView, ConnectError> {
        let leaf = leaf(connection).map_err(ConnectError::GatewayCertificate)?;
        let gateway = Peer::of(&leaf);
        Ok(ChannelView {
            at: Timestamp::now(),
            profile: self.profile,
            negotiated: negotiated(connection, gateway.scheme).ok_or(ConnectError::Lost {
                reason: "the handshake is not complete".to_owned(),
            })?,
            gateway,
            own: self.own.clone(),
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connector({}, {:?})", self.profile, self.server_name)
    }
}

impl<IO> Connected<IO> {
    /// What both ends of this channel know and nobody else does.
    ///
    /// # Errors
    ///
    /// It does not fail for a channel that stands.
    pub fn binding(&self) -> Result<ChannelBinding, ConnectError> {
        let connection = self.stream.get_ref().1;
        let leaf = connection.peer_certificates().and_then(<[_]>::first);
        let leaf = leaf.ok_or(ConnectError::GatewayCertificate(CertificateFlaw::Malformed))?;
        Ok(ChannelBinding {
            exporter: exporter(connection).map_err(library)?,
            gateway_certificate: certificate_hash(leaf),
        })
    }
}

impl<IO> fmt::Debug for Connected<IO> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connected({:?})", self.view)
    }
}

impl ConnectError {
    /// Reads the reason in an error of the handshake, or of the stream after it.
    pub fn from_io(error: &io::Error) -> Self {
        use rustls::Error;
        match error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Error>())
        {
            None => Self::Lost {
                reason: in_words(error),
            },
            Some(Error::AlertReceived(alert)) => Self::Refused {
                alert: alert_name(*alert),
            },
            Some(Error::InvalidCertificate(error)) => Self::GatewayCertificate(flaw(error)),
            Some(_) => Self::Incompatible {
                reason: in_words(error),
            },
        }
    }
}

async fn handshake<IO>(
    config: &Arc<ClientConfig>,
    server_name: &ServerName<'static>,
    io: IO,
) -> Result<TlsStream<IO>, ConnectError>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let handshake = TlsConnector::from(config.clone()).connect(server_name.clone(), io);
    timeout(HANDSHAKE_TIME, handshake)
        .await
        .map_err(|_| ConnectError::Timeout)?
        .map_err(|error| ConnectError::from_io(&error))
}

fn config(
    profile: Profile,
    verifier: Arc<dyn ServerCertVerifier>,
    svid: Option<&Svid>,
    alpn: &[u8],
) -> Result<Arc<ClientConfig>, ConnectError> {
    let builder = ClientConfig::builder_with_provider(crypto_provider(profile))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(library)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match svid {
        None => builder.with_no_client_auth(),
        Some(svid) => {
            check_key(profile, svid)?;
            builder
                .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(svid.certified_key())))
        }
    };
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![alpn.to_vec()];
    Ok(Arc::new(config))
}

fn check_key(profile: Profile, svid: &Svid) -> Result<(), ConnectError> {
    let found = svid.key().algorithm().scheme();
    if profile.agent_schemes().contains(&found) {
        return Ok(());
    }
    Err(ConnectError::KeyNotAllowed { profile, found })
}

fn server_name(trust_domain: &TrustDomain) -> Result<ServerName<'static>, ConnectError> {
    ServerName::try_from(trust_domain.gateway_server_name()).map_err(|error| {
        ConnectError::Library {
            reason: error.to_string(),
        }
    })
}

/// The gateway's leaf. Whether it was verified is up to the verifier of the connection.
fn leaf(connection: &ClientConnection) -> Result<Leaf, CertificateFlaw> {
    let leaf = connection.peer_certificates().and_then(<[_]>::first);
    Leaf::unverified(leaf.ok_or(CertificateFlaw::Malformed)?)
}

fn negotiated(connection: &ClientConnection, scheme: Scheme) -> Option<Negotiated> {
    Some(Negotiated {
        group: Group(connection.negotiated_key_exchange_group()?.name().into()),
        suite: Suite(connection.negotiated_cipher_suite()?.suite().into()),
        scheme,
        alpn: connection
            .alpn_protocol()
            .map(|name| name.escape_ascii().to_string()),
    })
}

fn library(error: rustls::Error) -> ConnectError {
    ConnectError::Library {
        reason: error.to_string(),
    }
}

/// As long as a gateway waits for us.
const HANDSHAKE_TIME: Duration = Duration::from_secs(15);
