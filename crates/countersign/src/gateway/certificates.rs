//! The certificates for agentless clients: read from files, read again when the files change, and shown to the operator.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_channel::server::ClassicalCertificate;
use jiff::{SignedDuration, Timestamp};

use super::Gateway;
use super::error::GatewayError;
use super::listener::refused;
use crate::audit::Event;
use crate::config::{ClassicalCertificateConfig, GatewayConfig, ListenerConfig};
use crate::from_files::{FromFiles, Look, Problem};
use crate::operator;
use crate::private_file;

/// Every certificate that a configuration names, by its listeners in their order.
pub(crate) struct Certificates {
    listeners: Mutex<Vec<Vec<CertificateFiles>>>,
}

/// A certificate that a listener has from files.
struct CertificateFiles {
    listener: ListenerConfig,
    config: ClassicalCertificateConfig,
    certificate: FromFiles<ClassicalCertificate>,
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
            files
                .map(|files| CertificateFiles::read(listener, files))
                .collect()
        };
        let listeners = config.listeners.iter().map(of_listener);
        Ok(Self {
            listeners: Mutex::new(listeners.collect::<Result<_, _>>()?),
        })
    }

    /// The certificates of each listener, as they are in use.
    pub(super) fn in_use(&self) -> Vec<Vec<ClassicalCertificate>> {
        let current = |one: &CertificateFiles| one.certificate.current().clone();
        let of_listener = |files: &Vec<CertificateFiles>| files.iter().map(current).collect();
        self.listeners().iter().map(of_listener).collect()
    }

    /// What an operator is shown.
    pub(super) fn view(&self) -> Vec<operator::Certificate> {
        let listeners = self.listeners();
        let files = listeners.iter().flatten();
        files.map(CertificateFiles::view).collect()
    }

    /// Looks at all files, and gives what is to be told.
    fn look(&self, now: Timestamp) -> Vec<Event> {
        let mut listeners = self.listeners();
        let files = listeners.iter_mut().flatten();
        files.filter_map(|files| files.look(now)).collect()
    }

    fn listeners(&self) -> MutexGuard<'_, Vec<Vec<CertificateFiles>>> {
        let locked = self.listeners.lock();
        locked.unwrap_or_else(PoisonError::into_inner)
    }
}

impl CertificateFiles {
    fn read(
        listener: &ListenerConfig,
        config: &ClassicalCertificateConfig,
    ) -> Result<Self, GatewayError> {
        let files = vec![config.certificate.clone(), config.key.clone()];
        Ok(Self {
            certificate: FromFiles::read(files, || certificate(listener, config))?,
            listener: listener.clone(),
            config: config.clone(),
        })
    }

    /// Looks at the files, and says in the log what came of it. Gives the event that a new certificate is.
    fn look(&mut self, now: Timestamp) -> Option<Event> {
        let (listener, config) = (&self.listener, &self.config);
        let look = self.certificate.look(now, || certificate(listener, config));
        let (listener, file) = (&listener.name, config.certificate.display());
        let taken = self.certificate.current();
        match look {
            Look::Same => None,
            Look::Refused(Problem { what, hint, .. }) => {
                tracing::error!(listener, %file, reason = what, hint, "a certificate for agentless clients was not taken; the one before stays in use");
                None
            }
            Look::Taken { well_again } => {
                let (names, until) = (taken.names().join(", "), taken.not_after());
                tracing::info!(listener, %file, names, %until, well_again, "a certificate for agentless clients was taken");
                Some(Event::ServerCertificateTaken {
                    listener: listener.clone(),
                    names: taken.names().to_vec(),
                    key: taken.key_hash(),
                    expires_at: taken.not_after(),
                    source: "files".to_owned(),
                })
            }
        }
    }

    fn view(&self) -> operator::Certificate {
        let certificate = self.certificate.current();
        let problem = self.certificate.problem();
        operator::Certificate {
            listener: self.listener.name.clone(),
            names: certificate.names().to_vec(),
            source: operator::CertificateSource::Files,
            file: Some(self.config.certificate.clone()),
            not_before: Some(certificate.not_before()),
            not_after: Some(certificate.not_after()),
            problem: problem.map(operator::CertificateProblem::of),
        }
    }
}

impl Gateway {
    /// Shows the operator which certificates are in use, and what is wrong with others.
    pub(super) fn show_certificates(&self) {
        self.shown
            .store(Arc::new(self.running().certificates.view()));
    }

