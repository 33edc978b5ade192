//! The authority: an anchor's key, and the leaves it issues.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyUsagePurpose, SanType, SerialNumber,
};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use super::leaf::{Expectation, Role, timestamp};
use super::signer::{IssuingKey, SubjectKey};
use super::{KeyAlgorithm, KeyError, PrivateKey, ProvenKey, PublicKey, SpiffeId, TrustDomain};
use crate::provider::chain_algorithms;
use crate::record::CertificateFlaw;

/// A certificate that leaves are verified to. It is trusted because a bundle holds it, not for what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Anchor {
    certificate: CertificateDer<'static>,
    public_key: PublicKey,
    not_before: Timestamp,
}

/// An anchor with its key.
pub struct Authority {
    trust_domain: TrustDomain,
    anchor: Anchor,
    key: PrivateKey,
}

/// From when to when a certificate holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    not_before: Timestamp,
    not_after: Timestamp,
}

/// Why an authority cannot be made, or does not issue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The certificate is not one of an authority.
    #[error("the anchor's certificate cannot be read as one of an authority")]
    Anchor,
    /// The key is not the one of the anchor's certificate.
    #[error("the key does not belong to the anchor's certificate")]
    WrongKey,
    /// The SPIFFE ID is not one that this authority issues for.
    #[error("the authority of `{trust_domain}` does not issue for `{id}`")]
    Foreign {
        /// The authority's trust domain.
        trust_domain: TrustDomain,
        /// The SPIFFE ID that was asked for.
        id: SpiffeId,
    },
    /// A leaf and its anchor are both post-quantum or both classical, since a profile allows only the one or the other.
    #[error("an authority with {anchor} does not issue for a key with {leaf}")]
    MixedAlgorithms {
        /// The authority's algorithm.
        anchor: KeyAlgorithm,
        /// The algorithm of the key that was asked for.
        leaf: KeyAlgorithm,
    },
    /// What was issued does not verify to the anchor.
    #[error("the issued certificate does not verify to its anchor: {0}")]
    Unsound(CertificateFlaw),
    /// The key could not be drawn or used.
    #[error("the certificate could not be made: {0}")]
    Key(#[from] KeyError),
}

impl Anchor {
    /// Reads a certificate of an authority.
    ///
    /// # Errors
    ///
    /// It is malformed, or its key is of an algorithm that is not known here.
    pub fn from_der(der: &[u8]) -> Result<Self, AuthorityError> {
        let certificate = Certificate::from_der(der).map_err(|_| AuthorityError::Anchor)?;
        let public_key =
            PublicKey::from_spki(certificate.tbs_certificate().subject_public_key_info())
                .map_err(|_| AuthorityError::Anchor)?;
        let validity = certificate.tbs_certificate().validity();
        let anchor = Self {
            certificate: CertificateDer::from(der.to_vec()),
            public_key,
            not_before: timestamp(validity.not_before).map_err(|_| AuthorityError::Anchor)?,
        };
        anchor.to_webpki().ok_or(AuthorityError::Anchor)?;
        Ok(anchor)
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.certificate
    }

    /// Its key.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Since when it could be in a bundle: [`Validity::anchor`] dates it back by as little as it does leaves.
    pub const fn not_before(&self) -> Timestamp {
        self.not_before
    }

    pub(crate) fn to_webpki(&self) -> Option<TrustAnchor<'static>> {
        webpki::anchor_from_trusted_cert(&self.certificate)
            .ok()
            .map(|anchor| anchor.to_owned())
    }
}

impl fmt::Debug for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Anchor({:?})", self.public_key)
    }
}

impl Validity {
    /// From one time to another.
    pub const fn new(not_before: Timestamp, not_after: Timestamp) -> Self {
        Self {
            not_before,
            not_after,
        }
    }

    /// A leaf's: one hour from now, and five minutes back for clocks that are behind.
    pub fn leaf(now: Timestamp) -> Self {
        Self::new(now - BACKDATED, now + LEAF_LIFE)
    }

    /// An anchor's: ten years from now; the bundle decides how long it is really used.
    pub fn anchor(now: Timestamp) -> Self {
        Self::new(now - BACKDATED, now + ANCHOR_LIFE)
    }
}

impl Authority {
    /// Draws a fresh key and makes an anchor of it.
    ///
    /// # Errors
    ///
    /// AWS-LC failed.
    pub fn generate(
        trust_domain: TrustDomain,
        algorithm: KeyAlgorithm,
        validity: Validity,
    ) -> Result<Self, AuthorityError> {
        Self::begin(trust_domain, PrivateKey::generate(algorithm)?, validity)
    }

