//! Why a request is refused, and what its sender is told.

use countersign_paseto::TokenError;
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Response, StatusCode};

/// Why a request is refused: for the log, never for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// The request has no token, or credentials of another scheme.
    #[error("the request has no token")]
    NoToken,
    /// The header that holds the token occurs more than once, and two readers could take two tokens for the one.
    #[error("the request has {found} headers that hold a token")]
    Several {
        /// How many there are.
        found: usize,
    },
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl Refused {
    /// What the sender gets (RFC 6750 section 3.1): 400 for several headers, else 401.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Several { .. } => StatusCode::BAD_REQUEST,
            Self::NoToken | Self::Token(_) => StatusCode::UNAUTHORIZED,
        }
    }

    /// RFC 6750's one word; none where there was nothing to judge.
    fn code(&self) -> Option<&'static str> {
        match self {
            Self::NoToken => None,
            Self::Several { .. } => Some("invalid_request"),
            Self::Token(_) => Some("invalid_token"),
        }
    }

    /// The value of `WWW-Authenticate`.
    pub(crate) fn challenge(&self, realm: Option<&str>) -> HeaderValue {
        let realm = realm.map(|realm| format!("realm=\"{realm}\""));
        let code = self.code().map(|code| format!("error=\"{code}\""));
        let parameters: Vec<String> = realm.into_iter().chain(code).collect();
        let challenge = format!("Bearer {}", parameters.join(", "));
        HeaderValue::from_str(challenge.trim_end()).expect("a realm is visible ASCII")
    }

    pub(crate) fn response<B: Default>(&self, realm: Option<&str>) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = self.status();
        let challenge = self.challenge(realm);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(refused: &Refused, realm: Option<&str>, expected: &str) {
        assert_eq!(refused.challenge(realm), expected);
    }

    #[test]
    fn a_request_without_credentials_is_told_no_error() {
        check(&Refused::NoToken, None, "Bearer");
        check(&Refused::NoToken, Some("api"), r#"Bearer realm="api""#);
    }

    #[test]
    fn every_bad_token_is_told_the_same() {
        let expected = r#"Bearer realm="api", error="invalid_token""#;
        check(&TokenError::NotAuthentic.into(), Some("api"), expected);
        check(&TokenError::NoKeyId.into(), Some("api"), expected);
    }
}
