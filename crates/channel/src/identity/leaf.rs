//! Leaf certificates: X.509-SVIDs, read and then verified to an anchor.

use std::fmt;

use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::time::Time;

use super::{PublicKey, SpiffeId, TrustDomain};
use crate::record::CertificateFlaw;

/// What stands in a leaf certificate. It is proof of nothing until it was verified to an anchor.
#[derive(Clone, PartialEq, Eq)]
pub struct Leaf {
    id: SpiffeId,
    public_key: PublicKey,
    serial: String,
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Which end of a channel a leaf speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Agent,
    Gateway,
}

/// What a leaf is verified against.
pub(crate) struct Expectation<'a> {
    pub(crate) anchors: &'a [TrustAnchor<'static>],
    pub(crate) trust_domain: &'a TrustDomain,
    pub(crate) role: Role,
    pub(crate) algorithms: &'a [&'a dyn SignatureVerificationAlgorithm],
}

impl Leaf {
    /// Reads a leaf certificate without checking who issued it, or whether it is valid now.
    ///
    /// # Errors
    ///
    /// It is malformed, its key is of another algorithm, or it does not hold exactly one SPIFFE ID.
    pub fn unverified(der: &[u8]) -> Result<Self, CertificateFlaw> {
        let certificate = Certificate::from_der(der).map_err(|_| CertificateFlaw::Malformed)?;
        let certificate = certificate.tbs_certificate();
        let public_key = PublicKey::from_spki(certificate.subject_public_key_info())
            .map_err(|_| CertificateFlaw::AlgorithmNotAllowed)?;
        let (_, names) = certificate
            .get_extension::<SubjectAltName>()
            .map_err(|_| CertificateFlaw::Malformed)?
            .ok_or(CertificateFlaw::NotOneSpiffeId)?;
        Ok(Self {
            id: only_spiffe_id(&names)?,
            public_key,
            serial: hexadecimal(certificate.serial_number().as_bytes()),
            not_before: timestamp(certificate.validity().not_before)?,
            not_after: timestamp(certificate.validity().not_after)?,
        })
    }

    /// The SPIFFE ID it was issued for.
    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// The key it was issued for.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Its serial number in hexadecimal, as tools print it.
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// When it begins.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} until {}", self.id, self.not_after)
    }
}

impl Expectation<'_> {
    /// Verifies a leaf: its path to an anchor at this time (RFC 5280 section 6), its use, and who it speaks for
    /// (X509-SVID section 5). That its key is the peer's is for the handshake to show.
    pub(crate) fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<Leaf, CertificateFlaw> {
        let certificate = EndEntityCert::try_from(leaf).map_err(webpki_flaw)?;
        let usage = match self.role {
            Role::Agent => KeyUsage::client_auth(),
            Role::Gateway => KeyUsage::server_auth(),
        };
        certificate
            .verify_for_usage(
                self.algorithms,
                self.anchors,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map_err(webpki_flaw)?;
        let leaf = Leaf::unverified(leaf)?;
        self.check_name(&leaf.id)?;
        Ok(leaf)
    }

    fn check_name(&self, id: &SpiffeId) -> Result<(), CertificateFlaw> {
        if id.trust_domain() != self.trust_domain {
            return Err(CertificateFlaw::WrongTrustDomain);
        }
        let name = match self.role {
            Role::Agent => id.agent_name(),
            Role::Gateway => id.gateway_name(),
        };
        name.map(|_| ()).ok_or(CertificateFlaw::WrongKind)
    }
}

/// Bytes as tools print serial numbers.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// X509-SVID section 2: exactly one URI. Other kinds of names may stand beside it.
fn only_spiffe_id(names: &SubjectAltName) -> Result<SpiffeId, CertificateFlaw> {
    let mut uris = names.0.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.as_str()),
        _ => None,
    });
    match (uris.next(), uris.next()) {
        (Some(uri), None) => SpiffeId::parse(uri).map_err(|_| CertificateFlaw::NotOneSpiffeId),
        _ => Err(CertificateFlaw::NotOneSpiffeId),
    }
}

/// A certificate's time.
pub(crate) fn timestamp(time: Time) -> Result<Timestamp, CertificateFlaw> {
    i64::try_from(time.to_unix_duration().as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or(CertificateFlaw::Malformed)
}

/// What is wrong with a certificate, in our words.
pub(crate) fn webpki_flaw(error: webpki::Error) -> CertificateFlaw {
    use webpki::Error;
    match error {
        Error::CertExpired { .. } | Error::InvalidCertValidity => CertificateFlaw::Expired,
        Error::CertNotValidYet { .. } => CertificateFlaw::NotYetValid,
        Error::UnknownIssuer => CertificateFlaw::UnknownIssuer,
        Error::InvalidSignatureForPublicKey => CertificateFlaw::BadSignature,
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            CertificateFlaw::AlgorithmNotAllowed
        }
        Error::CertRevoked => CertificateFlaw::Revoked,
        Error::UnknownRevocationStatus | Error::CrlExpired { .. } => {
            CertificateFlaw::RevocationUnknown
        }
        Error::RequiredEkuNotFoundContext(_) | Error::CaUsedAsEndEntity => {
            CertificateFlaw::WrongUse
        }
        _ => CertificateFlaw::Malformed,
    }
}
