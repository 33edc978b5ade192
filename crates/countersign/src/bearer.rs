//! Bearer tokens: what an operator hands to a client without an agent. One service, one end, revocable.
//!
//! `v4.local`, or `v3.local` where a profile says so: symmetric, so nothing in them waits for a quantum computer. Whoever
//! holds one may use it, so each is in the store by its id, and one that is not there opens nothing.

use std::sync::Arc;
use std::time::Duration;

use countersign_channel::Profile;
use countersign_channel::identity::TrustDomain;
use countersign_channel::profile::TokenVersion;
use countersign_paseto::{
    ClaimError, Claims, KeyId, Local, MintError, Rules, SystemRandom, TokenError, UntrustedToken,
    V3, V4, Verified,
};
use countersign_policy::{BearerClaims, Principal, UnfitName};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::audit::{Audit, AuditError, Event, Operator};
use crate::report::{Report, Verdict};
use crate::root_key::{RootKey, RootKeyError};
use crate::rotation::{Schedule, VersionedRings};
use crate::state::{Snapshot, State};
use crate::store::{BearerToken, Revocation, SealedSecret, SecretKind, StoreError};

/// Issues, verifies and revokes bearer tokens.
pub(crate) struct BearerTokens {
    rings: VersionedRings,
    assertion: Vec<u8>,
    rules: Rules,
    state: Arc<State>,
    audit: Arc<Audit>,
}

/// A bearer token to issue.
#[derive(Clone, Debug)]
pub(crate) struct NewBearer {
    /// Whom it names.
    pub(crate) subject: String,
    /// The one service that it opens.
    pub(crate) service: String,
    pub(crate) expires_in: Duration,
    /// What every listener takes.
    pub(crate) version: TokenVersion,
}

/// A token that was issued, and what may be said about it.
pub(crate) struct IssuedBearer {
    text: Zeroizing<String>,
    pub(crate) token: BearerToken,
}

/// Why a bearer token opens nothing. Only the holder of an authentic one hears more than that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum UnfitBearer {
    /// It is none of ours, or not for what it is used for.
    #[error("the bearer token does not verify")]
    Unknown,
    /// It has ended.
    #[error("the bearer token ended at {at}")]
    Expired { at: Timestamp },
    /// An operator revoked it.
    #[error("the bearer token was revoked at {at}: {reason}")]
    Revoked { at: Timestamp, reason: String },
}

impl BearerTokens {
    /// Opens the key rings of bearer tokens.
    ///
    /// # Errors
    ///
    /// A key in the store does not open.
    pub(crate) fn load(
        trust_domain: &TrustDomain,
        (state, root): (&Arc<State>, &Arc<RootKey>),
        secrets: &[SealedSecret],
        audit: Arc<Audit>,
    ) -> Result<Self, RootKeyError> {
        Ok(Self {
            rings: VersionedRings::load(SecretKind::BearerKey, SCHEDULE, (state, root), secrets)?,
            assertion: format!("countersign {trust_domain} bearer").into_bytes(),
            rules: Rules::new().maximum_lifetime(LONGEST).leeway(LEEWAY),
            state: Arc::clone(state),
            audit,
        })
    }

    /// The rings, for their rotation.
    pub(crate) fn rings(&self) -> &VersionedRings {
        &self.rings
    }

