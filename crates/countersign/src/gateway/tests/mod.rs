//! A real gateway in this process, with real clients: what each of them is told, and what ends what.

mod agentless;
mod answers;
mod attestation;
mod bearers;
mod certificates;
mod clients;
mod cuts;
mod early;
mod exceptions;
mod guests;
mod hostile;
mod http1;
mod identity_keys;
mod limits;
mod reload;
mod requests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use countersign_channel::Profile;
use countersign_channel::client::{Connector, Introduction};
use countersign_channel::identity::{CertificateRequest, PrivateKey, Svid, TrustBundle};
use countersign_channel::tunnel::{ConnectError, Limits, Mux, Tunnel};
use countersign_paseto::{Claims, SystemRandom};
use countersign_policy::{AccessClaims, Appraisal, Confirmation};
use http::header::{HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, Method, Request};
use jiff::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::start::{Handle, start};
use crate::access::LIFETIME;

/// A gateway with services behind it.
struct World {
    handle: Handle,
    folder: TempDir,
    config: String,
}

/// A machine that has joined.
struct Agent {
    address: SocketAddr,
    svid: Svid,
    bundle: Arc<TrustBundle>,
    token: String,
}

/// A stream to the echo service.
struct Echo(Tunnel);

impl World {
    /// A gateway with a service `echo:7`, and with `more` at the end of its configuration.
    async fn start(more: &str) -> Self {
        Self::start_with(|_| {}, more).await
    }

    /// The same, with files made in its folder first.
    async fn start_with(prepare: impl FnOnce(&TempDir), more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        prepare(&folder);
        let echo = echo_service().await;
        let config = format!(
            r#"
            trust_domain = "example.org"
            state_dir = "state"
            operate.socket = "gateway.sock"
            telemetry.address = "off"
            log.filter = "off"
            {more}
            [[service]]
            name = "echo"
            port = 7
            upstream = "{echo}"
            "#
        );
        std::fs::write(folder.path().join("gateway.toml"), &config).unwrap();
        let handle = start(&folder.path().join("gateway.toml")).await;
        Self {
            handle: handle.unwrap_or_else(|error| panic!("{error}")),
            folder,
            config,
        }
    }

