//! Certificates as agentless clients know them.

use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P384_SHA384, PublicKeyData,
};

use super::write_private;

/// A P-384 authority, which every profile that has agentless clients allows, and one certificate of it, `service.pem` with `service.key`.
pub(crate) struct ClassicalAuthority {
    /// The authority's certificate, PEM.
    pub(crate) file: PathBuf,
    /// The SHA-256 of the other certificate's public key, in base64.
    pub(crate) pin: String,
}

impl ClassicalAuthority {
    /// Makes both in a folder; the certificate is for these names.
    pub(crate) fn new(folder: &Path, names: &[String]) -> Self {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        let issuer = CertifiedIssuer::self_signed(params, key).expect("a certificate");
        let file = folder.join("authority.pem");
        std::fs::write(&file, issuer.pem()).expect("our own folder");

        let mut names = names.to_vec();
        names.push("default.test".to_owned());
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        let leaf = CertificateParams::new(names).expect("names");
        let leaf = leaf.signed_by(&key, &issuer).expect("a certificate");
        std::fs::write(folder.join("service.pem"), leaf.pem()).expect("our own folder");
        write_private(&folder.join("service.key"), key.serialize_pem());
        let spki = key.subject_public_key_info();
        let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki);
        let pin = Base64::encode_string(hash.as_ref());
        Self { file, pin }
    }
}
