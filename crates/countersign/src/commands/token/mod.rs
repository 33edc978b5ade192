//! `countersign token …`: mint, verify, and look at what anyone may see.

use std::path::Path;

use countersign_paseto::{
    Claims, Envelope, Key, Local, MAX_TOKEN_LEN, Mints, Public, Rules, Secret, SystemRandom,
    TokenError, UntrustedToken, VerifiedPayload, mint_payload_if_known,
};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use serde_json::{Map, Value};

use self::error::TokenFailure;
use super::input::{Input, InputError, check_stdin};
use super::key::version::{Offered, with_version};
use super::key::{KeyFile, Kind};
use super::show::{self, Show};
use crate::cli::{Format, PasetoVersion, TokenCommand, TokenCreate, TokenVerify};
use crate::report::Failure;
use crate::stdout;

mod error;

/// `countersign token …`.
///
/// # Errors
///
/// The token is not valid, or it could not be told.
pub(crate) fn token(command: TokenCommand, format: Format) -> Result<(), Failure> {
    match command {
        TokenCommand::Create(options) => create(&options, format),
        TokenCommand::Verify(options) => verify(&options, format),
        TokenCommand::Inspect { token } => {
            let token = read_token(&token)?;
            inspect(&token, format)
        }
    }
}

fn create(options: &TokenCreate, format: Format) -> Result<(), Failure> {
    let claims = options.claims.as_deref();
    check_stdin(claims.into_iter().chain([options.key.as_path()]))?;
    let key = KeyFile::tool(&options.key)?;
    let written = claims
        .map(|claims| Input::read(claims, MAX_TOKEN_LEN))
        .transpose()?;
    let payload = match (options.raw, &written) {
        (true, Some(written)) => written.bytes().to_vec(),
        (_, written) => claims_payload(written.as_ref(), options, Timestamp::now())?,
    };
    let envelope = Envelope {
        footer: options.footer.as_deref().unwrap_or_default().as_bytes(),
        assertion: options.assertion.as_deref().unwrap_or_default().as_bytes(),
    };
    let token = with_version!(key.version(), mint(&key, &payload, envelope))?;
    if token.len() > MAX_TOKEN_LEN {
        return Err(TokenFailure::TooLong(token.len()).into());
    }
    Ok(show::print(&Minted { token }, format)?)
}

/// The claims as a token carries them: those that were written, with the expiry that was asked for.
fn claims_payload(
    written: Option<&Input>,
    options: &TokenCreate,
    now: Timestamp,
) -> Result<Vec<u8>, TokenFailure> {
    let json = written.map_or(b"{}".as_slice(), Input::bytes);
    let mut claims = Claims::<Map<String, Value>>::from_json(json).map_err(TokenFailure::Claims)?;
    if let Some(span) = options.expires_in {
        if claims.registered().expires_at.is_some() {
            return Err(TokenFailure::TwoExpiries);
        }
        let issued_at = claims.registered().issued_at.unwrap_or(now);
        let expires_at = SignedDuration::try_from(span)
            .ok()
            .and_then(|span| now.checked_add(span).ok())
            .ok_or(TokenFailure::TooLate)?;
        claims = claims.issued_at(issued_at).expires_at(expires_at);
    }
    claims.to_json().map_err(TokenFailure::Mint)
}

fn mint<V: Offered>(
    key: &KeyFile,
    payload: &[u8],
    envelope: Envelope<'_>,
) -> Result<String, Failure> {
    let minted = match key.kind() {
        Kind::Local => mint_with(&key.key::<V, Local>()?, payload, envelope),
        _ => mint_with(&key.key::<V, Secret>()?, payload, envelope),
    };
    Ok(minted?)
}

fn mint_with<V: Mints<K>, K: countersign_paseto::Kind>(
    key: &Key<V, K>,
    payload: &[u8],
    envelope: Envelope<'_>,
) -> Result<String, TokenFailure> {
    mint_payload_if_known(key, payload, envelope, &SystemRandom).map_err(TokenFailure::Mint)
}

/// A token.
#[derive(Serialize)]
struct Minted {
    token: String,
}

impl Show for Minted {
    fn result(&self) -> String {
        format!("{}\n", self.token)
    }
}

fn verify(options: &TokenVerify, format: Format) -> Result<(), Failure> {
    check_stdin([options.key.as_path(), options.token.as_path()])?;
    let key = KeyFile::tool(&options.key)?;
    let token = read_token(&options.token)?;
    let assertion = options.assertion.as_deref().unwrap_or_default();
    let opened = with_version!(key.version(), open(&key, &token, assertion.as_bytes()))?;
    let demanded = options.footer.as_ref();
    if demanded.is_some_and(|footer| footer.as_bytes() != opened.footer()) {
        return Err(TokenFailure::from(TokenError::WrongFooter).into());
    }
    if options.raw {
        return write_payload(&opened, format);
    }
    let (payload, footer) = (opened.payload().to_vec(), text("footer", opened.footer()));
    let now = options.at.unwrap_or_else(Timestamp::now);
    opened
        .check::<()>(&Rules::new(), now)
        .map_err(TokenFailure::from)?;
    Ok(show::print(&Verified::new(payload, footer)?, format)?)
}

