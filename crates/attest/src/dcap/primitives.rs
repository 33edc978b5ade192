//! The primitives that `dcap-qvl` leaves to its caller, on AWS-LC.

use aws_lc_rs::digest::{Algorithm, SHA256, SHA384, digest};
use dcap_qvl::config::{Config, CryptoProvider};
use dcap_qvl::signature::DerSigEncoder;
use dcap_qvl::x509::X509CertBackend;
use rustls_pki_types::SignatureVerificationAlgorithm;
use webpki::aws_lc_rs::ECDSA_P256_SHA256;

pub(super) struct OnAwsLc;

impl Config for OnAwsLc {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = AwsLc;
}

pub(super) struct AwsLc;

impl CryptoProvider for AwsLc {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        ECDSA_P256_SHA256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        hash(&SHA256, data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        hash(&SHA384, data)
    }
}

fn hash<const N: usize>(algorithm: &'static Algorithm, data: &[u8]) -> [u8; N] {
    let hash = digest(algorithm, data);
    *hash
        .as_ref()
        .first_chunk()
        .expect("the algorithm's length is N")
}
