//! Certificates for agentless clients, and which of several a server name gets.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::SignatureScheme;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use webpki::EndEntityCert;
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::AuthorityKeyIdentifier;

use super::listener::ListenerError;
use crate::identity::{SpkiHash, timestamp};
use crate::profile::Profile;
use crate::provider::crypto_provider;
use crate::record::CertificateFlaw;

/// A certificate for agentless clients, with its key. That the key belongs to it is certain; who issued it, and whether
/// it holds now, is for the clients to judge.
#[derive(Clone)]
pub struct ClassicalCertificate {
    names: Vec<String>,
    spki: SpkiHash,
    not_before: Timestamp,
    not_after: Timestamp,
    renewal_id: Option<RenewalId>,
    key: Arc<CertifiedKey>,
}

/// What names a certificate to its issuer when it asks about renewal (RFC 9773 section 4.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalId {
    /// The `keyIdentifier` of the certificate's authority key identifier.
    pub authority_key: Vec<u8>,
    /// The serial number: the content of its DER encoding, a leading zero included.
    pub serial: Vec<u8>,
}

impl ClassicalCertificate {
    /// Reads a chain, leaf first, and its key from PEM.
    ///
    /// # Errors
    ///
    /// Either is not PEM, or the key does not belong to the leaf.
    pub fn from_pem(chain: &str, key: &str) -> Result<Self, ListenerError> {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unusable(&error))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        Self::from_der(chain, key.map_err(|error| unusable(&error))?)
    }

    /// Takes a chain, leaf first, and its key.
    ///
    /// # Errors
    ///
    /// The chain is empty or malformed, or the key does not belong to the leaf.
    pub fn from_der(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, ListenerError> {
        let leaf = chain
            .first()
            .ok_or_else(|| unusable(&"the chain is empty"))?;
        let names = EndEntityCert::try_from(leaf)
            .map_err(|error| unusable(&error))?
            .valid_dns_names()
            .map(str::to_ascii_lowercase)
            .collect();
        let read = Certificate::from_der(leaf).map_err(|error| unusable(&error))?;
        let renewal_id = RenewalId::of(&read);
        let read = read.tbs_certificate();
        let spki = read.subject_public_key_info().to_der();
        let spki = SpkiHash::of(&spki.map_err(|error| unusable(&error))?);
        let moment = |time| timestamp(time).map_err(|flaw: CertificateFlaw| unusable(&flaw));
        let not_before = moment(read.validity().not_before)?;
        let not_after = moment(read.validity().not_after)?;
        let key = CertifiedKey::from_der(chain, key, &crypto_provider(Profile::default()))
            .map_err(|error| unusable(&error))?;
        Ok(Self {
            names,
            spki,
            not_before,
            not_after,
            renewal_id,
            key: Arc::new(key),
        })
    }

    /// The DNS names it is for, in lower case; one may start with `*.`.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The SHA-384 of its SubjectPublicKeyInfo.
    pub const fn key_hash(&self) -> SpkiHash {
        self.spki
    }

    /// When it begins.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    /// When it ends.
    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    /// What names it to its issuer; none if it does not say which key issued it.
    pub const fn renewal_id(&self) -> Option<&RenewalId> {
        self.renewal_id.as_ref()
    }

    /// Whether it is for this name, be it by a wildcard, which stands for one label (RFC 9525 section 6.3).
    pub fn is_for(&self, name: &str) -> bool {
        self.has(name) || self.has_wildcard_for(name)
    }

    /// Checks that a profile allows its key.
    ///
    /// # Errors
    ///
    /// [`ListenerError::CertificateNotAllowed`].
    pub fn check_allowed(&self, profile: Profile) -> Result<(), ListenerError> {
        let schemes: Vec<SignatureScheme> = profile
            .agentless_schemes()
            .iter()
            .map(|scheme| SignatureScheme::from(scheme.code_point()))
            .collect();
        match self.key.key.choose_scheme(&schemes) {
            Some(_) => Ok(()),
            None => Err(ListenerError::CertificateNotAllowed {
                profile,
                names: self.names.clone(),
            }),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name)
    }

    fn has_wildcard_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        let mut wildcards = self.names.iter().filter_map(|own| own.strip_prefix("*."));
        parent.is_some_and(|parent| wildcards.any(|own| own == parent))
    }
}

impl RenewalId {
    fn of(certificate: &Certificate) -> Option<Self> {
        let certificate = certificate.tbs_certificate();
        let (_, authority) = certificate
            .get_extension::<AuthorityKeyIdentifier>()
            .ok()??;
        Some(Self {
            authority_key: authority.key_identifier?.as_bytes().to_vec(),
            serial: certificate.serial_number().as_bytes().to_vec(),
        })
    }
}

impl fmt::Debug for ClassicalCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClassicalCertificate({})", self.names.join(", "))
    }
}

/// The certificates of a listener. With none of them the answer is access_denied.
#[derive(Debug)]
pub(super) struct Certificates(pub(super) Vec<ClassicalCertificate>);

impl Certificates {
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The one that has the name, else one with a wildcard for it, else the first.
    pub(super) fn find(&self, sni: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        let exact = sni.and_then(|sni| self.0.iter().find(|one| one.has(sni)));
        let wildcard = || {
            self.0
                .iter()
                .find(|one| sni.is_some_and(|sni| one.has_wildcard_for(sni)))
        };
        exact
            .or_else(wildcard)
            .or(self.0.first())
            .map(|one| &one.key)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).cloned()
    }
}

fn unusable(reason: &dyn fmt::Display) -> ListenerError {
    ListenerError::Certificate {
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedIssuer, KeyIdMethod, KeyPair, SerialNumber};

    use super::*;

    /// The example of RFC 9773, appendix A: its serial number begins with a set bit, and so with a zero in DER.
    #[test]
    fn a_certificate_is_named_to_its_issuer_as_rfc_9773_says() {
        let authority_key = [
            0x69, 0x88, 0x5b, 0x6b, 0x87, 0x46, 0x40, 0x41, 0xe1, 0xb3, 0x7b, 0x84, 0x7b, 0xa0,
            0xae, 0x2c, 0xde, 0x01, 0xc8, 0xd4,
        ];
        let mut issuer = rcgen::CertificateParams::default();
        issuer.key_identifier_method = KeyIdMethod::PreSpecified(authority_key.to_vec());
        let issuer = CertifiedIssuer::self_signed(issuer, KeyPair::generate().unwrap()).unwrap();
        let mut leaf = rcgen::CertificateParams::new(["example.com".to_owned()]).unwrap();
        leaf.serial_number = Some(SerialNumber::from_slice(&[0x87, 0x65, 0x43, 0x21]));
        leaf.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let certificate = ClassicalCertificate::from_pem(&leaf.pem(), &key.serialize_pem());
        let expected = RenewalId {
            authority_key: authority_key.to_vec(),
            serial: vec![0x00, 0x87, 0x65, 0x43, 0x21],
        };
        assert_eq!(certificate.unwrap().renewal_id(), Some(&expected));
    }
}
