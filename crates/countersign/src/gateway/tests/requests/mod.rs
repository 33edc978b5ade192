//! Requests to an HTTP service: real clients before the gateway, and behind it a service that keeps what reached it, byte
//! for byte.

mod bearers;
mod bodies;
mod extended;
mod forgery;
mod identity;
mod inside;
mod limits;
mod passing;
mod refusals;
mod websocket;

use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;

use super::agentless::{certified_world, dial};
use super::*;

/// A gateway with the HTTP service `site:80` for `web.test`, and that service.
struct Site {
    world: World,
    service: Service,
}

/// A service that answers every request alike.
struct Service {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

/// A service whose connections are in the test's own hands.
struct Scripted {
    address: SocketAddr,
    connections: mpsc::UnboundedReceiver<Wire<TcpStream>>,
}

/// One connection of HTTP/1.1, byte by byte.
struct Wire<T> {
    io: T,
    read: Vec<u8>,
}

type ClientBody = UnsyncBoxBody<Bytes, std::io::Error>;
type Http2 = hyper::client::conn::http2::SendRequest<ClientBody>;

impl Site {
    /// One that anonymous clients may reach, whose service answers `ok`.
    async fn open() -> Self {
        Self::start(Service::answering(OK).await, ANONYMOUS_SITE).await
    }

    async fn start(service: Service, more: &str) -> Self {
        let world = site_at(service.address, more).await;
        Self { world, service }
    }
}

/// A gateway with the HTTP service `site:80` for `web.test` at an address.
async fn site_at(service: SocketAddr, more: &str) -> World {
    site_speaking("http/1.1", service, more).await
}

async fn site_speaking(protocol: &str, service: SocketAddr, more: &str) -> World {
    let more = format!(
        r#"
        {more}
        [[service]]
        name = "site"
        port = 80
        upstream = "{service}"
        sni = ["web.test"]
        http.protocol = "{protocol}"
        "#
    );
    certified_world("", &more).await
}

impl Service {
    async fn answering(answer: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut connection = Wire::new(tcp);
                    while let Some(request) = connection.request().await {
                        kept.lock().unwrap().push(request);
                        connection.say(answer).await;
                    }
                });
            }
        });
        Self { address, heard }
    }

    /// Everything that reached it.
    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }

    /// The one request that reached it.
    fn heard_once(&self) -> String {
        let heard = self.heard();
        assert_eq!(heard.len(), 1, "{heard:#?}");
        heard[0].clone()
    }
}

