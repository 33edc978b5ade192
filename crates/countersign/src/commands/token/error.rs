//! Why there is no token, or why it is not valid.

use countersign_paseto::{MAX_TOKEN_LEN, MintError, TokenError};

use crate::report::{Report, Verdict};

/// A token was not minted or is not valid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TokenFailure {
    /// The token is not valid.
    #[error("the token is not valid")]
    Refused(#[source] TokenError),
    /// Whether the token is valid cannot be told with this key or this assertion.
    #[error("the token cannot be verified")]
    NotTold(#[source] TokenError),
    /// The token is longer than any that is read.
    #[error("the token is not valid: it has more than {MAX_TOKEN_LEN} bytes")]
    Overlong,
    /// The claims that were written are none.
    #[error("the claims cannot be used: {}", reason(.0))]
    Claims(TokenError),
    /// The claims and the command line both say when the token ends.
    #[error("the claims have an `exp`, and `--expires-in` asks for another")]
    TwoExpiries,
    /// The token would end after time does.
    #[error("`--expires-in` reaches past the year 9999")]
    TooLate,
    /// No token was minted.
    #[error("no token was minted")]
    Mint(#[source] MintError),
    /// Nobody would read it.
    #[error("the token would have {0} bytes, and {MAX_TOKEN_LEN} are read")]
    TooLong(usize),
}

impl From<TokenError> for TokenFailure {
    /// A key that proves nothing and an assertion where there can be none say nothing about the token.
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::NoAssertions { .. } | TokenError::Key(_) => Self::NotTold(error),
            error => Self::Refused(error),
        }
    }
}

impl Report for TokenFailure {
    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotTold(TokenError::NoAssertions { .. })
            | Self::Mint(MintError::NoAssertions { .. }) => {
                "leave `--assertion` out, or use v3 or v4"
            }
            Self::Mint(MintError::NoExpiry) => {
                "say how long it is good, such as `--expires-in 10m`"
            }
            Self::Claims(TokenError::Unreadable(_) | TokenError::NotUtf8) => {
                "they are a JSON object, such as `{\"sub\":\"alice\"}`; `--raw` takes any bytes"
            }
            Self::TwoExpiries => "leave one of them out",
            _ => return None,
        };
        Some(hint.to_owned())
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Refused(_) | Self::Overlong => Verdict::No,
            _ => Verdict::Unknown,
        }
    }
}

/// The library speaks of a token's claims, and there is no token yet.
fn reason(error: &TokenError) -> String {
    match error {
        TokenError::Unreadable(reason) => reason.clone(),
        TokenError::NotUtf8 => "they are not UTF-8".to_owned(),
        error => error.to_string(),
    }
}
