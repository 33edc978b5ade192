//! Tokens: text to proof, and claims to text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::claims::{self, Claims, Registered, Verified};
use crate::encoding;
use crate::error::{MintError, TokenError};
use crate::key::Key;
use crate::paserk::KeyId;
use crate::random::Random;
use crate::rules::Rules;
use crate::version::{Asserts, Context, Kind, Mints, Opens, Purpose, Version};

/// The longest token that [`UntrustedToken::parse`] reads, in bytes: eight times what HTTP servers take as a header.
pub const MAX_TOKEN_LEN: usize = 64 * 1024;

/// A token that has been read and not verified: it shows its header and the key id in its footer, nothing else.
///
/// ```
/// use countersign_paseto::{Claims, Key, Local, Rules, SystemRandom, UntrustedToken, V4};
/// use jiff::{SignedDuration, Timestamp};
///
/// let key = Key::<V4, Local>::generate(&SystemRandom)?;
/// let now = Timestamp::now();
/// let text = Claims::new(()).subject("alice").expires_at(now + SignedDuration::from_mins(10)).mint(&key, &SystemRandom)?;
///
/// let verified = UntrustedToken::parse(&text)?.verify::<()>(&key, &Rules::new(), now)?;
/// assert_eq!(verified.subject(), Some("alice"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// There are no claims to read before verification:
///
/// ```compile_fail,E0599
/// use countersign_paseto::{Local, UntrustedToken, V4};
///
/// let token = UntrustedToken::<V4, Local>::parse("v4.local.AAAA").unwrap();
/// let subject = token.subject();
/// ```
///
/// A key of another version does not compile:
///
/// ```compile_fail,E0308
/// use countersign_paseto::{Key, Local, TokenError, UntrustedToken, V3, V4};
///
/// fn open(token: UntrustedToken<V4, Local>, key: &Key<V3, Local>) -> Result<(), TokenError> {
///     token.open(key).map(drop)
/// }
/// ```
pub struct UntrustedToken<V, P> {
    pub(crate) body: Vec<u8>,
    pub(crate) footer: Vec<u8>,
    assertion: Vec<u8>,
    header: PhantomData<fn() -> (V, P)>,
}

impl<V: Version, P: Purpose> UntrustedToken<V, P> {
    /// Reads a token of at most [`MAX_TOKEN_LEN`] bytes (PASETO Common § Message Format).
    ///
    /// # Errors
    ///
    /// [`TokenError::TooLong`], [`TokenError::WrongHeader`] or [`TokenError::Malformed`]: padding, bits that are not
    /// canonical and an empty footer part are refused, so that a token has one text.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        Self::parse_up_to(text, MAX_TOKEN_LEN)
    }

    /// Reads a token of at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// As [`UntrustedToken::parse`].
    pub fn parse_up_to(text: &str, limit: usize) -> Result<Self, TokenError> {
        let parts = Parts::split(text, limit)?;
        if parts.version != V::TOKEN || parts.purpose != P::NAME {
            return Err(TokenError::WrongHeader {
                expected: format!("{}.{}.", V::TOKEN, P::NAME),
            });
        }
        Ok(Self {
            body: decode(
                parts.payload,
                "the payload is padded",
                "the payload is not canonical base64url",
            )?,
            footer: parts.footer()?,
            assertion: Vec::new(),
            header: PhantomData,
        })
    }

    /// The header, such as `v4.local.`.
    pub fn header(&self) -> String {
        format!("{}.{}.", V::TOKEN, P::NAME)
    }

    /// The key id that the footer names, if it names one. Nobody has vouched for it: it may choose a key, and nothing else.
    pub fn unverified_key_id(&self) -> Option<KeyId> {
        KeyId::in_footer(&self.footer)?.parse().ok()
    }
}

impl<V: Version, P: Purpose> UntrustedToken<V, P> {
    /// Names an implicit assertion where the version is known at run time alone: an empty one is none, in any version.
    ///
    /// # Errors
    ///
    /// [`TokenError::NoAssertions`] in a version that has none.
    pub fn asserting_if_known(mut self, assertion: &[u8]) -> Result<Self, TokenError> {
        if !V::ASSERTS && !assertion.is_empty() {
            return Err(TokenError::NoAssertions { version: V::TOKEN });
        }
        self.assertion = assertion.to_vec();
        Ok(self)
    }
}

impl<V: Asserts, P: Purpose> UntrustedToken<V, P> {
    /// Names the implicit assertion that the minter used: data that the token authenticates and does not carry.
    #[must_use]
    pub fn asserting(mut self, assertion: impl Into<Vec<u8>>) -> Self {
        self.assertion = assertion.into();
        self
    }
}

