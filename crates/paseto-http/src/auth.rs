//! The proof that a handler asks for.

use std::ops::Deref;
use std::sync::Arc;

use countersign_paseto::Verified;

/// Proof that the request came with a token that [`VerifyLayer`](crate::VerifyLayer) verified: its claims, `C` and the registered ones.
///
/// The layer puts it into the request's extensions. With the feature `axum` it is an extractor, and a handler that asks for
/// it is called for requests that have it alone; `Option<Auth<C>>` is for routes behind [`VerifyLayer::optional`](crate::VerifyLayer::optional).
///
/// ```
/// use countersign_paseto_http::Auth;
/// # #[derive(serde::Deserialize)]
/// # struct Session { role: String }
///
/// async fn me(session: Auth<Session>) -> String {
///     format!("{} is {}", session.subject().unwrap_or("somebody"), session.role)
/// }
/// ```
///
/// Nobody else makes one:
///
/// ```compile_fail,E0423
/// use std::sync::Arc;
/// use countersign_paseto::Verified;
/// use countersign_paseto_http::Auth;
///
/// fn forge(verified: Arc<Verified<()>>) -> Auth<()> {
///     Auth(verified)
/// }
/// ```
#[derive(Debug)]
pub struct Auth<C>(pub(crate) Arc<Verified<C>>);

/// The same proof again: extensions are handed on by clones.
impl<C> Clone for Auth<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Deref for Auth<C> {
    type Target = Verified<C>;

    fn deref(&self) -> &Verified<C> {
        &self.0
    }
}

#[cfg(feature = "axum")]
pub use extractor::NotVerified;

#[cfg(feature = "axum")]
mod extractor {
    use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
    use axum_core::response::{IntoResponse, Response};
    use http::StatusCode;
    use http::request::Parts;

    use super::Auth;
    use crate::layer::Passed;
    use crate::refused::Refused;

    /// A handler asked for an [`Auth`] that the request does not have; what its sender is told says no more than that.
    #[derive(Debug, thiserror::Error)]
    #[error("{}", match .passed {
        Some(_) => "the request has no token",
        None => "no layer verifies tokens with these claims here",
    })]
    pub struct NotVerified {
        /// What a layer that lets requests without a token in would have refused this one with.
        passed: Option<Passed>,
    }

    impl IntoResponse for NotVerified {
        fn into_response(self) -> Response {
            match self.passed {
                Some(passed) => Refused::NoToken.response(passed.realm.as_deref()),
                None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            }
        }
    }

    impl<S: Send + Sync, C: Send + Sync + 'static> FromRequestParts<S> for Auth<C> {
        type Rejection = NotVerified;

        async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, NotVerified> {
            let auth = parts.extensions.get::<Self>().cloned();
            auth.ok_or_else(|| NotVerified {
                passed: parts.extensions.get().cloned(),
            })
        }
    }

    impl<S: Send + Sync, C: Send + Sync + 'static> OptionalFromRequestParts<S> for Auth<C> {
        type Rejection = NotVerified;

        /// Without a layer nobody is anonymous: that it was forgotten must show.
        async fn from_request_parts(
            parts: &mut Parts,
            _state: &S,
        ) -> Result<Option<Self>, NotVerified> {
            let auth = parts.extensions.get::<Self>().cloned();
            match auth.is_some() || parts.extensions.get::<Passed>().is_some() {
                true => Ok(auth),
                false => Err(NotVerified { passed: None }),
            }
        }
    }
}
