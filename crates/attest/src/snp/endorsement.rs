//! What AMD certifies of a chip: the VCEK or VLEK and its extensions (VCEK Certificate and KDS Interface Specification, 57230,
//! section 3).

use rustls_pki_types::alg_id::RSA_ENCRYPTION;
use rustls_pki_types::{
    AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm,
};
use webpki::aws_lc_rs::RSA_PSS_2048_8192_SHA384_LEGACY_KEY;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::{ObjectIdentifier, OctetStringRef};

use super::SnpError;
use crate::chain::ChainError;

/// The key certificate of a chip or of a cloud provider, and the chain above it, as AMD's key server hands them out.
#[derive(Clone, Debug)]
pub struct Endorsement {
    chain: Vec<CertificateDer<'static>>,
}

impl Endorsement {
    /// From the DER of the VCEK or VLEK, and the PEM file `cert_chain` of its processor family: the ASK or ASVK, then the ARK.
    ///
    /// Nothing is checked here; who signed what is checked with the report.
    ///
    /// # Errors
    ///
    /// [`ChainError`] when the file is not PEM or is longer than any chain of AMD's.
    pub fn new(key: &[u8], chain: &[u8]) -> Result<Self, ChainError> {
        let key = CertificateDer::from(key.to_vec());
        let issuers = crate::chain::from_pem(chain)?;
        let chain = std::iter::once(key).chain(issuers).collect();
        Ok(Self { chain })
    }

    pub(super) fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }
}

/// The security version of each part of the firmware, and the order they have in the eight bytes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tcb {
    pub(super) parts: &'static [Part],
    pub(super) bytes: [u8; 8],
}

/// A part of the firmware: what it is called, where it is in a report, and the extension that says it in a certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) reported: &'static str,
    pub(super) committed: &'static str,
    at: usize,
    oid: ObjectIdentifier,
}

impl Tcb {
    pub(super) fn part(&self, part: &Part) -> u8 {
        self.bytes.get(part.at).copied().unwrap_or_default()
    }
}

/// What the certificate says of its chip, by the extensions.
pub(super) struct Chip {
    /// The chip's identifier: 64 bytes, 8 from Turin on. A VLEK has none.
    pub(super) id: Option<Vec<u8>>,
    /// `Milan-B0`.
    pub(super) product: String,
    parts: &'static [Part],
    versions: Vec<u8>,
}

impl Chip {
    pub(super) fn from_certificate(certificate: &Certificate) -> Result<Self, SnpError> {
        let product =
            extension(certificate, PRODUCT_NAME)
                .and_then(text)
                .ok_or(SnpError::Extension {
                    name: "product name",
                })?;
        let parts = if product.starts_with("Turin") {
            TURIN
        } else {
            MILAN
        };
        let versions = parts.iter().map(|part| {
            let version = extension(certificate, part.oid).and_then(|der| u8::from_der(der).ok());
            version.ok_or(SnpError::Extension { name: part.name })
        });
        Ok(Self {
            id: extension(certificate, HARDWARE_ID).map(hardware_id),
            versions: versions.collect::<Result<_, _>>()?,
            product,
            parts,
        })
    }

    /// The eight bytes as this chip's family has them.
    pub(super) fn tcb(&self, bytes: [u8; 8]) -> Tcb {
        Tcb {
            parts: self.parts,
            bytes,
        }
    }

    /// The report is of the firmware that this key was derived for.
    pub(super) fn check_tcb(&self, reported: Tcb) -> Result<(), SnpError> {
        for (part, certified) in self.parts.iter().zip(&self.versions) {
            let found = reported.part(part);
            if found != *certified {
                return Err(SnpError::Tcb {
                    part: part.name,
                    expected: *certified,
                    found,
                });
            }
        }
        Ok(())
    }
}

fn extension(certificate: &Certificate, oid: ObjectIdentifier) -> Option<&[u8]> {
    let mut all = certificate.tbs_certificate().extensions()?.iter();
    let found = all.find(|extension| extension.extn_id == oid)?;
    Some(found.extn_value.as_bytes())
}

/// An IA5String.
fn text(der: &[u8]) -> Option<String> {
    let text = x509_cert::der::asn1::Ia5StringRef::from_der(der).ok()?;
    Some(text.as_str().to_owned())
}

/// Bare in some certificates, an OCTET STRING in others.
fn hardware_id(value: &[u8]) -> Vec<u8> {
    let inner = <&OctetStringRef>::from_der(value).map(|octets| octets.as_bytes().to_vec());
    inner.unwrap_or_else(|_| value.to_vec())
}

/// RSASSA-PSS as AMD names it: with the trailer field written out, which DER would leave away, so that no other identifier matches.
#[derive(Debug)]
pub(super) struct AmdPss;

impl SignatureVerificationAlgorithm for AmdPss {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        RSA_PSS_2048_8192_SHA384_LEGACY_KEY.verify_signature(public_key, message, signature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        AMD_PSS
    }
}

/// RFC 4055 section 3.1: SHA-384, MGF1 with SHA-384, a salt of 48 bytes, trailer field 1.
const AMD_PSS: AlgorithmIdentifier = AlgorithmIdentifier::from_slice(&[
    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x39, 0xa0, 0x0f, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa1, 0x1c,
    0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06,
    0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01,
    0x30, 0xa3, 0x03, 0x02, 0x01, 0x01,
]);

const fn oid(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

const PRODUCT_NAME: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.2");
const HARDWARE_ID: ObjectIdentifier = oid("1.3.6.1.4.1.3704.1.4");

const BOOT_LOADER: Part = Part {
    name: "boot loader",
    reported: "reported_tcb_boot_loader",
    committed: "committed_tcb_boot_loader",
    at: 0,
    oid: oid("1.3.6.1.4.1.3704.1.3.1"),
};
const TEE: Part = Part {
    name: "trusted operating system",
    reported: "reported_tcb_tee",
    committed: "committed_tcb_tee",
    at: 1,
    oid: oid("1.3.6.1.4.1.3704.1.3.2"),
};
const SNP: Part = Part {
    name: "SNP firmware",
    reported: "reported_tcb_snp",
    committed: "committed_tcb_snp",
    at: 6,
    oid: oid("1.3.6.1.4.1.3704.1.3.3"),
};
const MICROCODE: Part = Part {
    name: "microcode",
    reported: "reported_tcb_microcode",
    committed: "committed_tcb_microcode",
    at: 7,
    oid: oid("1.3.6.1.4.1.3704.1.3.8"),
};
const FMC: Part = Part {
    name: "first mutable code",
    reported: "reported_tcb_fmc",
    committed: "committed_tcb_fmc",
    at: 0,
    oid: oid("1.3.6.1.4.1.3704.1.3.9"),
};

/// Milan and Genoa (56860, table 4).
const MILAN: &[Part] = &[BOOT_LOADER, TEE, SNP, MICROCODE];

/// Turin (56860, table 5): the first mutable code comes first and the others move up.
const TURIN: &[Part] = &[
    FMC,
    Part {
        at: 1,
        ..BOOT_LOADER
    },
    Part { at: 2, ..TEE },
    Part { at: 3, ..SNP },
    MICROCODE,
];
