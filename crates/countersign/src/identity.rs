//! Identity tokens: how an upstream service learns, by signature, who is calling.
//!
//! `v4.public`, or the draft `v5.public`, signed by the gateway and verified by anyone with its public keys, which
//! [`PublishedKeys`] holds. A token is for one service and lives a minute. It is minted once for each channel, service and
//! principal, and again at half its life, so that what a request costs is a look into its channel's [`IdentityCache`].

mod cache;
mod elsewhere;
mod published;
mod signing;

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_channel::identity::TrustDomain;
use countersign_paseto::{Claims, KeyId, MintError, SystemRandom};
use countersign_policy::{Appraisal, AppraisalResult, Facts, Principal};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

pub(crate) use self::cache::IdentityCache;
pub(crate) use self::elsewhere::{IdentityError, UnfitIdentityKey};
#[cfg(test)]
pub(crate) use self::published::IdentityKey;
pub(crate) use self::published::PublishedKeys;
pub(crate) use self::signing::Signing;
use crate::config::IdentityVersion;
use crate::root_key::{RootKey, RootKeyError};
use crate::rotation::{KeyForm, RotatingRing, RotationError, Schedule};
use crate::state::State;
use crate::store::{SealedSecret, SecretKind};

/// Mints identity tokens.
pub(crate) struct IdentityTokens {
    v4: RotatingRing,
    v5: RotatingRing,
    signing: ArcSwap<Signing>,
    issuer: String,
}

/// Whom a token speaks of, where, and to which service.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    /// The channel's id, as log, audit and `sessions` have it.
    pub(crate) channel: &'a (dyn Display + Sync),
    /// Whether the channel's key exchange holds against a quantum computer.
    pub(crate) post_quantum: bool,
    /// Who calls, as it was proven.
    pub(crate) facts: &'a Facts,
    /// The service's name.
    pub(crate) service: &'a str,
}

/// What a token says beside its registered claims: docs/identity.md.
#[derive(Serialize)]
struct IdentityClaims<'a> {
    principal: &'a Principal,
    channel: ChannelClaims<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    appraisal: Option<AppraisalClaims<'a>>,
}

/// What was found, without the measurements: a service is told who calls, not how its machine is made.
#[derive(Serialize)]
struct AppraisalClaims<'a> {
    result: AppraisalResult,
    technology: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    vendor: Option<&'a str>,
    at: Timestamp,
}

impl<'a> From<&'a Appraisal> for AppraisalClaims<'a> {
    fn from(appraisal: &'a Appraisal) -> Self {
        Self {
            result: appraisal.result,
            technology: &appraisal.technology,
            vendor: appraisal.vendor.as_deref(),
            at: appraisal.at,
        }
    }
}

#[derive(Serialize)]
struct ChannelClaims<'a> {
    id: String,
    stage: &'a str,
    profile: &'a str,
    group: &'a str,
    post_quantum: bool,
}

impl IdentityTokens {
    /// Opens the key rings of identity tokens. They are [prepared](Self::prepare) before one signs.
    ///
    /// # Errors
    ///
    /// A key in the store does not open.
    pub(crate) fn load(
        trust_domain: &TrustDomain,
        (state, root): (&Arc<State>, &Arc<RootKey>),
        secrets: &[SealedSecret],
    ) -> Result<Self, RootKeyError> {
        let ring = |form| {
            let parts = (Arc::clone(state), Arc::clone(root));
            RotatingRing::load((SecretKind::IdentityKey, form), SCHEDULE, parts, secrets)
        };
        Ok(Self {
            v4: ring(KeyForm::V4Secret)?,
            v5: ring(KeyForm::V5Secret)?,
            signing: ArcSwap::default(),
            issuer: format!("spiffe://{trust_domain}"),
        })
    }

