//! The services that a gateway stands in front of, looked up by name and port or by the name a client asked for.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::uri::Authority;
use tokio::task::JoinSet;

use super::upstream::{HttpService, Upstream};
use crate::config::ServiceConfig;
use crate::metrics::Metrics;
use crate::operator::{self, LastHop};
use crate::private_file::PrivateFileError;
use crate::report::Report;

/// A named upstream.
pub(crate) struct Service {
    /// The name in `CONNECT name:port`.
    pub(crate) name: String,
    /// The port in `CONNECT name:port`.
    pub(crate) port: u16,
    /// How it is reached.
    pub(crate) upstream: Arc<Upstream>,
    /// How requests are sent to it, if it is an HTTP service.
    pub(crate) http: Option<HttpService>,
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
    /// Ends the health checks of these services with them.
    checks: Mutex<JoinSet<()>>,
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
    /// The file for authorities holds none.
    #[error("service `{service}`: `{}` holds no certificate of an authority", file.display())]
    NoAuthority {
        /// The service.
        service: String,
        /// The file.
        file: PathBuf,
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
            Self::NoAuthority { .. } => {
                "put the certificates of the authorities that may vouch for the service into it, PEM"
                    .to_owned()
            }
            Self::Tls { .. } => {
                "check that key and certificate belong together and that the CA file holds authorities"
                    .to_owned()
            }
            Self::Name { .. } => "set `tls.name` to the name in the service's certificate".to_owned(),
        })
    }
}

impl Services {
    /// Sets up every service, reading the files it names. What did not change since `before` keeps its connections.
    ///
    /// # Errors
    ///
    /// Where a file cannot be read or does not hold what it should.
    pub(crate) fn new(
        configs: &[ServiceConfig],
        before: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<Self, ServiceError> {
        let mut services = Self::default();
        for config in configs {
            let known = before.and_then(|before| before.by_name.get(&config.name));
            let service = Arc::new(Service::new(config, known.map(Arc::as_ref), metrics)?);
            for sni in &config.sni {
                services
                    .by_sni
                    .insert(sni.to_ascii_lowercase(), Arc::clone(&service));
            }
            services.by_name.insert(config.name.clone(), service);
        }
        Ok(services)
    }

    /// Has upstreams asked whether they are well, for as long as these services are in force.
    pub(crate) fn watch(&self) {
        let mut checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner);
        for service in self.all() {
            let http = service.config.http.as_ref();
            let health = http.and_then(|http| http.health.as_ref());
            service.upstream.watch(health, &mut checks);
        }
    }

    /// Closes the connections that carry nothing, and keeps none from now on.
    pub(crate) fn close_idle(&self) {
        for service in self.all() {
            service.upstream.close_idle();
        }
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

    /// What an operator is shown, but for the streams.
    pub(crate) fn view(&self) -> Vec<operator::Service> {
        self.all()
            .into_iter()
            .map(|service| service.view())
            .collect()
    }

    /// All services, in the order of their names.
    pub(crate) fn all(&self) -> Vec<&Arc<Service>> {
        let mut all: Vec<_> = self.by_name.values().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }
}

impl Service {
    fn new(
        config: &ServiceConfig,
        before: Option<&Self>,
        metrics: &Metrics,
    ) -> Result<Self, ServiceError> {
        let before = before.map(|before| before.upstream.as_ref());
        let upstream = Arc::new(Upstream::new(config, before, metrics)?);
        let http = config.http.as_ref();
        Ok(Self {
            name: config.name.to_ascii_lowercase(),
            port: config.port,
            http: http.map(|http| HttpService::new(&upstream, http)),
            upstream,
            idle_timeout: config.idle_timeout,
            max_stream_age: config.max_stream_age,
            config: config.clone(),
        })
    }

    /// What its requests are sent to it for, by clients who cannot name it: its first name for agentless clients, or its
    /// own.
    pub(crate) fn host(&self) -> Authority {
        let name = self.config.sni.first().unwrap_or(&self.name);
        let host = name.parse();
        host.expect("the configuration holds DNS names, which are authorities")
    }

    /// Whether an agentless client has to show a certificate.
    pub(crate) fn requires_client_certificate(&self) -> bool {
        self.config.require_client_certificate
    }

    /// What an operator is shown.
    pub(crate) fn view(&self) -> operator::Service {
        operator::Service {
            name: self.name.clone(),
            port: self.port,
            upstream: joined(self.config.upstreams.iter()),
            last_hop: match (&self.config.tls, self.config.off_loopback().next()) {
                (Some(_), _) => LastHop::Tls,
                (None, None) => LastHop::Loopback,
                (None, Some(_)) => LastHop::Plaintext,
            },
            proxy_protocol: self.config.proxy_protocol,
            sni: self.config.sni.clone(),
            streams: 0,
            upstreams: self.upstream.view(),
        }
    }
}

fn joined(all: impl Iterator<Item = impl ToString>) -> String {
    all.map(|one| one.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}
