//! `countersign dev --check`: drives real traffic through the tunnel and says for each thing whether it holds.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, Digest, SHA384};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::demo::CUT_AFTER;
use super::home::{AGENT, HELLO_NAME, TRUST_DOMAIN};
use super::{Dev, DevError};
use crate::stdout;

/// Checks everything, prints a line for each, and fails if one does.
///
/// # Errors
///
/// How many of the checks failed.
pub(super) async fn run(dev: &Dev) -> Result<(), DevError> {
    let mut checks = Checks {
        deadline: Instant::now() + PATIENCE,
        checked: 0,
        failed: 0,
    };
    checks
        .note("the agent has joined and has a channel", joined(dev))
        .await;
    checks.note("negotiated", negotiated(dev)).await;
    checks
        .note("64 MiB each way, SHA-384 compared", bulk(dev))
        .await;
    checks.note("200 short streams", short_streams(dev)).await;
    checks
        .note("a stream cut in the middle is an error", cut_stream(dev))
        .await;
    checks
        .note("a service without a grant is refused", refused_service(dev))
        .await;
    checks
        .note("an HTTP service is told who calls", told_who_calls(dev))
        .await;
    checks
        .note("a client without an agent needs a grant", anonymous(dev))
        .await;
    checks
        .note("a classical client is refused", classical_client(dev))
        .await;
    checks
        .note("the refusal is on record", refusal_on_record(dev))
        .await;
    checks.finish()
}

struct Checks {
    /// For all of them together: a slow one may use what the others left.
    deadline: Instant,
    checked: usize,
    failed: usize,
}

impl Checks {
    async fn note(&mut self, what: &str, check: impl Future<Output = Result<String, String>>) {
        let began = Instant::now();
        let outcome = tokio::time::timeout_at(self.deadline.into(), check)
            .await
            .unwrap_or_else(|_| Err("no result in time".to_owned()));
        let took = began.elapsed().as_secs_f32();
        self.checked += 1;
        self.failed += usize::from(outcome.is_err());
        let (word, seen) = match outcome {
            Ok(seen) => ("ok    ", seen),
            Err(seen) => ("FAILED", seen),
        };
        let line = format!("{word}  {what}: {seen} ({took:.2} s)\n");
        // What cannot be shown is checked all the same: the exit status tells.
        let _ = stdout::write(line.as_bytes());
    }

    fn finish(self) -> Result<(), DevError> {
        let Self {
            checked, failed, ..
        } = self;
        if failed == 0 {
            return Ok(());
        }
        Err(DevError::Checks { failed, checked })
    }
}

async fn joined(dev: &Dev) -> Result<String, String> {
    dev.agent.connected().await;
    let principals: Vec<_> = dev
        .gateway
        .live()
        .channels()
        .iter()
        .map(|c| c.principal())
        .collect();
    Ok(principals.join(", "))
}

async fn negotiated(dev: &Dev) -> Result<String, String> {
    let channels = dev.gateway.live().channels();
    let channel = channels.first().ok_or("there is no channel")?;
    let negotiated = channel
        .record
        .negotiated
        .as_ref()
        .ok_or("nothing was negotiated")?;
    let peer = channel
        .record
        .peer
        .as_ref()
        .ok_or("the agent showed no certificate")?;
    let seen = format!(
        "group {}, gateway signs {}, agent signs {}, suite {}",
        negotiated.group, negotiated.scheme, peer.scheme, negotiated.suite
    );
    let safe = negotiated.group.is_post_quantum()
        && negotiated.scheme.is_post_quantum()
        && peer.scheme.is_post_quantum();
    if safe {
        Ok(seen)
    } else {
        Err(format!("not quantum-safe: {seen}"))
    }
}