    /// Issues a token: a secret, which is told once.
    ///
    /// # Errors
    ///
    /// The subject cannot be a principal, the time is too long, or the store or the audit trail cannot be written.
    pub(crate) async fn issue(
        &self,
        new: NewBearer,
        operator: Operator,
        now: Timestamp,
    ) -> Result<IssuedBearer, IssueError> {
        if new.expires_in > LONGEST || new.expires_in.is_zero() {
            return Err(IssueError::Lifetime {
                asked: new.expires_in,
                limit: LONGEST,
            });
        }
        Principal::bearer(&new.subject)?;
        let token = BearerToken {
            id: crate::random::id(),
            subject: new.subject,
            service: new.service,
            issued_at: now,
            issued_by: operator.uid,
            expires_at: whole_seconds(now + new.expires_in),
            revoked: None,
        };
        let (text, key_id) = self.mint(&token, new.version)?;
        self.state.issue_bearer(token.clone()).await?;
        let event = Event::BearerTokenIssued {
            token_id: token.id.clone(),
            subject: token.subject.clone(),
            service: token.service.clone(),
            key_id: key_id.to_string(),
            expires_at: token.expires_at,
            operator,
        };
        self.audit.record_durably(event).await?;
        Ok(IssuedBearer { text, token })
    }

    /// Revokes the token with this id. Whoever watches the state cuts what it opened.
    ///
    /// # Errors
    ///
    /// There is no such token, it was revoked before, or the store or the audit trail cannot be written.
    pub(crate) async fn revoke(
        &self,
        id: &str,
        reason: &str,
        operator: Operator,
        now: Timestamp,
    ) -> Result<Arc<BearerToken>, RevokeBearerError> {
        let revocation = Revocation {
            at: now,
            reason: reason.to_owned(),
        };
        let revoked = self.state.revoke_bearer(id, revocation).await?;
        let found = self.state.snapshot().bearers.get(id).cloned();
        let unknown = || RevokeBearerError::NoSuchToken { id: id.to_owned() };
        let token = found.ok_or_else(unknown)?;
        if !revoked {
            let at = token.revoked.as_ref().map_or(now, |before| before.at);
            let id = id.to_owned();
            return Err(RevokeBearerError::Already { id, at });
        }
        let event = Event::BearerTokenRevoked {
            token_id: token.id.clone(),
            subject: token.subject.clone(),
            service: token.service.clone(),
            reason: reason.to_owned(),
            operator,
        };
        self.audit.record_durably(event).await?;
        Ok(token)
    }

    /// Whether a text names one of our keys, and so is meant for us and for nobody behind us. It says nothing about
    /// whether it holds.
    pub(crate) fn owns(&self, text: &str) -> bool {
        self.ring_of(text).is_some()
    }

    /// Verifies a token that came in on a channel with this profile. Whether it stands is asked for by
    /// [`standing`], each time that it is used.
    ///
    /// # Errors
    ///
    /// It is none of ours, or it has ended.
    pub(crate) fn verify(
        &self,
        text: &str,
        profile: Profile,
        now: Timestamp,
    ) -> Result<Verified<BearerClaims>, UnfitBearer> {
        let version = self.ring_of(text).ok_or(UnfitBearer::Unknown)?;
        if profile.token_version() == TokenVersion::V3 && version == TokenVersion::V4 {
            return Err(UnfitBearer::Unknown);
        }
        let keys = self.rings.of(version).keys();
        let verified = keys.verify(text, &self.assertion, &self.rules, now);
        let verified: Verified<BearerClaims> = verified.map_err(|error| match error {
            TokenError::Claim(ClaimError::Expired { expires_at, .. }) => {
                UnfitBearer::Expired { at: expires_at }
            }
            _ => UnfitBearer::Unknown,
        })?;
        match verified.expires_at() {
            // Verifying allows for two clocks; what a token opens has its end by this one.
            Some(at) if at <= now => Err(UnfitBearer::Expired { at }),
            Some(_) => Ok(verified),
            None => Err(UnfitBearer::Unknown),
        }
    }

    /// The version of the ring that has the key which a text names.
    fn ring_of(&self, text: &str) -> Option<TokenVersion> {
        let (version, key) = match UntrustedToken::<V4, Local>::parse(text) {
            Ok(token) => (TokenVersion::V4, token.unverified_key_id()?),
            Err(_) => {
                let token = UntrustedToken::<V3, Local>::parse(text).ok()?;
                (TokenVersion::V3, token.unverified_key_id()?)
            }
        };
        let keys = self.rings.of(version).keys().keys();
        keys.windows().any(|(id, _)| *id == key).then_some(version)
    }

