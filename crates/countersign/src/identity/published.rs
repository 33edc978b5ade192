//! The public keys of identity tokens, as verifiers get them.

use std::time::Duration;

use countersign_paseto::PublishedKey;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The document at [`PublishedKeys::PATH`], in the keys file and on the operator's socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PublishedKeys {
    /// The `iss` of the tokens.
    pub(crate) issuer: String,
    /// Those of each version in the order in which they sign.
    pub(crate) keys: Vec<IdentityKey>,
}

/// A public key, and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IdentityKey {
    /// The `kid` in the footer of a token that it signed: PASERK `pid`.
    pub(crate) kid: String,
    /// The key: PASERK `public`.
    pub(crate) paserk: String,
    /// When it begins to sign.
    pub(crate) not_before: Timestamp,
    /// From when nothing that it signed is good any more.
    pub(crate) not_after: Timestamp,
}

impl PublishedKeys {
    /// Where the keys are on the gateway's authority and on each HTTP service's.
    pub(crate) const PATH: &'static str = "/.well-known/countersign/keys";

    /// How long a copy is good: a small part of the time for which a key is published before it signs.
    pub(crate) const KEPT_FOR: Duration = Duration::from_secs(60 * 60);

    pub(super) fn new(issuer: &str, keys: impl Iterator<Item = PublishedKey>) -> Self {
        let keys = keys.map(|key| IdentityKey {
            kid: key.id.to_string(),
            paserk: key.paserk,
            not_before: key.window.mints_from(),
            not_after: key.window.accepted_until(),
        });
        Self {
            issuer: issuer.to_owned(),
            keys: keys.collect(),
        }
    }

    /// The document as it is served.
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings and times are always JSON")
    }
}
