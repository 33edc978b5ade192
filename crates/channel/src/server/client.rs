//! Certificates of agentless clients: which authorities a service takes, and whom a certificate of theirs names.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, OwnedCertRevocationList,
    RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy, anchor_from_trusted_cert,
};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::identity::{SpkiHash, hexadecimal, timestamp, webpki_flaw};
use crate::profile::Profile;
use crate::provider::agentless_algorithms;
use crate::record::{CertificateFlaw, Client};
use crate::verifier::{certificate_error, tls12};

/// An authority whose certificates agentless clients may show.
pub struct ClientAuthority {
    name: String,
    anchors: Vec<TrustAnchor<'static>>,
    revoked: Vec<CertRevocationList<'static>>,
}

/// What a service asks of the agentless clients that come by its names.
#[derive(Clone, Debug, Default)]
pub struct ClientCertificates {
    /// The server names that it is asked for under.
    pub names: Vec<String>,
    /// The authorities whose certificates it takes.
    pub authorities: Vec<Arc<ClientAuthority>>,
    /// Whether a client without one is sent away.
    pub required: bool,
}

/// A client's certificate, verified to one of the authorities in a handshake that the certificate's key signed.
///
/// Only the acceptor makes one:
///
/// ```
/// use countersign_channel::server::{Accepted, VerifiedClient};
///
/// fn client<IO>(accepted: &Accepted<IO>) -> Option<&VerifiedClient> {
///     accepted.client.as_ref()
/// }
/// ```
///
/// It cannot be written down, nor made of what the record says:
///
/// ```compile_fail,E0451
/// use countersign_channel::server::VerifiedClient;
///
/// fn forge(record: countersign_channel::record::Client) -> VerifiedClient {
///     VerifiedClient { record, asked: Default::default(), chain: Vec::new() }
/// }
/// ```
///
/// Nor read from data, though its record can:
///
/// ```compile_fail,E0277
/// let forged: countersign_channel::server::VerifiedClient = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone)]
pub struct VerifiedClient {
    asked: Arc<ClientCertificates>,
    record: Client,
    chain: Vec<CertificateDer<'static>>,
}

/// A file of an authority that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientAuthorityError {
    /// It is not PEM, or not of what it should be.
    #[error("it does not hold {what} in PEM: {reason}")]
    Pem {
        /// What should be there.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// There is nothing in it.
    #[error("it holds no {what}")]
    Empty {
        /// What should be there.
        what: &'static str,
    },
}

/// What the TLS library asks of a client's certificate.
pub(super) struct ClientVerifier {
    asked: Arc<ClientCertificates>,
    profile: Profile,
    algorithms: WebPkiSupportedAlgorithms,
    subjects: Vec<DistinguishedName>,
}

impl ClientAuthority {
    /// Reads an authority's certificates from PEM, and the lists of what it revoked where there are some. With a list,
    /// each certificate below the authority has to be covered by one that is in its time.
    ///
    /// # Errors
    ///
    /// A file is not PEM, holds something else, or nothing.
    pub fn from_pem(
        name: &str,
        certificates: &[u8],
        revocation_lists: Option<&[u8]>,
    ) -> Result<Self, ClientAuthorityError> {
        let what = "certificates of an authority";
        let anchor = |der: CertificateDer<'static>| {
            let anchor = anchor_from_trusted_cert(&der);
            anchor
                .map(|anchor| anchor.to_owned())
                .map_err(|error| pem(what, &error))
        };
        let anchors = CertificateDer::pem_slice_iter(certificates)
            .map(|der| anchor(der.map_err(|error| pem(what, &error))?))
            .collect::<Result<Vec<_>, _>>()?;
        if anchors.is_empty() {
            return Err(ClientAuthorityError::Empty { what });
        }
        Ok(Self {
            name: name.to_owned(),
            anchors,
            revoked: revocation_lists.map_or(Ok(Vec::new()), read_lists)?,
        })
    }

    /// Its name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path to one of its anchors at this time (RFC 5280, section 6), for a client.
    fn verify(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        algorithms: &WebPkiSupportedAlgorithms,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let lists: Vec<_> = self.revoked.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let usage = KeyUsage::client_auth();
        let (all, anchors) = (algorithms.all, &self.anchors);
        leaf.verify_for_usage(all, anchors, intermediates, now, usage, revocation, None)
            .map(|_| ())
    }
}

impl ClientCertificates {
    /// Whom a chain, leaf first, names: it must lead to one of the authorities.
    pub(super) fn verify(
        self: &Arc<Self>,
        chain: &[CertificateDer<'_>],
        profile: Profile,
        now: UnixTime,
    ) -> Result<VerifiedClient, CertificateFlaw> {
        let (leaf, intermediates) = chain.split_first().ok_or(CertificateFlaw::Malformed)?;
        let certificate = EndEntityCert::try_from(leaf).map_err(webpki_flaw)?;
        let algorithms = agentless_algorithms(profile);
        let mut flaw = CertificateFlaw::UnknownIssuer;
        for authority in &self.authorities {
            match authority.verify(&certificate, intermediates, &algorithms, now) {
                Ok(()) => {
                    return Ok(VerifiedClient {
                        asked: Arc::clone(self),
                        record: read(leaf, authority.name(), &algorithms)?,
                        chain: chain.iter().map(|der| der.clone().into_owned()).collect(),
                    });
                }
                Err(webpki::Error::UnknownIssuer) => {}
                Err(error) => flaw = webpki_flaw(error),
            }
        }
        Err(flaw)
    }
}

impl VerifiedClient {
    /// The authority's name in the configuration.
    pub fn authority(&self) -> &str {
        &self.record.authority
    }

