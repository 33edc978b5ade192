//! Two ends over a simulated link, and strangers who speak something else.

mod agentless;
mod agents;
mod challenges;
mod clients;
mod introductions;
mod matrix;
mod strangers;

use std::net::SocketAddr;
use std::sync::Arc;

use jiff::Timestamp;
use rcgen::CertificateParams;
use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{ConnectError, Connected, Connector};
use crate::identity::signer::IssuingKey;
use crate::identity::{
    Authority, BundleDraft, CertificateRequest, KeyAlgorithm, PrivateKey, SpiffeId, Svid,
    TrustBundle, TrustDomain, TrustDomainKey, Validity,
};
use crate::profile::Profile;
use crate::provider::crypto_provider;
use crate::record::Refusal;
use crate::registry::Scheme;
use crate::server::{
    Accepted, Acceptor, ClassicalCertificate, Credentials, Exception, Limits, Listener, Refused,
};
use crate::stage::{Rules, Stage};

/// A trust domain with its authority, as one profile wants it.
struct World {
    profile: Profile,
    trust_domain: TrustDomain,
    authority: Authority,
    root: TrustDomainKey,
    bundle: Arc<TrustBundle>,
    service: (CertificateDer<'static>, ClassicalCertificate),
}

impl World {
    fn new(profile: Profile) -> Self {
        Self::of("example.org", profile)
    }

    fn of(domain: &str, profile: Profile) -> Self {
        let trust_domain = TrustDomain::parse(domain).unwrap();
        let validity = Validity::anchor(Timestamp::now());
        let authority =
            Authority::generate(trust_domain.clone(), profile.anchor_key(), validity).unwrap();
        let root = TrustDomainKey::generate().unwrap();
        let draft = BundleDraft {
            trust_domain: trust_domain.clone(),
            version: 1,
            issued_at: Timestamp::now(),
            anchors: vec![authority.anchor().clone()],
        };
        let bundle = root
            .sign(&draft)
            .unwrap()
            .verify(&root.pin(), &trust_domain)
            .unwrap();
        let service = service_certificate(if profile.agentless_schemes() == [Scheme::MLDSA87] {
            KeyAlgorithm::MlDsa87
        } else {
            KeyAlgorithm::EcdsaP384
        });
        Self {
            profile,
            trust_domain,
            authority,
            root,
            bundle: Arc::new(bundle),
            service,
        }
    }

    fn svid(&self, id: &SpiffeId, validity: Validity) -> Svid {
        let key = Arc::new(PrivateKey::generate(self.profile.leaf_key()).unwrap());
        let request = CertificateRequest::write(&key).unwrap();
        let proven = CertificateRequest::from_der(&request)
            .unwrap()
            .prove()
            .unwrap();
        let leaf = self.authority.issue(&proven, id, validity).unwrap();
        Svid::new(vec![leaf], key).unwrap()
    }

    fn agent(&self) -> Svid {
        self.svid(
            &self.trust_domain.agent("laptop").unwrap(),
            Validity::leaf(Timestamp::now()),
        )
    }

    fn gateway(&self) -> Svid {
        self.svid(
            &self.trust_domain.gateway("main").unwrap(),
            Validity::leaf(Timestamp::now()),
        )
    }

    fn credentials(&self) -> Credentials {
        Credentials {
            svid: Arc::new(self.gateway()),
            bundle: self.bundle.clone(),
        }
    }

    fn listener(&self, stage: Stage) -> Listener {
        Listener {
            name: "main".to_owned(),
            rules: Rules::new(stage, self.profile).unwrap(),
            certificates: vec![self.service.1.clone()],
            ..Listener::default()
        }
    }

    fn acceptor(&self, listener: Listener) -> Acceptor {
        Acceptor::new(listener, self.credentials(), Limits::default()).unwrap()
    }

