//! A client's TLS to a gateway, as a service's name has it.

use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Gateway, loopback};

/// The way to a gateway's service, with hybrid key exchange and one ALPN protocol. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dialer {
    connector: TlsConnector,
    name: ServerName<'static>,
    port: u16,
}

impl Dialer {
    pub(crate) fn new(gateway: &Gateway, service: &str, alpn: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        let anchor = CertificateDer::from_pem_file(&gateway.authority.file);
        roots
            .add(anchor.expect("our own file"))
            .expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("TLS 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        Self {
            connector: TlsConnector::from(Arc::new(config)),
            name: ServerName::try_from(gateway.service_name(service)).expect("a name"),
            port: gateway.port,
        }
    }

    /// A connection whose handshake is done.
    pub(crate) async fn dial(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(loopback(self.port)).await?;
        self.connector.connect(self.name.clone(), tcp).await
    }
}
