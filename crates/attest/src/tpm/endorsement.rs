//! The endorsement key: which TPM it is, by its maker's certificate or by an operator's list.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{ExtendedKeyUsage, SubjectAltName};

use super::public::{Attributes, PublicArea, PublicAreaError};
use crate::chain::{self, ChainError};
use crate::hex;

/// The endorsement key of a TPM, by its public area. Whose TPM it is is not known yet.
///
/// ```
/// use countersign_attest::tpm::EndorsementKey;
///
/// assert!(EndorsementKey::parse(&[0, 0]).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct EndorsementKey {
    pub(super) area: PublicArea,
    hash: EkHash,
}

/// The SHA-256 of an endorsement key's SubjectPublicKeyInfo in DER: what an operator lists. It is written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EkHash([u8; 32]);

/// A text that is not 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an endorsement key's hash has 64 hexadecimal digits")]
pub struct InvalidEkHash;

/// The endorsement key of a TPM that is trusted: a maker's certificate says whose it is, or an operator listed it.
///
/// Only [`EndorsementKey::certified`] and [`EndorsementKey::listed`] make one.
///
/// ```compile_fail,E0451
/// use countersign_attest::tpm::{EndorsementKey, TrustedEk};
///
/// fn forged(key: EndorsementKey) -> TrustedEk {
///     TrustedEk { key, vendor: None, valid_until: None }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct TrustedEk {
    pub(super) key: EndorsementKey,
    vendor: Option<String>,
    valid_until: Option<Timestamp>,
}

/// The certificates of TPM makers.
#[derive(Clone, Debug, Default)]
pub struct TpmRoots {
    anchors: Vec<TrustAnchor<'static>>,
    intermediates: Vec<CertificateDer<'static>>,
}

