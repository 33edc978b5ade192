//! The configurations of a listener, and which of them a ClientHello gets.
//!
//! rustls takes the first group of the client's list that it supports, so a configuration that allows a classical group
//! would downgrade every client that lists it first. Classical groups are therefore in a configuration of their own,
//! which holds no other, and which only a client gets that could do no better and has an exception.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::crypto::CryptoProvider;
use rustls::server::NoServerSessionStorage;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ConfigBuilder, ServerConfig, SignatureScheme, WantsVerifier};

use super::certificate::Certificates;
use super::client::{ClientCertificates, ClientVerifier};
use super::listener::{Credentials, Listener, ListenerError};
use crate::binding::certificate_hash;
use crate::profile::Profile;
use crate::provider::{canary_provider, crypto_provider};
use crate::record::{Offer, Refusal};
use crate::registry::Scheme;
use crate::stage::{Admission, Kind, Stage};
use crate::verifier::AgentVerifier;

/// A listener's settings, made into configurations.
pub(super) struct Live {
    pub(super) listener: Listener,
    pub(super) credentials: Credentials,
    gateway_name: String,
    svid: Arc<CertifiedKey>,
    svid_hash: Option<[u8; 48]>,
    certificates: Arc<Certificates>,
    agent: Arc<ServerConfig>,
    agentless: Agentless,
    /// For names whose service asks for a client's certificate.
    asking: Vec<Agentless>,
    closed: Arc<ServerConfig>,
}

/// The configurations of agentless clients that come by some names, and what these ask for.
struct Agentless {
    asked: Option<Arc<ClientCertificates>>,
    hybrid: Arc<ServerConfig>,
    canary: Arc<ServerConfig>,
}

/// What one ClientHello gets.
pub(super) struct Choice {
    pub(super) kind: Kind,
    pub(super) config: Arc<ServerConfig>,
    /// The scheme with which our certificate's key signs for this client.
    pub(super) scheme: Option<Scheme>,
    /// The hash of the certificate that agents are shown.
    pub(super) gateway_certificate: Option<[u8; 48]>,
    /// What the client's certificate is verified with.
    pub(super) asked: Option<Arc<ClientCertificates>>,
    pub(super) exception: Option<String>,
    /// Why the handshake will fail, where the configuration makes it fail.
    pub(super) refusal: Option<Refusal>,
    /// Whether the handshake is all there will be: no channel comes of it.
    pub(super) is_challenge: bool,
}

