//! The identity tokens of one channel, kept while they are young.

use std::sync::{Mutex, PoisonError};

use countersign_policy::Facts;
use http::HeaderValue;
use jiff::Timestamp;

use super::{Call, IdentityError, IdentityTokens, RENEWED_AFTER};

/// What was minted for a channel: one token for each service and principal.
#[derive(Default)]
pub(crate) struct IdentityCache {
    minted: Mutex<Vec<Minted>>,
    /// Held while a token is minted, so that requests that come together wait for one.
    minting: tokio::sync::Mutex<()>,
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
    pub(crate) async fn header(
        &self,
        tokens: &IdentityTokens,
        call: Call<'_>,
        now: Timestamp,
    ) -> Result<HeaderValue, IdentityError> {
        if let Some(header) = self.kept(&call, now) {
            return Ok(header);
        }
        let _one_at_a_time = self.minting.lock().await;
        if let Some(header) = self.kept(&call, now) {
            return Ok(header);
        }
        let token = tokens.mint(call, now).await?;
        let mut header = HeaderValue::from_maybe_shared(bytes::Bytes::from(token))
            .expect("a PASETO token is base64url and dots");
        header.set_sensitive(true);
        self.keep(&call, &header, now);
        Ok(header)
    }

    fn kept(&self, call: &Call<'_>, now: Timestamp) -> Option<HeaderValue> {
        let minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = minted.iter().find(|kept| kept.is_for(call, now))?;
        Some(kept.header.clone())
    }

    fn keep(&self, call: &Call<'_>, header: &HeaderValue, now: Timestamp) {
        let mut minted = self.minted.lock().unwrap_or_else(PoisonError::into_inner);
        minted.retain(|kept| now < kept.renew_at && !kept.is_of(call));
        if minted.len() == KEPT {
            minted.remove(0);
        }
        minted.push(Minted {
            facts: call.facts.clone(),
            service: call.service.to_owned(),
            header: header.clone(),
            renew_at: now + RENEWED_AFTER,
        });
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