/// Why an endorsement key is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndorsementKeyError {
    /// The public area cannot be read.
    #[error(transparent)]
    PublicArea(#[from] PublicAreaError),
    /// It is no storage key that stays in its TPM, as endorsement keys are.
    #[error("the endorsement key lacks the attribute `{attribute}`")]
    Lacks {
        /// Which (TPM 2.0 part 2, section 8.3).
        attribute: &'static str,
    },
    /// Its algorithms are not those of an endorsement key.
    #[error("the endorsement key protects nothing with AES in CFB mode")]
    Symmetric,
    /// There is no certificate.
    #[error("it has no certificate")]
    NoCertificate,
    /// There are more than a TPM holds.
    #[error("it comes with {found} certificates, the limit is {limit}")]
    TooMany {
        /// How many.
        found: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The certificate is for another key.
    #[error("its certificate is for another key")]
    AnotherKey,
    /// The certificate does not say that it is an endorsement certificate.
    #[error("its certificate is for something else: it lacks the extended key usage 2.23.133.8.1")]
    Usage,
    /// The certificate is not in its time.
    #[error("{0}")]
    Chain(#[from] ChainError),
    /// No known maker vouches for it.
    #[error("no maker that is known here issued its certificate: {reason}")]
    Untrusted {
        /// What the path lacks.
        reason: String,
    },
}

/// Why a certificate of a maker cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is no certificate of an authority: {reason}")]
pub struct RootError {
    reason: String,
}

impl EndorsementKey {
    /// Reads a `TPMT_PUBLIC`, what a `TPM2B_PUBLIC` holds, and checks that it can be an endorsement key (TCG EK Credential Profile 2.5, section 4.3).
    ///
    /// # Errors
    ///
    /// It is no storage key that was made in its TPM and stays there.
    pub fn parse(public: &[u8]) -> Result<Self, EndorsementKeyError> {
        let area = PublicArea::parse(public)?;
        for attribute in REQUIRED {
            if !area.attributes.has(attribute) {
                let attribute = attribute.1;
                return Err(EndorsementKeyError::Lacks { attribute });
            }
        }
        if !matches!(area.symmetric_bits, Some(128 | 256)) {
            return Err(EndorsementKeyError::Symmetric);
        }
        let spki = area.key.spki().ok_or(EndorsementKeyError::AnotherKey)?;
        Ok(Self {
            hash: EkHash::of_spki(&spki),
            area,
        })
    }

    /// Its hash, for an operator to list.
    pub fn hash(&self) -> EkHash {
        self.hash
    }

    /// Trusts it if a maker vouches for it. The first certificate is the key's own, the others lead to one of `roots`.
    ///
    /// # Errors
    ///
    /// [`EndorsementKeyError`] says what is missing: a certificate, the right key in it, its time, or its maker.
    pub fn certified(
        self,
        certificates: &[CertificateDer<'_>],
        roots: &TpmRoots,
        now: Timestamp,
    ) -> Result<TrustedEk, EndorsementKeyError> {
        let (leaf, others) = certificates
            .split_first()
            .ok_or(EndorsementKeyError::NoCertificate)?;
        if certificates.len() > MOST_CERTIFICATES {
            return Err(EndorsementKeyError::TooMany {
                found: certificates.len(),
                limit: MOST_CERTIFICATES,
            });
        }
        let read = chain::read(std::slice::from_ref(leaf))?;
        let certificate = read.first().ok_or(ChainError::Unreadable)?;
        let info = certificate.tbs_certificate().subject_public_key_info();
        if Some(info.subject_public_key.raw_bytes()) != self.area.key.bits().as_deref() {
            return Err(EndorsementKeyError::AnotherKey);
        }
        if !is_for_endorsement(certificate) {
            return Err(EndorsementKeyError::Usage);
        }
        let valid_until = chain::validity(&read, now)?;
        roots.vouch_for(leaf, others, now)?;
        Ok(TrustedEk {
            vendor: Some(vendor(certificate)),
            valid_until: Some(valid_until),
            key: self,
        })
    }

    /// Trusts it if it is listed.
    ///
    /// # Errors
    ///
    /// Gives it back where it is not.
    pub fn listed(self, is_listed: impl FnOnce(EkHash) -> bool) -> Result<TrustedEk, Self> {
        match is_listed(self.hash) {
            true => Ok(TrustedEk {
                key: self,
                vendor: None,
                valid_until: None,
            }),
            false => Err(self),
        }
    }
}

impl TrustedEk {
    /// The key's hash.
    pub fn hash(&self) -> EkHash {
        self.key.hash
    }

    /// Who made the TPM, by the certificate; nothing where the key was listed.
    pub fn vendor(&self) -> Option<&str> {
        self.vendor.as_deref()
    }

    /// When the key's own certificate ends; nothing where the key was listed.
    pub fn valid_until(&self) -> Option<Timestamp> {
        self.valid_until
    }
}

impl EkHash {
    fn of_spki(spki: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, spki).as_ref());
        Self(hash)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for EkHash {
    type Err = InvalidEkHash;

    fn from_str(text: &str) -> Result<Self, InvalidEkHash> {
        hex::decode(text.as_bytes())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(InvalidEkHash)
    }
}

impl fmt::Display for EkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for EkHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TpmRoots {
    /// Adds a maker's certificate in DER: a root if it signed itself, else an intermediate that TPMs do not hold themselves.
    ///
    /// # Errors
    ///
    /// It is no certificate of an authority.
    pub fn add(&mut self, der: &[u8]) -> Result<(), RootError> {
        let failed = |reason: String| RootError { reason };
        let certificate = Certificate::from_der(der).map_err(|error| failed(error.to_string()))?;
        let fields = certificate.tbs_certificate();
        let der = CertificateDer::from(der.to_vec());
        if fields.subject() != fields.issuer() {
            self.intermediates.push(der);
            return Ok(());
        }
        let anchor = anchor_from_trusted_cert(&der).map_err(|error| failed(error.to_string()))?;
        self.anchors.push(anchor.to_owned());
        Ok(())
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.anchors.is_empty()
    }

    fn vouch_for(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: Timestamp,
    ) -> Result<(), EndorsementKeyError> {
        let untrusted = |error: webpki::Error| EndorsementKeyError::Untrusted {
            reason: error.to_string(),
        };
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(seconds));
        let others = others.iter().chain(&self.intermediates);
        let others: Vec<_> = others
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        let usage = KeyUsage::required_if_present(EK_CERTIFICATE_DER);
        EndEntityCert::try_from(leaf)
            .map_err(untrusted)?
            .verify_for_usage(
                ALL_VERIFICATION_ALGS,
                &self.anchors,
                &others,
                now,
                usage,
                None,
                None,
            )
            .map_err(untrusted)?;
        Ok(())
    }
}

/// TCG EK Credential Profile 2.5, section 3.2.16.
fn is_for_endorsement(certificate: &Certificate) -> bool {
    let usage = certificate
        .tbs_certificate()
        .get_extension::<ExtendedKeyUsage>();
    usage.is_ok_and(|usage| usage.is_some_and(|(_, usage)| usage.0.contains(&EK_CERTIFICATE)))
}

/// `tcg-at-tpmManufacturer` in the subject's alternative name (TCG EK Credential Profile 2.5, section 3.1.2), by the TCG Vendor ID
/// Registry; else what the issuer calls itself.
fn vendor(certificate: &Certificate) -> String {
    let fields = certificate.tbs_certificate();
    let names = fields.get_extension::<SubjectAltName>();
    let names = names.ok().flatten().map(|(_, names)| names.0);
    let directories = names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DirectoryName(name) => Some(name),
        _ => None,
    });
    let mut ids: BTreeSet<String> = BTreeSet::new();
    for name in directories {
        for attribute in name.iter() {
            if attribute.oid == TPM_MANUFACTURER {
                ids.insert(String::from_utf8_lossy(attribute.value.value()).into_owned());
            }
        }
    }
    match ids.into_iter().next() {
        None => fields.issuer().to_string(),
        Some(id) => VENDORS
            .iter()
            .find(|(known, _)| id.eq_ignore_ascii_case(known))
            .map_or(id, |(_, vendor)| (*vendor).to_owned()),
    }
}

const REQUIRED: [(u32, &str); 5] = [
    Attributes::RESTRICTED,
    Attributes::DECRYPT,
    Attributes::FIXED_TPM,
    Attributes::FIXED_PARENT,
    Attributes::SENSITIVE_DATA_ORIGIN,
];

/// `tcg-kp-EKCertificate`: a maker has other certificates too. A TPM whose certificate does not say so is listed by its hash.
const EK_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");

/// The same as it is encoded, for the path: an authority need not say what its certificates are for.
const EK_CERTIFICATE_DER: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x01];

const TPM_MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");

/// A TPM's own and the intermediates that it holds in NV; makers have at most three.
const MOST_CERTIFICATES: usize = 8;

/// TCG Vendor ID Registry, version 1.06.
const VENDORS: [(&str, &str); 14] = [
    ("id:414D4400", "AMD"),
    ("id:41544D4C", "Atmel"),
    ("id:4252434D", "Broadcom"),
    ("id:474F4F47", "Google"),
    ("id:49424D00", "IBM"),
    ("id:49465800", "Infineon"),
    ("id:494E5443", "Intel"),
    ("id:4D534654", "Microsoft"),
    ("id:4E544300", "Nuvoton"),
    ("id:4E545A00", "Nationz"),
    ("id:51434F4D", "Qualcomm"),
    ("id:534D534E", "Samsung"),
    ("id:53544D20", "STMicroelectronics"),
    ("id:00001014", "IBM's software TPM"),
];
