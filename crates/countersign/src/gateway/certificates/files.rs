//! A certificate and its key in files.

use countersign_channel::server::ClassicalCertificate;
use jiff::Timestamp;

use crate::audit::Event;
use crate::config::{ClassicalCertificateConfig, ListenerConfig};
use crate::from_files::{FromFiles, Look, Problem};
use crate::gateway::error::GatewayError;
use crate::gateway::listener::refused;
use crate::operator;
use crate::private_file;

/// A certificate that a listener has from files.
pub(super) struct CertificateFiles {
    listener: ListenerConfig,
    config: ClassicalCertificateConfig,
    certificate: FromFiles<ClassicalCertificate>,
}

impl CertificateFiles {
    /// Reads them for the first time.
    ///
    /// # Errors
    ///
    /// They cannot be read, or the listener's profile does not allow the certificate.
    pub(super) fn read(
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
    pub(super) fn look(&mut self, now: Timestamp) -> Option<Event> {
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
                    file: config.certificate.clone(),
                })
            }
        }
    }

    /// What is in use.
    pub(super) const fn current(&self) -> &ClassicalCertificate {
        self.certificate.current()
    }

    /// What an operator is shown.
    pub(super) fn view(&self) -> operator::Certificate {
        let certificate = self.certificate.current();
        let problem = self.certificate.problem();
        operator::Certificate {
            listener: self.listener.name.clone(),
            names: certificate.names().to_vec(),
            source: operator::CertificateSource::Files,
            file: Some(self.config.certificate.clone()),
            not_before: Some(certificate.not_before()),
            not_after: Some(certificate.not_after()),
            renewal: None,
            problem: problem.map(operator::CertificateProblem::of),
        }
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
