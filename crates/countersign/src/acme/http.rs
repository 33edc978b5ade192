//! HTTPS to the ACME server: a connection for each request, since a certificate takes a dozen of them in two months.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use countersign_channel::provider::upstream_provider;
use http::header::HOST;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, HttpClient};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::report::Report;

/// An HTTPS client: TLS 1.3, hybrid groups first.
pub(super) struct Https {
    tls: TlsConnector,
}

/// Why a request came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HttpError {
    /// The authorities for the server's own certificate cannot be read.
    #[error("cannot read authorities from `{}`: {reason}", file.display())]
    Authorities {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This system has no authorities in a known place.
    #[error("this system has no file with authorities for the ACME server's own certificate")]
    NoAuthorities,
    /// The server named a URL that is none.
    #[error("`{url}` is no https URL")]
    Url {
        /// The URL.
        url: String,
    },
    /// Nothing accepted the connection.
    #[error("the ACME server `{host}` does not accept connections: {source}")]
    Connect {
        /// Host and port.
        host: String,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error(
        "TLS with the ACME server `{host}` failed: {}",
        countersign_channel::in_words(source)
    )]
    Tls {
        /// Host and port.
        host: String,
        /// What failed.
        source: io::Error,
    },
    /// The request or its answer failed.
    #[error("the ACME server `{host}` gave no answer: {reason}")]
    Exchange {
        /// Host and port.
        host: String,
        /// What failed.
        reason: String,
    },
    /// It took too long.
    #[error("the ACME server `{host}` gave no answer within {} s", LIMIT.as_secs())]
    Timeout {
        /// Host and port.
        host: String,
    },
}

impl Report for HttpError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoAuthorities | Self::Tls { .. } => {
                "set `acme.ca` to a file with the authorities that vouch for the ACME server"
                    .to_owned()
            }
            Self::Authorities { .. } => {
                "the file must be readable PEM that holds certificates".to_owned()
            }
            Self::Connect { .. } | Self::Timeout { .. } => {
                "check `acme.directory`, and that this machine may connect to it".to_owned()
            }
            Self::Url { .. } | Self::Exchange { .. } => return None,
        })
    }
}

impl Https {
    /// A client that trusts the authorities in a file, or those of the system.
    ///
    /// # Errors
    ///
    /// They cannot be read.
    pub(super) fn new(authorities: Option<&Path>) -> Result<Self, HttpError> {
        let system = || {
            SYSTEM_AUTHORITIES
                .iter()
                .map(Path::new)
                .find(|file| file.exists())
        };
        let file = authorities
            .or_else(system)
            .ok_or(HttpError::NoAuthorities)?;
        let unusable = |reason: String| HttpError::Authorities {
            file: file.to_owned(),
            reason,
        };
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unusable(error.to_string()))?;
        let mut roots = RootCertStore::empty();
        let (added, _) = roots.add_parsable_certificates(certificates);
        if added == 0 {
            return Err(unusable("it holds no authority".to_owned()));
        }
        let mut config = ClientConfig::builder_with_provider(upstream_provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| unusable(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
        })
    }
}

impl HttpClient for Https {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, instant_acme::Error>> + Send>> {
        let tls = self.tls.clone();
        Box::pin(async move {
            let answer = limited(tls, request).await;
            answer
                .map(BytesResponse::from)
                .map_err(|error| instant_acme::Error::Other(Box::new(error)))
        })
    }
}

async fn limited(
    tls: TlsConnector,
    request: Request<BodyWrapper<Bytes>>,
) -> Result<Response<Full<Bytes>>, HttpError> {
    let target = Target::of(request.uri())?;
    let answer = tokio::time::timeout(LIMIT, target.exchange(tls, request)).await;
    answer.unwrap_or_else(|_| {
        Err(HttpError::Timeout {
            host: target.host(),
        })
    })
}

/// Where a request goes.
struct Target {
    name: String,
    port: u16,
}

impl Target {
    fn of(url: &Uri) -> Result<Self, HttpError> {
        let name = url.host().filter(|_| url.scheme_str() == Some("https"));
        let name = name.ok_or_else(|| HttpError::Url {
            url: url.to_string(),
        })?;
        Ok(Self {
            name: name.trim_matches(['[', ']']).to_owned(),
            port: url.port_u16().unwrap_or(443),
        })
    }

    fn host(&self) -> String {
        format!("{}:{}", self.name, self.port)
    }

    async fn exchange(
        &self,
        tls: TlsConnector,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, HttpError> {
        let host = self.host();
        let failed = |reason: String| HttpError::Exchange {
            host: host.clone(),
            reason,
        };
        let server = ServerName::try_from(self.name.clone()).map_err(|_| HttpError::Url {
            url: request.uri().to_string(),
        })?;
        let tcp = TcpStream::connect((self.name.as_str(), self.port)).await;
        let tcp = tcp.map_err(|source| HttpError::Connect {
            host: host.clone(),
            source,
        })?;
        let stream = tls.connect(server, tcp).await;
        let stream = stream.map_err(|source| HttpError::Tls {
            host: host.clone(),
            source,
        })?;
        to_origin(&mut request);
        let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = connected.map_err(|error| failed(error.to_string()))?;
        // Ended with this future, whatever comes of the request.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let answer = sender.send_request(request).await;
        let (head, body) = answer
            .map_err(|error| failed(error.to_string()))?
            .into_parts();
        let body = Limited::new(body, LONGEST_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => failed(format!("it is longer than {LONGEST_ANSWER} bytes")),
            None => failed(error.to_string()),
        })?;
        Ok(Response::from_parts(head, Full::new(body.to_bytes())))
    }
}

/// Puts the request in the form that a server itself is asked in (RFC 9112 section 3.2.1).
fn to_origin(request: &mut Request<BodyWrapper<Bytes>>) {
    let authority = request.uri().authority().map(ToString::to_string);
    if let Some(Ok(host)) = authority.map(|authority| HeaderValue::from_str(&authority)) {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(Uri::default, Uri::from);
}

/// For one request, TLS included.
const LIMIT: Duration = Duration::from_secs(30);

/// A chain of post-quantum certificates would have some 60 kB.
const LONGEST_ANSWER: usize = 1 << 20;

/// Where Debian, Red Hat, SUSE and Alpine keep them.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
