//! A certificate chain with the key that belongs to it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::sign::CertifiedKey;
use x509_cert::der::pem::{self, LineEnding};

use super::signer::TlsKey;
use super::{Leaf, PrivateKey, SpiffeId};
use crate::record::CertificateFlaw;

/// An X.509-SVID: who one is, until when, and the key that shows it.
pub struct Svid {
    leaf: Leaf,
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKey>,
}

/// Why a chain and a key make no SVID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SvidError {
    /// The chain holds no certificate.
    #[error("the certificate chain is empty")]
    Empty,
    /// The chain is not certificates in PEM.
    #[error("the certificate chain is not PEM with the label `CERTIFICATE`")]
    Pem,
    /// The leaf cannot be used.
    #[error("the certificate cannot be used: {0}")]
    Leaf(#[from] CertificateFlaw),
    /// The leaf was issued for another key.
    #[error("the certificate of `{id}` was issued for another key")]
    WrongKey {
        /// Whose certificate it is.
        id: SpiffeId,
    },
}

impl Svid {
    /// Puts a chain, leaf first, and its key together.
    ///
    /// # Errors
    ///
    /// The leaf is malformed, or was issued for another key.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: Arc<PrivateKey>,
    ) -> Result<Self, SvidError> {
        let leaf = Leaf::unverified(chain.first().ok_or(SvidError::Empty)?)?;
        if leaf.public_key() != key.public_key() {
            return Err(SvidError::WrongKey {
                id: leaf.id().clone(),
            });
        }
        Ok(Self { leaf, chain, key })
    }

    /// Reads the chain from PEM.
    ///
    /// # Errors
    ///
    /// The text is not PEM, or as [`Svid::new`].
    pub fn from_pem(chain: &str, key: Arc<PrivateKey>) -> Result<Self, SvidError> {
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| SvidError::Pem)?;
        Self::new(chain, key)
    }

    /// Writes the chain in PEM; the key is written by itself.
    ///
    /// # Errors
    ///
    /// It does not fail for a chain that was read.
    pub fn chain_to_pem(&self) -> Result<String, SvidError> {
        self.chain
            .iter()
            .map(|certificate| pem::encode_string("CERTIFICATE", LineEnding::LF, certificate))
            .collect::<Result<String, _>>()
            .map_err(|_| SvidError::Pem)
    }

    /// The SPIFFE ID.
    pub const fn id(&self) -> &SpiffeId {
        self.leaf.id()
    }

    /// The leaf.
    pub const fn leaf(&self) -> &Leaf {
        &self.leaf
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The key.
    pub const fn key(&self) -> &Arc<PrivateKey> {
        &self.key
    }

    /// When it ends.
    pub const fn not_after(&self) -> Timestamp {
        self.leaf.not_after()
    }

    /// Half-way between its beginning and its end: when it is to be renewed.
    pub fn half_life(&self) -> Timestamp {
        let (begin, end) = (self.leaf.not_before(), self.leaf.not_after());
        let life = u64::try_from(end.duration_since(begin).as_secs()).unwrap_or_default();
        begin + Duration::from_secs(life / 2)
    }

    /// Whether it is valid at this time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.leaf.not_before() <= now && now <= self.leaf.not_after()
    }

    pub(crate) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::new(CertifiedKey::new(
            self.chain.clone(),
            Arc::new(TlsKey(self.key.clone())),
        ))
    }
}

impl fmt::Debug for Svid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Svid({:?})", self.leaf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Authority, CertificateRequest, KeyAlgorithm, TrustDomain, Validity};

    fn leaf(key: &PrivateKey, validity: Validity) -> CertificateDer<'static> {
        let domain = TrustDomain::parse("example.org").unwrap();
        let validity_of_anchor = Validity::anchor(Timestamp::now());
        let authority =
            Authority::generate(domain.clone(), KeyAlgorithm::MlDsa87, validity_of_anchor).unwrap();
        let request = CertificateRequest::write(key).unwrap();
        let proven = CertificateRequest::from_der(&request)
            .unwrap()
            .prove()
            .unwrap();
        authority
            .issue(&proven, &domain.agent("laptop").unwrap(), validity)
            .unwrap()
    }

    fn key() -> Arc<PrivateKey> {
        Arc::new(PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap())
    }

    #[test]
    fn half_life_is_half_way_between_beginning_and_end() {
        let (begin, end) = (
            "2026-01-01T00:00:00Z".parse().unwrap(),
            "2026-01-01T01:05:00Z".parse().unwrap(),
        );
        let key = key();
        let svid = Svid::new(vec![leaf(&key, Validity::new(begin, end))], key).unwrap();
        assert_eq!(svid.half_life().to_string(), "2026-01-01T00:32:30Z");
        assert!(svid.is_valid_at(begin) && svid.is_valid_at(end));
        assert!(
            !svid.is_valid_at(begin - Duration::from_secs(1))
                && !svid.is_valid_at(end + Duration::from_secs(1))
        );
    }

    #[test]
    fn a_chain_survives_pem() {
        let key = key();
        let svid = Svid::new(
            vec![leaf(&key, Validity::leaf(Timestamp::now()))],
            key.clone(),
        )
        .unwrap();
        let again = Svid::from_pem(&svid.chain_to_pem().unwrap(), key).unwrap();
        assert_eq!(again.chain(), svid.chain());
    }

    #[test]
    fn a_certificate_of_another_key_is_refused() {
        let error =
            Svid::new(vec![leaf(&key(), Validity::leaf(Timestamp::now()))], key()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the certificate of `spiffe://example.org/agent/laptop` was issued for another key"
        );
    }

    #[test]
    fn an_empty_or_foreign_chain_is_refused() {
        assert_eq!(Svid::from_pem("", key()).unwrap_err(), SvidError::Empty);
        let malformed = CertificateDer::from(vec![0x30, 0]);
        assert_eq!(
            Svid::new(vec![malformed], key()).unwrap_err(),
            SvidError::Leaf(CertificateFlaw::Malformed)
        );
    }
}
