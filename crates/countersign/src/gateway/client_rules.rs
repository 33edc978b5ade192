//! Certificates of agentless clients: which services ask for them, and of which authorities.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use countersign_channel::server::{ClientAuthority, ClientCertificates};

use super::error::GatewayError;
use crate::config::{ClientAuthorityConfig, GatewayConfig};

/// What the services of a configuration ask of agentless clients.
#[derive(Default)]
pub(crate) struct ClientRules {
    asked: Vec<Arc<ClientCertificates>>,
}

impl ClientRules {
    /// Reads the authorities' files.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or does not hold what it should.
    pub(super) fn read(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let mut authorities = BTreeMap::new();
        for authority in &config.client_authorities {
            authorities.insert(authority.name.as_str(), Arc::new(read(authority)?));
        }
        let services = config.services.iter();
        let asking = services.filter(|service| !service.client_certificates.is_empty());
        let asked = asking.map(|service| {
            let named = service.client_certificates.iter();
            Arc::new(ClientCertificates {
                names: service.sni.clone(),
                authorities: named
                    .filter_map(|name| authorities.get(name.as_str()).cloned())
                    .collect(),
                required: service.require_client_certificate,
            })
        });
        Ok(Self {
            asked: asked.collect(),
        })
    }

    /// What is asked, for the listeners.
    pub(super) fn asked(&self) -> Vec<Arc<ClientCertificates>> {
        self.asked.clone()
    }

    /// What is asked of those who come by this server name.
    pub(super) fn asked_under(&self, sni: &str) -> Option<&Arc<ClientCertificates>> {
        let is_for = |name: &String| name.eq_ignore_ascii_case(sni);
        self.asked
            .iter()
            .find(|asked| asked.names.iter().any(is_for))
    }
}

fn read(authority: &ClientAuthorityConfig) -> Result<ClientAuthority, GatewayError> {
    let file = |path: &Path| {
        std::fs::read(path).map_err(|source| GatewayError::ClientAuthorityUnreadable {
            authority: authority.name.clone(),
            file: path.to_owned(),
            source,
        })
    };
    let certificates = file(&authority.certificate)?;
    let lists = authority.revocation_list.as_deref().map(file).transpose()?;
    ClientAuthority::from_pem(&authority.name, &certificates, lists.as_deref()).map_err(|source| {
        GatewayError::ClientAuthority {
            authority: authority.name.clone(),
            source,
        }
    })
}
