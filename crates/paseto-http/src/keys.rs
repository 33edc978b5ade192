//! What tokens are verified with.

use std::sync::Arc;

use countersign_paseto::{
    Key, KeyRing, Kind, Opens, Purpose, Rules, TokenError, UntrustedToken, Verified,
};
use jiff::Timestamp;
use serde::de::DeserializeOwned;

/// What tokens are verified with: a [`KeyRing`], which may be swapped meanwhile, or one [`Key`].
pub trait Keys: Send + Sync + 'static {
    /// Verifies `token`, minted with `assertion` (an empty one is none), by `rules` at the time `now`.
    ///
    /// # Errors
    ///
    /// [`TokenError`].
    fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        assertion: &[u8],
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Verified<C>, TokenError>;
}

impl Keys for KeyRing {
    fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        assertion: &[u8],
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Verified<C>, TokenError> {
        KeyRing::verify(self, token, assertion, rules, now)
    }
}

impl<V: Opens<P>, P: Purpose + Kind> Keys for Key<V, P> {
    fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        assertion: &[u8],
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Verified<C>, TokenError> {
        UntrustedToken::parse(token)?
            .asserting_if_known(assertion)?
            .verify(self, rules, now)
    }
}

impl<K: Keys> Keys for Arc<K> {
    fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        assertion: &[u8],
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Verified<C>, TokenError> {
        K::verify(self, token, assertion, rules, now)
    }
}
