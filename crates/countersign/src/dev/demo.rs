//! The demo services behind the gateway: an HTTP greeting, a TCP echo, and one that resets half-way.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::home::Ports;

/// How many bytes the service that fails sends before it resets the connection.
pub(super) const CUT_AFTER: usize = 256 * 1024;

/// The running demo services; they end when this is dropped.
pub(super) struct Demo {
    _tasks: JoinSet<()>,
}

impl Demo {
    /// Starts all of them on their ports.
    pub(super) async fn start(ports: &Ports) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        serve(&mut tasks, ports.demo_hello, greet).await?;
        serve(&mut tasks, ports.demo_echo, echo).await?;
        serve(&mut tasks, ports.demo_cut, send_and_reset).await?;
        Ok(Self { _tasks: tasks })
    }
}

async fn serve<F>(tasks: &mut JoinSet<()>, port: u16, service: fn(TcpStream) -> F) -> io::Result<()>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    tasks.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            connections.spawn(service(tcp));
            while connections.try_join_next().is_some() {}
        }
    });
    Ok(())
}

async fn greet(tcp: TcpStream) {
    let answer = |request: Request<Incoming>| async move {
        let caller = caller(request.headers());
        let caller = caller.unwrap_or_else(|| "nobody that the gateway speaks for".to_owned());
        let greeting = format!(
            "Hello from behind Countersign: this answer crossed a quantum-safe channel.\nYou are {caller}.\n"
        );
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(greeting))))
    };
    // A client that goes away early is its own business.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(tcp), service_fn(answer))
        .await;
}

/// Who calls, as the identity token says. This only shows it: a service that acts on it verifies the token first.
fn caller(headers: &HeaderMap) -> Option<String> {
    let token = headers.get("countersign-identity")?.to_str().ok()?;
    let signed = Base64UrlUnpadded::decode_vec(token.split('.').nth(2)?).ok()?;
    let (claims, _signature) = signed.split_last_chunk::<64>()?;
    let claims: serde_json::Value = serde_json::from_slice(claims).ok()?;
    claims.get("sub")?.as_str().map(str::to_owned)
}

async fn echo(mut tcp: TcpStream) {
    let (mut reader, mut writer) = tcp.split();
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = reader.read(&mut buffer).await {
        let Some(received) = buffer.get(..length) else {
            return;
        };
        if writer.write_all(received).await.is_err() {
            return;
        }
    }
    let _ = writer.shutdown().await;
}

async fn send_and_reset(mut tcp: TcpStream) {
    let sent = tcp.write_all(&[0x5a; CUT_AFTER]).await;
    // The client says that it has read all of it; then the connection breaks off.
    let mut acknowledged = [0];
    if sent.is_ok() && tcp.read_exact(&mut acknowledged).await.is_ok() {
        let _ = socket2::SockRef::from(&tcp).set_linger(Some(Duration::ZERO));
    }
}
