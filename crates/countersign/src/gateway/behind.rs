//! What the configuration has in files beside the certificates that are shown: the authorities of clients with what they
//! revoked, and what TLS to services is made of. They are read again when they change, all of them or none.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Gateway;
use super::client_rules::ClientRules;
use super::error::GatewayError;
use super::listener;
use super::running::Running;
use super::services::Services;
use crate::audit::Event;
use crate::config::GatewayConfig;
use crate::from_files::{FromFiles, Look, Problem};
use crate::metrics::Metrics;

/// What was made of these files.
#[derive(Clone)]
pub(super) struct Behind {
    pub(super) services: Arc<Services>,
    pub(super) clients: Arc<ClientRules>,
}

/// The files that one configuration names, and what was last made of them.
pub(crate) struct BehindFiles(Mutex<FromFiles<Behind>>);

impl BehindFiles {
    /// Reads them for the first time; what did not change of the services `before` keeps its connections.
    ///
    /// # Errors
    ///
    /// One cannot be read, or does not hold what it should.
    pub(super) fn read(
        config: &GatewayConfig,
        before: Option<&Services>,
        metrics: &Metrics,
    ) -> Result<Self, GatewayError> {
        let read = FromFiles::read(files(config), || Behind::read(config, before, metrics));
        read.map(|files| Self(Mutex::new(files)))
    }

    /// What is made of them now.
    pub(super) fn current(&self) -> Behind {
        self.with(|files| files.current().clone())
    }

    /// Looks at them.
    fn look(&self, running: &Running, metrics: &Metrics) -> Look {
        let make = || Behind::read(&running.config, Some(&running.services), metrics);
        self.with(|files| files.look(Timestamp::now(), make))
    }

    fn with<T>(&self, see: impl FnOnce(&mut FromFiles<Behind>) -> T) -> T {
        see(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Behind {
    fn read(
        config: &GatewayConfig,
        before: Option<&Services>,
        metrics: &Metrics,
    ) -> Result<Self, GatewayError> {
        Ok(Self {
            services: Arc::new(Services::new(&config.services, before, metrics)?),
            clients: Arc::new(ClientRules::read(config)?),
        })
    }
}

fn files(config: &GatewayConfig) -> Vec<PathBuf> {
    let authorities = config.client_authorities.iter();
    let authorities = authorities.flat_map(|authority| {
        let list = authority.revocation_list.clone();
        [authority.certificate.clone()].into_iter().chain(list)
    });
    let services = config.services.iter();
    let services = services.filter_map(|service| service.tls.as_ref());
    let services = services.flat_map(|tls| {
        let identity = tls.identity.iter();
        let identity = identity.flat_map(|own| [own.certificate.clone(), own.key.clone()]);
        [tls.ca.clone()].into_iter().chain(identity)
    });
    authorities.chain(services).collect()
}

impl Gateway {
    /// Puts what was made of files in force, for what is open too. A reload that came between has read them itself.
    ///
    /// # Errors
    ///
    /// A listener cannot take it; what was before stays in force everywhere.
    async fn take_behind(&self, files: &Arc<BehindFiles>) -> Result<(), GatewayError> {
        let _one_at_a_time = self.changing.lock().await;
        let running = self.running();
        if !Arc::ptr_eq(&running.behind, files) {
            return Ok(());
        }
        let next = running.with_what_is_behind();
        let in_use = next.certificates.in_use(Some(&self.custody.acme));
        let listeners = next.config.listeners.iter().zip(in_use);
        let prepare = |(one, certificates)| {
            listener::prepare(&next, one, certificates, &self.custody.authority)
        };
        let prepared = listeners.map(prepare).collect::<Result<Vec<_>, _>>()?;
        next.services.watch();
        self.running.store(Arc::new(next));
        for (acceptor, settings) in self.acceptors.iter().zip(prepared) {
            acceptor.change(settings);
        }
        self.decide_again();
        Ok(())
    }
}

/// Takes what files hold as they change.
pub(super) async fn follow(gateway: &Gateway) {
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    loop {
        looks.tick().await;
        let (running, metrics) = (gateway.running(), gateway.metrics.clone());
        let files = Arc::clone(&running.behind);
        // A file may be on a network: it holds up nothing but this.
        let look = tokio::task::spawn_blocking(move || running.behind.look(&running, &metrics));
        match look.await.unwrap_or(Look::Same) {
            Look::Same => {}
            Look::Refused(Problem { what, hint, .. }) => {
                tracing::error!(
                    reason = what,
                    hint,
                    "a file of a service or of a client authority was not taken; the one before stays in use"
                );
            }
            Look::Taken { well_again } => match gateway.take_behind(&files).await {
                Ok(()) => tell(gateway, well_again),
                Err(error) => tracing::error!(%error, "a listener keeps its client authorities"),
            },
        }
    }
}

fn tell(gateway: &Gateway, well_again: bool) {
    tracing::info!(
        well_again,
        "files of services and client authorities were taken"
    );
    gateway.custody.audit.record(Event::ConfigurationLoaded {
        file: gateway.config_file.clone(),
        weakenings: gateway.running().config.weakenings(),
    });
}

const LOOK_AGAIN: Duration = match cfg!(test) {
    true => Duration::from_millis(20),
    false => Duration::from_secs(1),
};