    fn connector(&self, svid: &Svid) -> Connector {
        Connector::new(self.profile, self.bundle.clone(), svid).unwrap()
    }
}

/// A client that is no agent: any TLS library, here rustls with the groups it is given.
struct Agentless {
    connector: TlsConnector,
}

impl Agentless {
    fn new(world: &World, groups: &[&'static dyn SupportedKxGroup]) -> Self {
        Self::with(world, |provider| provider.kx_groups = groups.to_vec())
    }

    fn with(world: &World, change: impl FnOnce(&mut CryptoProvider)) -> Self {
        Self::trusting(&world.service.0, change)
    }

    /// One that shows a certificate where it is asked for one.
    fn showing(
        world: &World,
        identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> Self {
        let groups = crypto_provider(world.profile).kx_groups.clone();
        Self::with_identity(&world.service.0, identity, |provider| {
            provider.kx_groups = groups;
        })
    }

    /// The same with classical groups alone.
    fn classical(
        world: &World,
        identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    ) -> Self {
        Self::with_identity(&world.service.0, identity, |provider| {
            provider.kx_groups = vec![kx_group::X25519];
        })
    }

    fn trusting(
        certificate: &CertificateDer<'static>,
        change: impl FnOnce(&mut CryptoProvider),
    ) -> Self {
        Self::with_identity(certificate, None, change)
    }

    fn with_identity(
        certificate: &CertificateDer<'static>,
        identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
        change: impl FnOnce(&mut CryptoProvider),
    ) -> Self {
        let mut provider = rustls::crypto::aws_lc_rs::default_provider();
        change(&mut provider);
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((leaf, key)) => builder.with_client_auth_cert(vec![leaf], key).unwrap(),
        };
        Self {
            connector: TlsConnector::from(Arc::new(config)),
        }
    }

    async fn connect(
        &self,
        sni: &'static str,
        io: DuplexStream,
    ) -> std::io::Result<TlsStream<DuplexStream>> {
        self.connector
            .connect(ServerName::try_from(sni).unwrap(), io)
            .await
    }
}

/// One handshake of an agent, with a byte sent each way where it stands.
async fn agent_handshake(
    acceptor: &Acceptor,
    connector: &Connector,
) -> (
    Result<Accepted<DuplexStream>, Refused>,
    Result<Connected<DuplexStream>, ConnectError>,
) {
    let (near, far) = duplex(64 * 1024);
    let client = async {
        let mut connected = connector.connect(near).await?;
        let mut byte = [0];
        match connected.stream.read_exact(&mut byte).await {
            Ok(_) => Ok(connected),
            Err(error) => Err(ConnectError::from_io(&error)),
        }
    };
    tokio::join!(greet(acceptor, far), client)
}

/// One handshake of an agentless client, with a byte sent by the gateway where it stands.
async fn agentless_handshake(
    acceptor: &Acceptor,
    client: &Agentless,
    sni: &'static str,
) -> (
    Result<Accepted<DuplexStream>, Refused>,
    std::io::Result<TlsStream<DuplexStream>>,
) {
    let (near, far) = duplex(64 * 1024);
    tokio::join!(greet(acceptor, far), client.connect(sni, near))
}

async fn greet(acceptor: &Acceptor, io: DuplexStream) -> Result<Accepted<DuplexStream>, Refused> {
    let mut accepted = acceptor.accept(io, peer()).await?;
    accepted.stream.write_all(b"!").await.unwrap();
    accepted.stream.flush().await.unwrap();
    Ok(accepted)
}

fn refusal(result: Result<Accepted<DuplexStream>, Refused>) -> Refusal {
    result.unwrap_err().record.refusal().unwrap().clone()
}

fn peer() -> SocketAddr {
    "192.0.2.7:40000".parse().unwrap()
}

fn exception(sni: &str) -> Exception {
    Exception {
        id: "EX-7".to_owned(),
        owner: "ops@example.org".to_owned(),
        reason: "a printer that knows no better".to_owned(),
        ends: Timestamp::MAX,
        network: None,
        sni: Some(sni.to_owned()),
    }
}

fn service_certificate(algorithm: KeyAlgorithm) -> (CertificateDer<'static>, ClassicalCertificate) {
    certificate_for(algorithm, &[SERVICE, "*.apps.example.org"])
}

fn certificate_for(
    algorithm: KeyAlgorithm,
    names: &[&str],
) -> (CertificateDer<'static>, ClassicalCertificate) {
    let key = PrivateKey::generate(algorithm).unwrap();
    let names: Vec<_> = names.iter().map(ToString::to_string).collect();
    let params = CertificateParams::new(names).unwrap();
    let certificate = params
        .self_signed(&IssuingKey::new(&key))
        .unwrap()
        .der()
        .clone();
    let pkcs8 = PrivateKeyDer::try_from(key.to_pkcs8_der().unwrap().to_vec()).unwrap();
    let usable = ClassicalCertificate::from_der(vec![certificate.clone()], pkcs8).unwrap();
    (certificate, usable)
}

const SERVICE: &str = "service.example.org";
