//! Join strings: what an operator hands to a machine, and the token in it.

use std::time::Duration;

use countersign_channel::Profile;
use countersign_channel::identity::SpiffeId;
use countersign_channel::profile::TokenVersion;
use countersign_paseto::{
    ClaimError, Claims, MintError, Rules, SystemRandom, TokenError, Verified,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{EnrolRefusal, EnrolmentService, JoinStringError};
use crate::audit::{Event, Operator};
use crate::config::HostPort;
use crate::join_string::{JoinString, JoinToken};
use crate::store;

/// A join string to make.
#[derive(Clone, Debug)]
pub(crate) struct NewJoinString {
    /// The agent's name.
    pub(crate) name: String,
    pub(crate) expires_in: Duration,
    /// Whether the agent may take over a name in use.
    pub(crate) replace: bool,
    /// Where the agent finds the gateway.
    pub(crate) address: HostPort,
    /// The profile of the listener at that address.
    pub(crate) profile: Profile,
}

/// The private claims of a join token.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct JoinClaims {
    replace: bool,
}

impl EnrolmentService {
    /// Makes a join string: a secret that lets one agent in, once.
    ///
    /// # Errors
    ///
    /// The name cannot be used or is in use, the time is too long, or the store or the audit trail cannot be written.
    pub(crate) async fn create_join_string(
        &self,
        new: NewJoinString,
        operator: Operator,
        now: Timestamp,
    ) -> Result<(JoinString, Timestamp), JoinStringError> {
        if new.expires_in > LONGEST_JOIN || new.expires_in.is_zero() {
            return Err(JoinStringError::Lifetime {
                asked: new.expires_in,
                limit: LONGEST_JOIN,
            });
        }
        let id = self.trust_domain.agent(&new.name)?;
        if !new.replace && self.state.snapshot().agents.contains_key(&new.name) {
            return Err(JoinStringError::NameInUse { name: new.name });
        }
        let expires_at = now + new.expires_in;
        let record = store::JoinToken {
            id: crate::random::id(),
            name: new.name,
            replaces: new.replace,
            created_at: now,
            created_by: operator.uid,
            expires_at,
        };
        let token = self.mint_join_token(&record, &id, new.profile)?;
        self.state.create_join(record.clone()).await?;
        let store::JoinToken {
            id: token_id,
            name,
            replaces,
            ..
        } = record;
        let event = Event::JoinStringCreated {
            name,
            token_id,
            expires_at,
            replaces,
            operator,
        };
        self.audit.record_durably(event).await?;
        let (trust_domain, pin) = (self.trust_domain.clone(), self.authority.pin());
        Ok((
            JoinString {
                address: new.address,
                trust_domain,
                pin,
                token: Some(token),
            },
            expires_at,
        ))
    }

    /// What machines with a TPM come in by: no secret, and good for any number of them.
    pub(crate) fn join_string_for_tpms(&self, address: HostPort) -> JoinString {
        JoinString {
            address,
            trust_domain: self.trust_domain.clone(),
            pin: self.authority.pin(),
            token: None,
        }
    }

    fn mint_join_token(
        &self,
        record: &store::JoinToken,
        agent: &SpiffeId,
        profile: Profile,
    ) -> Result<JoinToken, MintError> {
        let now = record.created_at;
        let claims = Claims::new(JoinClaims {
            replace: record.replaces,
        })
        .subject(agent.to_string())
        .token_id(record.id.as_str())
        .issued_at(now)
        .expires_at(record.expires_at);
        let keys = self.rings.of(profile.token_version()).keys();
        keys.mint(&claims, &self.assertion, now, &SystemRandom)
            .map(JoinToken::new)
    }

    /// The leeway lets a token that has ended be told apart from one that never was: the store decides about its end.
    pub(super) fn verify_join_token(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Verified<JoinClaims>, EnrolRefusal> {
        let rules = Rules::new().leeway(TELLS_EXPIRED);
        let version = if token.starts_with("v3.") {
            TokenVersion::V3
        } else {
            TokenVersion::V4
        };
        let keys = self.rings.of(version).keys();
        keys.verify(token, &self.assertion, &rules, now)
            .map_err(|error| match error {
                TokenError::Claim(ClaimError::Expired { expires_at, .. }) => {
                    EnrolRefusal::Expired { at: expires_at }
                }
                TokenError::UnknownKey { .. } => EnrolRefusal::WrongGateway,
                _ => EnrolRefusal::Unknown,
            })
    }
}

/// What a join string lives when nothing is said.
pub(crate) const DEFAULT_JOIN: Duration = Duration::from_secs(15 * 60);

/// A join string is for a machine that is being set up, not for one that may be some day.
const LONGEST_JOIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long after its end a token is still told to be expired, to whom it may concern.
const TELLS_EXPIRED: Duration = Duration::from_secs(7 * 24 * 60 * 60);