    fn address(&self) -> SocketAddr {
        self.handle.gateway.addresses[0]
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Lets a machine in, over the wire.
    async fn enrol(&self, name: &str) -> Agent {
        let join = self.handle.create_join_string(name).await.unwrap();
        let tcp = TcpStream::connect(self.address()).await.unwrap();
        let introduction = Introduction::start(PROFILE, &join.trust_domain, tcp).await;
        let introduced = introduction.unwrap().fetch().await.unwrap();
        let known = introduced.verify(&join.pin, Timestamp::now()).unwrap();
        let mux = channel(self.address(), &known.connector).await;
        let key = Arc::new(PrivateKey::generate(PROFILE.leaf_key()).unwrap());
        let body = json!({
            "join_token": join.token.as_ref().unwrap().expose_secret(),
            "certificate_request": Base64::encode_string(&CertificateRequest::write(&key).unwrap()),
            "now": Timestamp::now(),
        });
        let (status, issued) = request(&mux, Method::POST, "/v1/enrol", &body).await;
        assert_eq!(status, 200, "{issued}");
        let leaf = Base64::decode_vec(issued["svid"][0].as_str().unwrap()).unwrap();
        Agent {
            address: self.address(),
            svid: Svid::new(vec![leaf.into()], key).unwrap(),
            bundle: known.bundle,
            token: issued["access_token"].as_str().unwrap().to_owned(),
        }
    }

    /// A machine that has joined and may reach the echo service.
    async fn granted(&self, name: &str) -> Agent {
        let agent = self.enrol(name).await;
        self.grant(name, "echo").await;
        agent
    }

    async fn grant(&self, agent: &str, service: &str) {
        let grant = json!({ "principal": agent, "service": service });
        self.operate("POST", "/grants", &grant).await;
        let gateway = &self.handle.gateway;
        let revision = gateway.custody.state.snapshot().revision;
        until(|| gateway.running().policy.revision() >= revision).await;
    }

    /// An access token of the agent's that ends in `left`.
    fn token(&self, agent: &Agent, left: Duration) -> String {
        self.token_minted_at(agent, Timestamp::now() + left - LIFETIME)
    }

    /// An access token of the agent's that has ended.
    fn token_that_ended(&self, agent: &Agent, ago: Duration) -> String {
        self.token_minted_at(agent, Timestamp::now() - ago - LIFETIME)
    }

    fn token_minted_at(&self, agent: &Agent, at: Timestamp) -> String {
        let claims = Claims::new(AccessClaims {
            cnf: Confirmation::new(*agent.svid.leaf().public_key().hash().as_bytes()),
            appraisal: Appraisal::software(at),
            profile: PROFILE.name().to_owned(),
            policy_revision: 1,
        })
        .subject(agent.svid.id().to_string())
        .audience("example.org")
        .issued_at(at)
        .not_before(at)
        .expires_at(at + LIFETIME);
        let rings = self.handle.gateway.custody.access.rings();
        let keys = rings.of(PROFILE.token_version()).keys();
        let assertion = b"countersign example.org access";
        keys.mint(&claims, assertion, Timestamp::now(), &SystemRandom)
            .unwrap()
    }

    /// Calls the operator's socket, which does what it is asked.
    async fn operate(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.operated(method, path, body).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    /// Calls the operator's socket: the whole answer.
    async fn operated(&self, method: &str, path: &str, body: &Value) -> String {
        let socket = tokio::net::UnixStream::connect(self.file("gateway.sock")).await;
        let mut socket = socket.unwrap();
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Puts a configuration in the file's place and has the gateway read it; what it says if it does not take it.
    async fn reload(&self, config: &str) -> Result<(), String> {
        std::fs::write(self.file("gateway.toml"), config).unwrap();
        let outcome = self.handle.gateway.reload().await;
        outcome.map_err(|error| error.to_string())
    }

    /// Waits for an event with these fields, and gives it.
    async fn event(&self, name: &str, fields: Value) -> Value {
        let holds = |event: &Value| {
            let fields = fields.as_object().unwrap();
            event["event"] == name && fields.iter().all(|(key, value)| event[key] == *value)
        };
        let found = async {
            loop {
                if let Some(event) = self.events().await.into_iter().find(|event| holds(event)) {
                    return event;
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await;
        match found {
            Ok(event) => event,
            Err(_) => panic!("no `{name}` with {fields} in {:#?}", self.events().await),
        }
    }

    async fn events(&self) -> Vec<Value> {
        self.handle.gateway.custody.audit.flush().await.unwrap();
        let text = std::fs::read_to_string(self.file("state/audit.jsonl")).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

impl Agent {
    /// A channel of its own.
    async fn channel(&self) -> Mux {
        let connector = Connector::new(PROFILE, Arc::clone(&self.bundle), &self.svid);
        channel(self.address, &connector.unwrap()).await
    }

    /// A stream to the echo service, on a channel of its own, with the token that it joined with.
    async fn echo(&self) -> (Mux, Echo) {
        let mux = self.channel().await;
        let echo = Echo::open(&mux, &self.token).await;
        (mux, echo)
    }
}

impl Echo {
    async fn open(mux: &Mux, token: &str) -> Self {
        let mut echo = Self(connect(mux, "echo:7", Some(token)).await.unwrap());
        echo.answers().await;
        echo
    }

    /// Sends a byte and gets it back.
    async fn answers(&mut self) {
        self.0.write_all(b"x").await.unwrap();
        assert_eq!(within(self.0.read_u8()).await.unwrap(), b'x');
    }

    /// Waits until it is reset.
    async fn cut(mut self) {
        let error = within(self.0.read_u8()).await.unwrap_err();
        let kind = error.kind();
        assert_ne!(kind, std::io::ErrorKind::UnexpectedEof, "a clean end");
    }
}

async fn channel(address: SocketAddr, connector: &Connector) -> Mux {
    let tcp = TcpStream::connect(address).await.unwrap();
    let connected = connector.connect(tcp).await.unwrap();
    let handshake = Mux::handshake(connected.stream, &Limits::default()).await;
    let (mux, driver) = handshake.unwrap();
    tokio::spawn(driver);
    mux
}

async fn connect(mux: &Mux, authority: &str, token: Option<&str>) -> Result<Tunnel, ConnectError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = token {
        headers.insert(
            PROXY_AUTHORIZATION,
            format!("Bearer {token}").parse().unwrap(),
        );
    }
    connect_with(mux, authority, headers).await
}

async fn connect_with(
    mux: &Mux,
    authority: &str,
    headers: HeaderMap,
) -> Result<Tunnel, ConnectError> {
    within(mux.connect(authority.parse().unwrap(), headers)).await
}

/// What a refused CONNECT is told: status, code and sentence.
fn told(refused: Result<Tunnel, ConnectError>) -> String {
    let Err(ConnectError::Rejected(rejected)) = refused else {
        panic!("it was not refused: {refused:?}");
    };
    assert_eq!(rejected.headers["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_slice(&rejected.body).unwrap();
    assert_eq!(problem["status"], rejected.status.as_u16());
    let challenge = rejected.headers.get("proxy-authenticate");
    assert_eq!(challenge.is_some(), rejected.status == 407);
    in_words(&problem)
}

/// A problem document in one line.
fn in_words(problem: &Value) -> String {
    let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
    format!("{} {}: {}", problem["status"], text("code"), text("detail"))
}

/// A request to the gateway itself: its status, and its body.
async fn request(mux: &Mux, method: Method, path: &str, body: &Value) -> (u16, Value) {
    let body = if body.is_null() {
        Bytes::new()
    } else {
        body.to_string().into()
    };
    let request = Request::builder()
        .method(method)
        .uri(format!("https://{GATEWAY}{path}"))
        .body(body)
        .unwrap();
    let answer = within(mux.request(request)).await.unwrap();
    let body = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
    (answer.status().as_u16(), body)
}

/// What comes of a future before anybody loses patience.
async fn within<F: Future>(future: F) -> F::Output {
    let outcome = tokio::time::timeout(PATIENCE, future).await;
    outcome.expect("it takes too long")
}

/// Waits for a condition.
async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    })
    .await;
}

/// A service that gives back what it gets.
async fn echo_service() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = tcp.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    address
}

const PROFILE: Profile = Profile::HybridV1;
const GATEWAY: &str = "gateway.example.org";

/// The listener of most tests.
const LISTENER: &str = r#"
    [[listener]]
    address = "127.0.0.1:0"
"#;

/// Far beyond what anything here takes on a slow machine, so that a hang is a failure and not a wait.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(2);
