//! The identity tokens of one channel, kept while they are young.

use std::sync::{Mutex, PoisonError};

use countersign_paseto::MintError;
use countersign_policy::Facts;
use http::HeaderValue;
use jiff::Timestamp;

use super::{Call, IdentityTokens, RENEWED_AFTER};

/// What was minted for a channel: one token for each service and principal.
#[derive(Default)]
pub(crate) struct IdentityCache {
    minted: Mutex<Vec<Minted>>,
}

struct Minted {
    facts: Facts,
    service: String,
    header: HeaderValue,
    renew_at: Timestamp,
}

impl IdentityCache {
    /// The value of `Countersign-Identity` for a call: a token that is less than half its life old.
    ///
    /// # Errors
    ///
    /// A token was needed and none could be minted.
    pub(crate) fn header(
        &self,
        tokens: &IdentityTokens,
        call: Call<'_>,
        now: Timestamp,
    ) -> Result<HeaderValue, MintError> {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(kept) = minted.iter().find(|kept| kept.is_for(&call, now)) {
            return Ok(kept.header.clone());
        }
        let token = tokens.mint(call, now)?;
        let mut header = HeaderValue::from_maybe_shared(bytes::Bytes::from(token))
            .expect("a PASETO token is base64url and dots");
        header.set_sensitive(true);
        minted.retain(|kept| now < kept.renew_at && !kept.is_of(&call));
        if minted.len() == KEPT {
            minted.remove(0);
        }
        minted.push(Minted {
            facts: call.facts.clone(),
            service: call.service.to_owned(),
            header: header.clone(),
            renew_at: now + RENEWED_AFTER,
        });
        Ok(header)
    }
}

impl Minted {
    fn is_of(&self, call: &Call<'_>) -> bool {
        self.service == call.service && self.facts == *call.facts
    }

    /// A clock that was set back would keep a token for ever, so its age has two ends.
    fn is_for(&self, call: &Call<'_>, now: Timestamp) -> bool {
        now < self.renew_at && self.renew_at <= now + RENEWED_AFTER && self.is_of(call)
    }
}

/// More services and bearers than one channel calls in half a minute, and a bound on what it can make the gateway hold.
const KEPT: usize = 64;
