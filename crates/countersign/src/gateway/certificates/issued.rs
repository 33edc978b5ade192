//! Certificates from an ACME server, got and renewed in time.

use jiff::Timestamp;

use super::LOOK_AGAIN;
use crate::acme::{Acme, Wanted};
use crate::audit::Event;
use crate::config::{AcmeConfig, ListenerConfig};
use crate::gateway::Gateway;
use crate::operator;

/// Gets what is due, one name after the other, until the gateway stops.
pub(in crate::gateway) async fn follow(gateway: &Gateway) {
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    loop {
        looks.tick().await;
        let running = gateway.running();
        let Some(config) = &running.config.acme else {
            continue;
        };
        let wanted = running.certificates.wanted();
        match gateway.custody.acme.due(&wanted, Timestamp::now()) {
            Some(name) if obtain(gateway, config, &name, &wanted).await => {
                gateway.certify(&running.certificates).await;
            }
            Some(_) => {}
            None => gateway.custody.acme.ask(config, &wanted).await,
        }
    }
}

/// Tries to get a certificate, and says in log and audit what came of it.
async fn obtain(gateway: &Gateway, config: &AcmeConfig, name: &str, wanted: &Wanted) -> bool {
    let acme = &gateway.custody.acme;
    let profiles = wanted.get(name).map_or(&[][..], Vec::as_slice);
    let outcome = acme.obtain(config, name, profiles).await;
    match &outcome {
        Ok(certificate) => {
            let until = certificate.not_after();
            tracing::info!(name, %until, "a certificate for agentless clients was issued");
            gateway
                .custody
                .audit
                .record(Event::ServerCertificateIssued {
                    name: name.to_owned(),
                    directory: config.directory.clone(),
                    key: certificate.key_hash(),
                    expires_at: until,
                });
        }
        Err(problem) => {
            let again = acme.course(name).next.map(|next| next.to_string());
            tracing::error!(
                name,
                reason = problem.what,
                hint = problem.hint,
                again,
                "no certificate for agentless clients was issued"
            );
        }
    }
    outcome.is_ok()
}

/// What an operator is shown of a name.
pub(super) fn view(listener: &ListenerConfig, name: &str, acme: &Acme) -> operator::Certificate {
    let course = acme.course(name);
    let certificate = acme.certificate(name, listener.rules.profile());
    operator::Certificate {
        listener: listener.name.clone(),
        names: vec![name.to_owned()],
        source: operator::CertificateSource::Acme,
        file: None,
        not_before: certificate.as_ref().map(|one| one.not_before()),
        not_after: certificate.as_ref().map(|one| one.not_after()),
        renewal: course.next,
        problem: course
            .problem
            .as_ref()
            .map(operator::CertificateProblem::of),
    }
}
