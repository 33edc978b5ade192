//! What a listener is configured with.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;

use super::exception::Exception;
use crate::identity::{SpiffeId, Svid, TrustBundle, TrustDomain};
use crate::profile::Profile;
use crate::provider::crypto_provider;
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

/// A certificate for agentless clients, with its key.
#[derive(Clone)]
pub struct ClassicalCertificate {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
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

impl ClassicalCertificate {
    /// Reads a chain, leaf first, and its key from PEM.
    ///
    /// # Errors
    ///
    /// Either is not PEM, or the key does not belong to the leaf.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, ListenerError> {
        let unusable = |reason: String| ListenerError::Certificate { reason };
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(error.to_string()))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|error| unusable(error.to_string()))?;
        Self::from_der(chain, key)
    }

    /// Takes a chain, leaf first, and its key.
    ///
    /// # Errors
    ///
    /// The chain is empty or malformed, or the key does not belong to the leaf.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ListenerError> {
        let unusable = |reason: String| ListenerError::Certificate { reason };
        let leaf = chain
            .first()
            .ok_or_else(|| unusable("the chain is empty".to_owned()))?;
        let names = EndEntityCert::try_from(leaf)
            .map_err(|error| unusable(error.to_string()))?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let key = CertifiedKey::from_der(chain, key, &crypto_provider(Profile::default()))
            .map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            names,
            key: Arc::new(key),
        })
    }

    /// The DNS names it is for, in lower case; one may start with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn certified_key(&self) -> &Arc<CertifiedKey> {
        &self.key
    }

    pub(super) fn is_for(&self, sni: &str) -> bool {
        let parent = sni.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(suffix) => parent == Some(suffix),
            None => name == sni,
        })
    }

    fn is_allowed(&self, profile: Profile) -> bool {
        let schemes: Vec<SignatureScheme> = profile
            .agentless_schemes()
            .iter()
            .map(|scheme| SignatureScheme::from(scheme.code_point()))
            .collect();
        self.key.key.choose_scheme(&schemes).is_some()
    }
}

impl fmt::Debug for ClassicalCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClassicalCertificate({})", self.names.join(", "))
    }
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
        if let Some(refused) = self
            .certificates
            .iter()
            .find(|certificate| !certificate.is_allowed(profile))
        {
            let names = refused.names.clone();
            return Err(ListenerError::CertificateNotAllowed { profile, names });
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
