//! Services that answer, and services that do not, played by scripts: what comes of a request to each of them.

mod balance;
mod failures;
mod http2;
mod lines;

use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use countersign_policy::{Bundle, ChannelFacts, Facts, Grant, Limits, Permit, Policy};
use http::{Method, Request};
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use super::*;
use crate::config::GatewayConfig;
use crate::gateway::exchange::Body;
use crate::gateway::live::decision_id;
use crate::gateway::services::{Service, Services};

/// What an upstream does on one connection, one after the other; after the last it closes.
#[derive(Clone, Copy)]
enum Step {
    /// Waits for a request with its body.
    Hear,
    /// Waits for a request's head.
    HearHead,
    /// Sends these bytes.
    Say(&'static str),
    /// Does nothing any more, with the connection open.
    Hang,
    /// Ends the connection with a reset.
    Reset,
}

/// An upstream that plays one script on each connection, in the order in which they come.
struct Scripted {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<usize>>,
}

impl Scripted {
    async fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let played = Self {
            address: listener.local_addr().unwrap(),
            heard: Arc::default(),
            connections: Arc::default(),
        };
        let (heard, connections) = (Arc::clone(&played.heard), Arc::clone(&played.connections));
        tokio::spawn(async move {
            for script in scripts {
                let (tcp, _) = listener.accept().await.unwrap();
                *connections.lock().unwrap() += 1;
                tokio::spawn(play(tcp, script, Arc::clone(&heard)));
            }
        });
        played
    }

    /// The first lines of the requests that came.
    fn heard(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let line = |text: &String| text.lines().next().unwrap_or_default().to_owned();
        heard.iter().map(line).collect()
    }

    /// All that came with the request before the last.
    fn last_heard(&self) -> String {
        self.heard.lock().unwrap().last().unwrap().clone()
    }

    fn connections(&self) -> usize {
        *self.connections.lock().unwrap()
    }
}

async fn play(mut tcp: TcpStream, script: Vec<Step>, heard: Arc<Mutex<Vec<String>>>) {
    for step in script {
        match step {
            Step::Hear | Step::HearHead => {
                let whole = matches!(step, Step::Hear);
                let Some(text) = hear(&mut tcp, whole).await else {
                    return;
                };
                heard.lock().unwrap().push(text);
            }
            Step::Say(text) => {
                let _ = tcp.write_all(text.as_bytes()).await;
            }
            Step::Hang => std::future::pending().await,
            Step::Reset => countersign_channel::tunnel::Reset::reset(&mut tcp),
        }
    }
}

/// One request; nothing when the connection ends instead.
async fn hear(tcp: &mut TcpStream, whole: bool) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "))
                .map_or(0, |length| length.parse().unwrap());
            let chunked = head.contains("transfer-encoding: chunked");
            if !whole || (body.len() >= length && (!chunked || body.ends_with("0\r\n\r\n"))) {
                return Some(text);
            }
        }
        match tcp.read_buf(&mut bytes).await {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(format!("{:?}", error.kind())),
        }
    }
}

/// A service `web` at these places, with `more` in its `[service.http]`.
fn service(places: &[SocketAddr], more: &str) -> Arc<Service> {
    Arc::clone(services(places, more, None).find("web", 80).unwrap())
}

fn services(places: &[SocketAddr], more: &str, before: Option<&Services>) -> Services {
    let mut upstreams = String::new();
    for place in places {
        write!(upstreams, "\"{place}\",").unwrap();
    }
    configured(
        &format!("upstream = [{upstreams}]\n[service.http]\n{more}"),
        before,
    )
}

/// The service `web`, with these keys.
fn configured(keys: &str, before: Option<&Services>) -> Services {
    let patience = match keys.contains("connect_timeout") {
        true => "",
        false => "connect_timeout = \"2s\"\n",
    };
    let text = format!(
        "trust_domain = \"example.org\"\n[[service]]\nname = \"web\"\nport = 80\n{patience}{keys}"
    );
    let config = GatewayConfig::parse(Path::new("gateway.toml"), text);
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    Services::new(&config.services, before, &Metrics::new()).unwrap()
}

fn permit() -> Permit {
    let grants = [Grant::new("anonymous", "web").unwrap()];
    let policy = Policy::new(&Bundle::built_in(), &grants, 1, Limits::default()).unwrap();
    let facts = Facts::anonymous(ChannelFacts {
        stage: "hybrid".to_owned(),
        profile: "hybrid@1".to_owned(),
        group: String::new(),
        signature_scheme: None,
        suite: String::new(),
        sni: None,
        source: [127, 0, 0, 1].into(),
        listener: "main".to_owned(),
        exception: None,
    });
    let request = countersign_policy::Request {
        service: "web".to_owned(),
        port: 80,
        method: "GET".to_owned(),
    };
    let decided = policy.decide(&facts, &request, decision_id(), Timestamp::now());
    decided.unwrap_or_else(|denial| panic!("{denial}"))
}

fn get(path: &str) -> Request<Body> {
    request(Method::GET, path, Body::empty())
}

fn post(body: &'static str) -> Request<Body> {
    request(Method::POST, "/post", Bytes::from(body).into())
}

fn request(method: Method, path: &str, body: Body) -> Request<Body> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "web.example.org")
        .body(body)
        .unwrap()
}

async fn send(service: &Service, request: Request<Body>) -> Result<Answer, UpstreamError> {
    let http = service.http.as_ref().unwrap();
    within(http.send(&permit(), request)).await
}

/// The status and the body of an answer that comes whole.
async fn text(service: &Service, request: Request<Body>) -> String {
    let answer = match send(service, request).await {
        Ok(answer) => answer,
        Err(error) => return told(&error),
    };
    let status = answer.response.status().as_u16();
    match within(answer.response.into_body().collect()).await {
        Ok(body) => format!("{status} {}", String::from_utf8_lossy(&body.to_bytes())),
        Err(error) => format!("{status}, then {error}"),
    }
}

/// What a client is told of an error.
fn told(error: &UpstreamError) -> String {
    let problem = error.problem();
    format!(
        "{} {}: {}",
        problem.status.as_u16(),
        problem.code,
        problem.detail
    )
}

/// A request from a client that still writes its body, by the pipe that is given too.
async fn slow_request(head: &str) -> (Request<Body>, DuplexStream) {
    let (mut client, server) = tokio::io::duplex(64 << 10);
    let (arrived, arrives) = oneshot::channel();
    let arrived = Mutex::new(Some(arrived));
    let service = hyper::service::service_fn(move |request| {
        let _ = arrived.lock().unwrap().take().unwrap().send(request);
        std::future::pending::<Result<http::Response<String>, std::convert::Infallible>>()
    });
    tokio::spawn(async move {
        let server = TokioIo::new(server);
        let http = hyper::server::conn::http1::Builder::new();
        let _ = http.serve_connection(server, service).await;
    });
    client.write_all(head.as_bytes()).await.unwrap();
    let request: Request<hyper::body::Incoming> = arrives.await.unwrap();
    (request.map(Body::http1), client)
}

async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

async fn within<F: Future>(future: F) -> F::Output {
    let outcome = tokio::time::timeout(Duration::from_secs(20), future).await;
    outcome.expect("it takes too long")
}

/// An address where nothing listens.
async fn nowhere() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    listener.local_addr().unwrap()
}

const OK: Step = Step::Say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
