//! One set of certificates for every server.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_channel::identity::{
    Authority, CertificateRequest, KeyAlgorithm, PrivateKey, SpiffeId, Svid, TrustDomain, Validity,
};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;

use crate::{DOMAIN, Outcome, SERVERS};

/// Certificates in a folder, as the servers' configurations name them.
#[derive(Debug)]
pub(crate) struct Certificates {
    /// P-256: for every server.
    pub(crate) p256: Classical,
    /// P-384: Envoy takes AES-256-GCM under a policy that wants them.
    pub(crate) p384: Classical,
    /// ML-DSA-65: for a server without an authority of its own.
    pub(crate) post_quantum: PostQuantum,
}

/// An ECDSA authority and one certificate of it, for all of [`SERVERS`].
#[derive(Debug)]
pub(crate) struct Classical {
    /// The authority's certificate, PEM.
    pub(crate) ca: PathBuf,
    /// The server's certificate, PEM.
    pub(crate) chain: PathBuf,
    /// Its key, PEM.
    pub(crate) key: PathBuf,
    /// Certificate and key in one file, as HAProxy wants them.
    pub(crate) both: PathBuf,
    /// The authority's certificate, DER.
    pub(crate) root: CertificateDer<'static>,
}

/// An ML-DSA-65 authority and a certificate of it for each end.
#[derive(Debug)]
pub(crate) struct PostQuantum {
    /// The authority's certificate, DER.
    pub(crate) root: CertificateDer<'static>,
    /// The authority's certificate, PEM.
    pub(crate) ca: PathBuf,
    /// The server's certificate, PEM.
    pub(crate) chain: PathBuf,
    /// The server's key, PEM.
    pub(crate) key: PathBuf,
    /// The client's.
    pub(crate) client: Arc<Svid>,
}

impl Certificates {
    /// Makes them in a folder.
    pub(crate) fn make(folder: &Path) -> Outcome<Self> {
        Ok(Self {
            p256: Classical::make(folder, "p256", &PKCS_ECDSA_P256_SHA256)?,
            p384: Classical::make(folder, "p384", &PKCS_ECDSA_P384_SHA384)?,
            post_quantum: PostQuantum::make(folder)?,
        })
    }
}

impl Classical {
    fn make(folder: &Path, name: &str, algorithm: &'static SignatureAlgorithm) -> Outcome<Self> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of the same name as the leaf, it would be taken for self-signed.
        params
            .distinguished_name
            .push(DnType::CommonName, "bench authority");
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate_for(algorithm)?)?;
        let key = KeyPair::generate_for(algorithm)?;
        let names = SERVERS.map(str::to_owned);
        let leaf = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let write = |end: &str, text: &str| write(folder, &format!("{name}-{end}"), text);
        Ok(Self {
            ca: write("ca.pem", &issuer.pem())?,
            chain: write("server.pem", &leaf.pem())?,
            key: write("server.key", &key.serialize_pem())?,
            both: write("both.pem", &(leaf.pem() + &key.serialize_pem()))?,
            root: issuer.der().clone(),
        })
    }
}

impl PostQuantum {
    fn make(folder: &Path) -> Outcome<Self> {
        let now = Timestamp::now();
        let domain: TrustDomain = DOMAIN.parse()?;
        let authority = Authority::generate(domain, KeyAlgorithm::MlDsa65, Validity::anchor(now))?;
        let issue = |id: &str| -> Outcome<Svid> {
            let key = PrivateKey::generate(KeyAlgorithm::MlDsa65)?;
            let proven =
                CertificateRequest::from_der(&CertificateRequest::write(&key)?)?.prove()?;
            let id: SpiffeId = format!("spiffe://{DOMAIN}/{id}").parse()?;
            let leaf = authority.issue(&proven, &id, Validity::leaf(now))?;
            Ok(Svid::new(vec![leaf], Arc::new(key))?)
        };
        let root = CertificateDer::from(authority.anchor().der().to_vec());
        let server = issue("gateway/main")?;
        Ok(Self {
            ca: write(folder, "ml-dsa-ca.pem", &pem(&root))?,
            chain: write(folder, "ml-dsa.pem", &server.chain_to_pem()?)?,
            key: write(folder, "ml-dsa.key", &server.key().to_pkcs8_pem()?)?,
            client: Arc::new(issue("agent/bench")?),
            root,
        })
    }
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    use base64ct::Encoding;
    let text = base64ct::Base64::encode_string(certificate);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        lines.join("\n")
    )
}

fn write(folder: &Path, name: &str, text: &str) -> Outcome<PathBuf> {
    let file = folder.join(name);
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, Permissions::from_mode(0o600))?;
    Ok(file)
}