    /// Makes an anchor of a key.
    ///
    /// # Errors
    ///
    /// The key does not sign.
    pub fn begin(
        trust_domain: TrustDomain,
        key: PrivateKey,
        validity: Validity,
    ) -> Result<Self, AuthorityError> {
        let mut params = params(&trust_domain, key.public_key(), validity);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.subject_alt_names = vec![uri(&format!("spiffe://{trust_domain}"))?];
        let failure = OnceLock::new();
        let certificate = params.self_signed(&IssuingKey::telling(&key, &failure));
        let certificate = certificate.map_err(|error| why(error, &failure))?;
        let anchor = Anchor::from_der(certificate.der())?;
        Ok(Self {
            trust_domain,
            anchor,
            key,
        })
    }

    /// Puts an anchor that was kept and its key together again.
    ///
    /// # Errors
    ///
    /// The key belongs to another anchor.
    pub fn restore(
        trust_domain: TrustDomain,
        anchor: Anchor,
        key: PrivateKey,
    ) -> Result<Self, AuthorityError> {
        if anchor.public_key() != key.public_key() {
            return Err(AuthorityError::WrongKey);
        }
        Ok(Self {
            trust_domain,
            anchor,
            key,
        })
    }

    /// The anchor, for the trust bundle.
    pub const fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// The key, to be kept.
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Its trust domain.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Issues a leaf: an X.509-SVID with this ID as its only URI (X509-SVID section 2), an empty subject, for both ends
    /// of TLS. A gateway's also holds the server name that agents ask for.
    ///
    /// # Errors
    ///
    /// The ID is neither an agent nor a gateway of this trust domain, the key's algorithm does not go with the anchor's,
    /// or AWS-LC failed.
    pub fn issue(
        &self,
        key: &ProvenKey,
        id: &SpiffeId,
        validity: Validity,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let role = self.role(id)?;
        let (anchor, leaf) = (self.key.algorithm(), key.public_key().algorithm());
        if anchor.is_post_quantum() != leaf.is_post_quantum() {
            return Err(AuthorityError::MixedAlgorithms { anchor, leaf });
        }
        let mut params = leaf_params(id, validity)?;
        if role == Role::Gateway {
            params.subject_alt_names.push(SanType::DnsName(ia5(&self
                .trust_domain
                .gateway_server_name())?));
        }
        let failure = OnceLock::new();
        let certificate = params
            .signed_by(
                &SubjectKey(key.public_key()),
                &self.issuer(validity, &failure),
            )
            .map_err(|error| why(error, &failure))?;
        self.check(certificate.der(), role, validity)?;
        Ok(certificate.der().clone())
    }

    fn role(&self, id: &SpiffeId) -> Result<Role, AuthorityError> {
        let role = match (id.agent_name(), id.gateway_name()) {
            _ if id.trust_domain() != &self.trust_domain => None,
            (Some(_), _) => Some(Role::Agent),
            (_, Some(_)) => Some(Role::Gateway),
            _ => None,
        };
        role.ok_or_else(|| AuthorityError::Foreign {
            trust_domain: self.trust_domain.clone(),
            id: id.clone(),
        })
    }

    fn issuer<'a>(
        &'a self,
        validity: Validity,
        failure: &'a OnceLock<KeyError>,
    ) -> Issuer<'a, IssuingKey<'a>> {
        let params = params(&self.trust_domain, self.key.public_key(), validity);
        Issuer::new(params, IssuingKey::telling(&self.key, failure))
    }

    /// A fault in issuing is found here, not by an agent that is shut out an hour later.
    fn check(
        &self,
        leaf: &CertificateDer<'_>,
        role: Role,
        validity: Validity,
    ) -> Result<(), AuthorityError> {
        let anchors = [self.anchor.to_webpki().ok_or(AuthorityError::Anchor)?];
        let expectation = Expectation {
            anchors: &anchors,
            trust_domain: &self.trust_domain,
            role,
            algorithms: chain_algorithms(self.key.algorithm()),
        };
        let at = u64::try_from(validity.not_after.as_second()).unwrap_or_default();
        let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
        expectation
            .verify(leaf, &[], at)
            .map_err(AuthorityError::Unsound)?;
        Ok(())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority({}, {:?})", self.trust_domain, self.anchor)
    }
}

