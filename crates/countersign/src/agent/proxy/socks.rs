//! A SOCKS5 proxy (RFC 1928): no authentication, CONNECT only, and a domain name is the name of a service.
//!
//! Names are resolved by the gateway, so a client must leave them to the proxy (`socks5h://` for curl). A web page
//! cannot speak to it: its first byte would have to be 5.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::agent::local::Local;
use crate::agent::open::{Carriage, NotAService, Open, OpenError, service_at};
use crate::agent::sessions::Sessions;
use crate::config::ServiceName;

/// Serves one connection to its end.
pub(crate) async fn serve<O: Open>(mut client: TcpStream, open: O, sessions: Arc<Sessions>) {
    let asked = tokio::time::timeout(NEGOTIATION, negotiate(&mut client)).await;
    let service = match asked {
        Ok(Ok(service)) => service,
        Ok(Err(refusal)) => {
            tracing::debug!(%refusal, "socks client refused");
            if let Some(reply) = refusal.reply() {
                say_no(client, reply).await;
            }
            return;
        }
        Err(_) => return,
    };
    match open.open(&service, Carriage::Shared).await {
        Ok(stream) => {
            if client.write_all(&reply(Reply::Succeeded)).await.is_ok() {
                sessions.carry(Local::from(client), stream, &service).await;
            }
        }
        Err(error) => {
            tracing::warn!(%service, %error, "socks client gets no stream");
            say_no(client, Reply::from(&error)).await;
        }
    }
}

/// The last words to a client; it may have sent more than was read, and a close would then take them back.
async fn say_no(mut client: TcpStream, no: Reply) {
    if client.write_all(&reply(no)).await.is_ok() && client.shutdown().await.is_ok() {
        let mut rest = [0; 512];
        let drain = async { while matches!(client.read(&mut rest).await, Ok(1..)) {} };
        let _late = tokio::time::timeout(LAST_WORDS, drain).await;
    }
}

async fn negotiate(client: &mut TcpStream) -> Result<ServiceName, Refusal> {
    read_greeting(client).await?;
    client.write_all(&[VERSION, NO_AUTHENTICATION]).await?;
    read_request(client).await
}

/// RFC 1928, section 3: version, number of methods, methods.
async fn read_greeting(client: &mut (impl AsyncRead + Unpin)) -> Result<(), Refusal> {
    let version = client.read_u8().await?;
    if version != VERSION {
        return Err(Refusal::Version(version));
    }
    let mut methods = vec![0; usize::from(client.read_u8().await?)];
    client.read_exact(&mut methods).await?;
    if methods.contains(&NO_AUTHENTICATION) {
        Ok(())
    } else {
        Err(Refusal::Method)
    }
}

/// RFC 1928, section 4: version, command, a reserved zero, address, port.
async fn read_request(client: &mut (impl AsyncRead + Unpin)) -> Result<ServiceName, Refusal> {
    let mut head = [0; 4];
    client.read_exact(&mut head).await?;
    let [version, command, reserved, kind] = head;
    if version != VERSION {
        return Err(Refusal::Version(version));
    }
    let host = read_host(client, kind).await?;
    let port = client.read_u16().await?;
    if command != CONNECT {
        return Err(Refusal::Command(command));
    }
    if reserved != 0 {
        return Err(Refusal::Reserved(reserved));
    }
    match host {
        Host::Name(name) => Ok(service_at(&name, port)?),
        Host::Address => Err(Refusal::Address),
    }
}

/// RFC 1928, section 5; the address is read to its end so that the reply comes after all of the request.
async fn read_host(client: &mut (impl AsyncRead + Unpin), kind: u8) -> Result<Host, Refusal> {
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        DOMAIN_NAME => usize::from(client.read_u8().await?),
        other => return Err(Refusal::AddressType(other)),
    };
    let mut bytes = vec![0; length];
    client.read_exact(&mut bytes).await?;
    if kind != DOMAIN_NAME {
        return Ok(Host::Address);
    }
    String::from_utf8(bytes).map(Host::Name).map_err(|error| {
        Refusal::NotAService(NotAService::Name(
            String::from_utf8_lossy(error.as_bytes()).into_owned(),
        ))
    })
}

enum Host {
    Name(String),
    Address,
}

/// Why a client was refused before anything was opened for it.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("the client speaks SOCKS version {0}, not 5")]
    Version(u8),
    #[error("the client does not offer to go without authentication")]
    Method,
    #[error("the client asks for command {0}, not CONNECT")]
    Command(u8),
    #[error("the reserved byte is {0}, not 0")]
    Reserved(u8),
    #[error("the client asks for address type {0}")]
    AddressType(u8),
    #[error("the client asks for an IP address; let the proxy resolve names (`socks5h`)")]
    Address,
    #[error(transparent)]
    NotAService(#[from] NotAService),
    #[error("the client left: {0}")]
    Io(#[from] io::Error),
}

impl Refusal {
    /// What the client is told; nothing, where it does not speak the protocol.
    fn reply(&self) -> Option<Reply> {
        match self {
            Self::Version(_) | Self::Io(_) => None,
            Self::Method => Some(Reply::NoAcceptableMethod),
            Self::Command(_) => Some(Reply::CommandNotSupported),
            Self::Reserved(_) => Some(Reply::GeneralFailure),
            Self::AddressType(_) | Self::Address | Self::NotAService(NotAService::IpAddress(_)) => {
                Some(Reply::AddressTypeNotSupported)
            }
            Self::NotAService(NotAService::Name(_)) => Some(Reply::HostUnreachable),
        }
    }
}

/// An answer (RFC 1928, sections 3 and 6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reply {
    Succeeded,
    GeneralFailure,
    NotAllowed,
    NetworkUnreachable,
    HostUnreachable,
    ConnectionRefused,
    TtlExpired,
    CommandNotSupported,
    AddressTypeNotSupported,
    NoAcceptableMethod,
}