/// Sends 64 MiB to the echo service and reads them back at the same time.
async fn bulk(dev: &Dev) -> Result<String, String> {
    let mut stream = dial(dev.ports.echo).await?;
    let (mut reader, mut writer) = stream.split();
    let send = async {
        let mut sent = Context::new(&SHA384);
        for number in 0..BULK_CHUNKS {
            let chunk = chunk(number);
            sent.update(&chunk);
            writer.write_all(&chunk).await.map_err(failed("sending"))?;
        }
        writer.shutdown().await.map_err(failed("ending"))?;
        Ok::<Digest, String>(sent.finish())
    };
    let receive = async {
        let (mut received, mut length) = (Context::new(&SHA384), 0);
        let mut buffer = vec![0; CHUNK];
        while let Some(part) = match reader
            .read(&mut buffer)
            .await
            .map_err(failed("receiving"))?
        {
            0 => None,
            read => buffer.get(..read),
        } {
            received.update(part);
            length += part.len();
        }
        Ok((received.finish(), length))
    };
    let (sent, (received, length)) = tokio::try_join!(send, receive)?;
    if sent.as_ref() == received.as_ref() {
        Ok(format!("{} MiB, hashes equal", length >> 20))
    } else {
        Err(format!("{length} bytes came back, and their hash differs"))
    }
}

async fn short_streams(dev: &Dev) -> Result<String, String> {
    let mut streams = JoinSet::new();
    for _ in 0..SHORT_STREAMS {
        let port = dev.ports.hello;
        streams.spawn(async move {
            let mut stream = dial(port).await?;
            let request = b"GET / HTTP/1.1\r\nHost: hello\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.map_err(failed("sending"))?;
            let mut answer = String::new();
            stream
                .read_to_string(&mut answer)
                .await
                .map_err(failed("receiving"))?;
            if answer.starts_with("HTTP/1.1 200") {
                Ok(())
            } else {
                Err(format!(
                    "answered `{}`",
                    answer.lines().next().unwrap_or_default()
                ))
            }
        });
        if streams.len() == AT_ONCE {
            ended(streams.join_next().await)?;
        }
    }
    while !streams.is_empty() {
        ended(streams.join_next().await)?;
    }
    Ok(format!("{SHORT_STREAMS} answered"))
}

fn ended(stream: Option<Result<Result<(), String>, tokio::task::JoinError>>) -> Result<(), String> {
    match stream {
        None => Ok(()),
        Some(Ok(outcome)) => outcome,
        Some(Err(panicked)) => Err(panicked.to_string()),
    }
}

async fn cut_stream(dev: &Dev) -> Result<String, String> {
    let mut stream = dial(dev.ports.cut).await?;
    let mut head = vec![0; CUT_AFTER];
    stream
        .read_exact(&mut head)
        .await
        .map_err(failed("receiving the first part"))?;
    stream.write_all(b"!").await.map_err(failed("sending"))?;
    match stream.read(&mut head).await {
        Err(error) => Ok(format!(
            "after {} KiB the client saw: {error}",
            CUT_AFTER >> 10
        )),
        Ok(0) => Err("the client saw a clean end: its data was cut without a sign".to_owned()),
        Ok(more) => Err(format!("{more} more bytes came, which nobody sent")),
    }
}

async fn refused_service(dev: &Dev) -> Result<String, String> {
    let mut stream = dial(dev.ports.http_proxy).await?;
    stream
        .write_all(b"CONNECT secret:22 HTTP/1.1\r\nHost: secret:22\r\n\r\n")
        .await
        .map_err(failed("sending"))?;
    let mut answer = vec![0; 256];
    let read = stream
        .read(&mut answer)
        .await
        .map_err(failed("receiving"))?;
    let answer = String::from_utf8_lossy(answer.get(..read).unwrap_or_default()).into_owned();
    let status = answer.lines().next().unwrap_or_default().to_owned();
    if status.contains(" 403 ") {
        Ok(status)
    } else {
        Err(format!("answered `{status}`"))
    }
}

async fn told_who_calls(dev: &Dev) -> Result<String, String> {
    let stream = dial(dev.ports.hello).await?;
    let answer = ask(stream, "localhost").await?;
    let agent = format!("spiffe://{TRUST_DOMAIN}/agent/{AGENT}");
    match answer.contains(" 200 ") && answer.contains(&agent) {
        true => Ok(agent),
        false => Err(format!("answered `{answer}`")),
    }
}

