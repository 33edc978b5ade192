//! TLS 1.3 to what lies behind the gateway: hybrid groups first, classical ones too, since a service may not know better.

use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use aws_lc_rs::digest;
use countersign_channel::provider::upstream_provider;
use countersign_channel::registry::{Group, Scheme, Suite};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{HostPort, ServiceConfig, ServiceTlsConfig};
use crate::gateway::services::ServiceError;
use crate::hop::HopTls;
use crate::private_file;

/// TLS with an upstream whose certificate must be for one name.
///
/// Two are equal when they are for one name and were made of files with the same content: a connection that the one
/// made is as good as one of the other.
pub(super) struct UpstreamTls {
    config: ClientConfig,
    verifier: Arc<dyn ServerCertVerifier>,
    name: ServerName<'static>,
    content: [u8; 32],
}

impl UpstreamTls {
    /// Reads what a service's configuration names, for the upstream at `address`.
    ///
    /// # Errors
    ///
    /// A file cannot be read or does not hold what it should, or there is no name that a certificate could be for.
    pub(super) fn new(
        service: &ServiceConfig,
        tls: &ServiceTlsConfig,
        address: &HostPort,
    ) -> Result<Self, ServiceError> {
        let failed = |source| ServiceError::Tls {
            service: service.name.clone(),
            source,
        };
        let mut content = digest::Context::new(&digest::SHA256);
        let mut roots = RootCertStore::empty();
        for authority in certificates(service, "CA certificates", &tls.ca)? {
            content.update(&authority);
            roots.add(authority).map_err(failed)?;
        }
        let identity = identity(service, tls, &mut content)?;
        let verifier: Arc<dyn ServerCertVerifier> =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), upstream_provider())
                .build()
                .map_err(|_| ServiceError::NoAuthority {
                    service: service.name.clone(),
                    file: tls.ca.clone(),
                })?;
        let builder = ClientConfig::builder_with_provider(upstream_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier));
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(failed)?,
        };
        config.resumption = rustls::client::Resumption::disabled();
        let mut fixed = [0; 32];
        fixed.copy_from_slice(content.finish().as_ref());
        Ok(Self {
            config,
            verifier,
            name: server_name(service, tls, address)?,
            content: fixed,
        })
    }

    /// Shakes hands, offering the protocols of `alpn`.
    ///
    /// # Errors
    ///
    /// The handshake fails.
    pub(super) async fn handshake(
        &self,
        tcp: TcpStream,
        alpn: &[&[u8]],
    ) -> io::Result<(TlsStream<TcpStream>, Option<HopTls>)> {
        let witness = Arc::new(Witness {
            verifier: Arc::clone(&self.verifier),
            scheme: OnceLock::new(),
        });
        let mut config = self.config.clone();
        config.dangerous().set_certificate_verifier(witness.clone());
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = connector.connect(self.name.clone(), tcp).await?;
        let connection = stream.get_ref().1;
        let group = connection.negotiated_key_exchange_group();
        let suite = connection.negotiated_cipher_suite();
        let settled = group
            .zip(suite)
            .zip(witness.scheme.get())
            .map(|((group, suite), scheme)| HopTls {
                group: Group(group.name().into()),
                scheme: Scheme((*scheme).into()),
                suite: Suite(suite.suite().into()),
            });
        Ok((stream, settled))
    }
}

impl PartialEq for UpstreamTls {
    fn eq(&self, other: &Self) -> bool {
        self.content == other.content && self.name == other.name
    }
}

/// Verifies as another does, and keeps what rustls does not tell: the scheme of the upstream's signature.
#[derive(Debug)]
struct Witness {
    verifier: Arc<dyn ServerCertVerifier>,
    scheme: OnceLock<SignatureScheme>,
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let _ = self.scheme.set(dss.scheme);
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The gateway's own certificate for a service, with its key.
fn identity(
    service: &ServiceConfig,
    tls: &ServiceTlsConfig,
    content: &mut digest::Context,
) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, ServiceError> {
    let Some(identity) = &tls.identity else {
        return Ok(None);
    };
    let chain = certificates(service, "a certificate chain", &identity.certificate)?;
    let key = private_file::read(&identity.key).map_err(|source| ServiceError::PrivateKey {
        service: service.name.clone(),
        source,
    })?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(|source| ServiceError::Pem {
        service: service.name.clone(),
        what: "a private key",
        file: identity.key.clone(),
        source,
    })?;
    chain
        .iter()
        .for_each(|certificate| content.update(certificate));
    content.update(key.secret_der());
    Ok(Some((chain, key)))
}

fn server_name(
    service: &ServiceConfig,
    tls: &ServiceTlsConfig,
    address: &HostPort,
) -> Result<ServerName<'static>, ServiceError> {
    let name = tls.name.as_ref().unwrap_or(&address.host).clone();
    ServerName::try_from(name.clone()).map_err(|_| ServiceError::Name {
        service: service.name.clone(),
        name,
    })
}

fn certificates(
    service: &ServiceConfig,
    what: &'static str,
    file: &Path,
) -> Result<Vec<CertificateDer<'static>>, ServiceError> {
    CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|source| ServiceError::Pem {
            service: service.name.clone(),
            what,
            file: file.to_owned(),
            source,
        })
}
