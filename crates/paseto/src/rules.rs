//! What a verifier demands of claims.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

use jiff::{SignedDuration, Timestamp};
use subtle::ConstantTimeEq;

use crate::claims::Registered;
use crate::error::{ClaimError, TokenError};

/// What a verifier demands of an authentic token's claims.
///
/// [`Rules::new`] is the strict start: `exp` must be there and lie ahead, `nbf` and `iat` must not, without leeway.
///
/// ```
/// use std::time::Duration;
/// use countersign_paseto::Rules;
///
/// let rules = Rules::new()
///     .audience("api.example.org")
///     .maximum_lifetime(Duration::from_secs(600))
///     .leeway(Duration::from_secs(5));
/// ```
#[derive(Clone, Default)]
pub struct Rules {
    issuer: Option<String>,
    subject: Option<String>,
    audience: Option<String>,
    leeway: SignedDuration,
    maximum_lifetime: Option<SignedDuration>,
    without_expiry: bool,
    footer: Option<Vec<u8>>,
    revoked: Option<Arc<Revoked>>,
}

type Revoked = dyn Fn(&Registered) -> bool + Send + Sync;

impl Rules {
    /// The strict start.
    pub fn new() -> Self {
        Self::default()
    }

    /// Demands this `iss`.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Demands this `sub`.
    #[must_use]
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Demands this `aud`. Without this rule a token for any audience is accepted.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Forgives clocks that differ by this much.
    #[must_use]
    pub fn leeway(mut self, leeway: core::time::Duration) -> Self {
        self.leeway = saturating(leeway);
        self
    }

    /// Demands `iat`, and `exp` at most this long after it.
    #[must_use]
    pub fn maximum_lifetime(mut self, lifetime: core::time::Duration) -> Self {
        self.maximum_lifetime = Some(saturating(lifetime));
        self
    }

    /// Demands exactly this footer; an empty one demands that there is none.
    #[must_use]
    pub fn footer(mut self, footer: impl Into<Vec<u8>>) -> Self {
        self.footer = Some(footer.into());
        self
    }

    /// Refuses tokens for which `revoked` answers `true`. It is asked last, about claims that are otherwise in order.
    ///
    /// ```
    /// use std::collections::HashSet;
    /// use countersign_paseto::Rules;
    ///
    /// let ended: HashSet<String> = HashSet::from(["01J9Z3NDEK".to_owned()]);
    /// let rules = Rules::new().revoked(move |claims| match &claims.token_id {
    ///     Some(id) => ended.contains(id),
    ///     None => true,
    /// });
    /// ```
    #[must_use]
    pub fn revoked(
        mut self,
        revoked: impl Fn(&Registered) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.revoked = Some(Arc::new(revoked));
        self
    }

    /// Accepts tokens without `exp`: such a token is good until its key is retired.
    #[must_use]
    pub fn dangerous_without_expiry(mut self) -> Self {
        self.without_expiry = true;
        self
    }

    pub(crate) fn check_footer(&self, footer: &[u8]) -> Result<(), TokenError> {
        match &self.footer {
            Some(expected) if !bool::from(expected.as_slice().ct_eq(footer)) => {
                Err(TokenError::WrongFooter)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn check(&self, claims: &Registered, now: Timestamp) -> Result<(), ClaimError> {
        self.check_times(claims, now)?;
        self.check_lifetime(claims)?;
        demand("iss", self.issuer.as_deref(), claims.issuer.as_deref())?;
        demand("sub", self.subject.as_deref(), claims.subject.as_deref())?;
        demand("aud", self.audience.as_deref(), claims.audience.as_deref())?;
        match &self.revoked {
            Some(revoked) if revoked(claims) => Err(ClaimError::Revoked {
                token_id: claims.token_id.clone().unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }

    /// `exp` is the first moment that the token is refused, `nbf` the first that it is accepted.
    fn check_times(&self, claims: &Registered, now: Timestamp) -> Result<(), ClaimError> {
        match claims.expires_at {
            None if !self.without_expiry => return Err(ClaimError::Missing { claim: "exp" }),
            Some(expires_at) if self.lies_behind(expires_at, now) => {
                return Err(ClaimError::Expired { expires_at, now });
            }
            _ => {}
        }
        if let Some(not_before) = claims.not_before.filter(|at| self.lies_ahead(*at, now)) {
            return Err(ClaimError::NotYetValid { not_before, now });
        }
        if let Some(issued_at) = claims.issued_at.filter(|at| self.lies_ahead(*at, now)) {
            return Err(ClaimError::IssuedInTheFuture { issued_at, now });
        }
        Ok(())
    }

    fn lies_behind(&self, at: Timestamp, now: Timestamp) -> bool {
        now >= at && now.duration_since(at) >= self.leeway
    }

    fn lies_ahead(&self, at: Timestamp, now: Timestamp) -> bool {
        at > now && at.duration_since(now) > self.leeway
    }

    fn check_lifetime(&self, claims: &Registered) -> Result<(), ClaimError> {
        let Some(limit) = self.maximum_lifetime else {
            return Ok(());
        };
        let expires_at = claims
            .expires_at
            .ok_or(ClaimError::Missing { claim: "exp" })?;
        let issued_at = claims
            .issued_at
            .ok_or(ClaimError::Missing { claim: "iat" })?;
        let lifetime = expires_at.duration_since(issued_at);
        if lifetime > limit {
            return Err(ClaimError::LivesTooLong { lifetime, limit });
        }
        Ok(())
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Rules")
            .field("issuer", &self.issuer)
            .field("subject", &self.subject)
            .field("audience", &self.audience)
            .field("leeway", &self.leeway)
            .field("maximum_lifetime", &self.maximum_lifetime)
            .finish_non_exhaustive()
    }
}

fn demand(
    claim: &'static str,
    expected: Option<&str>,
    found: Option<&str>,
) -> Result<(), ClaimError> {
    match (expected, found) {
        (Some(_), None) => Err(ClaimError::Missing { claim }),
        (Some(expected), Some(found)) if expected != found => Err(ClaimError::Mismatch {
            claim,
            expected: expected.to_owned(),
            found: found.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn saturating(duration: core::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
