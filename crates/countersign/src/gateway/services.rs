//! The services that a gateway stands in front of, looked up by name and port or by the name a client asked for.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::upstream::{Upstream, UpstreamTls};
use crate::config::{ServiceConfig, ServiceTlsConfig};
use crate::operator::{self, LastHop};
use crate::private_file::{self, PrivateFileError};
use crate::report::Report;

/// A named upstream.
pub(crate) struct Service {
    /// The name in `CONNECT name:port`.
    pub(crate) name: String,
    /// The port in `CONNECT name:port`.
    pub(crate) port: u16,
    /// How it is reached.
    pub(crate) upstream: Upstream,
    /// How long a stream to it may carry nothing.
    pub(crate) idle_timeout: Duration,
    /// How old a stream to it may grow.
    pub(crate) max_stream_age: Option<Duration>,
    config: ServiceConfig,
}

/// Every service of a configuration.
#[derive(Default)]
pub(crate) struct Services {
    by_name: HashMap<String, Arc<Service>>,
    by_sni: HashMap<String, Arc<Service>>,
}

/// A service whose TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServiceError {
    /// A file with certificates or a key could not be read.
    #[error("service `{service}`: cannot read {what} from `{}`: {source}", file.display())]
    Pem {
        /// The service.
        service: String,
        /// What the file should hold.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: rustls::pki_types::pem::Error,
    },
    /// The gateway's private key was not read.
    #[error("service `{service}`")]
    PrivateKey {
        /// The service.
        service: String,
        /// Why.
        source: PrivateFileError,
    },
    /// The files were read, and do not fit together.
    #[error("service `{service}`: its TLS cannot be set up: {source}")]
    Tls {
        /// The service.
        service: String,
        /// What does not fit.
        source: rustls::Error,
    },
    /// The name that the certificate must have is no name.
    #[error("service `{service}`: `{name}` is neither a DNS name nor an IP address")]
    Name {
        /// The service.
        service: String,
        /// The name.
        name: String,
    },
}

impl Report for ServiceError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Pem { what, .. } => format!("the file must be readable PEM that holds {what}"),
            Self::PrivateKey { source, .. } => return source.hint(),
            Self::Tls { .. } => {
                "check that key and certificate belong together and that the CA file holds authorities"
                    .to_owned()
            }
            Self::Name { .. } => "set `tls.name` to the name in the service's certificate".to_owned(),
        })
    }
}

impl Services {
    /// Sets up every service, reading the files it names.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read or does not hold what it should.
    pub(crate) fn new(configs: &[ServiceConfig]) -> Result<Self, ServiceError> {
        let mut services = Self::default();
        for config in configs {
            let service = Arc::new(Service::new(config)?);
            for sni in &config.sni {
                services
                    .by_sni
                    .insert(sni.to_ascii_lowercase(), Arc::clone(&service));
            }
            services.by_name.insert(config.name.clone(), service);
        }
        Ok(services)
    }

    /// The service `name` if it declares `port`.
    pub(crate) fn find(&self, name: &str, port: u16) -> Option<&Arc<Service>> {
        self.by_name
            .get(&name.to_ascii_lowercase())
            .filter(|service| service.port == port)
    }

    /// The service that agentless clients reach by this server name.
    pub(crate) fn by_sni(&self, sni: &str) -> Option<&Arc<Service>> {
        self.by_sni.get(&sni.to_ascii_lowercase())
    }

    /// The service that a request's host stands for: one of its names for agentless clients, or its own.
    pub(crate) fn by_host(&self, host: &str) -> Option<&Arc<Service>> {
        self.by_sni(host)
            .or_else(|| self.by_name.get(&host.to_ascii_lowercase()))
    }

    /// All services, in the order of their names.
    pub(crate) fn all(&self) -> Vec<&Arc<Service>> {
        let mut all: Vec<_> = self.by_name.values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

impl Service {
    fn new(config: &ServiceConfig) -> Result<Self, ServiceError> {
        let tls = config
            .tls
            .as_ref()
            .map(|tls| upstream_tls(config, tls))
            .transpose()?;
        Ok(Self {
            name: config.name.to_ascii_lowercase(),
            port: config.port,
            upstream: Upstream::new(
                config.upstream.clone(),
                tls,
                config.proxy_protocol,
                config.connect_timeout,
            ),
            idle_timeout: config.idle_timeout,
            max_stream_age: config.max_stream_age,
            config: config.clone(),
        })
    }

    /// What an operator is shown.
    pub(crate) fn view(&self) -> operator::Service {
        operator::Service {
            name: self.name.clone(),
            port: self.port,
            upstream: self.config.upstream.to_string(),
            last_hop: match (&self.config.tls, self.config.upstream.is_loopback()) {
                (Some(_), _) => LastHop::Tls,
                (None, true) => LastHop::Loopback,
                (None, false) => LastHop::Plaintext,
            },
            proxy_protocol: self.config.proxy_protocol,
            sni: self.config.sni.clone(),
            streams: 0,
        }
    }
}

/// TLS 1.3 to a service: hybrid groups first, classical ones too, since what lies behind the gateway may not know better.
fn upstream_tls(
    config: &ServiceConfig,
    tls: &ServiceTlsConfig,
) -> Result<UpstreamTls, ServiceError> {
    let service = || config.name.clone();
    let failed = |source| ServiceError::Tls {
        service: service(),
        source,
    };
    let mut roots = RootCertStore::empty();
    for authority in certificates(config, "CA certificates", &tls.ca)? {
        roots.add(authority).map_err(failed)?;
    }
    let builder =
        ClientConfig::builder_with_provider(countersign_channel::provider::upstream_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .with_root_certificates(roots);
    let mut client = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some(identity) => {
            let chain = certificates(config, "a certificate chain", &identity.certificate)?;
            let key =
                private_file::read(&identity.key).map_err(|source| ServiceError::PrivateKey {
                    service: service(),
                    source,
                })?;
            let key = PrivateKeyDer::from_pem_slice(&key).map_err(|source| ServiceError::Pem {
                service: service(),
                what: "a private key",
                file: identity.key.clone(),
                source,
            })?;
            builder.with_client_auth_cert(chain, key).map_err(failed)?
        }
    };
    client.resumption = rustls::client::Resumption::disabled();
    let name = tls.name.as_ref().unwrap_or(&config.upstream.host).clone();
    let server_name = ServerName::try_from(name.clone()).map_err(|_| ServiceError::Name {
        service: service(),
        name,
    })?;
    Ok(UpstreamTls::new(Arc::new(client), server_name))
}

fn certificates(
    config: &ServiceConfig,
    what: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, ServiceError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|source| ServiceError::Pem {
            service: config.name.clone(),
            what,
            file: file.to_owned(),
            source,
        })
}