impl<V: Opens<P>, P: Purpose + Kind> UntrustedToken<V, P> {
    /// Authenticates the token under `key` and checks its claims by `rules` at the time `now`.
    ///
    /// # Errors
    ///
    /// [`TokenError::NotAuthentic`], [`TokenError::WrongFooter`], [`TokenError::Unreadable`] or [`TokenError::Claim`].
    pub fn verify<C: DeserializeOwned>(
        self,
        key: &Key<V, P>,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Verified<C>, TokenError> {
        self.open(key)?.check(rules, now)
    }

    /// Authenticates the token under `key` and gives its payload as bytes, with no rule about claims: `exp` is not looked at.
    ///
    /// # Errors
    ///
    /// [`TokenError::NotAuthentic`].
    pub fn open(mut self, key: &Key<V, P>) -> Result<VerifiedPayload, TokenError> {
        let context = Context {
            footer: &self.footer,
            assertion: &self.assertion,
        };
        let payload = V::open(&key.material, &mut self.body, context)?;
        Ok(VerifiedPayload {
            body: self.body,
            payload,
            footer: self.footer,
        })
    }
}

/// Shows the header alone.
impl<V: Version, P: Purpose> fmt::Debug for UntrustedToken<V, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "UntrustedToken({}.{})", V::TOKEN, P::NAME)
    }
}

/// An authentic token's payload as bytes. No rule about claims has been applied to it.
///
/// ```
/// use countersign_paseto::{Claims, Key, Local, Rules, SystemRandom, TokenError, UntrustedToken, V4};
/// use jiff::{SignedDuration, Timestamp};
///
/// let (key, now) = (Key::<V4, Local>::generate(&SystemRandom)?, Timestamp::now());
/// let token = Claims::new(()).expires_at(now + SignedDuration::from_mins(5)).mint(&key, &SystemRandom)?;
///
/// let an_hour_later = now + SignedDuration::from_hours(1);
/// let opened = UntrustedToken::parse(&token)?.open(&key)?;
/// assert!(opened.payload().starts_with(b"{\"exp\":"));
/// let expired = opened.check::<()>(&Rules::new(), an_hour_later);
/// assert!(matches!(expired, Err(TokenError::Claim(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VerifiedPayload {
    body: Vec<u8>,
    payload: Range<usize>,
    footer: Vec<u8>,
}

impl VerifiedPayload {
    /// The payload.
    pub fn payload(&self) -> &[u8] {
        self.body.get(self.payload.clone()).unwrap_or_default()
    }

    /// The footer.
    pub fn footer(&self) -> &[u8] {
        &self.footer
    }

    /// Reads the payload as claims and applies `rules` to them at the time `now`.
    ///
    /// # Errors
    ///
    /// [`TokenError::WrongFooter`], [`TokenError::Unreadable`] or [`TokenError::Claim`].
    pub fn check<C: DeserializeOwned>(
        self,
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Verified<C>, TokenError> {
        rules.check_footer(self.footer())?;
        let mut registered = Registered::default();
        let claims = claims::parse(self.payload(), &mut registered)?;
        rules.check(&registered, now)?;
        Ok(Verified {
            claims,
            registered,
            footer: self.footer,
            key_id: None,
        })
    }
}

/// Shows the payload's length alone: it may have been encrypted.
impl fmt::Debug for VerifiedPayload {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "VerifiedPayload({} bytes)", self.payload.len())
    }
}

/// What a token is minted with beside its payload: a footer, an implicit assertion.
///
/// ```
/// use countersign_paseto::{Claims, Envelope, Key, Local, Rules, SystemRandom, UntrustedToken, V4};
/// use jiff::{SignedDuration, Timestamp};
///
/// let (key, now) = (Key::<V4, Local>::generate(&SystemRandom)?, Timestamp::now());
/// let envelope = Envelope { footer: b"", assertion: b"tenant 7" };
/// let claims = Claims::new(()).expires_at(now + SignedDuration::from_mins(10));
/// let token = claims.mint_in(&key, envelope, &SystemRandom)?;
///
/// let of_tenant = |tenant: &str| {
///     let token = UntrustedToken::parse(&token)?.asserting(tenant);
///     token.verify::<()>(&key, &Rules::new(), now)
/// };
/// assert!(of_tenant("tenant 7").is_ok());
/// assert!(of_tenant("tenant 8").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Envelope<'a> {
    /// Authentic, readable by anyone, carried by the token. Empty means none.
    pub footer: &'a [u8],
    /// Authentic and not carried by the token. Empty means none.
    pub assertion: &'a [u8],
}

