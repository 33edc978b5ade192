//! Why a handshake failed, read from what rustls says about it.

use std::io;

use rustls::{AlertDescription, Error, PeerIncompatible};

use crate::record::{Offer, Refusal};
use crate::verifier::flaw;

/// The reason in an I/O error of tokio-rustls, which holds rustls's own error where there is one.
pub(super) fn of_io(error: &io::Error, offer: &Offer, under_exception: bool) -> Refusal {
    let tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    match tls.map(of) {
        None => Refusal::ConnectionLost,
        Some(Refusal::NoCommonGroup) if !under_exception && is_classical(offer) => {
            Refusal::ClassicalKeyExchange
        }
        Some(refusal) => refusal,
    }
}

/// The reason in an error of rustls.
pub(super) fn of(error: &Error) -> Refusal {
    match error {
        Error::PeerIncompatible(reason) => incompatible(reason),
        Error::NoCertificatesPresented => Refusal::CertificateRequired,
        Error::InvalidCertificate(error) => Refusal::CertificateInvalid(flaw(error)),
        Error::AlertReceived(alert) => Refusal::ClientAlert(alert_name(*alert)),
        other => Refusal::Protocol(other.to_string()),
    }
}

/// An alert's name as RFC 8446 section 6 spells it.
pub(crate) fn alert_name(alert: AlertDescription) -> String {
    let mut name = String::new();
    let mut after_small = false;
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && after_small {
            name.push('_');
        }
        after_small = letter.is_ascii_lowercase();
        name.push(letter.to_ascii_lowercase());
    }
    name
}

fn incompatible(reason: &PeerIncompatible) -> Refusal {
    match reason {
        PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
            Refusal::NoCommonGroup
        }
        PeerIncompatible::NoCipherSuitesInCommon => Refusal::NoCommonSuite,
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            Refusal::NoCommonSignatureScheme
        }
        // What TLS 1.3 makes obligatory, a client without it does not speak.
        PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled
        | PeerIncompatible::Tls13RequiredForQuic
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::SignatureAlgorithmsExtensionRequired => Refusal::TlsVersion,
        other => Refusal::Protocol(Error::PeerIncompatible(other.clone()).to_string()),
    }
}

/// Whether all groups that the client offers are classical, as far as they are known.
fn is_classical(offer: &Offer) -> bool {
    !offer.groups.iter().any(|group| group.is_post_quantum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_has_the_name_of_the_rfc() {
        assert_eq!(
            alert_name(AlertDescription::HandshakeFailure),
            "handshake_failure"
        );
        assert_eq!(alert_name(AlertDescription::UnknownCA), "unknown_ca");
    }
}