/// The name is made of the key, so that two anchors of one bundle never share it and a verifier tries only the right one.
fn params(trust_domain: &TrustDomain, key: &PublicKey, validity: Validity) -> CertificateParams {
    let name: String = key.hash().to_string().chars().take(16).collect();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::OrganizationName, trust_domain.as_str());
    subject.push(DnType::CommonName, format!("{} {name}", key.algorithm()));
    let mut params = CertificateParams::default();
    params.distinguished_name = subject;
    params.not_before = SystemTime::from(validity.not_before).into();
    params.not_after = SystemTime::from(validity.not_after).into();
    params
}

fn leaf_params(id: &SpiffeId, validity: Validity) -> Result<CertificateParams, AuthorityError> {
    let mut serial = [0; 16];
    aws_lc_rs::rand::fill(&mut serial).map_err(|_| KeyError::Library)?;
    let mut params = CertificateParams::default();
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    params.distinguished_name = DistinguishedName::new();
    params.not_before = SystemTime::from(validity.not_before).into();
    params.not_after = SystemTime::from(validity.not_after).into();
    params.subject_alt_names = vec![uri(&id.to_string())?];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ClientAuth,
        ExtendedKeyUsagePurpose::ServerAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn uri(uri: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(ia5(uri)?))
}

fn ia5(text: &str) -> Result<rcgen::string::Ia5String, AuthorityError> {
    text.try_into().map_err(library)
}

/// What the key said, which rcgen does not hand on.
fn why(error: rcgen::Error, failure: &OnceLock<KeyError>) -> AuthorityError {
    let told = failure.get().cloned();
    told.map_or_else(|| library(error), AuthorityError::Key)
}

fn library(_: rcgen::Error) -> AuthorityError {
    AuthorityError::Key(KeyError::Library)
}

const BACKDATED: Duration = Duration::from_secs(5 * 60);
const LEAF_LIFE: Duration = Duration::from_secs(60 * 60);
const ANCHOR_LIFE: Duration = Duration::from_secs(3652 * 24 * 60 * 60);

