//! A server with sessions: `POST /login` gives a token, `GET /me` asks for one, `POST /logout` ends it.
//!
//! ```sh
//! cargo run -p countersign-paseto-http --example server
//! token=$(curl -s -d alice http://127.0.0.1:8080/login)
//! curl -H "Authorization: Bearer $token" http://127.0.0.1:8080/me
//! ```

#![expect(clippy::print_stderr, reason = "a server of few lines logs there")]

use std::collections::HashSet;
use std::error::Error;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use countersign_paseto::{
    Claims, Key, KeyRing, KeySet, Local, Random, Rules, SystemRandom, V4, Window,
};
use countersign_paseto_http::{Auth, VerifyLayer};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

/// What a session's token says beside its registered claims.
#[derive(Serialize, Deserialize)]
struct Session {
    role: String,
}

/// What the handlers share: the keys, and the tokens that were ended before their time.
struct Sessions {
    keys: Arc<KeyRing>,
    ended: Mutex<HashSet<String>>,
}

fn app(keys: Arc<KeyRing>) -> Router {
    let sessions = Arc::new(Sessions {
        keys: Arc::clone(&keys),
        ended: Mutex::default(),
    });
    let asked = Arc::clone(&sessions);
    let rules = Rules::new()
        .audience(AUDIENCE)
        .revoked(move |claims| asked.has_ended(claims.token_id.as_deref()));
    let verify = VerifyLayer::<Session>::new(keys, rules, Timestamp::now)
        .realm(AUDIENCE)
        .on_refusal(|refused, request| eprintln!("{} {}: {refused}", request.method, request.uri));
    Router::new()
        .route("/me", get(me))
        .route("/logout", post(logout))
        .route_layer(verify)
        .route("/login", post(login))
        .with_state(sessions)
}

async fn me(session: Auth<Session>) -> String {
    let name = session.subject().unwrap_or("somebody");
    format!("you are {name}, {}\n", session.role)
}

/// Whoever says a name gets its token: the password, the passkey, the identity provider are yours.
async fn login(State(sessions): State<Arc<Sessions>>, name: String) -> Result<String, StatusCode> {
    let unavailable = |_| StatusCode::SERVICE_UNAVAILABLE;
    let now = Timestamp::now();
    let role = "reader".to_owned();
    let claims = Claims::new(Session { role })
        .subject(name)
        .audience(AUDIENCE)
        .token_id(fresh_id().map_err(unavailable)?)
        .expires_at(now + SignedDuration::from_mins(30));
    let token = sessions.keys.mint(&claims, b"", now, &SystemRandom);
    token.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)
}

async fn logout(State(sessions): State<Arc<Sessions>>, session: Auth<Session>) {
    let id = session.token_id().unwrap_or_default().to_owned();
    let mut ended = sessions
        .ended
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    ended.insert(id);
}

impl Sessions {
    fn has_ended(&self, id: Option<&str>) -> bool {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        id.is_none_or(|id| ended.contains(id))
    }
}

fn fresh_id() -> Result<String, countersign_paseto::RandomnessUnavailable> {
    let mut id = [0; 16];
    SystemRandom.fill(&mut id)?;
    Ok(u128::from_be_bytes(id).to_string())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let key = Key::<V4, Local>::generate(&SystemRandom)?;
    let keys = KeySet::new().with(key, Window::from(Timestamp::now()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 8080)).await?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app(Arc::new(KeyRing::new(keys)))).await?;
    Ok(())
}

const AUDIENCE: &str = "api.example.org";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    /// The status line and the body of what `127.0.0.1:port` answers.
    async fn ask(port: u16, start: &str, token: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let length = body.len();
        let request = format!(
            "{start} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {length}\r\n\
             Authorization: Bearer {token}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.lines().next().unwrap();
        (status.to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn a_session_begins_and_ends() {
        let key = Key::<V4, Local>::generate(&SystemRandom).unwrap();
        let keys = KeySet::new().with(key, Window::from(Timestamp::now()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let app = app(Arc::new(KeyRing::new(keys)));
        tokio::spawn(async move { axum::serve(listener, app).await });

        let (_, token) = ask(port, "POST /login", "", "alice").await;
        let (_, me) = ask(port, "GET /me", &token, "").await;
        assert_eq!(me, "you are alice, reader\n");
        let (ended, _) = ask(port, "POST /logout", &token, "").await;
        assert_eq!(ended, "HTTP/1.1 200 OK");
        let (status, _) = ask(port, "GET /me", &token, "").await;
        assert_eq!(status, "HTTP/1.1 401 Unauthorized");
    }
}
