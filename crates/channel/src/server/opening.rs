//! The first bytes of a connection: a ClientHello, or whatever else strangers send.

use std::time::Duration;

use rustls::server::{Accepted, Acceptor, ClientHello};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::record::{Offer, Refusal};
use crate::registry::{Group, Scheme, Suite};

/// What came first.
pub(crate) enum Opening {
    /// A whole ClientHello.
    ClientHello(Box<Accepted>),
    /// Something else, for this reason; these bytes are the answer to it.
    Refused(Refusal, Vec<u8>),
}

/// Reads until there is a whole ClientHello, or something that can be none. It may come in any number of pieces.
pub(crate) async fn read<IO: AsyncRead + Unpin>(io: &mut IO) -> Opening {
    let mut acceptor = Acceptor::default();
    let mut unread = Vec::with_capacity(CHUNK);
    let (mut is_tls, mut taken) = (false, 0);
    loop {
        match io.read_buf(&mut unread).await {
            Ok(0) | Err(_) => return Opening::Refused(Refusal::IncompleteClientHello, Vec::new()),
            Ok(read) => taken += read,
        }
        if !is_tls {
            match first_bytes(&unread) {
                FirstBytes::TooFew => continue,
                FirstBytes::Http => {
                    return Opening::Refused(Refusal::PlainHttp, HTTP_ANSWER.as_bytes().to_vec());
                }
                FirstBytes::Other => is_tls = unread.first() == Some(&HANDSHAKE),
            }
        }
        if let Some(opening) = feed(&mut acceptor, &unread, is_tls) {
            return opening;
        }
        if taken > LARGEST {
            return Opening::Refused(too_large(), HANDSHAKE_FAILURE.to_vec());
        }
        unread.clear();
    }
}

/// Answers a stranger and hangs up so that the answer arrives: a socket closed over unread bytes is reset, and the reset
/// overtakes the answer.
pub(super) async fn answer<IO: AsyncRead + AsyncWrite + Unpin>(io: &mut IO, answer: &[u8]) {
    if !answer.is_empty() && io.write_all(answer).await.is_err() {
        return;
    }
    hang_up(io).await;
}

/// Ends our side, and reads a little more of theirs.
pub(super) async fn hang_up<IO: AsyncRead + AsyncWrite + Unpin>(io: &mut IO) {
    if io.shutdown().await.is_err() {
        return;
    }
    let mut rest = io.take(LINGER);
    let _ = timeout(
        LINGER_TIME,
        tokio::io::copy(&mut rest, &mut tokio::io::sink()),
    )
    .await;
}

/// What a ClientHello offers, as it stands in it.
pub(super) fn offer(hello: &ClientHello<'_>) -> Offer {
    let groups = hello.named_groups().unwrap_or_default();
    Offer {
        sni: hello.server_name().map(str::to_owned),
        alpn: hello
            .alpn()
            .into_iter()
            .flatten()
            .map(|name| name.escape_ascii().to_string())
            .collect(),
        groups: groups.iter().map(|group| Group((*group).into())).collect(),
        schemes: hello
            .signature_schemes()
            .iter()
            .map(|scheme| Scheme((*scheme).into()))
            .collect(),
        suites: hello
            .cipher_suites()
            .iter()
            .map(|suite| Suite((*suite).into()))
            .collect(),
    }
}

enum FirstBytes {
    TooFew,
    Http,
    Other,
}

/// No HTTP method begins like a TLS record, so one byte tells TLS and four tell HTTP.
fn first_bytes(bytes: &[u8]) -> FirstBytes {
    let Some(first) = bytes.first() else {
        return FirstBytes::TooFew;
    };
    if !first.is_ascii_uppercase() {
        return FirstBytes::Other;
    }
    match bytes.first_chunk::<4>() {
        None => FirstBytes::TooFew,
        Some(first) if METHODS.contains(&first) => FirstBytes::Http,
        Some(_) => FirstBytes::Other,
    }
}

/// Hands on every byte before rustls looks at them, since an accepted ClientHello takes no more.
fn feed(acceptor: &mut Acceptor, mut bytes: &[u8], is_tls: bool) -> Option<Opening> {
    while !bytes.is_empty() {
        if let Err(error) = acceptor.read_tls(&mut bytes) {
            return Some(Opening::Refused(
                Refusal::Protocol(error.to_string()),
                Vec::new(),
            ));
        }
    }
    match acceptor.accept() {
        Ok(None) => None,
        Ok(Some(accepted)) => Some(Opening::ClientHello(Box::new(accepted))),
        Err((error, mut alert)) => {
            let mut answer = Vec::new();
            // Writing to memory does not fail.
            let _ = alert.write_all(&mut answer);
            let refusal = if is_tls {
                super::refusal::of(&error)
            } else {
                Refusal::NotTls
            };
            Some(Opening::Refused(refusal, answer))
        }
    }
}

fn too_large() -> Refusal {
    Refusal::Protocol(format!("the ClientHello has more than {LARGEST} bytes"))
}

/// The type of a record that holds handshake messages (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 0x16;

/// A usual ClientHello has 1.4 to 1.8 kB.
const CHUNK: usize = 2048;

/// What is held of one before anything is known of the client. Those of post-quantum clients stay below 4 kB, and rustls
/// would hold 64 KiB of it.
const LARGEST: usize = 16 * 1024;

/// The fatal alert (RFC 8446 section 6).
const HANDSHAKE_FAILURE: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 40];

/// How much is read from one who was refused before the socket is closed.
const LINGER: u64 = 16 * 1024;

/// And for how long: a client that understood the answer closes within a round trip.
const LINGER_TIME: Duration = Duration::from_secs(1);

const METHODS: [&[u8; 4]; 10] = [
    b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"CONN", b"OPTI", b"TRAC", b"PATC", b"PRI ",
];

const HTTP_ANSWER: &str = "HTTP/1.1 400 Bad Request\r\n\
    Content-Type: text/plain\r\n\
    Content-Length: 51\r\n\
    Connection: close\r\n\
    \r\n\
    this port speaks TLS 1.3 only: connect with https\r\n";
