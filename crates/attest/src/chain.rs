//! The certificate chain from the key that signed evidence to its maker's root (RFC 5280).

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

use crate::hex;

/// The root certificates that a verifier trusts, by the SHA-256 hash of their DER: what `openssl x509 -fingerprint -sha256` prints.
///
/// A maker's chain file holds its root too, so a hash is enough to tell whose it is. Nothing is trusted that is not listed.
///
/// ```
/// use countersign_attest::RootKeys;
///
/// let amd = RootKeys::amd();
/// let with_our_lab = RootKeys::amd().with("lab", [7; 32]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct RootKeys(Vec<(String, [u8; 32])>);

impl RootKeys {
    /// No root: everything is refused until one is added.
    pub fn none() -> Self {
        Self::default()
    }

    /// AMD's root keys (ARK) of the processor families Milan, Genoa and Turin.
    pub fn amd() -> Self {
        known("AMD", &[ARK_MILAN, ARK_GENOA, ARK_TURIN])
    }

    /// Intel's SGX root, which signs for SGX and TDX.
    pub fn intel() -> Self {
        known("Intel", &[INTEL_SGX_ROOT])
    }

    /// The root of AWS Nitro Enclaves, generation 1.
    pub fn aws() -> Self {
        known("AWS", &[AWS_NITRO_ROOT_G1])
    }

    /// These and one more, by the name under which an appraisal says it as the vendor.
    pub fn with(mut self, vendor: &str, sha256: [u8; 32]) -> Self {
        self.0.push((vendor.to_owned(), sha256));
        self
    }

    /// Whose root it is.
    pub(crate) fn vendor(&self, root: &[u8]) -> Result<&str, ChainError> {
        let found = digest(&SHA256, root);
        let known = self.0.iter().find(|(_, hash)| hash == found.as_ref());
        known
            .map(|(vendor, _)| vendor.as_str())
            .ok_or_else(|| ChainError::UntrustedRoot {
                found: hex::encode(found.as_ref()),
            })
    }
}

/// A certificate chain was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainError {
    /// A chain has a leaf, its issuers and a root.
    #[error("the certificate chain has {found} certificates, expected {expected}")]
    Length {
        /// How many the chain may have.
        expected: &'static str,
        /// How many it has.
        found: usize,
    },
    /// A certificate is longer than any maker's.
    #[error("a certificate is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// Its length.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A certificate is not the DER of X.509, or the text around it is not PEM.
    #[error("a certificate cannot be read")]
    Unreadable,
    /// The chain ends in a root that the verifier does not trust.
    #[error("the chain ends in a root that is not trusted, its SHA-256 hash is {found}")]
    UntrustedRoot {
        /// The root's hash, for who wants to list it.
        found: String,
    },
    /// A certificate is not valid yet.
    #[error("the certificate of `{subject}` is valid from {not_before}, it is {now}")]
    NotYetValid {
        /// Its subject.
        subject: String,
        /// The start of its validity.
        not_before: Timestamp,
        /// The verifier's time.
        now: Timestamp,
    },
    /// A certificate has expired.
    #[error("the certificate of `{subject}` was valid until {not_after}, it is {now}")]
    Expired {
        /// Its subject.
        subject: String,
        /// The end of its validity.
        not_after: Timestamp,
        /// The verifier's time.
        now: Timestamp,
    },
    /// The certificates do not sign one another, or not as issuers may.
    #[error("the certificate chain does not authenticate")]
    NotAuthentic,
}

/// A chain that holds.
pub(crate) struct Proven<'r> {
    pub(crate) vendor: &'r str,
    /// The leaf, for its extensions.
    pub(crate) leaf: Certificate,
    /// The earliest end of any of the certificates.
    pub(crate) valid_until: Timestamp,
}

impl Proven<'_> {
    /// The leaf's public key, without the algorithm: a point for an elliptic curve.
    pub(crate) fn public_key(&self) -> &[u8] {
        let key = self.leaf.tbs_certificate().subject_public_key_info();
        key.subject_public_key.raw_bytes()
    }
}

