//! A gateway that lives in the test, does what a gateway does for one agent, and can be told to misbehave.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use countersign_channel::identity::{PublicKey, SpiffeId};
use countersign_channel::server::{Acceptor, Credentials, Limits, Listener};
use countersign_channel::tunnel::{self, Incoming, Tunnel};
use http::header::PROXY_AUTHORIZATION;
use http::{Method, Response, StatusCode};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::domain::{Domain, an_hour_ago, proven};
use crate::config::HostPort;

/// What the gateway knows and does.
pub(super) struct Gateway {
    pub(super) domain: Domain,
    /// How many connections were made.
    pub(super) connections: AtomicUsize,
    /// How many of them are open.
    pub(super) open: AtomicUsize,
    /// How many tokens were minted.
    pub(super) tokens: AtomicU64,
    /// How many certificates were renewed.
    pub(super) renewals: AtomicUsize,
    /// Join tokens that were sent, with the key that used them.
    pub(super) enrolments: Mutex<Vec<(String, PublicKey)>>,
    /// How many replies to enrolments are to be lost.
    pub(super) losing: AtomicUsize,
    /// What every enrolment is answered with instead.
    pub(super) refusing: Mutex<Option<(u16, Value)>>,
    /// The code with which the next request for a token is refused, until an agent enrols.
    pub(super) shutting_out: Mutex<Option<&'static str>>,
    /// A join token that the gateway no longer knows.
    pub(super) forgotten: Mutex<Option<String>>,
    /// How long ago certificates begin, and how long they last.
    pub(super) leaf: Mutex<(Duration, Duration)>,
    /// How far ahead the gateway says that its clock is, if it tells the time.
    pub(super) ahead: Mutex<Option<Duration>>,
    /// How long tokens last.
    pub(super) token_life: Duration,
    /// The first token that is still taken.
    pub(super) oldest_token: AtomicU64,
    /// Lets go of all connections: each sends GOAWAY and serves its streams to their end.
    pub(super) draining: Mutex<CancellationToken>,
    /// Drops all connections.
    pub(super) dropping: Mutex<CancellationToken>,
}

