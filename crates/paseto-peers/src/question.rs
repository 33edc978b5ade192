//! What all libraries are asked, in terms that all of them share.

use serde::{Serialize, Serializer};

/// One thing to do. Keys are plain PASERK text, which tells their version and kind.
///
/// It serialises as one line of JSON, bytes as hexadecimal, for the libraries of other languages.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "ask", rename_all = "lowercase")]
pub enum Question {
    /// A token: encrypted under a local key, signed with a secret one.
    Mint {
        /// A local or secret key.
        key: String,
        /// What the token carries.
        #[serde(serialize_with = "hexadecimal")]
        payload: Vec<u8>,
        /// Empty for none.
        #[serde(serialize_with = "hexadecimal")]
        footer: Vec<u8>,
        /// Empty for none.
        #[serde(serialize_with = "hexadecimal")]
        assertion: Vec<u8>,
    },
    /// The payload of a token that has this footer and assertion.
    Open {
        /// A local or public key.
        key: String,
        /// The token.
        token: String,
        /// The footer that the token must have.
        #[serde(serialize_with = "hexadecimal")]
        footer: Vec<u8>,
        /// The assertion that the token must have been minted with.
        #[serde(serialize_with = "hexadecimal")]
        assertion: Vec<u8>,
    },
    /// The key's `lid`, `pid` or `sid`.
    Identify {
        /// A key of any kind.
        key: String,
    },
    /// `local-wrap.pie` or `secret-wrap.pie`.
    Wrap {
        /// A local or secret key.
        key: String,
        /// The local key to wrap under.
        with: String,
    },
    /// The bytes of a wrapped key.
    Unwrap {
        /// The wrapped key.
        paserk: String,
        /// The local key that it was wrapped under.
        with: String,
    },
    /// `local-pw` or `secret-pw`, at a cost that suits a test.
    Protect {
        /// A local or secret key.
        key: String,
        /// The password.
        password: String,
    },
    /// The bytes of a key under a password.
    Unlock {
        /// The protected key.
        paserk: String,
        /// The password.
        password: String,
    },
    /// `seal`.
    Seal {
        /// A local key.
        key: String,
        /// The public key of the recipient.
        to: String,
    },
    /// The bytes of a sealed key.
    Unseal {
        /// The sealed key.
        paserk: String,
        /// The recipient's secret key.
        with: String,
    },
}

impl Question {
    /// The version and the kind that the question is about, such as `k4` and `secret-wrap`.
    pub fn about(&self) -> (&str, &str) {
        let text = match self {
            Self::Mint { key, .. }
            | Self::Open { key, .. }
            | Self::Identify { key }
            | Self::Wrap { key, .. }
            | Self::Protect { key, .. }
            | Self::Seal { key, .. } => key,
            Self::Unwrap { paserk, .. }
            | Self::Unlock { paserk, .. }
            | Self::Unseal { paserk, .. } => paserk,
        };
        let mut parts = text.split('.');
        let version = parts.next().unwrap_or_default();
        (version, parts.next().unwrap_or_default())
    }
}

fn hexadecimal<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    serializer.serialize_str(&digits.collect::<String>())
}
