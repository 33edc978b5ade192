//! Certificates for agentless clients, as people see them.

use super::{Show, moment};
use crate::commands::table::Table;
use crate::operator::{CertificateProblem, CertificateRenewal, CertificateSource, Certificates};
use crate::report::printable;

impl Show for Certificates {
    fn result(&self) -> String {
        let mut table = Table::new(&["LISTENER", "NAMES", "FROM", "UNTIL", "RENEWAL", "PROBLEM"]);
        for certificate in &self.certificates {
            let from = match (certificate.source, &certificate.file) {
                (CertificateSource::Files, Some(file)) => file.display().to_string(),
                (CertificateSource::Files, None) => "files".to_owned(),
                (CertificateSource::Acme, _) => "ACME".to_owned(),
            };
            table.row([
                certificate.listener.clone(),
                certificate.names.join(", "),
                from,
                certificate.not_after.map(moment).unwrap_or_default(),
                certificate.renewal.map(moment).unwrap_or_default(),
                certificate
                    .problem
                    .as_ref()
                    .map(trouble)
                    .unwrap_or_default(),
            ]);
        }
        table.or("no listener has a certificate for agentless clients: docs/certificates.md")
    }
}

impl Show for CertificateRenewal {
    fn result(&self) -> String {
        let name = printable(&self.name);
        format!(
            "a new certificate for `{name}` is asked for: `countersign certificates list` shows what comes of it\n"
        )
    }
}

fn trouble(problem: &CertificateProblem) -> String {
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})"));
    let (since, hint) = (moment(problem.since), hint.unwrap_or_default());
    format!("since {since}: {}{hint}", problem.detail)
}
