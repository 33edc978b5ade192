//! What a listener is configured with.

use std::sync::Arc;
use std::time::Duration;

use super::certificate::ClassicalCertificate;
use super::client::ClientCertificates;
use super::exception::Exception;
use crate::identity::{SpiffeId, Svid, TrustBundle, TrustDomain};
use crate::profile::Profile;
use crate::registry::Scheme;
use crate::stage::Rules;

/// A listener's settings.
#[derive(Clone, Debug, Default)]
pub struct Listener {
    /// Its name in records.
    pub name: String,
    /// Its stage and profile.
    pub rules: Rules,
    /// Whether agentless clients are admitted while the stage is `strict`; in the other stages they are.
    pub admit_agentless: bool,
    /// The certificates for agentless clients, chosen by server name; the first is for any other name and for none.
    pub certificates: Vec<ClassicalCertificate>,
    /// Which services ask agentless clients for a certificate; no other name does.
    pub clients: Vec<Arc<ClientCertificates>>,
    /// Who may use classical key exchange while the stage is `classical-canary`.
    pub exceptions: Vec<Exception>,
}

/// What a gateway shows to agents, and what it verifies them with.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The gateway's own certificate and key.
    pub svid: Arc<Svid>,
    /// The trust bundle.
    pub bundle: Arc<TrustBundle>,
}

/// How much strangers may cost, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections that have sent no whole ClientHello yet; beyond it the oldest is dropped. Each costs some 20 kB.
    pub waiting: usize,
    /// Connections whose handshake has begun and is not done; beyond it the oldest is dropped. Each costs some 20 kB, and
    /// its flight in the socket.
    pub unfinished: usize,
    /// Handshakes that are computed at the same time.
    pub computing: usize,
    /// The time for a ClientHello.
    pub client_hello: Duration,
    /// The time for the whole handshake.
    pub handshake: Duration,
}

/// Why a listener cannot be configured so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListenerError {
    /// A certificate for agentless clients is not PEM, or its key does not belong to it.
    #[error("a certificate for agentless clients cannot be used: {reason}")]
    Certificate {
        /// What is wrong with it.
        reason: String,
    },
    /// The profile does not allow the key of a certificate for agentless clients.
    #[error("profile `{profile}` does not allow the key of the certificate for {}", .names.join(", "))]
    CertificateNotAllowed {
        /// The profile.
        profile: Profile,
        /// The names in the certificate.
        names: Vec<String>,
    },
    /// The profile does not allow the key of the gateway's own certificate.
    #[error("profile `{profile}` does not allow {found} for the gateway's own certificate")]
    SvidNotAllowed {
        /// The profile.
        profile: Profile,
        /// The scheme that the gateway's key signs with.
        found: Scheme,
    },
    /// The gateway's own certificate is not one of a gateway of the bundle's trust domain.
    #[error("`{id}` is no gateway of the trust domain `{trust_domain}`")]
    NotAGateway {
        /// The ID in the certificate.
        id: SpiffeId,
        /// The bundle's trust domain.
        trust_domain: TrustDomain,
    },
    /// An exception names neither a network nor a server name, and so would be for everyone.
    #[error("exception `{id}` names neither a network nor a server name")]
    ExceptionForEveryone {
        /// The exception's ID.
        id: String,
    },
    /// An exception has no ID, owner or reason.
    #[error("exception `{id}` lacks an ID, an owner or a reason")]
    ExceptionUnaccounted {
        /// The exception's ID.
        id: String,
    },
    /// The TLS library refused the configuration.
    #[error("the TLS library refused the configuration: {reason}")]
    Library {
        /// Its reason.
        reason: String,
    },
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting: 4096,
            unfinished: 1024,
            computing: std::thread::available_parallelism().map_or(1, usize::from),
            client_hello: Duration::from_secs(5),
            handshake: Duration::from_secs(15),
        }
    }
}

impl Listener {
    pub(super) fn check(&self, credentials: &Credentials) -> Result<(), ListenerError> {
        self.check_svid(credentials)?;
        self.check_settings()
    }

    /// Checks what needs no certificate of the gateway's own.
    ///
    /// # Errors
    ///
    /// The settings do not hold together.
    pub fn check_settings(&self) -> Result<(), ListenerError> {
        let profile = self.rules.profile();
        for certificate in &self.certificates {
            certificate.check_allowed(profile)?;
        }
        self.exceptions.iter().try_for_each(|exception| {
            let id = exception.id.clone();
            match exception {
                _ if !exception.is_accounted_for() => {
                    Err(ListenerError::ExceptionUnaccounted { id })
                }
                _ if !exception.matches_something() => {
                    Err(ListenerError::ExceptionForEveryone { id })
                }
                _ => Ok(()),
            }
        })
    }

    fn check_svid(&self, credentials: &Credentials) -> Result<(), ListenerError> {
        let (svid, trust_domain) = (&credentials.svid, credentials.bundle.trust_domain());
        if svid.id().trust_domain() != trust_domain || svid.id().gateway_name().is_none() {
            return Err(ListenerError::NotAGateway {
                id: svid.id().clone(),
                trust_domain: trust_domain.clone(),
            });
        }
        let (profile, found) = (self.rules.profile(), svid.key().algorithm().scheme());
        if !profile.agent_schemes().contains(&found) {
            return Err(ListenerError::SvidNotAllowed { profile, found });
        }
        Ok(())
    }
}