impl Gateway {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            domain: Domain::new(),
            connections: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            tokens: AtomicU64::new(0),
            renewals: AtomicUsize::new(0),
            enrolments: Mutex::default(),
            losing: AtomicUsize::new(0),
            refusing: Mutex::default(),
            shutting_out: Mutex::default(),
            forgotten: Mutex::default(),
            leaf: Mutex::new(FRESH),
            ahead: Mutex::default(),
            token_life: Duration::from_secs(600),
            oldest_token: AtomicU64::new(0),
            draining: Mutex::default(),
            dropping: Mutex::default(),
        })
    }

    /// Answers on a port of its own.
    pub(super) async fn listen(self: &Arc<Self>) -> HostPort {
        self.listen_from(an_hour_ago()).await
    }

    /// Answers with a certificate that begins then.
    pub(super) async fn listen_from(self: &Arc<Self>, begins: Timestamp) -> HostPort {
        let credentials = Credentials {
            svid: Arc::new(self.domain.gateway(begins)),
            bundle: self.domain.bundle(),
        };
        let listener = Listener::default();
        let acceptor = Acceptor::new(listener, credentials, Limits::default()).unwrap();
        let acceptor = Arc::new(acceptor);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap().to_string().parse().unwrap();
        let gateway = Arc::clone(self);
        tokio::spawn(async move {
            while let Ok((stream, _)) = tcp.accept().await {
                tokio::spawn(Arc::clone(&gateway).accept(Arc::clone(&acceptor), stream));
            }
        });
        address
    }

    async fn accept(self: Arc<Self>, acceptor: Arc<Acceptor>, tcp: TcpStream) {
        let peer = tcp.peer_addr().unwrap();
        let Ok(accepted) = acceptor.accept(tcp, peer).await else {
            return;
        };
        let negotiated = accepted.record.negotiated.clone().unwrap();
        if negotiated.alpn.as_deref() == Some("h2") {
            let id = accepted.record.peer.clone().map(|peer| peer.id);
            self.serve(accepted.stream, id).await;
        } else {
            let _client_left = self.introduce(accepted.stream).await;
        }
    }

    async fn introduce(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            request.push(stream.read_u8().await?);
        }
        assert!(request.starts_with(b"GET /.well-known/countersign/bundle HTTP/1.1\r\n"));
        let body = self.domain.signed(1).to_json();
        let date = self.ahead.lock().unwrap().map(|ahead| {
            let there = (Timestamp::now() + ahead).strftime("%a, %d %b %Y %H:%M:%S GMT");
            format!("Date: {there}\r\n")
        });
        let (date, length) = (date.unwrap_or_default(), body.len());
        let head = format!("HTTP/1.1 200 OK\r\n{date}Content-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    }

    /// Serves HTTP/2 on a connection, on behalf of an agent.
    pub(super) async fn serve<T>(self: Arc<Self>, io: T, agent: Option<SpiffeId>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send,
    {
        self.connections.fetch_add(1, Ordering::SeqCst);
        self.open.fetch_add(1, Ordering::SeqCst);
        let drain = self.draining.lock().unwrap().clone();
        let dropped = self.dropping.lock().unwrap().clone();
        let limits = tunnel::Limits::default();
        if let Ok((mut requests, handle)) = tunnel::serve(io, &limits).await {
            tokio::spawn(async move {
                drain.cancelled().await;
                handle.drain();
            });
            while let Some(Some(Ok(incoming))) = dropped.run_until_cancelled(requests.next()).await
            {
                tokio::spawn(Arc::clone(&self).answer(incoming, agent.clone()));
            }
        }
        self.open.fetch_sub(1, Ordering::SeqCst);
    }

    async fn answer(self: Arc<Self>, mut incoming: Incoming, agent: Option<SpiffeId>) {
        if incoming.is_tunnel() {
            return self.connect(incoming).await;
        }
        let wait = Duration::from_secs(5);
        let body = incoming.body(64 * 1024, wait).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let parts = incoming.parts();
        let authority = parts.uri.authority().map(ToString::to_string);
        assert_eq!(authority.as_deref(), Some("gateway.example.org"));
        let answer = match (&parts.method, parts.uri.path(), agent) {
            (&Method::POST, "/v1/enrol", None) => self.enrol(&body),
            (&Method::POST, "/v1/renew", Some(id)) => Some(self.renew(&body, &id)),
            (&Method::POST, "/v1/token", Some(_)) => {
                let shut_out = *self.shutting_out.lock().unwrap();
                let refusal = |code| (403, json!({ "code": code, "detail": "not any more" }));
                Some(shut_out.map_or_else(|| (200, self.token()), refusal))
            }
            (&Method::GET, "/v1/services", Some(_)) => Some((200, services())),
            _ => Some((404, json!({}))),
        };
        if let Some((status, body)) = answer {
            let _left = incoming.reply(response(status, &body));
        }
    }

    fn enrol(&self, body: &Value) -> Option<(u16, Value)> {
        let request = Base64::decode_vec(text(body, "certificate_request")).unwrap();
        let _clock: Timestamp = text(body, "now").parse().unwrap();
        let token = text(body, "join_token").to_owned();
        let key = proven(&request).public_key().clone();
        let is_forgotten = self.forgotten.lock().unwrap().as_deref() == Some(&token);
        self.enrolments.lock().unwrap().push((token, key));
        if is_forgotten {
            return Some((403, json!({ "code": "unknown", "detail": "unknown" })));
        }
        if let Some(refusal) = self.refusing.lock().unwrap().clone() {
            return Some(refusal);
        }
        let fewer = |left: usize| left.checked_sub(1);
        let (set, fetch) = (Ordering::SeqCst, Ordering::SeqCst);
        if self.losing.fetch_update(set, fetch, fewer).is_ok() {
            return None;
        }
        self.shutting_out.lock().unwrap().take();
        let id = self.domain.name.agent("laptop").unwrap();
        Some((200, self.issued(&request, &id)))
    }

    fn renew(&self, body: &Value, id: &SpiffeId) -> (u16, Value) {
        self.renewals.fetch_add(1, Ordering::SeqCst);
        let request = Base64::decode_vec(text(body, "certificate_request")).unwrap();
        (200, self.issued(&request, id))
    }

    fn issued(&self, request: &[u8], id: &SpiffeId) -> Value {
        let (ago, life) = *self.leaf.lock().unwrap();
        let leaf = self.domain.leaf(request, id, Timestamp::now() - ago, life);
        let bundle: Value = serde_json::from_str(&self.domain.signed(1).to_json()).unwrap();
        let mut issued = json!({ "svid": [Base64::encode_string(&leaf)], "bundle": bundle });
        let token = self.token();
        for key in ["access_token", "access_token_expires_at"] {
            issued[key] = token[key].clone();
        }
        issued
    }

    fn token(&self) -> Value {
        let number = self.tokens.fetch_add(1, Ordering::SeqCst);
        let end = Timestamp::now() + self.token_life;
        json!({ "access_token": format!("v4.local.{number}"), "access_token_expires_at": end })
    }

    async fn connect(&self, incoming: Incoming) {
        let parts = incoming.parts();
        let token = parts.headers.get(PROXY_AUTHORIZATION).unwrap();
        let number = token
            .to_str()
            .unwrap()
            .strip_prefix("Bearer v4.local.")
            .unwrap();
        let is_old = number.parse::<u64>().unwrap() < self.oldest_token.load(Ordering::SeqCst);
        let refusal = match parts.uri.authority().unwrap().as_str() {
            _ if is_old => (407, "token_expired", "the access token has expired"),
            "echo:7" => {
                let tunnel = incoming.accept(http::HeaderMap::new()).unwrap();
                return echo(tunnel).await;
            }
            "secret:7" => (403, "denied", "no grant lets `laptop` reach `secret`"),
            _ => (421, "misdirected", "there is no such service"),
        };
        let (status, code, detail) = refusal;
        let body = json!({ "code": code, "detail": detail });
        let _left = incoming.reply(response(status, &body));
    }

    /// Asks every connection to end when its streams have; later ones are not asked.
    pub(super) fn drain(&self) {
        std::mem::take(&mut *self.draining.lock().unwrap()).cancel();
    }

    /// Drops every connection; later ones are not dropped.
    pub(super) fn drop_all(&self) {
        std::mem::take(&mut *self.dropping.lock().unwrap()).cancel();
    }

    pub(super) fn count(&self, of: impl Fn(&Self) -> &AtomicUsize) -> usize {
        of(self).load(Ordering::SeqCst)
    }
}

async fn echo(tunnel: Tunnel) {
    let (mut reader, mut writer) = tunnel.into_split();
    if tokio::io::copy(&mut reader, &mut writer).await.is_ok() {
        let _left = writer.shutdown().await;
    }
}

fn services() -> Value {
    let declared: HashMap<&str, u16> = [("echo", 7), ("secret", 7)].into();
    let mut services: Vec<Value> = declared
        .into_iter()
        .map(|(name, port)| json!({ "name": name, "port": port }))
        .collect();
    services.push(json!({ "name": "both", "port": 1 }));
    services.push(json!({ "name": "both", "port": 2 }));
    json!({ "services": services })
}

fn text<'a>(body: &'a Value, key: &str) -> &'a str {
    body[key].as_str().unwrap()
}

fn response(status: u16, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response
}

/// A certificate of an hour, and the five minutes before it.
pub(super) const FRESH: (Duration, Duration) =
    (Duration::from_secs(300), Duration::from_secs(3900));
/// One that ended an hour ago.
pub(super) const EXPIRED: (Duration, Duration) =
    (Duration::from_secs(7200), Duration::from_secs(3600));
/// One that is past its half life.
pub(super) const AGED: (Duration, Duration) =
    (Duration::from_secs(2400), Duration::from_secs(3600));
