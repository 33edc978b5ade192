//! What can go wrong, with the values for the log.

use alloc::string::String;

use jiff::{SignedDuration, Timestamp};

use crate::random::RandomnessUnavailable;

/// A token was refused.
///
/// It has the values for your log, and one word for whoever sent the token:
///
/// ```
/// use countersign_paseto::{Key, Local, TokenError, UntrustedToken, V4};
///
/// fn log(refused: &TokenError) -> &'static str {
///     eprintln!("token refused: {refused}");
///     refused.for_peer()
/// }
///
/// let refused = UntrustedToken::<V4, Local>::parse("v3.local.AAAA").unwrap_err();
/// assert_eq!(refused.to_string(), "the token's header is not `v4.local.`");
/// assert_eq!(log(&refused), "invalid");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is longer than the verifier reads.
    #[error("the token is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// The text's length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The text has not the shape `version.purpose.payload` or `version.purpose.payload.footer`.
    #[error("the text is not a token: {0}")]
    Malformed(&'static str),
    /// The header names another version or purpose than the key's.
    #[error("the token's header is not `{expected}`")]
    WrongHeader {
        /// What the verifier reads, such as `v4.local.`.
        expected: String,
    },
    /// The token does not authenticate: another key, another assertion, or altered bytes.
    #[error("the token does not authenticate")]
    NotAuthentic,
    /// The token is authentic and its footer is not the one that [`Rules::footer`](crate::Rules::footer) demands.
    #[error("the token's footer is not the expected one")]
    WrongFooter,
    /// The payload is authentic and is no text.
    #[error("the token's claims are not UTF-8")]
    NotUtf8,
    /// The payload is authentic and is not a JSON object of the expected shape.
    #[error("the token's claims cannot be read: {0}")]
    Unreadable(String),
    /// The key is too weak to prove anything.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The payload is authentic and nested deeper than a parser should follow.
    #[error("the token's claims are nested deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// The claims are authentic and a rule refuses them.
    #[error(transparent)]
    Claim(#[from] ClaimError),
    /// The version has no implicit assertions, and one was given.
    #[error("{version} has no implicit assertions")]
    NoAssertions {
        /// The version.
        version: &'static str,
    },
    /// The footer names no key, and a key ring needs one.
    #[error("the token's footer names no key")]
    NoKeyId,
    /// The key ring has never had the named key.
    #[error("no key `{id}` is in the key ring")]
    UnknownKey {
        /// The key id in the footer, cut to a sensible length.
        id: String,
    },
    /// The key ring had the named key and accepts it no more.
    #[error("key `{id}` is retired since {since}")]
    RetiredKey {
        /// The key's PASERK id.
        id: String,
        /// When the key ceased to be accepted.
        since: Timestamp,
    },
}

impl TokenError {
    /// What the peer may be told: one word, the same for every reason.
    pub const fn for_peer(&self) -> &'static str {
        "invalid"
    }
}

/// A rule about claims refused an authentic token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// A claim that the rules need is absent.
    #[error("claim `{claim}` is missing")]
    Missing {
        /// The claim's name.
        claim: &'static str,
    },
    /// A claim's name occurs twice.
    #[error("claim `{claim}` occurs twice")]
    Duplicate {
        /// The claim's name.
        claim: String,
    },
    /// The token is past its `exp`.
    #[error("claim `exp` is {expires_at}, it is {now}")]
    Expired {
        /// The claim.
        expires_at: Timestamp,
        /// The verifier's time.
        now: Timestamp,
    },
    /// The token is before its `nbf`.
    #[error("claim `nbf` is {not_before}, it is {now}")]
    NotYetValid {
        /// The claim.
        not_before: Timestamp,
        /// The verifier's time.
        now: Timestamp,
    },
    /// The token's `iat` lies ahead.
    #[error("claim `iat` is {issued_at}, it is {now}")]
    IssuedInTheFuture {
        /// The claim.
        issued_at: Timestamp,
        /// The verifier's time.
        now: Timestamp,
    },
    /// From `iat` to `exp` is longer than the rules allow.
    #[error("claims `iat` and `exp` are {lifetime:#} apart, the limit is {limit:#}")]
    LivesTooLong {
        /// From `iat` to `exp`.
        lifetime: SignedDuration,
        /// The rules' limit.
        limit: SignedDuration,
    },
    /// A claim is not the one value that the rules accept.
    #[error("claim `{claim}` is `{found}`, expected `{expected}`")]
    Mismatch {
        /// The claim's name.
        claim: &'static str,
        /// The rules' value.
        expected: String,
        /// The token's value.
        found: String,
    },
    /// The rules' revocation list holds the token.
    #[error("the token is revoked (claim `jti` is `{token_id}`)")]
    Revoked {
        /// The token's `jti`, empty if it has none.
        token_id: String,
    },
}

/// No token was minted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
    /// The claims do not serialise as a JSON object with names that occur once.
    #[error("the claims cannot be written: {0}")]
    Claims(String),
    /// The claims hold no `exp`, and [`Claims::dangerous_without_expiry`](crate::Claims::dangerous_without_expiry) was not called.
    #[error("claim `exp` is missing")]
    NoExpiry,
    /// The version has no implicit assertions, and one was given.
    #[error("{version} has no implicit assertions")]
    NoAssertions {
        /// The version.
        version: &'static str,
    },
    /// No key of the key ring mints at this time.
    #[error("no key of the key ring mints at {now}")]
    NoCurrentKey {
        /// The time asked for.
        now: Timestamp,
    },
}

/// Bytes are no usable key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKey {
    /// The length is wrong for the version and kind.
    #[error("the key is {found} bytes long, expected {expected}")]
    Length {
        /// What the version and kind have.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// The public half of a secret key does not belong to its seed.
    #[error("the secret key's public half does not match its seed")]
    Inconsistent,
    /// The public key is of small order: signatures under it prove nothing.
    #[error("the public key is weak: it has small order")]
    Weak,
    /// The bytes encode no key.
    #[error("the bytes are not a valid key")]
    Invalid,
}

/// A serialised key was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PaserkError {
    /// The text is longer than any key.
    #[error("the serialised key is {found} bytes long, the limit is {limit}")]
    TooLong {
        /// The text's length in bytes.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The header is not that of the expected version and type.
    #[error("the serialised key's header is not `{expected}`")]
    WrongHeader {
        /// What was to be read, such as `k4.local.`.
        expected: String,
    },
    /// The data is not canonical base64url or has the wrong length.
    #[error("the serialised key's data is malformed")]
    Malformed,
    /// The text asks for more work or memory than [`WorkLimits`](crate::paserk::WorkLimits) allow.
    #[error("the serialised key asks for {found} {unit}, the limit is {limit}")]
    TooCostly {
        /// What is counted, such as `iterations`.
        unit: &'static str,
        /// What the text asks for.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The work factor is none that the key derivation knows.
    #[error("the work factor is out of range")]
    BadWorkFactor,
    /// The wrapped key does not authenticate: another wrapping key or password, or altered bytes.
    #[error("the wrapped key does not authenticate")]
    NotAuthentic,
    /// The key inside is no usable key.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    /// The source of randomness failed.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
}
