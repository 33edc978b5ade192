//! Verification of the other end inside the handshake: an agent by the gateway, a gateway by the agent.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};

use crate::identity::{Expectation, Role, TrustBundle};
use crate::profile::Profile;
use crate::provider::agent_algorithms;
use crate::record::CertificateFlaw;

/// Lets in agents of the bundle's trust domain, and clients without a certificate: one that enrols has none yet.
pub(crate) struct AgentVerifier(Verifier);

/// Accepts gateways of the bundle's trust domain only.
pub(crate) struct GatewayVerifier(Verifier);

/// Accepts any certificate whose key signs the handshake. What is sent over such a connection anyone may read.
pub(crate) struct UnverifiedGateway(WebPkiSupportedAlgorithms);

struct Verifier {
    bundle: Arc<TrustBundle>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl AgentVerifier {
    pub(crate) fn new(profile: Profile, bundle: Arc<TrustBundle>) -> Self {
        Self(Verifier::new(profile, bundle))
    }
}

impl GatewayVerifier {
    pub(crate) fn new(profile: Profile, bundle: Arc<TrustBundle>) -> Self {
        Self(Verifier::new(profile, bundle))
    }
}

impl UnverifiedGateway {
    pub(crate) const fn new(profile: Profile) -> Self {
        Self(agent_algorithms(profile))
    }
}

impl Verifier {
    fn new(profile: Profile, bundle: Arc<TrustBundle>) -> Self {
        let algorithms = agent_algorithms(profile);
        Self { bundle, algorithms }
    }

    fn verify(
        &self,
        role: Role,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let expectation = Expectation {
            anchors: self.bundle.webpki_anchors(),
            trust_domain: self.bundle.trust_domain(),
            role,
            algorithms: self.algorithms.all,
        };
        expectation
            .verify(leaf, intermediates, now)
            .map(|_| ())
            .map_err(|flaw| Error::InvalidCertificate(certificate_error(flaw)))
    }
}

impl ClientCertVerifier for AgentVerifier {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0.verify(Role::Agent, leaf, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for GatewayVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify(Role::Gateway, leaf, intermediates, now)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for UnverifiedGateway {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({})", self.bundle.trust_domain())
    }
}

impl fmt::Debug for AgentVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgentVerifier({:?})", self.0)
    }
}

impl fmt::Debug for GatewayVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatewayVerifier({:?})", self.0)
    }
}

impl fmt::Debug for UnverifiedGateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnverifiedGateway")
    }
}

/// What was wrong with the certificate, read back from what rustls made of it.
pub(crate) fn flaw(error: &CertificateError) -> CertificateFlaw {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            CertificateFlaw::Expired
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            CertificateFlaw::NotYetValid
        }
        CertificateError::UnknownIssuer => CertificateFlaw::UnknownIssuer,
        CertificateError::BadSignature => CertificateFlaw::BadSignature,
        CertificateError::Revoked => CertificateFlaw::Revoked,
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            CertificateFlaw::AlgorithmNotAllowed
        }
        CertificateError::Other(OtherError(flaw)) => flaw
            .downcast_ref()
            .copied()
            .unwrap_or(CertificateFlaw::Malformed),
        _ => CertificateFlaw::Malformed,
    }
}

/// rustls picks the alert by its own variants; what has none of its own becomes certificate_unknown.
pub(crate) fn certificate_error(flaw: CertificateFlaw) -> CertificateError {
    match flaw {
        CertificateFlaw::Expired => CertificateError::Expired,
        CertificateFlaw::NotYetValid => CertificateError::NotValidYet,
        CertificateFlaw::UnknownIssuer => CertificateError::UnknownIssuer,
        CertificateFlaw::BadSignature => CertificateError::BadSignature,
        CertificateFlaw::Revoked => CertificateError::Revoked,
        CertificateFlaw::Malformed => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    }
}

/// TLS 1.2 is not compiled in, so rustls never asks.
pub(crate) fn tls12() -> Error {
    Error::General("TLS 1.2 is not spoken here".to_owned())
}
