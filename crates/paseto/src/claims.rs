//! Claims: the registered ones and your own struct, in one JSON object.

use alloc::string::String;
use alloc::vec::Vec;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{MintError, TokenError};

mod object;
mod read;
mod time;
mod write;

/// The registered claims (PASETO § Registered Claims), each a typed value.
///
/// Times are whole seconds: a fraction given to the minter is cut off, so that both sides see one value.
///
/// ```
/// use countersign_paseto::Claims;
///
/// let claims = Claims::new(()).issuer("id.example.org").subject("alice");
/// assert_eq!(claims.registered().issuer.as_deref(), Some("id.example.org"));
/// assert_eq!(claims.registered().expires_at, None);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Registered {
    /// `iss`: who minted the token.
    #[serde(rename = "iss", skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// `sub`: whom the token is about.
    #[serde(rename = "sub", skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// `aud`: for whom the token is meant.
    #[serde(rename = "aud", skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// `exp`: from when the token is refused.
    #[serde(
        rename = "exp",
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::seconds"
    )]
    pub expires_at: Option<Timestamp>,
    /// `nbf`: until when the token is refused.
    #[serde(
        rename = "nbf",
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::seconds"
    )]
    pub not_before: Option<Timestamp>,
    /// `iat`: when the token was minted.
    #[serde(
        rename = "iat",
        skip_serializing_if = "Option::is_none",
        serialize_with = "time::seconds"
    )]
    pub issued_at: Option<Timestamp>,
    /// `jti`: the token's own name.
    #[serde(rename = "jti", skip_serializing_if = "Option::is_none")]
    pub token_id: Option<String>,
}

/// Claims to mint: your struct `C` and the registered claims.
///
/// `C` serialises as a JSON object, without names of registered claims. Use `()` when there is nothing to add.
///
/// ```
/// use countersign_paseto::{Claims, Key, Local, SystemRandom, V4};
/// use jiff::{SignedDuration, Timestamp};
///
/// #[derive(serde::Serialize)]
/// struct Session { theme: String }
///
/// let key = Key::<V4, Local>::generate(&SystemRandom)?;
/// let now = Timestamp::now();
/// let token = Claims::new(Session { theme: "dark".into() })
///     .subject("alice")
///     .issued_at(now)
///     .expires_at(now + SignedDuration::from_mins(10))
///     .mint(&key, &SystemRandom)?;
/// assert!(token.starts_with("v4.local."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Claims<C> {
    registered: Registered,
    pub(crate) private: C,
    without_expiry: bool,
}

impl<C> Claims<C> {
    /// Your claims, with no registered ones yet.
    pub fn new(private: C) -> Self {
        Self {
            registered: Registered::default(),
            private,
            without_expiry: false,
        }
    }

    /// The registered claims as they are so far.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// Sets `iss`.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.registered.issuer = Some(issuer.into());
        self
    }

    /// Sets `sub`.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.registered.subject = Some(subject.into());
        self
    }

    /// Sets `aud`.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.registered.audience = Some(audience.into());
        self
    }

    /// Sets `exp`, from when the token is refused.
    #[must_use]
    pub fn expires_at(mut self, at: Timestamp) -> Self {
        self.registered.expires_at = Some(at);
        self
    }

    /// Sets `nbf`, until when the token is refused.
    #[must_use]
    pub fn not_before(mut self, at: Timestamp) -> Self {
        self.registered.not_before = Some(at);
        self
    }

    /// Sets `iat`.
    #[must_use]
    pub fn issued_at(mut self, at: Timestamp) -> Self {
        self.registered.issued_at = Some(at);
        self
    }

    /// Sets `jti`.
    #[must_use]
    pub fn token_id(mut self, id: impl Into<String>) -> Self {
        self.registered.token_id = Some(id.into());
        self
    }

    /// Lets the claims be minted without `exp`: such a token is good until its key is retired.
    #[must_use]
    pub fn dangerous_without_expiry(mut self) -> Self {
        self.without_expiry = true;
        self
    }
}

impl<C: DeserializeOwned> Claims<C> {
    /// The claims in a JSON object that somebody wrote: the registered ones set aside, each name once.
    ///
    /// # Errors
    ///
    /// [`TokenError::Unreadable`], [`TokenError::TooDeep`] or [`TokenError::Claim`].
    ///
    /// ```
    /// use countersign_paseto::Claims;
    ///
    /// let claims = Claims::<()>::from_json(br#"{"sub":"alice"}"#)?;
    /// assert_eq!(claims.registered().subject.as_deref(), Some("alice"));
    /// # Ok::<(), countersign_paseto::TokenError>(())
    /// ```
    pub fn from_json(json: &[u8]) -> Result<Self, TokenError> {
        let mut registered = Registered::default();
        let private = parse(json, &mut registered)?;
        Ok(Self {
            registered,
            private,
            without_expiry: false,
        })
    }
}

impl<C: Serialize> Claims<C> {
    /// The JSON payload that a token carries.
    ///
    /// # Errors
    ///
    /// [`MintError::NoExpiry`] or [`MintError::Claims`].
    pub fn to_json(&self) -> Result<Vec<u8>, MintError> {
        if self.registered.expires_at.is_none() && !self.without_expiry {
            return Err(MintError::NoExpiry);
        }
        write::write(&self.registered, &self.private)
    }
}

/// Claims that were authentic and within the rules when they were verified.
///
/// Only [`UntrustedToken::verify`](crate::UntrustedToken::verify) and [`KeyRing::verify`](crate::KeyRing::verify) make one, so a
/// function that takes one need not check again:
///
/// ```
/// use countersign_paseto::Verified;
/// # struct Session { role: String }
///
/// fn may_delete(session: &Verified<Session>) -> bool {
///     session.role == "admin" && session.subject().is_some()
/// }
/// ```
///
/// ```compile_fail,E0451
/// use countersign_paseto::Verified;
///
/// let forged = Verified { claims: (), registered: Default::default(), footer: Vec::new(), key_id: None };
/// ```
///
/// Nor can one be read from data:
///
/// ```compile_fail,E0277
/// let forged: countersign_paseto::Verified<()> = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Debug)]
pub struct Verified<C> {
    pub(crate) claims: C,
    pub(crate) registered: Registered,
    pub(crate) footer: Vec<u8>,
    pub(crate) key_id: Option<crate::paserk::KeyId>,
}

impl<C> Verified<C> {
    /// Your claims.
    pub fn claims(&self) -> &C {
        &self.claims
    }

    /// Your claims, taken out of the proof.
    pub fn into_claims(self) -> C {
        self.claims
    }

    /// The registered claims.
    pub fn registered(&self) -> &Registered {
        &self.registered
    }

    /// The footer, authentic like the claims but never encrypted.
    pub fn footer(&self) -> &[u8] {
        &self.footer
    }

    /// The key that verified the token, when a [`KeyRing`](crate::KeyRing) chose it.
    pub fn key_id(&self) -> Option<&crate::paserk::KeyId> {
        self.key_id.as_ref()
    }

    /// `sub`, if the token has one.
    pub fn subject(&self) -> Option<&str> {
        self.registered.subject.as_deref()
    }

    /// `exp`, if the token has one.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.registered.expires_at
    }

    /// `jti`, if the token has one.
    pub fn token_id(&self) -> Option<&str> {
        self.registered.token_id.as_deref()
    }
}

impl<C> core::ops::Deref for Verified<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.claims
    }
}

pub(crate) use read::parse;