#[cfg(test)]
mod tests {
    use x509_cert::der::asn1::ObjectIdentifier;
    use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectAltName};

    use super::*;
    use crate::identity::CertificateRequest;

    fn authority(algorithm: KeyAlgorithm) -> Authority {
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        Authority::generate(trust_domain, algorithm, Validity::anchor(Timestamp::now())).unwrap()
    }

    fn proven(algorithm: KeyAlgorithm) -> ProvenKey {
        let key = PrivateKey::generate(algorithm).unwrap();
        let request = CertificateRequest::write(&key).unwrap();
        CertificateRequest::from_der(&request)
            .unwrap()
            .prove()
            .unwrap()
    }

    fn issue(
        authority: &Authority,
        leaf: KeyAlgorithm,
        id: &str,
    ) -> Result<CertificateDer<'static>, AuthorityError> {
        let id = SpiffeId::parse(id).unwrap();
        authority.issue(&proven(leaf), &id, Validity::leaf(Timestamp::now()))
    }

    const AGENT: &str = "spiffe://example.org/agent/laptop";
    const GATEWAY: &str = "spiffe://example.org/gateway/main";

    #[test]
    fn a_leaf_is_as_the_x509_svid_standard_has_it() {
        let leaf = issue(
            &authority(KeyAlgorithm::MlDsa87),
            KeyAlgorithm::MlDsa65,
            AGENT,
        )
        .unwrap();
        let leaf = Certificate::from_der(&leaf).unwrap();
        let leaf = leaf.tbs_certificate();
        assert!(leaf.subject().is_empty());
        let (critical, names) = leaf.get_extension::<SubjectAltName>().unwrap().unwrap();
        assert!(critical);
        assert_eq!(names.0.len(), 1);
        let (_, constraints) = leaf.get_extension::<BasicConstraints>().unwrap().unwrap();
        assert!(!constraints.ca);
        let (critical, usage) = leaf.get_extension::<KeyUsage>().unwrap().unwrap();
        assert!(
            critical && usage.digital_signature() && !usage.key_cert_sign() && !usage.crl_sign()
        );
        let (_, usage) = leaf.get_extension::<ExtendedKeyUsage>().unwrap().unwrap();
        let [server, client] = [1, 2].map(|end| {
            ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3")
                .push_arc(end)
                .unwrap()
        });
        assert!(usage.0.contains(&server) && usage.0.contains(&client) && usage.0.len() == 2);
    }

    #[test]
    fn a_gateway_is_also_named_as_agents_ask_for_it() {
        let leaf = issue(
            &authority(KeyAlgorithm::MlDsa87),
            KeyAlgorithm::MlDsa65,
            GATEWAY,
        )
        .unwrap();
        let leaf = webpki::EndEntityCert::try_from(&leaf).unwrap();
        assert_eq!(leaf.valid_uri_names().collect::<Vec<_>>(), [GATEWAY]);
        assert_eq!(
            leaf.valid_dns_names().collect::<Vec<_>>(),
            ["gateway.example.org"]
        );
    }

    #[test]
    fn an_independent_library_reads_the_svid_and_its_bundle() {
        for (anchor, leaf) in [
            (KeyAlgorithm::MlDsa87, KeyAlgorithm::MlDsa65),
            (KeyAlgorithm::MlDsa87, KeyAlgorithm::MlDsa87),
            (KeyAlgorithm::EcdsaP384, KeyAlgorithm::EcdsaP256),
        ] {
            let authority = authority(anchor);
            let key = PrivateKey::generate(leaf).unwrap();
            let request = CertificateRequest::write(&key).unwrap();
            let proven = CertificateRequest::from_der(&request)
                .unwrap()
                .prove()
                .unwrap();
            let id = SpiffeId::parse(AGENT).unwrap();
            let leaf = authority
                .issue(&proven, &id, Validity::leaf(Timestamp::now()))
                .unwrap();
            let svid =
                spiffe::X509Svid::parse_from_der(&leaf, &key.to_pkcs8_der().unwrap()).unwrap();
            assert_eq!(svid.spiffe_id().to_string(), AGENT);
            let domain = spiffe::TrustDomain::new("example.org").unwrap();
            let bundle =
                spiffe::X509Bundle::parse_from_der(domain, authority.anchor().der()).unwrap();
            assert_eq!(bundle.authorities().len(), 1);
        }
    }

    #[test]
    fn an_authority_issues_for_its_own_agents_and_gateways_only() {
        let authority = authority(KeyAlgorithm::MlDsa87);
        for id in [
            "spiffe://example.com/agent/laptop",
            "spiffe://example.org",
            "spiffe://example.org/agent",
            "spiffe://example.org/agent/a/b",
            "spiffe://example.org/operator/root",
        ] {
            let error = issue(&authority, KeyAlgorithm::MlDsa65, id).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("the authority of `example.org` does not issue for `{id}`")
            );
        }
    }

    #[test]
    fn an_anchor_issues_for_its_own_kind_of_keys_only() {
        for (anchor, leaf) in [
            (KeyAlgorithm::MlDsa87, KeyAlgorithm::EcdsaP256),
            (KeyAlgorithm::EcdsaP384, KeyAlgorithm::MlDsa65),
        ] {
            let error = issue(&authority(anchor), leaf, AGENT).unwrap_err();
            assert_eq!(error, AuthorityError::MixedAlgorithms { anchor, leaf });
        }
    }

    #[test]
    fn an_authority_that_was_kept_issues_again() {
        let before = authority(KeyAlgorithm::MlDsa87);
        let anchor = Anchor::from_der(before.anchor().der()).unwrap();
        let key = PrivateKey::from_pkcs8_der(&before.key().to_pkcs8_der().unwrap()).unwrap();
        let after = Authority::restore(before.trust_domain().clone(), anchor, key).unwrap();
        issue(&after, KeyAlgorithm::MlDsa65, AGENT).unwrap();
    }

    #[test]
    fn an_authority_is_not_restored_with_the_key_of_another() {
        let (one, other) = (
            authority(KeyAlgorithm::EcdsaP384),
            authority(KeyAlgorithm::EcdsaP384),
        );
        let error = Authority::restore(one.trust_domain, one.anchor, other.key).unwrap_err();
        assert_eq!(error, AuthorityError::WrongKey);
    }

    #[test]
    fn two_leaves_never_share_a_serial_number() {
        let authority = authority(KeyAlgorithm::EcdsaP384);
        let serial = || {
            let leaf = issue(&authority, KeyAlgorithm::EcdsaP256, AGENT).unwrap();
            let leaf = Certificate::from_der(&leaf).unwrap();
            leaf.tbs_certificate().serial_number().as_bytes().to_vec()
        };
        let (one, other) = (serial(), serial());
        assert_ne!(one, other);
        // RFC 5280 section 4.1.2.2: positive, at most 20 octets.
        assert!(one[0] & 0x80 == 0 && one.len() <= 20);
    }
}