impl<C: Serialize> Claims<C> {
    /// Mints a token without footer or assertion.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint<V: Mints<K>, K: Kind>(
        &self,
        key: &Key<V, K>,
        random: &dyn Random,
    ) -> Result<String, MintError> {
        mint_payload_if_known(key, &self.to_json()?, Envelope::default(), random)
    }

    /// Mints a token with a footer, in any version.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint_with_footer<V: Mints<K>, K: Kind>(
        &self,
        key: &Key<V, K>,
        footer: &[u8],
        random: &dyn Random,
    ) -> Result<String, MintError> {
        mint_payload_with_footer(key, &self.to_json()?, footer, random)
    }

    /// Mints a token with a footer and an implicit assertion.
    ///
    /// # Errors
    ///
    /// [`MintError`].
    pub fn mint_in<V: Mints<K> + Asserts, K: Kind>(
        &self,
        key: &Key<V, K>,
        envelope: Envelope<'_>,
        random: &dyn Random,
    ) -> Result<String, MintError> {
        mint_payload_if_known(key, &self.to_json()?, envelope, random)
    }
}

/// Mints a token around `payload` as it is: bytes of your own, with no rule about claims.
///
/// ```
/// use countersign_paseto::{Envelope, Key, Local, SystemRandom, UntrustedToken, V4, mint_payload};
///
/// let key = Key::<V4, Local>::generate(&SystemRandom)?;
/// let token = mint_payload(&key, b"\x00 not JSON", Envelope::default(), &SystemRandom)?;
/// let opened = UntrustedToken::parse(&token)?.open(&key)?;
/// assert_eq!(opened.payload(), b"\x00 not JSON");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`MintError::Randomness`].
pub fn mint_payload<V: Mints<K> + Asserts, K: Kind>(
    key: &Key<V, K>,
    payload: &[u8],
    envelope: Envelope<'_>,
    random: &dyn Random,
) -> Result<String, MintError> {
    mint_payload_if_known(key, payload, envelope, random)
}

/// Mints a token around `payload` as it is, with a footer, in any version.
///
/// # Errors
///
/// [`MintError::Randomness`].
pub fn mint_payload_with_footer<V: Mints<K>, K: Kind>(
    key: &Key<V, K>,
    payload: &[u8],
    footer: &[u8],
    random: &dyn Random,
) -> Result<String, MintError> {
    let envelope = Envelope {
        footer,
        assertion: b"",
    };
    mint_payload_if_known(key, payload, envelope, random)
}

/// Mints a token around `payload` as it is where the version is known at run time alone: an empty assertion is none, in any
/// version.
///
/// # Errors
///
/// [`MintError::Randomness`], and [`MintError::NoAssertions`] in a version that has none.
pub fn mint_payload_if_known<V: Mints<K>, K: Kind>(
    key: &Key<V, K>,
    payload: &[u8],
    envelope: Envelope<'_>,
    random: &dyn Random,
) -> Result<String, MintError> {
    if !V::ASSERTS && !envelope.assertion.is_empty() {
        return Err(MintError::NoAssertions { version: V::TOKEN });
    }
    let context = Context {
        footer: envelope.footer,
        assertion: envelope.assertion,
    };
    let body = V::seal(&key.material, payload, context, random)?;
    Ok(write::<V, V::Purpose>(&body, envelope.footer))
}

pub(crate) fn write<V: Version, P: Purpose>(body: &[u8], footer: &[u8]) -> String {
    let mut text = String::with_capacity(16 + (body.len() + footer.len()).div_ceil(3) * 4);
    text.push_str(V::TOKEN);
    text.push('.');
    text.push_str(P::NAME);
    text.push('.');
    encoding::append(&mut text, body);
    if !footer.is_empty() {
        text.push('.');
        encoding::append(&mut text, footer);
    }
    text
}

/// A token's text, cut at its dots.
pub(crate) struct Parts<'t> {
    pub(crate) version: &'t str,
    pub(crate) purpose: &'t str,
    payload: &'t str,
    footer: Option<&'t str>,
}

impl<'t> Parts<'t> {
    pub(crate) fn split(text: &'t str, limit: usize) -> Result<Self, TokenError> {
        if text.len() > limit {
            return Err(TokenError::TooLong {
                found: text.len(),
                limit,
            });
        }
        let mut parts = text.split('.');
        let (Some(version), Some(purpose), Some(payload), footer, None) = (
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
            parts.next(),
        ) else {
            return Err(TokenError::Malformed("it has not three or four parts"));
        };
        if footer == Some("") {
            return Err(TokenError::Malformed("its footer part is empty"));
        }
        Ok(Self {
            version,
            purpose,
            payload,
            footer,
        })
    }

    pub(crate) fn footer(&self) -> Result<Vec<u8>, TokenError> {
        decode(
            self.footer.unwrap_or_default(),
            "the footer is padded",
            "the footer is not canonical base64url",
        )
    }
}

fn decode(
    part: &str,
    padded: &'static str,
    not_canonical: &'static str,
) -> Result<Vec<u8>, TokenError> {
    encoding::decode(part).ok_or_else(|| {
        TokenError::Malformed(match part.ends_with('=') {
            true => padded,
            false => not_canonical,
        })
    })
}
