//! What failed in TLS, in words for the people who run it: a library's own are made for its users.

use std::io;

use rustls::{CertificateError, Error};

use crate::server::refusal::alert_name;

/// Says why a connection failed: in plain words where TLS did, in the system's where it did.
#[must_use]
pub fn in_words(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match tls {
        Some(tls) => of_tls(tls),
        None if is_truncated(error) => "it was closed without the end that TLS asks for".to_owned(),
        None => error.to_string(),
    }
}

/// The same failure, which speaks in our words.
pub(crate) fn reworded(error: io::Error) -> io::Error {
    let is_tls = error.get_ref().is_some_and(|inner| inner.is::<Error>());
    if is_tls || is_truncated(&error) {
        return io::Error::new(error.kind(), in_words(&error));
    }
    error
}

fn of_tls(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => {
            return format!(
                "the other end refused it with the alert `{}`",
                alert_name(*alert)
            );
        }
        Error::InvalidCertificate(error) => return certificate(error).to_owned(),
        Error::InvalidMessage(_)
        | Error::InappropriateMessage { .. }
        | Error::InappropriateHandshakeMessage { .. } => {
            "the other end does not speak TLS as it should"
        }
        Error::PeerIncompatible(_) => {
            "the other end does not speak TLS 1.3 with the algorithms asked for"
        }
        Error::PeerMisbehaved(_) => "the other end breaks the rules of TLS",
        Error::NoCertificatesPresented => "the other end showed no certificate",
        Error::DecryptError => "what arrived does not decrypt",
        _ => "TLS failed",
    }
    .to_owned()
}

fn certificate(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate has expired"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate is not valid yet"
        }
        CertificateError::UnknownIssuer => "no authority that is trusted issued the certificate",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the certificate is for another name"
        }
        CertificateError::BadSignature => "a signature does not verify",
        CertificateError::Revoked => "the certificate was revoked",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not meant for this use"
        }
        CertificateError::Other(other)
            if matches!(
                other.0.downcast_ref(),
                Some(webpki::Error::CaUsedAsEndEntity)
            ) =>
        {
            "the certificate is an authority's, not a server's"
        }
        _ => "the certificate cannot be used",
    }
}

/// rustls reports a missing close_notify as an error without a type of its own.
fn is_truncated(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof && error.to_string().contains("close_notify")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{AlertDescription, OtherError};

    use super::*;

    fn check(error: Error, expected: &str) {
        let error = io::Error::new(io::ErrorKind::InvalidData, error);
        assert_eq!(in_words(&error), expected);
        assert_eq!(reworded(error).to_string(), expected);
    }

    #[test]
    fn an_authoritys_certificate_is_named_as_one() {
        let other = OtherError(Arc::new(webpki::Error::CaUsedAsEndEntity));
        check(
            Error::InvalidCertificate(CertificateError::Other(other)),
            "the certificate is an authority's, not a server's",
        );
    }

    #[test]
    fn an_alert_has_its_name() {
        check(
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            "the other end refused it with the alert `handshake_failure`",
        );
    }

    #[test]
    fn a_missing_close_notify_is_told_without_an_address() {
        let text =
            "peer closed connection without sending TLS close_notify: https://docs.rs/rustls";
        let error = io::Error::new(io::ErrorKind::UnexpectedEof, text);
        let error = reworded(error);
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(
            error.to_string(),
            "it was closed without the end that TLS asks for"
        );
    }

    #[test]
    fn what_the_system_says_stays() {
        let error = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(in_words(&error), error.to_string());
    }
}
