//! The generator's TLS client: TLS 1.3, AES-256-GCM, one key exchange, and certificates that it verifies.

use std::net::SocketAddr;
use std::sync::Arc;

use countersign_channel::identity::Svid;
use rustls::client::Resumption;
use rustls::crypto::aws_lc_rs::{cipher_suite, default_provider, kx_group};
use rustls::crypto::{CryptoProvider, SupportedKxGroup};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::{DOMAIN, Outcome, WEB};

/// How a handshake is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// X25519, and the server's P-256 certificate.
    Classical,
    /// X25519MLKEM768, and the same certificate.
    Hybrid,
    /// X25519MLKEM768, and ML-DSA-65 certificates of both ends.
    MlDsa,
}

/// What makes connections of one kind to one server.
#[derive(Clone)]
pub(crate) struct Client {
    connector: TlsConnector,
    name: ServerName<'static>,
    address: SocketAddr,
}

/// What a client has of its own to be known by.
pub(crate) struct Known<'a> {
    /// Whom the server's certificate is from.
    pub(crate) root: &'a CertificateDer<'static>,
    /// The client's own certificate.
    pub(crate) own: Option<&'a Svid>,
}

impl Client {
    /// A client of the server at `address`.
    pub(crate) fn new(address: SocketAddr, kind: Kind, known: &Known<'_>) -> Outcome<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(known.root.clone())?;
        let builder = ClientConfig::builder_with_provider(provider(kind))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots);
        let mut config = match known.own {
            None => builder.with_no_client_auth(),
            Some(svid) => {
                let key = PrivatePkcs8KeyDer::from(svid.key().to_pkcs8_der()?.to_vec());
                builder.with_client_auth_cert(svid.chain().to_vec(), PrivateKeyDer::from(key))?
            }
        };
        config.resumption = Resumption::disabled();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let name = match kind {
            Kind::MlDsa => format!("gateway.{DOMAIN}"),
            Kind::Classical | Kind::Hybrid => WEB.to_owned(),
        };
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(name)?,
            address,
        })
    }

    /// Makes a connection.
    pub(crate) async fn connect(&self) -> Outcome<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(self.connector.connect(self.name.clone(), tcp).await?)
    }

    /// Makes a connection, ends it, and waits until the server has done so too: its share of the handshake is done then.
    pub(crate) async fn handshake(&self) -> Outcome<()> {
        let mut stream = self.connect().await?;
        stream.shutdown().await?;
        // Some servers end without close_notify.
        let _ = stream.read_to_end(&mut Vec::new()).await;
        Ok(())
    }
}

fn provider(kind: Kind) -> Arc<CryptoProvider> {
    let group: &'static dyn SupportedKxGroup = match kind {
        Kind::Classical => kx_group::X25519,
        Kind::Hybrid | Kind::MlDsa => kx_group::X25519MLKEM768,
    };
    Arc::new(CryptoProvider {
        cipher_suites: vec![cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![group],
        ..default_provider()
    })
}