impl Live {
    pub(super) fn new(listener: Listener, credentials: Credentials) -> Result<Self, ListenerError> {
        listener.check(&credentials)?;
        let profile = listener.rules.profile();
        let provider = crypto_provider(profile);
        let svid = credentials.svid.certified_key();
        let certificates = Arc::new(Certificates(listener.certificates.clone()));
        let verifier = Arc::new(AgentVerifier::new(profile, credentials.bundle.clone()));
        let single = Arc::new(SingleCertAndKey::from(svid.clone()));
        let agent = builder(&provider)?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(single);
        let agentless = |asked| Agentless::new(profile, &certificates, asked);
        let asking = listener.clients.iter().cloned();
        let closed = builder(&provider)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(Certificates(Vec::new())));
        Ok(Self {
            gateway_name: credentials.bundle.trust_domain().gateway_server_name(),
            agent: finished(agent),
            agentless: agentless(None)?,
            asking: asking
                .map(|asked| agentless(Some(asked)))
                .collect::<Result<_, _>>()?,
            closed: finished(closed),
            svid_hash: svid.cert.first().map(|leaf| certificate_hash(leaf)),
            svid,
            certificates,
            listener,
            credentials,
        })
    }

    pub(super) fn choose(&self, offer: &Offer, source: IpAddr, now: Timestamp) -> Choice {
        if offer.sni.as_deref() == Some(self.gateway_name.as_str()) {
            return Choice {
                gateway_certificate: self.svid_hash,
                ..self.choice(Kind::Agent, &self.agent, Some(&self.svid), offer)
            };
        }
        let profile = self.listener.rules.profile();
        if offer
            .groups
            .iter()
            .any(|group| profile.groups().contains(group))
        {
            return self.choose_agentless(offer);
        }
        match self.exception(offer, source, now) {
            Some(_) if self.certificates.is_empty() => self.close(Refusal::NoCertificate),
            Some(id) => Choice {
                exception: Some(id),
                ..self.choice_without_agent(offer, |configs| &configs.canary)
            },
            // The agents' configuration has the profile's groups, of which the client offers none: rustls answers with
            // handshake_failure before it comes to any certificate.
            None => self.choice(Kind::Agentless, &self.agent, None, offer),
        }
    }

    fn choose_agentless(&self, offer: &Offer) -> Choice {
        let admission = self.listener.rules.admission(Kind::Agentless);
        if admission == Admission::PostQuantumIfListed && !self.listener.admit_agentless {
            return self.close(Refusal::AgentlessNotAdmitted);
        }
        match self.certificates.is_empty() {
            false => self.choice_without_agent(offer, |configs| &configs.hybrid),
            true => self.close(Refusal::NoCertificate),
        }
    }

    fn choice_without_agent(
        &self,
        offer: &Offer,
        config: fn(&Agentless) -> &Arc<ServerConfig>,
    ) -> Choice {
        let sni = offer.sni.as_deref();
        let asking = self.asking.iter().find(|configs| configs.is_for(sni));
        let configs = asking.unwrap_or(&self.agentless);
        let key = self.certificates.find(sni);
        Choice {
            asked: configs.asked.clone(),
            ..self.choice(Kind::Agentless, config(configs), key, offer)
        }
    }

    fn exception(&self, offer: &Offer, source: IpAddr, now: Timestamp) -> Option<String> {
        if self.listener.rules.stage() != Stage::ClassicalCanary {
            return None;
        }
        self.listener
            .exceptions
            .iter()
            .find(|exception| exception.covers(source, offer.sni.as_deref(), now))
            .map(|exception| exception.id.clone())
    }

    fn choice(
        &self,
        kind: Kind,
        config: &Arc<ServerConfig>,
        key: Option<&Arc<CertifiedKey>>,
        offer: &Offer,
    ) -> Choice {
        Choice {
            kind,
            config: config.clone(),
            scheme: key.and_then(|key| scheme(key, offer)),
            gateway_certificate: None,
            asked: None,
            exception: None,
            refusal: None,
            is_challenge: false,
        }
    }

    fn close(&self, refusal: Refusal) -> Choice {
        Choice {
            kind: Kind::Agentless,
            config: self.closed.clone(),
            scheme: None,
            gateway_certificate: None,
            asked: None,
            exception: None,
            refusal: Some(refusal),
            is_challenge: false,
        }
    }
}

impl Agentless {
    fn new(
        profile: Profile,
        certificates: &Arc<Certificates>,
        asked: Option<Arc<ClientCertificates>>,
    ) -> Result<Self, ListenerError> {
        let config = |provider: Arc<CryptoProvider>| {
            let builder = builder(&provider)?;
            let builder = match &asked {
                None => builder.with_no_client_auth(),
                Some(asked) => {
                    builder.with_client_cert_verifier(Arc::new(ClientVerifier::new(asked, profile)))
                }
            };
            Ok(finished(builder.with_cert_resolver(certificates.clone())))
        };
        Ok(Self {
            hybrid: config(crypto_provider(profile))?,
            canary: config(canary_provider(profile))?,
            asked,
        })
    }

    fn is_for(&self, sni: Option<&str>) -> bool {
        let names = self.asked.iter().flat_map(|asked| &asked.names);
        sni.is_some_and(|sni| names.into_iter().any(|name| name.eq_ignore_ascii_case(sni)))
    }
}

/// rustls asks the key in the same way, and says nowhere afterwards what it answered.
fn scheme(key: &CertifiedKey, offer: &Offer) -> Option<Scheme> {
    let offered: Vec<SignatureScheme> = offer
        .schemes
        .iter()
        .map(|scheme| scheme.code_point().into())
        .collect();
    key.key
        .choose_scheme(&offered)
        .map(|signer| Scheme(signer.scheme().into()))
}

fn builder(
    provider: &Arc<CryptoProvider>,
) -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, ListenerError> {
    ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| ListenerError::Library {
            reason: error.to_string(),
        })
}

/// No resumption: it skips the check of the client's certificate, and an ML-DSA ticket has 7 kB.
fn finished(mut config: ServerConfig) -> Arc<ServerConfig> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    // Chromium and Go list AES-128 first.
    config.ignore_client_order = true;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(config)
}