/// A browser of today: hybrid key exchange, a classical certificate, and no agent.
async fn anonymous(dev: &Dev) -> Result<String, String> {
    let refused = ask(agentless(dev).await?, HELLO_NAME).await?;
    if !refused.contains(" 403 ") || !refused.contains("countersign grants add") {
        return Err(format!("without a grant it was answered `{refused}`"));
    }
    let grant = "{\"principal\":\"anonymous\",\"service\":\"hello\"}";
    operate(dev, "POST", "/grants", grant).await?;
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let allowed = loop {
        let answer = ask(agentless(dev).await?, HELLO_NAME).await?;
        if !answer.contains(" 403 ") {
            break answer;
        }
        looks.tick().await;
    };
    let granted = "/grants?principal=anonymous&service=hello";
    operate(dev, "DELETE", granted, "").await?;
    match allowed.contains(" 200 ") && allowed.contains("You are anonymous.") {
        true => Ok("403 without, 200 with it".to_owned()),
        false => Err(format!("with a grant it was answered `{allowed}`")),
    }
}

async fn agentless(dev: &Dev) -> Result<TlsStream<TcpStream>, String> {
    let words = |error: &dyn std::error::Error| error.to_string();
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(dev.home.certificate());
    let certificate = certificate.map_err(|error| words(&error))?;
    roots.add(certificate).map_err(|error| words(&error))?;
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| words(&error))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(HELLO_NAME).map_err(|error| words(&error))?;
    let tcp = dial(dev.ports.gateway).await?;
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(failed("TLS"))
}

/// What a GET of HTTP/1.1 is answered.
async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin, host: &str) -> Result<String, String> {
    let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    exchange(stream, &request).await
}

/// Does what an operator's command does.
async fn operate(dev: &Dev, method: &str, path: &str, body: &str) -> Result<(), String> {
    let socket = UnixStream::connect(dev.home.socket()).await;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = exchange(socket.map_err(failed("connecting"))?, &request).await?;
    match answer.contains(" 200 ") {
        true => Ok(()),
        false => Err(format!("the gateway answered `{answer}`")),
    }
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &str,
) -> Result<String, String> {
    let sent = stream.write_all(request.as_bytes()).await;
    sent.map_err(failed("sending"))?;
    let mut answer = Vec::new();
    let received = stream.read_to_end(&mut answer).await;
    received.map_err(failed("receiving"))?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// A TLS 1.3 client that has classical key exchange only.
async fn classical_client(dev: &Dev) -> Result<String, String> {
    let mut provider = default_provider();
    provider.kx_groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from("hello").map_err(|error| error.to_string())?;
    let tcp = dial(dev.ports.gateway).await?;
    match TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
    {
        Ok(_) => Err("it was let in".to_owned()),
        Err(error) => match alert(&error) {
            Some(AlertDescription::HandshakeFailure) => {
                Ok("alert handshake_failure (40)".to_owned())
            }
            _ => Err(format!("it saw: {error}")),
        },
    }
}

fn alert(error: &std::io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

async fn refusal_on_record(dev: &Dev) -> Result<String, String> {
    // The client has its alert a moment before the gateway has written down why.
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    loop {
        if let Some(refusal) = dev
            .gateway
            .live()
            .refused()
            .first()
            .and_then(|r| r.refusal())
        {
            return Ok(format!("{}: {refusal}", refusal.name()));
        }
        looks.tick().await;
    }
}

async fn dial(port: u16) -> Result<TcpStream, String> {
    TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)))
        .await
        .map_err(failed("connecting"))
}

fn failed(what: &str) -> impl Fn(std::io::Error) -> String {
    move |error| format!("{what} failed: {error}")
}

/// A chunk that differs from its neighbours, so that a lost or doubled one shows.
fn chunk(number: u32) -> Vec<u8> {
    number
        .to_be_bytes()
        .into_iter()
        .cycle()
        .take(CHUNK)
        .collect()
}

const CHUNK: usize = 64 * 1024;
const BULK_CHUNKS: u32 = 1024;
const SHORT_STREAMS: usize = 200;
const AT_ONCE: usize = 32;

/// Far beyond what the checks take on a slow machine, so that a hang is a failure and not a wait.
const PATIENCE: Duration = Duration::from_secs(25);
