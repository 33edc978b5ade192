//! Making a connection: a name, an address, TCP, then what is said first.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use countersign_channel::proxy_protocol;
use jiff::Timestamp;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::error::UpstreamError;
use super::stream::{UpstreamIo, UpstreamStream};
use super::tls::UpstreamTls;
use crate::config::{HostPort, HttpProtocol};
use crate::hop::{Hop, HopTls, Protection};

/// How connections to one upstream are made. Two are equal when a connection of the one is as good as one of the other.
#[derive(PartialEq)]
pub(super) struct Connect {
    pub(super) address: HostPort,
    pub(super) tls: Option<UpstreamTls>,
    /// What is spoken there, where it is HTTP.
    pub(super) protocol: Option<HttpProtocol>,
}

/// Who the stream is opened for, as PROXY protocol v2 tells the service.
pub(crate) struct Caller<'a> {
    pub(crate) source: SocketAddr,
    pub(crate) gateway: SocketAddr,
    pub(crate) spiffe_id: Option<&'a str>,
}

impl Connect {
    /// Makes a connection for `service` within `limit`, TLS included, offering the protocols of `alpn`; the caller is named
    /// on it when there is one to name.
    ///
    /// # Errors
    ///
    /// Where the upstream cannot be reached in time.
    pub(super) async fn open(
        &self,
        service: &str,
        caller: Option<&Caller<'_>>,
        alpn: &[&[u8]],
        limit: Duration,
    ) -> Result<UpstreamStream, UpstreamError> {
        let late = |_| UpstreamError::Timeout {
            service: service.to_owned(),
            limit,
        };
        tokio::time::timeout(limit, self.connect(service, caller, alpn))
            .await
            .map_err(late)?
    }

    async fn connect(
        &self,
        service: &str,
        caller: Option<&Caller<'_>>,
        alpn: &[&[u8]],
    ) -> Result<UpstreamStream, UpstreamError> {
        let mut tcp = self.connect_tcp(service).await?;
        if let Some(caller) = caller {
            let header = proxy_protocol::header(caller.source, caller.gateway, caller.spiffe_id);
            let written = tcp.write_all(&header).await;
            written.map_err(|source| UpstreamError::Connect {
                service: service.to_owned(),
                source,
            })?;
        }
        let Some(tls) = &self.tls else {
            let local = tcp.peer_addr().is_ok_and(|peer| peer.ip().is_loopback());
            let protection = match local {
                true => Protection::Loopback,
                false => Protection::Plain,
            };
            let hop = self.hop(protection, None);
            return Ok(UpstreamStream::new(UpstreamIo::Plain(tcp), hop));
        };
        let shaken = tls.handshake(tcp, alpn).await;
        let (stream, settled) = shaken.map_err(|source| UpstreamError::Tls {
            service: service.to_owned(),
            source,
        })?;
        let protection = settled.map_or(Protection::ClassicalTls, |tls| tls.protection());
        let hop = self.hop(protection, settled);
        Ok(UpstreamStream::new(UpstreamIo::Tls(Box::new(stream)), hop))
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

    fn hop(&self, protection: Protection, tls: Option<HopTls>) -> Hop {
        Hop {
            upstream: self.address.to_string(),
            protection,
            tls,
            since: Timestamp::now(),
        }
    }
}
