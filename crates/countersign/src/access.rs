//! Access tokens: what an agent shows on each stream, minted and read by the gateways of a trust domain alone.
//!
//! `v4.local`, or `v3.local` where the profile says so: symmetric, so nothing in them waits for a quantum computer. A
//! token is bound to the agent's key by its `cnf` claim and lives ten minutes.

use std::sync::Arc;
use std::time::Duration;

use countersign_channel::Profile;
use countersign_channel::identity::{SpiffeId, SpkiHash, TrustDomain};
use countersign_paseto::{Claims, KeyId, MintError, Rules, SystemRandom, TokenError, Verified};
use countersign_policy::{AccessClaims, Appraisal, Confirmation};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::root_key::{RootKey, RootKeyError};
use crate::rotation::{Schedule, VersionedRings};
use crate::state::State;
use crate::store::{SealedSecret, SecretKind};

/// Mints and verifies access tokens.
pub(crate) struct AccessTokens {
    rings: VersionedRings,
    trust_domain: TrustDomain,
    assertion: Vec<u8>,
    rules: Rules,
}

/// A fresh access token, with what may be said about it.
pub(crate) struct AccessToken {
    text: Zeroizing<String>,
    pub(crate) id: String,
    pub(crate) key_id: KeyId,
    pub(crate) expires_at: Timestamp,
}

/// Whom a token is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Holder<'a> {
    pub(crate) id: &'a SpiffeId,
    /// The key that it showed in its handshake, or that its new certificate holds.
    pub(crate) key: &'a SpkiHash,
    /// The profile of the channel that it asks on.
    pub(crate) profile: Profile,
}

impl AccessTokens {
    /// Opens the key rings of access tokens.
    ///
    /// # Errors
    ///
    /// A key in the store does not open.
    pub(crate) fn load(
        trust_domain: TrustDomain,
        state: &Arc<State>,
        root: &Arc<RootKey>,
        secrets: &[SealedSecret],
    ) -> Result<Self, RootKeyError> {
        let rings = VersionedRings::load(SecretKind::AccessKey, SCHEDULE, (state, root), secrets)?;
        let rules = Rules::new()
            .audience(trust_domain.as_str())
            .maximum_lifetime(LIFETIME)
            .leeway(LEEWAY);
        let assertion = format!("countersign {trust_domain} access").into_bytes();
        Ok(Self {
            rings,
            trust_domain,
            assertion,
            rules,
        })
    }

    /// Mints a token for an agent that just proved its key, and what was found of its machine.
    ///
    /// # Errors
    ///
    /// No key of the profile's version is in its time, or there is no randomness.
    pub(crate) fn mint(
        &self,
        holder: Holder<'_>,
        appraisal: Appraisal,
        policy_revision: u64,
        now: Timestamp,
    ) -> Result<AccessToken, MintError> {
        let keys = self.rings.of(holder.profile.token_version()).keys();
        let key_id = keys
            .keys()
            .current(now)
            .cloned()
            .ok_or(MintError::NoCurrentKey { now })?;
        let expires_at = now + LIFETIME;
        let id = crate::random::id();
        let claims = Claims::new(AccessClaims {
            cnf: Confirmation::new(*holder.key.as_bytes()),
            appraisal,
            profile: holder.profile.name().to_owned(),
            policy_revision,
        })
        .subject(holder.id.to_string())
        .audience(self.trust_domain.as_str())
        .issued_at(now)
        .not_before(now)
        .expires_at(expires_at)
        .token_id(id.as_str());
        let text = keys.mint(&claims, &self.assertion, now, &SystemRandom)?;
        Ok(AccessToken {
            text: Zeroizing::new(text),
            id,
            key_id,
            expires_at,
        })
    }

    /// Verifies a token that came in on a channel with this profile. Whose key it is bound to is still to be checked:
    /// `Facts::agent` does.
    ///
    /// # Errors
    ///
    /// The token is none of ours, not for here, or not in its time.
    pub(crate) fn verify(
        &self,
        token: &str,
        profile: Profile,
        now: Timestamp,
    ) -> Result<Verified<AccessClaims>, TokenError> {
        let keys = self.rings.of(profile.token_version()).keys();
        keys.verify(token, &self.assertion, &self.rules, now)
    }

    /// The rings, for their rotation.
    pub(crate) fn rings(&self) -> &VersionedRings {
        &self.rings
    }
}

impl AccessToken {
    /// The token itself, for its holder.
    pub(crate) fn expose_secret(&self) -> &str {
        &self.text
    }
}

/// How long a token is good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(10 * 60);

/// What the clocks of two gateways of one trust domain may differ by.
const LEEWAY: Duration = Duration::from_secs(5);

/// A new key each day; the overlap is a token's lifetime with room for clocks.
const SCHEDULE: Schedule = Schedule {
    mints: SignedDuration::from_hours(24),
    overlap: SignedDuration::from_mins(15),
    ahead: SignedDuration::from_hours(1),
};

#[cfg(test)]
mod tests;