impl Scripted {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, connections) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let _ = taken.send(Wire::new(tcp));
            }
        });
        Self {
            address,
            connections,
        }
    }

    /// A gateway before it, and the service.
    async fn behind(more: &str) -> (World, Self) {
        let service = Self::start().await;
        (site_at(service.address, more).await, service)
    }

    async fn connection(&mut self) -> Wire<TcpStream> {
        within(self.connections.recv()).await.unwrap()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Wire<T> {
    fn new(io: T) -> Self {
        let read = Vec::new();
        Self { io, read }
    }

    /// The next head, with its empty line; none when the connection ends before it.
    async fn head(&mut self) -> Option<String> {
        let end = self.find(b"\r\n\r\n").await?;
        Some(self.take(end))
    }

    /// The next message, head and content.
    async fn request(&mut self) -> Option<String> {
        let mut request = self.head().await?;
        let lower = request.to_ascii_lowercase();
        if lower.contains("transfer-encoding: chunked") {
            let end = self.find_end_of_chunks().await?;
            request.push_str(&self.take(end));
        } else if let Some((_, rest)) = lower.split_once("content-length: ") {
            let length: usize = rest.split("\r\n").next()?.parse().unwrap();
            while self.read.len() < length {
                self.more().await?;
            }
            request.push_str(&self.take(length));
        }
        Some(request)
    }

    async fn say(&mut self, text: &str) {
        // One that has gone away is seen by what is read.
        let _ = self.io.write_all(text.as_bytes()).await;
        let _ = self.io.flush().await;
    }

    /// What comes up to and with these words.
    async fn until(&mut self, words: &str) -> String {
        let found = within(self.find(words.as_bytes())).await;
        let Some(end) = found else {
            panic!(
                "it ended before `{words}`: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        };
        self.take(end)
    }

    /// All that still comes, and whether its end is a clean one.
    async fn rest(mut self) -> (String, bool) {
        let outcome = within(self.io.read_to_end(&mut self.read)).await;
        (String::from_utf8(self.read).unwrap(), outcome.is_ok())
    }

    async fn find_end_of_chunks(&mut self) -> Option<usize> {
        let start = match self.read.starts_with(b"0\r\n") {
            true => 1,
            false => self.find(b"\r\n0\r\n").await? - 2,
        };
        loop {
            let rest = &self.read[start..];
            if let Some(at) = rest.windows(4).position(|window| window == b"\r\n\r\n") {
                return Some(start + at + 4);
            }
            self.more().await?;
        }
    }

    async fn find(&mut self, end: &[u8]) -> Option<usize> {
        loop {
            let found = self
                .read
                .windows(end.len())
                .position(|window| window == end);
            if let Some(at) = found {
                return Some(at + end.len());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.io.read_buf(&mut self.read).await;
        read.is_ok_and(|read| read > 0).then_some(())
    }

    fn take(&mut self, length: usize) -> String {
        let taken: Vec<u8> = self.read.drain(..length).collect();
        String::from_utf8(taken).unwrap()
    }
}

/// A connection of HTTP/1.1 without an agent.
async fn http1_wire(world: &World) -> Wire<TlsStream<TcpStream>> {
    Wire::new(dial(world, "web.test", "http/1.1", false).await.unwrap())
}

/// A problem document in one line, of the answer that carries it.
fn problem(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body);
    let document = body.and_then(|body| serde_json::from_str(body).ok());
    in_words(&document.unwrap_or_else(|| panic!("no problem document: `{answer}`")))
}

/// What one connection of HTTP/1.1 answers to these bytes until it ends.
async fn http1(world: &World, bytes: &str) -> String {
    let mut stream = dial(world, "web.test", "http/1.1", false).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = within(stream.read_to_end(&mut answer)).await;
    String::from_utf8(answer).unwrap()
}

/// A connection of HTTP/2 without an agent.
async fn http2(world: &World) -> Http2 {
    over(dial(world, "web.test", "h2", false).await.unwrap()).await
}

async fn over<T>(io: T) -> Http2
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(io));
    let (client, connection) = handshake.await.unwrap();
    tokio::spawn(connection);
    client
}

fn get(uri: &str) -> Request<ClientBody> {
    Request::get(uri).body(nothing()).unwrap()
}

fn nothing() -> ClientBody {
    content("")
}

/// A body that is sent as the test says, and its other end.
fn piecewise() -> (
    mpsc::UnboundedSender<Result<Frame<Bytes>, std::io::Error>>,
    ClientBody,
) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let body = FramesBody(move |cx: &mut Context<'_>| receiver.poll_recv(cx));
    (sender, UnsyncBoxBody::new(body))
}

struct FramesBody<F>(F);

impl<F> hyper::body::Body for FramesBody<F>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> + Unpin,
{
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        (self.0)(cx)
    }
}

fn content(text: &'static str) -> ClientBody {
    let body = Full::new(Bytes::from_static(text.as_bytes()));
    UnsyncBoxBody::new(body.map_err(|never| match never {}))
}

/// Status and body of what a request is answered.
async fn answer(client: &mut Http2, request: Request<ClientBody>) -> (u16, String) {
    let response = within(client.send_request(request)).await.unwrap();
    let status = response.status().as_u16();
    let body = within(response.into_body().collect()).await.unwrap();
    let body = body.to_bytes().to_vec();
    (status, String::from_utf8(body).unwrap())
}

/// The lines of a message's head, in order of their names, without the ones that differ from run to run.
fn lines(message: &str) -> Vec<&str> {
    let (head, _) = message.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = head.split("\r\n").collect();
    lines[1..].sort_unstable();
    lines
}

/// The value of the one field of this name.
fn field<'a>(message: &'a str, name: &str) -> &'a str {
    let of_name = |line: &'a str| line.split_once(": ").filter(|(found, _)| *found == name);
    let found: Vec<_> = lines(message).into_iter().filter_map(of_name).collect();
    assert_eq!(found.len(), 1, "{name}\n{message}");
    found[0].1
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

const ANONYMOUS_SITE: &str = r#"
    [[grant]]
    principal = "anonymous"
    service = "site"
"#;
