//! The certificates for agentless clients: from files, which are read again when they change, and from an ACME server.

mod files;
mod issued;
mod warnings;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_channel::server::ClassicalCertificate;
use jiff::Timestamp;

use self::files::CertificateFiles;
use self::warnings::Warnings;
use super::Gateway;
use super::error::GatewayError;
use crate::acme::{Acme, Wanted};
use crate::audit::Event;
use crate::config::{GatewayConfig, ListenerConfig};
use crate::operator;

pub(super) use self::issued::follow as follow_issued;

/// Every certificate that a configuration names, by its listeners in their order.
pub(crate) struct Certificates {
    listeners: Vec<ListenerConfig>,
    names: IssuedNames,
    files: Mutex<Vec<Vec<CertificateFiles>>>,
    /// What the last look at the files gave: whoever asks does not wait for a file on a network.
    seen: ArcSwap<Vec<Seen>>,
}

/// The certificates that one listener has from files.
struct Seen {
    certificates: Vec<ClassicalCertificate>,
    view: Vec<operator::Certificate>,
}

/// The names for which an ACME server is asked.
enum IssuedNames {
    /// These, on every listener that can show them.
    Listed(Vec<String>),
    /// Those of the services, where a listener has no certificate for them.
    OfServices(Vec<String>),
}

impl Certificates {
    /// Reads them all.
    ///
    /// # Errors
    ///
    /// One cannot be read, or its listener's profile does not allow it.
    pub(super) fn read(config: &GatewayConfig) -> Result<Self, GatewayError> {
        let of_listener = |listener: &ListenerConfig| {
            let files = listener.classical_certificates.iter();
            let read = files.map(|files| CertificateFiles::read(listener, files));
            read.collect::<Result<Vec<_>, _>>()
        };
        let files = config.listeners.iter().map(of_listener);
        let files = files.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            listeners: config.listeners.clone(),
            names: IssuedNames::of(config),
            seen: ArcSwap::from_pointee(files.iter().map(|files| Seen::of(files)).collect()),
            files: Mutex::new(files),
        })
    }

    /// The certificates of each listener: those of its files, and those that were issued.
    pub(super) fn in_use(&self, acme: Option<&Acme>) -> Vec<Vec<ClassicalCertificate>> {
        let seen = self.seen.load();
        let of_listener = |(listener, seen): (&ListenerConfig, &Seen)| {
            let profile = listener.rules.profile();
            let names = self.issued_names(listener, seen);
            let issued = |name| acme?.certificate(name, profile);
            let issued = names.into_iter().filter_map(issued);
            seen.certificates.iter().cloned().chain(issued).collect()
        };
        self.listeners
            .iter()
            .zip(seen.iter())
            .map(of_listener)
            .collect()
    }

    /// What an operator is shown.
    pub(super) fn view(&self, acme: &Acme) -> Vec<operator::Certificate> {
        let seen = self.seen.load();
        let of_listener = |(listener, seen): (&ListenerConfig, &Seen)| {
            let names = self.issued_names(listener, seen);
            let issued = names
                .into_iter()
                .map(|name| issued::view(listener, name, acme));
            seen.view.iter().cloned().chain(issued).collect::<Vec<_>>()
        };
        let listeners = self.listeners.iter().zip(seen.iter());
        listeners.flat_map(of_listener).collect()
    }

    /// The names for which an ACME server is asked, and the profiles of the listeners that want them.
    pub(super) fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::new();
        for (listener, seen) in self.listeners.iter().zip(self.seen.load().iter()) {
            for name in self.issued_names(listener, seen) {
                let profiles = wanted.entry(name.to_owned()).or_default();
                profiles.push(listener.rules.profile());
            }
        }
        wanted
    }

    fn issued_names(&self, listener: &ListenerConfig, seen: &Seen) -> BTreeSet<&str> {
        let covered = |name: &str| seen.certificates.iter().any(|one| one.is_for(name));
        let names: &mut dyn Iterator<Item = &String> = match &self.names {
            _ if !listener.may_show_classical() => &mut std::iter::empty(),
            IssuedNames::Listed(names) => &mut names.iter(),
            IssuedNames::OfServices(names) => &mut names.iter().filter(|name| !covered(name)),
        };
        names.map(String::as_str).collect()
    }

    /// Looks at all files, and gives what is to be told.
    fn look(&self, now: Timestamp) -> Vec<Event> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let looked = files.iter_mut().flatten();
        let events = looked.filter_map(|files| files.look(now)).collect();
        let seen = files.iter().map(|files| Seen::of(files)).collect();
        self.seen.store(Arc::new(seen));
        events
    }
}

impl Seen {
    fn of(files: &[CertificateFiles]) -> Self {
        Self {
            certificates: files.iter().map(|one| one.current().clone()).collect(),
            view: files.iter().map(CertificateFiles::view).collect(),
        }
    }
}

impl IssuedNames {
    fn of(config: &GatewayConfig) -> Self {
        let of_services = || {
            config
                .services
                .iter()
                .flat_map(|service| service.sni.clone())
        };
        match &config.acme {
            None => Self::Listed(Vec::new()),
            Some(acme) => match &acme.names {
                Some(names) => Self::Listed(names.clone()),
                None => Self::OfServices(of_services().collect()),
            },
        }
    }
}

impl Gateway {
    /// Shows the operator which certificates are in use, and what is wrong with others.
    pub(super) fn show_certificates(&self) {
        let view = self.running().certificates.view(&self.custody.acme);
        self.shown.store(Arc::new(view));
    }

    /// Puts the certificates in use on the listeners. A reload that came between has put its own there.
    async fn certify(&self, certificates: &Arc<Certificates>) {
        let _one_at_a_time = self.changing.lock().await;
        if !Arc::ptr_eq(&self.running().certificates, certificates) {
            return;
        }
        let in_use = certificates.in_use(Some(&self.custody.acme));
        for (acceptor, in_use) in self.acceptors.iter().zip(in_use) {
            if let Err(error) = acceptor.certify(in_use) {
                tracing::error!(%error, listener = acceptor.name(), "a listener keeps its certificates");
            }
        }
        self.show_certificates();
    }
}

/// Takes certificates from their files as these change, and tells of those that end soon.
pub(super) async fn follow(gateway: &Gateway) {
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    let mut warnings = Warnings::default();
    loop {
        looks.tick().await;
        let certificates = Arc::clone(&gateway.running().certificates);
        let looked = Arc::clone(&certificates);
        // A file may be on a network: it holds up nothing but this.
        let look = tokio::task::spawn_blocking(move || looked.look(Timestamp::now()));
        let taken = look.await.unwrap_or_default();
        if !taken.is_empty() {
            gateway.certify(&certificates).await;
        }
        for event in taken {
            gateway.custody.audit.record(event);
        }
        gateway.show_certificates();
        warnings.tell(&gateway.shown.load(), Timestamp::now());
    }
}

const LOOK_AGAIN: Duration = match cfg!(test) {
    true => Duration::from_millis(20),
    false => Duration::from_secs(1),
};
