//! Who calls, by the gateway's signature: docs/identity.md says what is verified here, and why.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use countersign_paseto::{Key, KeyRing, KeySet, Public, Rules, TokenError, V4, Verified, Window};
use jiff::Timestamp;
use serde::Deserialize;

/// Who calls. Only a [`Verifier`] makes one.
pub struct Caller(Verified<Identity>);

/// What a token says beside its registered claims; there is more to take.
#[derive(Debug, Deserialize)]
pub struct Identity {
    /// How the request reached the gateway.
    pub channel: Channel,
}

/// How the request reached the gateway.
#[derive(Debug, Deserialize)]
pub struct Channel {
    /// The id that the gateway's audit trail has for the channel.
    pub id: String,
    /// Whether its key exchange holds against a quantum computer.
    pub post_quantum: bool,
}

/// Verifies identity tokens for one service.
pub struct Verifier {
    file: PathBuf,
    keys: KeyRing,
    rules: Rules,
}

/// Why it is not known who calls.
#[derive(Debug, thiserror::Error)]
pub enum Unknown {
    /// The header is missing, or there are several.
    #[error("the request has {found} {HEADER} headers")]
    Header {
        /// How many there are.
        found: usize,
    },
    /// The token does not verify, or is not for this service.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Caller {
    /// The caller's name, as grants have it: `spiffe://…`, `cert:…`, `bearer:…` or `anonymous`.
    pub fn name(&self) -> &str {
        self.0.subject().unwrap_or_default()
    }

    /// What else the gateway says.
    pub fn identity(&self) -> &Identity {
        self.0.claims()
    }
}

impl Verifier {
    /// A verifier for `service`, behind the gateway of the trust domain `issuer` (as `spiffe://example.org`), with the
    /// keys in the gateway's `identity.keys_file`.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn new(file: PathBuf, issuer: &str, service: &str) -> io::Result<Self> {
        let verifier = Self {
            file,
            keys: KeyRing::new(KeySet::new()),
            rules: Rules::new()
                .issuer(issuer)
                .audience(service)
                .leeway(CLOCKS_DIFFER_BY),
        };
        verifier.read_keys()?;
        Ok(verifier)
    }

    /// Reads the keys again, for as long as the service runs. A key is in the file a day before it signs.
    pub async fn follow_keys(&self) {
        let mut looks = tokio::time::interval(LOOK_AGAIN);
        loop {
            looks.tick().await;
            // The keys that are here go on verifying what they signed.
            let _ = self.read_keys();
        }
    }

    /// Who sent a request with these headers.
    ///
    /// # Errors
    ///
    /// It does not come from the gateway, or not for this service.
    pub fn caller(&self, headers: &HeaderMap, now: Timestamp) -> Result<Caller, Unknown> {
        let mut values = headers.get_all(HEADER).iter();
        let (Some(token), None) = (values.next(), values.next()) else {
            let found = headers.get_all(HEADER).iter().count();
            return Err(Unknown::Header { found });
        };
        // What is no text is no token.
        let token = token.to_str().unwrap_or_default();
        Ok(Caller(self.keys.verify(token, b"", &self.rules, now)?))
    }

    fn read_keys(&self) -> io::Result<()> {
        #[derive(Deserialize)]
        struct Document {
            keys: Vec<Published>,
        }

        #[derive(Deserialize)]
        struct Published {
            paserk: String,
            not_before: Timestamp,
            not_after: Timestamp,
        }

        let document: Document = serde_json::from_slice(&std::fs::read(&self.file)?)?;
        let with = |set: KeySet, key: &Published| {
            // A key of another version is for those who know that version.
            let Ok(public) = Key::<V4, Public>::from_paserk(&key.paserk) else {
                return set;
            };
            let window = Window::new(key.not_before, key.not_after, key.not_after);
            set.with(public, window)
        };
        let keys = document.keys.iter().fold(KeySet::new(), with);
        self.keys.replace(keys);
        Ok(())
    }
}

impl FromRequestParts<Arc<Verifier>> for Caller {
    type Rejection = Unknown;

    async fn from_request_parts(
        request: &mut Parts,
        verifier: &Arc<Verifier>,
    ) -> Result<Self, Unknown> {
        verifier.caller(&request.headers, Timestamp::now())
    }
}

impl IntoResponse for Unknown {
    /// Why is for the log: whoever came around the gateway learns nothing.
    fn into_response(self) -> Response {
        (StatusCode::UNAUTHORIZED, "who are you?\n").into_response()
    }
}

/// Set by the gateway, on every request.
const HEADER: &str = "Countersign-Identity";

/// A token may have been minted in the second in which it is seen.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(5);

const LOOK_AGAIN: Duration = Duration::from_secs(10);
