//! `countersign hsm …`: keys in PKCS#11 tokens, made there and shown by their public half.

use base64ct::{Base64, Encoding};
use countersign_hsm::{KeyAlgorithm, Pkcs11Uri, PublicKey, Token};
use countersign_paseto::{Key, Public, V4, V5};
use serde::Serialize;

use super::show::{self, Show};
use crate::cli::{Format, HsmCommand};
use crate::report::Failure;

/// `countersign hsm …`. Blocks for as long as the module does.
///
/// # Errors
///
/// The token cannot be opened, or has no such key, or one already.
pub(crate) fn hsm(command: HsmCommand, format: Format) -> Result<(), Failure> {
    match command {
        HsmCommand::Generate { algorithm, uri } => {
            let algorithm = algorithm.of_key();
            let token = Token::open(&uri)?;
            token.generate(&uri, algorithm)?;
            if algorithm != KeyAlgorithm::Aes256 {
                public(&token, &uri, format)?;
            }
            Ok(())
        }
        HsmCommand::Public { uri } => public(&Token::open(&uri)?, &uri, format),
    }
}

fn public(token: &Token, uri: &Pkcs11Uri, format: Format) -> Result<(), Failure> {
    let key = token.signing_key(uri)?;
    let key = key.public_key();
    let shown = Shown {
        algorithm: key.algorithm().name(),
        public: paserk(key).unwrap_or_else(|| pem(key)),
    };
    Ok(show::print(&shown, format)?)
}

#[derive(Serialize)]
struct Shown {
    algorithm: &'static str,
    public: String,
}

impl Show for Shown {
    fn result(&self) -> String {
        format!("{}\n", self.public)
    }
}

fn paserk(key: &PublicKey) -> Option<String> {
    let text = match key.algorithm() {
        KeyAlgorithm::Ed25519 => Key::<V4, Public>::from_bytes(key.raw()).ok()?.to_paserk(),
        KeyAlgorithm::MlDsa87 => Key::<V5, Public>::from_bytes(key.raw()).ok()?.to_paserk(),
        _ => return None,
    };
    Some(text.as_str().to_owned())
}

/// RFC 7468 section 13.
fn pem(key: &PublicKey) -> String {
    let text = Base64::encode_string(&key.spki_der());
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----",
        lines.join("\n")
    )
}
