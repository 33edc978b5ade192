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