    /// Puts the certificates in use on the listeners. A reload that came between has put its own there.
    async fn certify(&self, certificates: &Arc<Certificates>) {
        let _one_at_a_time = self.changing.lock().await;
        if !Arc::ptr_eq(&self.running().certificates, certificates) {
            return;
        }
        for (acceptor, in_use) in self.acceptors.iter().zip(certificates.in_use()) {
            if let Err(error) = acceptor.certify(in_use) {
                tracing::error!(%error, listener = acceptor.name(), "a listener keeps its certificates");
            }
        }
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

/// What was said of certificates that end: each is warned of once, and once more when it has ended.
#[derive(Default)]
struct Warnings {
    told: BTreeSet<(String, Timestamp, Ending)>,
}

/// How near a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Soon,
    Over,
}

impl Warnings {
    fn tell(&mut self, certificates: &[operator::Certificate], now: Timestamp) {
        let mut stand = BTreeSet::new();
        for certificate in certificates {
            let Some((until, ending)) = ending(certificate, now) else {
                continue;
            };
            let listener = certificate.listener.as_str();
            let names = certificate.names.join(", ");
            let warning = (format!("{listener} {names}"), until, ending);
            match ending {
                _ if self.told.contains(&warning) => {}
                Ending::Soon => {
                    tracing::warn!(listener, names, %until, "a certificate for agentless clients ends soon");
                }
                Ending::Over => {
                    tracing::error!(listener, names, %until, "a certificate for agentless clients has ended; clients refuse it");
                }
            }
            stand.insert(warning);
        }
        self.told = stand;
    }
}

/// The end of a certificate, if it is near: within 14 days, or a quarter of its lifetime when that is shorter.
fn ending(certificate: &operator::Certificate, now: Timestamp) -> Option<(Timestamp, Ending)> {
    let (begin, until) = certificate.not_before.zip(certificate.not_after)?;
    let left = until.duration_since(now);
    let near = (until.duration_since(begin) / 4).min(NEAR);
    match left {
        left if !left.is_positive() => Some((until, Ending::Over)),
        left if left < near => Some((until, Ending::Soon)),
        _ => None,
    }
}

/// Reads a certificate and its key.
fn certificate(
    listener: &ListenerConfig,
    files: &ClassicalCertificateConfig,
) -> Result<ClassicalCertificate, GatewayError> {
    let failed = |detail| GatewayError::Listener {
        listener: listener.name.clone(),
        detail,
    };
    let file = files.certificate.display();
    let chain = std::fs::read_to_string(&files.certificate)
        .map_err(|error| failed(format!("cannot read `{file}`: {error}")))?;
    let key =
        private_file::read(&files.key).map_err(|source| GatewayError::ClassicalCertificateKey {
            listener: listener.name.clone(),
            source,
        })?;
    let key = std::str::from_utf8(&key)
        .map_err(|_| failed(format!("`{}` is not PEM", files.key.display())))?;
    let certificate = ClassicalCertificate::from_pem(&chain, key)
        .map_err(|error| failed(format!("`{file}`: {error}")))?;
    let profile = listener.rules.profile();
    let allowed = certificate.check_allowed(profile);
    allowed.map_err(|error| refused(listener, &error))?;
    Ok(certificate)
}

const LOOK_AGAIN: Duration = match cfg!(test) {
    true => Duration::from_millis(20),
    false => Duration::from_secs(1),
};

/// Long enough for a person to be back from a holiday.
const NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lifetime_days: i64, left_hours: i64, expected: Option<Ending>) {
        let until: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        let certificate = operator::Certificate {
            listener: "main".to_owned(),
            names: vec!["web.test".to_owned()],
            source: operator::CertificateSource::Files,
            file: None,
            not_before: Some(until - days(lifetime_days)),
            not_after: Some(until),
            problem: None,
        };
        let now = until - SignedDuration::from_hours(left_hours);
        let found = ending(&certificate, now).map(|(_, ending)| ending);
        assert_eq!(found, expected, "{lifetime_days} days, {left_hours} h left");
    }

    #[test]
    fn an_end_is_near_within_two_weeks_or_a_quarter_of_a_short_life() {
        check(365, 15 * 24, None);
        check(365, 13 * 24, Some(Ending::Soon));
        check(6, 2 * 24, None);
        check(6, 24, Some(Ending::Soon));
        check(90, 0, Some(Ending::Over));
        check(90, -24, Some(Ending::Over));
    }
}
