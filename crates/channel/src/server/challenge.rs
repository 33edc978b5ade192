//! Proof to an ACME server that a name leads here: the TLS-ALPN-01 challenge (RFC 8737).
//!
//! The server connects with the ALPN protocol `acme-tls/1` alone and looks at the certificate that it is shown. Such a
//! handshake has a configuration of its own. It may be classical, since it carries nothing: once it is done, the
//! connection is closed. No other client gets that configuration, and this one gets no other.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rcgen::{CertificateParams, CustomExtension};
use rustls::ServerConfig;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use super::choice::Choice;
use crate::identity::signer::{IssuingKey, TlsKey};
use crate::identity::{KeyAlgorithm, KeyError, PrivateKey};
use crate::provider::upstream_provider;
use crate::record::Offer;
use crate::stage::Kind;

/// The challenges that are open. Acceptors that share it answer them, whichever of their ports an ACME server comes to.
#[derive(Clone, Default)]
pub struct Challenges {
    open: Arc<Mutex<BTreeMap<String, Arc<ServerConfig>>>>,
}

/// A challenge that is answered until this is dropped.
#[must_use = "the challenge is answered only until this is dropped"]
pub struct OpenChallenge {
    challenges: Challenges,
    name: String,
}

/// A challenge that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChallengeError {
    /// No certificate can be made for the name.
    #[error("no certificate can be made for `{name}`")]
    Name {
        /// The name.
        name: String,
    },
    /// The certificate's key cannot be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The TLS library refused the configuration.
    #[error("the TLS library refused the configuration: {reason}")]
    Library {
        /// Its reason.
        reason: String,
    },
}

impl Challenges {
    /// Answers for a name from now on with the SHA-256 of a key authorization (RFC 8555 section 8.1). Of two for one
    /// name, the newer is answered.
    ///
    /// # Errors
    ///
    /// The name is no DNS name, or AWS-LC failed.
    pub fn open(
        &self,
        name: &str,
        key_authorization: &[u8; 32],
    ) -> Result<OpenChallenge, ChallengeError> {
        let name = name.to_ascii_lowercase();
        let config = configuration(&name, key_authorization)?;
        self.lock().insert(name.clone(), Arc::new(config));
        Ok(OpenChallenge {
            challenges: self.clone(),
            name,
        })
    }

    /// What a client gets that asks for the answer to an open challenge, and for nothing else.
    pub(super) fn choose(&self, offer: &Offer) -> Option<Choice> {
        let only_that = offer.alpn.iter().map(String::as_str).eq([PROTOCOL]);
        let name = offer.sni.as_deref().filter(|_| only_that)?;
        let config = self.lock().get(name)?.clone();
        Some(Choice {
            kind: Kind::Agentless,
            config,
            scheme: None,
            gateway_certificate: None,
            asked: None,
            exception: None,
            refusal: None,
            is_challenge: true,
        })
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<ServerConfig>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.lock().keys()).finish()
    }
}

impl Drop for OpenChallenge {
    fn drop(&mut self) {
        self.challenges.lock().remove(&self.name);
    }
}

impl fmt::Debug for OpenChallenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenChallenge({})", self.name)
    }
}

/// Shows a self-signed certificate for the name alone, with the answer in it (RFC 8737 section 3).
fn configuration(name: &str, answer: &[u8; 32]) -> Result<ServerConfig, ChallengeError> {
    let unusable = |_| ChallengeError::Name {
        name: name.to_owned(),
    };
    let key = Arc::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256)?);
    let mut params = CertificateParams::new(vec![name.to_owned()]).map_err(unusable)?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(answer)];
    let certificate = params
        .self_signed(&IssuingKey::new(&key))
        .map_err(unusable)?;
    let shown = CertifiedKey::new(vec![certificate.der().clone()], Arc::new(TlsKey(key)));
    let mut config = ServerConfig::builder_with_provider(upstream_provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ChallengeError::Library {
            reason: error.to_string(),
        })?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(shown)));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = vec![PROTOCOL.into()];
    Ok(config)
}

/// RFC 8737 section 6.2.
const PROTOCOL: &str = "acme-tls/1";