    /// The name in the certificate.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// When the certificate ends.
    pub fn not_after(&self) -> Timestamp {
        self.record.not_after
    }

    /// What a record says of it.
    pub(super) fn record(&self) -> &Client {
        &self.record
    }

    /// Whether it was verified for these very settings.
    pub fn is_verified_for(&self, asked: &Arc<ClientCertificates>) -> bool {
        Arc::ptr_eq(&self.asked, asked)
    }

    /// The same client by what is asked for now, under this profile.
    ///
    /// # Errors
    ///
    /// What is wrong with its certificate now.
    pub fn verify_again(
        &self,
        asked: &Arc<ClientCertificates>,
        profile: Profile,
    ) -> Result<Self, CertificateFlaw> {
        let again = asked.verify(&self.chain, profile, UnixTime::now())?;
        match again.record == self.record {
            true => Ok(again),
            false => Err(CertificateFlaw::UnknownIssuer),
        }
    }
}

impl ClientVerifier {
    pub(super) fn new(asked: &Arc<ClientCertificates>, profile: Profile) -> Self {
        let anchors = asked.authorities.iter().flat_map(|one| &one.anchors);
        Self {
            subjects: anchors
                .map(|anchor| DistinguishedName::in_sequence(&anchor.subject))
                .collect(),
            asked: Arc::clone(asked),
            algorithms: agentless_algorithms(profile),
            profile,
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.asked.required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let chain: Vec<_> = std::iter::once(leaf)
            .chain(intermediates)
            .cloned()
            .collect();
        self.asked
            .verify(&chain, self.profile, now)
            .map(|_| ClientCertVerified::assertion())
            .map_err(|flaw| Error::InvalidCertificate(certificate_error(flaw)))
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
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

impl fmt::Debug for ClientVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientVerifier({:?})", self.asked.authorities)
    }
}

impl fmt::Debug for ClientAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientAuthority({})", self.name)
    }
}

impl fmt::Debug for VerifiedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedClient({:?})", self.record)
    }
}

fn read_lists(pem_text: &[u8]) -> Result<Vec<CertRevocationList<'static>>, ClientAuthorityError> {
    let what = "revocation lists";
    let list = |der: CertificateRevocationListDer<'static>| {
        let list = OwnedCertRevocationList::from_der(&der);
        list.map(CertRevocationList::from)
            .map_err(|error| pem(what, &error))
    };
    let lists = CertificateRevocationListDer::pem_slice_iter(pem_text)
        .map(|der| list(der.map_err(|error| pem(what, &error))?))
        .collect::<Result<Vec<_>, _>>()?;
    match lists.is_empty() {
        true => Err(ClientAuthorityError::Empty { what }),
        false => Ok(lists),
    }
}

fn pem(what: &'static str, error: &dyn fmt::Display) -> ClientAuthorityError {
    ClientAuthorityError::Pem {
        what,
        reason: error.to_string(),
    }
}

/// What a leaf says, once its path was verified. Its own key is signed for by nobody, so it is looked at here.
fn read(
    leaf: &CertificateDer<'_>,
    authority: &str,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Client, CertificateFlaw> {
    let certificate = Certificate::from_der(leaf).map_err(|_| CertificateFlaw::Malformed)?;
    let certificate = certificate.tbs_certificate();
    let spki = certificate.subject_public_key_info();
    let algorithm = der(&spki.algorithm)?;
    // webpki has the identifier without its SEQUENCE's tag and length, which are two bytes for all that there are.
    let algorithm = algorithm.get(2..).unwrap_or_default();
    let allowed = algorithms.all.iter();
    if !allowed
        .map(|one| one.public_key_alg_id())
        .any(|id| id.as_ref() == algorithm)
    {
        return Err(CertificateFlaw::AlgorithmNotAllowed);
    }
    let names = certificate
        .get_extension::<SubjectAltName>()
        .map_err(|_| CertificateFlaw::Malformed)?;
    let names = names.map(|(_, names)| names.0).unwrap_or_default();
    Ok(Client {
        authority: authority.to_owned(),
        name: name_in(&names).ok_or(CertificateFlaw::NoUsableName)?,
        spki_sha384: SpkiHash::of(&der(spki)?),
        serial: hexadecimal(certificate.serial_number().as_bytes()),
        not_after: timestamp(certificate.validity().not_after)?,
    })
}

fn der(part: &impl Encode) -> Result<Vec<u8>, CertificateFlaw> {
    part.to_der().map_err(|_| CertificateFlaw::Malformed)
}

/// The first URI; without one the first email address; without one the first DNS name (RFC 5280, section 4.2.1.6). What
/// stands in the subject names nobody.
fn name_in(names: &[GeneralName]) -> Option<String> {
    let first = |kind: fn(&GeneralName) -> Option<String>| names.iter().find_map(kind);
    let uri = first(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        _ => None,
    });
    let email = || {
        first(|name| match name {
            GeneralName::Rfc822Name(address) => Some(address.to_string()),
            _ => None,
        })
    };
    let dns = || {
        first(|name| match name {
            GeneralName::DnsName(name) => Some(name.as_str().to_ascii_lowercase()),
            _ => None,
        })
    };
    uri.or_else(email)
        .or_else(dns)
        .filter(|name| is_plain(name))
}

/// Letters, digits and a few signs: no pattern, no escape, no space, and nothing that looks like something else.
fn is_plain(name: &str) -> bool {
    let allowed = |byte: u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b'@' | b'+' | b':' | b'/' | b'~')
    };
    !name.is_empty() && name.len() <= NAME_LIMIT && name.bytes().all(allowed)
}

/// Names stand in every line of audit.
const NAME_LIMIT: usize = 512;
