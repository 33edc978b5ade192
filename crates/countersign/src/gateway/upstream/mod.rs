//! The last hop: from the gateway to a service.
//!
//! A connection is opened for a [`Permit`] and for nothing else, to the service that the permit names.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use countersign_channel::proxy_protocol;
use countersign_channel::registry::Group;
use countersign_channel::tunnel::Reset;
use countersign_policy::Permit;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::HostPort;

/// Where a service is and how it is reached.
pub(crate) struct Upstream {
    address: HostPort,
    tls: Option<UpstreamTls>,
    proxy_protocol: bool,
    connect_timeout: Duration,
}

/// TLS on the last hop.
pub(crate) struct UpstreamTls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

/// Who the stream is opened for, as PROXY protocol v2 tells the service.
pub(crate) struct Caller<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) gateway: SocketAddr,
    pub(crate) spiffe_id: Option<&'a str>,
}

/// How the bytes of a stream are protected between gateway and service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protection {
    /// TLS 1.3 with a post-quantum key exchange.
    PostQuantumTls,
    /// TLS 1.3 with a classical key exchange.
    ClassicalTls,
    /// Plain TCP that does not leave the machine.
    Loopback,
    /// Plain TCP over a network.
    Plain,
}

/// An open connection to a service.
pub(crate) struct UpstreamStream {
    io: UpstreamIo,
    /// How its bytes are protected.
    pub(crate) protection: Protection,
}

enum UpstreamIo {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Why a service could not be reached.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    /// The name of the service's host has no address.
    #[error("the host of service `{service}` has no address: {source}")]
    Resolve {
        /// The service.
        service: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nothing accepted the connection.
    #[error("service `{service}` does not accept connections: {source}")]
    Connect {
        /// The service.
        service: String,
        /// What the system said.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("service `{service}` did not accept a connection within {} s", limit.as_secs_f32())]
    Timeout {
        /// The service.
        service: String,
        /// The time it had.
        limit: Duration,
    },
    /// The TLS handshake with it failed.
    #[error(
        "TLS with service `{service}` failed: {}",
        countersign_channel::in_words(source)
    )]
    Tls {
        /// The service.
        service: String,
        /// What failed.
        source: io::Error,
    },
}

impl Upstream {
    /// An upstream at `address`.
    pub(crate) fn new(
        address: HostPort,
        tls: Option<UpstreamTls>,
        proxy_protocol: bool,
        connect_timeout: Duration,
    ) -> Self {
        Self {
            address,
            tls,
            proxy_protocol,
            connect_timeout,
        }
    }

    /// How long opening a connection may take.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.connect_timeout
    }

    /// Opens the connection that `permit` allows.
    ///
    /// # Errors
    ///
    /// Where the service cannot be reached within its connect time limit, TLS included.
    pub(crate) async fn open(
        &self,
        permit: &Permit,
        caller: &Caller<'_>,
    ) -> Result<UpstreamStream, UpstreamError> {
        let service = permit.service();
        tokio::time::timeout(self.connect_timeout, self.connect(service, caller))
            .await
            .unwrap_or_else(|_| {
                Err(UpstreamError::Timeout {
                    service: service.to_owned(),
                    limit: self.connect_timeout,
                })
            })
    }

    async fn connect(
        &self,
        service: &str,
        caller: &Caller<'_>,
    ) -> Result<UpstreamStream, UpstreamError> {
        let mut tcp = self.connect_tcp(service).await?;
        if self.proxy_protocol {
            let header = proxy_protocol::header(caller.source, caller.gateway, caller.spiffe_id);
            tcp.write_all(&header)
                .await
                .map_err(|source| UpstreamError::Connect {
                    service: service.to_owned(),
                    source,
                })?;
        }
        let Some(tls) = &self.tls else {
            let local = tcp.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
            return Ok(UpstreamStream {
                protection: if local {
                    Protection::Loopback
                } else {
                    Protection::Plain
                },
                io: UpstreamIo::Plain(tcp),
            });
        };
        tls.handshake(service, tcp).await
    }

    async fn connect_tcp(&self, service: &str) -> Result<TcpStream, UpstreamError> {
        let addresses = tokio::net::lookup_host((self.address.host.as_str(), self.address.port))
            .await
            .map_err(|source| UpstreamError::Resolve {
                service: service.to_owned(),
                source,
            })?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(tcp) => {
                    // Latency matters more than a packet: what an application flushed is sent.
                    let _ = tcp.set_nodelay(true);
                    return Ok(tcp);
                }
                Err(error) => last = error,
            }
        }
        Err(UpstreamError::Connect {
            service: service.to_owned(),
            source: last,
        })
    }
}

impl UpstreamTls {
    /// TLS by `config`, with a service whose certificate must be for `name`.
    pub(crate) fn new(config: Arc<ClientConfig>, name: ServerName<'static>) -> Self {
        Self { config, name }
    }

    async fn handshake(
        &self,
        service: &str,
        tcp: TcpStream,
    ) -> Result<UpstreamStream, UpstreamError> {
        let tls = TlsConnector::from(Arc::clone(&self.config))
            .connect(self.name.clone(), tcp)
            .await
            .map_err(|source| UpstreamError::Tls {
                service: service.to_owned(),
                source,
            })?;
        let post_quantum = tls
            .get_ref()
            .1
            .negotiated_key_exchange_group()
            .is_some_and(|group| Group(group.name().into()).is_post_quantum());
        Ok(UpstreamStream {
            protection: if post_quantum {
                Protection::PostQuantumTls
            } else {
                Protection::ClassicalTls
            },
            io: UpstreamIo::Tls(Box::new(tls)),
        })
    }
}

impl Protection {
    /// The word used in metrics and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PostQuantumTls => "post-quantum-tls",
            Self::ClassicalTls => "classical-tls",
            Self::Loopback => "loopback",
            Self::Plain => "plain",
        }
    }
}

impl Reset for UpstreamStream {
    fn reset(&mut self) {
        match &mut self.io {
            UpstreamIo::Plain(tcp) => tcp.reset(),
            UpstreamIo::Tls(tls) => tls.reset(),
        }
    }

    fn settle(&mut self) {
        match &mut self.io {
            UpstreamIo::Plain(tcp) => tcp.settle(),
            UpstreamIo::Tls(tls) => tls.settle(),
        }
    }
}

impl AsyncRead for UpstreamStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_read(cx, buf),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for UpstreamStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_write(cx, buf),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, bufs),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.io {
            UpstreamIo::Plain(tcp) => tcp.is_write_vectored(),
            UpstreamIo::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().io {
            UpstreamIo::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            UpstreamIo::Tls(tls) => Pin::new(tls).poll_shutdown(cx),
        }
    }
}
