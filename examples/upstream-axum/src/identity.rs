//! Who calls, by the gateway's signature: docs/identity.md says what is verified here, and why.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderName;
use countersign_paseto::{Key, KeyRing, KeySet, Public, Rules, V4, Window};
use countersign_paseto_http::{Auth, VerifyLayer};
use jiff::Timestamp;
use serde::Deserialize;

/// Who calls: its subject is the caller's name, as grants have it (`spiffe://…`, `cert:…`, `bearer:…` or `anonymous`).
pub type Caller = Auth<Identity>;

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
    keys: Arc<KeyRing>,
    rules: Rules,
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
            keys: Arc::new(KeyRing::new(KeySet::new())),
            rules: Rules::new()
                .issuer(issuer)
                .audience(service)
                .leeway(CLOCKS_DIFFER_BY),
        };
        verifier.read_keys()?;
        Ok(verifier)
    }

    /// Lets requests in that the gateway vouches for, each with its [`Caller`].
    pub fn layer(&self) -> VerifyLayer<Identity> {
        VerifyLayer::new(Arc::clone(&self.keys), self.rules.clone(), Timestamp::now).header(HEADER)
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

/// Set by the gateway, on every request.
const HEADER: HeaderName = HeaderName::from_static("countersign-identity");

/// A token may have been minted in the second in which it is seen.
const CLOCKS_DIFFER_BY: Duration = Duration::from_secs(5);

const LOOK_AGAIN: Duration = Duration::from_secs(10);