impl From<&OpenError> for Reply {
    fn from(error: &OpenError) -> Self {
        match error {
            OpenError::NoChannel { .. } => Self::NetworkUnreachable,
            OpenError::NoSuchService(_) | OpenError::SeveralPorts(_) => Self::HostUnreachable,
            OpenError::Timeout { .. } => Self::TtlExpired,
            OpenError::Lost { .. } | OpenError::GivenUp { .. } => Self::GeneralFailure,
            OpenError::Refused { status, .. } => match *status {
                StatusCode::FORBIDDEN => Self::NotAllowed,
                StatusCode::BAD_GATEWAY => Self::ConnectionRefused,
                StatusCode::GATEWAY_TIMEOUT => Self::TtlExpired,
                StatusCode::NOT_FOUND | StatusCode::MISDIRECTED_REQUEST => Self::HostUnreachable,
                _ => Self::GeneralFailure,
            },
        }
    }
}

/// The bound address of a reply is 0.0.0.0:0: no socket of this machine stands behind the stream.
fn reply(reply: Reply) -> Vec<u8> {
    let code = match reply {
        Reply::NoAcceptableMethod => return vec![VERSION, 0xff],
        Reply::Succeeded => 0,
        Reply::GeneralFailure => 1,
        Reply::NotAllowed => 2,
        Reply::NetworkUnreachable => 3,
        Reply::HostUnreachable => 4,
        Reply::ConnectionRefused => 5,
        Reply::TtlExpired => 6,
        Reply::CommandNotSupported => 7,
        Reply::AddressTypeNotSupported => 8,
    };
    vec![VERSION, code, 0, IPV4, 0, 0, 0, 0, 0, 0]
}

const VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const DOMAIN_NAME: u8 = 3;
const IPV6: u8 = 4;
/// A program beside the agent needs no more for two messages; one that waits longer holds a socket for nothing.
const NEGOTIATION: Duration = Duration::from_secs(10);
/// How long a refused client may take to read why.
const LAST_WORDS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    async fn check(greeting: &[u8], request: &[u8], expected: Result<&str, Option<Reply>>) {
        let parsed = async {
            read_greeting(&mut &*greeting).await?;
            read_request(&mut &*request).await
        }
        .await;
        assert_eq!(
            parsed
                .map(|service| service.to_string())
                .map_err(|refusal| refusal.reply()),
            expected.map(str::to_owned)
        );
    }

    const HELLO: &[u8] = &[5, 1, 0];

    #[tokio::test]
    async fn a_domain_name_and_a_port_are_a_service() {
        check(HELLO, b"\x05\x01\x00\x03\x04echo\x00\x07", Ok("echo:7")).await;
        check(
            &[5, 2, 2, 0],
            b"\x05\x01\x00\x03\x02DB\x15\x38",
            Ok("db:5432"),
        )
        .await;
    }

    #[tokio::test]
    async fn addresses_are_refused_as_a_type_that_is_not_supported() {
        let refused = Err(Some(Reply::AddressTypeNotSupported));
        check(HELLO, b"\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x07", refused).await;
        check(
            HELLO,
            &[&[5, 1, 0, 4][..], &[0; 16], &[0, 7]].concat(),
            refused,
        )
        .await;
        check(HELLO, b"\x05\x01\x00\x03\x0910.0.0.10\x00\x07", refused).await;
        check(HELLO, b"\x05\x01\x00\x02", refused).await;
    }

    #[tokio::test]
    async fn bind_and_udp_are_refused() {
        let refused = Err(Some(Reply::CommandNotSupported));
        check(HELLO, b"\x05\x02\x00\x03\x04echo\x00\x07", refused).await;
        check(HELLO, b"\x05\x03\x00\x03\x04echo\x00\x07", refused).await;
    }

    #[tokio::test]
    async fn a_client_that_insists_on_a_password_is_refused() {
        check(&[5, 1, 2], b"", Err(Some(Reply::NoAcceptableMethod))).await;
        check(&[5, 0], b"", Err(Some(Reply::NoAcceptableMethod))).await;
    }

    #[tokio::test]
    async fn other_protocols_get_no_answer() {
        check(b"GET / HTTP/1.1\r\n", b"", Err(None)).await;
        check(b"\x04\x01\x00\x07", b"", Err(None)).await;
        check(HELLO, b"\x04\x01\x00\x03\x04echo\x00\x07", Err(None)).await;
    }

    #[tokio::test]
    async fn half_a_message_is_no_message() {
        check(b"\x05\x02\x00", b"", Err(None)).await;
        check(HELLO, b"\x05\x01\x00\x03\x04ech", Err(None)).await;
        check(HELLO, b"\x05\x01\x00\x03\x04echo\x00", Err(None)).await;
    }

    #[tokio::test]
    async fn hostile_names_are_refused() {
        let refused = Err(Some(Reply::HostUnreachable));
        check(HELLO, b"\x05\x01\x00\x03\x00\x00\x07", refused).await;
        check(HELLO, b"\x05\x01\x00\x03\x04a\r\nb\x00\x07", refused).await;
        check(HELLO, b"\x05\x01\x00\x03\x02\xff\xfe\x00\x07", refused).await;
        check(HELLO, b"\x05\x01\x00\x03\x04echo\x00\x00", refused).await;
    }

    #[test]
    fn replies_are_as_rfc_1928_has_them() {
        assert_eq!(reply(Reply::Succeeded), [5, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(reply(Reply::NotAllowed)[1], 2);
        assert_eq!(reply(Reply::NoAcceptableMethod), [5, 255]);
    }
}