/// The token's payload, authentic under the key, which may be the secret half of the one that verifies.
fn open<V: Offered>(
    key: &KeyFile,
    token: &Input,
    assertion: &[u8],
) -> Result<VerifiedPayload, Failure> {
    let token = token_text(token)?;
    let opened = match key.kind() {
        Kind::Local => {
            let key = key.key::<V, Local>()?;
            UntrustedToken::<V, Local>::parse(token)
                .and_then(|token| token.asserting_if_known(assertion)?.open(&key))
        }
        kind => {
            let key = match kind {
                Kind::Secret => key.key::<V, Secret>()?.public(),
                _ => key.key::<V, Public>()?,
            };
            UntrustedToken::<V, Public>::parse(token)
                .and_then(|token| token.asserting_if_known(assertion)?.open(&key))
        }
    };
    Ok(opened.map_err(TokenFailure::from)?)
}

fn read_token(path: &Path) -> Result<Input, Failure> {
    // One more for the newline.
    match Input::read(path, MAX_TOKEN_LEN + 1) {
        Err(InputError::TooLong { .. }) => Err(TokenFailure::Overlong.into()),
        read => Ok(read?),
    }
}

fn token_text(token: &Input) -> Result<&str, TokenFailure> {
    std::str::from_utf8(token.line())
        .map_err(|_| TokenFailure::Refused(TokenError::Malformed("it is not UTF-8")))
}

/// The claims of a valid token, and its footer.
#[derive(Serialize)]
struct Verified {
    claims: Map<String, Value>,
    #[serde(flatten)]
    footer: Map<String, Value>,
    /// The claims as the token has them, numbers and order included.
    #[serde(skip)]
    payload: String,
}

impl Verified {
    fn new(payload: Vec<u8>, footer: Map<String, Value>) -> Result<Self, TokenFailure> {
        let unreadable = |error: String| TokenFailure::Refused(TokenError::Unreadable(error));
        Ok(Self {
            claims: serde_json::from_slice(&payload)
                .map_err(|error| unreadable(error.to_string()))?,
            footer,
            payload: String::from_utf8(payload).map_err(|error| unreadable(error.to_string()))?,
        })
    }
}

impl Show for Verified {
    fn result(&self) -> String {
        format!("{}\n", self.payload)
    }
}

/// The payload as it is in text; as text or base64url beside the footer in JSON.
fn write_payload(opened: &VerifiedPayload, format: Format) -> Result<(), Failure> {
    match format {
        Format::Text => stdout::write(opened.payload())?,
        Format::Json => {
            let mut shown = text("payload", opened.payload());
            shown.extend(text("footer", opened.footer()));
            show::json(&Value::Object(shown))?;
        }
    }
    Ok(())
}

/// Bytes in JSON: text under their name, or base64url under another where they are none.
fn text(name: &str, bytes: &[u8]) -> Map<String, Value> {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let (name, value) = match std::str::from_utf8(bytes) {
        Ok(text) => (name.to_owned(), text.to_owned()),
        Err(_) => (
            format!("{name}_base64url"),
            Base64UrlUnpadded::encode_string(bytes),
        ),
    };
    Map::from_iter([(name, Value::String(value))])
}

fn inspect(token: &Input, format: Format) -> Result<(), Failure> {
    let text = token_text(token)?;
    let mut parts = text.split('.');
    let version = parts
        .next()
        .and_then(|name| PasetoVersion::named(name, 'v'));
    let purpose = parts
        .next()
        .filter(|name| ["local", "public"].contains(name));
    let (Some(version), Some(purpose)) = (version, purpose) else {
        let fault = TokenError::Malformed("its header names no version and purpose");
        return Err(TokenFailure::Refused(fault).into());
    };
    let unverified_key_id = with_version!(version, named_key(text, purpose))?;
    let purpose = purpose.to_owned();
    let inspected = Inspected {
        version: version.to_string(),
        purpose,
        unverified_key_id,
    };
    Ok(show::print(&inspected, format)?)
}

fn named_key<V: Offered>(text: &str, purpose: &str) -> Result<Option<String>, Failure> {
    let id = match purpose {
        "local" => UntrustedToken::<V, Local>::parse(text).map(|token| token.unverified_key_id()),
        _ => UntrustedToken::<V, Public>::parse(text).map(|token| token.unverified_key_id()),
    };
    let id = id.map_err(TokenFailure::from)?;
    Ok(id.map(|id| id.to_string()))
}

/// What a token shows before it is verified.
#[derive(Serialize)]
struct Inspected {
    version: String,
    purpose: String,
    unverified_key_id: Option<String>,
}

impl Show for Inspected {
    fn result(&self) -> String {
        let key = self.unverified_key_id.as_deref().unwrap_or("-");
        format!(
            "version  {}\npurpose  {}\nkey id   {key}\n",
            self.version, self.purpose
        )
    }

    fn remark(&self) -> Option<String> {
        Some(
            "nothing of it is verified: `countersign token verify --key FILE` does that".to_owned(),
        )
    }
}