    fn mint(
        &self,
        token: &BearerToken,
        version: TokenVersion,
    ) -> Result<(Zeroizing<String>, KeyId), MintError> {
        let now = token.issued_at;
        let keys = self.rings.of(version).keys();
        let key_id = keys.keys().current(now).cloned();
        let key_id = key_id.ok_or(MintError::NoCurrentKey { now })?;
        let claims = Claims::new(BearerClaims {})
            .subject(token.subject.as_str())
            .audience(token.service.as_str())
            .issued_at(now)
            .not_before(now)
            .expires_at(token.expires_at)
            .token_id(token.id.as_str());
        let text = keys.mint(&claims, &self.assertion, now, &SystemRandom)?;
        Ok((Zeroizing::new(text), key_id))
    }
}

impl IssuedBearer {
    /// The token itself, for whoever asked for it.
    pub(crate) fn expose_secret(&self) -> &str {
        &self.text
    }
}

impl UnfitBearer {
    /// The stable `code` of the problem that the client is told.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "token_invalid",
            Self::Expired { .. } => "token_expired",
            Self::Revoked { .. } => "token_revoked",
        }
    }
}

/// Whether the token with this id was issued and not revoked, as far as this state goes.
///
/// # Errors
///
/// It was not issued, or it was revoked.
pub(crate) fn standing(snapshot: &Snapshot, id: &str) -> Result<(), UnfitBearer> {
    let token = snapshot.bearers.get(id).ok_or(UnfitBearer::Unknown)?;
    match token.revoked.clone() {
        None => Ok(()),
        Some(Revocation { at, reason }) => Err(UnfitBearer::Revoked { at, reason }),
    }
}

/// Why no bearer token was issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IssueError {
    /// The subject cannot name a principal.
    #[error(transparent)]
    Subject(#[from] UnfitName),
    /// It would live too long, or not at all.
    #[error("a bearer token lives from 1 second to {} days, not {} seconds", limit.as_secs() / DAY, asked.as_secs())]
    Lifetime { asked: Duration, limit: Duration },
    /// There is no key or no randomness.
    #[error(transparent)]
    Mint(#[from] MintError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit trail cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Report for IssueError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Subject(_) | Self::Lifetime { .. } => Verdict::No,
            Self::Mint(_) | Self::Store(_) | Self::Audit(_) => Verdict::Unknown,
        }
    }
}

/// Why a bearer token was not revoked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RevokeBearerError {
    /// None has that id, or it has ended long ago.
    #[error("there is no bearer token `{id}`")]
    NoSuchToken { id: String },
    /// It was revoked before.
    #[error("the bearer token `{id}` was revoked at {at}")]
    Already { id: String, at: Timestamp },
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The token is revoked, but the audit trail does not say so.
    #[error(transparent)]
    Audit(#[from] AuditError),
}

impl Report for RevokeBearerError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchToken { .. } => {
                Some("`countersign tokens list` shows every token".to_owned())
            }
            Self::Already { .. } | Self::Audit(_) => None,
            Self::Store(error) => error.hint(),
        }
    }
}

/// As a token says it.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// A program's token is renewed with its deployment; what is to last longer is an agent.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * DAY);

const DAY: u64 = 24 * 60 * 60;

/// What the clocks of two gateways of one trust domain may differ by.
const LEEWAY: Duration = Duration::from_secs(5);

/// A new key each month; the overlap is the longest token, and a day for whoever comes too late to be told so.
const SCHEDULE: Schedule = Schedule {
    mints: SignedDuration::from_hours(30 * 24),
    overlap: SignedDuration::from_hours(366 * 24),
    ahead: SignedDuration::from_hours(24),
};

#[cfg(test)]
mod tests;