/// Checks `chain`, which goes from the leaf to the root, both included.
///
/// Lengths, the root's hash and validity come first: they cost nothing and say what is wrong. Signatures and what issuers may do are
/// webpki's (RFC 5280 section 6).
pub(crate) fn verify<'r>(
    chain: &[CertificateDer<'_>],
    roots: &'r RootKeys,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: Timestamp,
) -> Result<Proven<'r>, ChainError> {
    let [leaf, issuers @ .., root] = chain else {
        return Err(length(chain.len()));
    };
    if issuers.len() > MAX_ISSUERS {
        return Err(length(chain.len()));
    }
    if let Some(found) = chain.iter().map(|der| der.len()).find(|n| *n > MAX_LEN) {
        return Err(ChainError::TooLong {
            found,
            limit: MAX_LEN,
        });
    }
    let vendor = roots.vendor(root)?;
    let certificates = read(chain)?;
    let valid_until = validity(&certificates, now)?;
    signatures(leaf, issuers, root, algorithms, now).map_err(|_| ChainError::NotAuthentic)?;
    let leaf = certificates.into_iter().next();
    Ok(Proven {
        vendor,
        leaf: leaf.ok_or(ChainError::Unreadable)?,
        valid_until,
    })
}

/// The certificates of a PEM file, in its order.
pub(crate) fn from_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, ChainError> {
    use rustls_pki_types::pem::PemObject as _;
    if text.len() > MAX_PEM_LEN {
        return Err(ChainError::TooLong {
            found: text.len(),
            limit: MAX_PEM_LEN,
        });
    }
    CertificateDer::pem_slice_iter(text)
        .collect::<Result<_, _>>()
        .map_err(|_| ChainError::Unreadable)
}

pub(crate) fn read(chain: &[CertificateDer<'_>]) -> Result<Vec<Certificate>, ChainError> {
    let certificates = chain.iter().map(|der| Certificate::from_der(der));
    certificates
        .collect::<Result<_, _>>()
        .map_err(|_| ChainError::Unreadable)
}

fn length(found: usize) -> ChainError {
    ChainError::Length {
        expected: "2 to 6",
        found,
    }
}

/// The earliest end among the certificates, all of which are valid now.
pub(crate) fn validity(
    certificates: &[Certificate],
    now: Timestamp,
) -> Result<Timestamp, ChainError> {
    let mut valid_until = Timestamp::MAX;
    for certificate in certificates {
        let fields = certificate.tbs_certificate();
        let not_before = timestamp(fields.validity().not_before);
        let not_after = timestamp(fields.validity().not_after);
        let subject = || fields.subject().to_string();
        if now < not_before {
            return Err(ChainError::NotYetValid {
                subject: subject(),
                not_before,
                now,
            });
        }
        if now > not_after {
            return Err(ChainError::Expired {
                subject: subject(),
                not_after,
                now,
            });
        }
        valid_until = valid_until.min(not_after);
    }
    Ok(valid_until)
}

/// A time beyond what a timestamp holds (the year 9999) is its end.
pub(crate) fn timestamp(time: Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs());
    seconds
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

fn signatures(
    leaf: &CertificateDer<'_>,
    issuers: &[CertificateDer<'_>],
    root: &CertificateDer<'_>,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
    now: Timestamp,
) -> Result<(), webpki::Error> {
    let anchors = [anchor_from_trusted_cert(root)?];
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(core::time::Duration::from_secs(seconds));
    // No maker restricts these keys by an extended key usage; one that says another purpose is not meant for this.
    let usage = KeyUsage::client_auth();
    EndEntityCert::try_from(leaf)?
        .verify_for_usage(algorithms, &anchors, issuers, now, usage, None, None)
        .map(drop)
}

/// The roots below, by the hashes that a verifier compares.
fn known(vendor: &str, roots: &[&str]) -> RootKeys {
    let roots = roots.iter().map(|text| hex::decode(text.as_bytes()));
    roots.fold(RootKeys::none(), |keys, hash| {
        let hash = hash.and_then(|bytes| bytes.try_into().ok());
        keys.with(vendor, hash.expect("each hash below has 64 digits"))
    })
}

/// Nitro has the longest chain: the root, three below it and the leaf.
const MAX_ISSUERS: usize = 4;

/// AMD's are the longest, 1,700 bytes: keys and signatures of RSA-4096.
const MAX_LEN: usize = 4096;

/// As many certificates as a chain may have, in PEM.
const MAX_PEM_LEN: usize = 32 * 1024;

/// `CN=ARK-Milan`, until 2045.
const ARK_MILAN: &str = "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd";

/// `CN=ARK-Genoa`, until 2047.
const ARK_GENOA: &str = "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1";

/// `CN=ARK-Turin`, until 2048.
const ARK_TURIN: &str = "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a";

/// `CN=Intel SGX Root CA`, until 2049.
const INTEL_SGX_ROOT: &str = "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3";

/// `CN=aws.nitro-enclaves`, until 2049.
const AWS_NITRO_ROOT_G1: &str = "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b";