    /// Mints a token for calls of a principal on a channel to a service.
    ///
    /// # Errors
    ///
    /// No key is in its time, there is no randomness, or the token that holds the key is out of reach.
    pub(crate) async fn mint(
        &self,
        call: Call<'_>,
        now: Timestamp,
    ) -> Result<String, IdentityError> {
        let (principal, channel) = (call.facts.principal(), call.facts.channel());
        let claims = Claims::new(IdentityClaims {
            principal,
            channel: ChannelClaims {
                id: call.channel.to_string(),
                stage: &channel.stage,
                profile: &channel.profile,
                group: &channel.group,
                post_quantum: call.post_quantum,
            },
            appraisal: call.facts.appraisal().map(AppraisalClaims::from),
        })
        .issuer(self.issuer.as_str())
        .subject(principal.name())
        .audience(call.service)
        .issued_at(now)
        .not_before(now)
        .expires_at(now + LIFETIME)
        .token_id(crate::random::id());
        let signing = self.signing.load_full();
        if let Some(elsewhere) = signing.elsewhere() {
            return elsewhere.mint(&claims).await;
        }
        let rings = self.rings(signing.version());
        let mut signing = rings.iter().filter(|ring| ring.mints_until(now).is_some());
        let ring = signing.next().ok_or(MintError::NoCurrentKey { now })?;
        // No implicit assertion: these keys sign nothing else, and not every library has assertions.
        Ok(ring.keys().mint(&claims, b"", now, &SystemRandom)?)
    }

    /// The keys that verify what was and will be minted, for whoever asks.
    pub(crate) fn published(&self, now: Timestamp) -> PublishedKeys {
        self.published_with(&self.signing.load(), now)
    }

    /// The same, once `signing` is in force.
    pub(crate) fn published_with(&self, signing: &Signing, now: Timestamp) -> PublishedKeys {
        let rings = [&self.v4, &self.v5].into_iter();
        let keys = rings.flat_map(|ring| ring.keys().keys().published(now));
        let mut published = PublishedKeys::new(&self.issuer, keys);
        published.keys.splice(0..0, signing.published());
        published
    }

    /// Makes sure that there are keys that sign. Those of another version go on signing until verifiers have had the time to
    /// fetch the new ones. Gives the ids of new keys.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn prepare(
        &self,
        signing: &Signing,
        now: Timestamp,
    ) -> Result<Vec<KeyId>, RotationError> {
        if signing.elsewhere().is_some() {
            return Ok(Vec::new());
        }
        let [ring, other] = self.rings(signing.version());
        let begins = other
            .mints_until(now)
            .map_or(now, |until| until.min(now + SCHEDULE.ahead));
        ring.extend(now, begins).await
    }

    /// What signs now.
    pub(crate) fn signing(&self) -> Arc<Signing> {
        self.signing.load_full()
    }

    /// From now on this signs; a version that is drawn as soon as a key of it does.
    pub(crate) fn sign_with(&self, signing: Signing) {
        self.signing.store(Arc::new(signing));
    }

    /// Lets keys take turns. Gives the ids of new ones.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn rotate(&self, now: Timestamp) -> Result<Vec<KeyId>, RotationError> {
        let added = self.prepare(&self.signing(), now).await?;
        self.v4.drop_ended(now).await?;
        self.v5.drop_ended(now).await?;
        Ok(added)
    }

    /// The ring of a version, and the one that stands in for it.
    fn rings(&self, version: IdentityVersion) -> [&RotatingRing; 2] {
        match version {
            IdentityVersion::V4 => [&self.v4, &self.v5],
            IdentityVersion::V5 => [&self.v5, &self.v4],
        }
    }
}

/// How long a token is good.
pub(crate) const LIFETIME: Duration = Duration::from_secs(60);

/// How old a token may be when it is sent: what is left is for the way, and for clocks that differ.
const RENEWED_AFTER: Duration = Duration::from_secs(30);

/// A new key each week. It is published a day before it signs, which is longer than any copy of the keys is kept, and an
/// hour after, which is longer than any token lives.
const SCHEDULE: Schedule = Schedule {
    mints: SignedDuration::from_hours(7 * 24),
    overlap: SignedDuration::from_hours(1),
    ahead: SignedDuration::from_hours(24),
};

#[cfg(test)]
mod tests;
