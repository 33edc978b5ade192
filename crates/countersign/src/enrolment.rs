//! How agents come in, stay and go: join strings, enrolment, renewal, revocation.
//!
//! A machine comes in by a join token, by a TPM that proved itself, or by both. Why a join failed is told only to whoever
//! holds a join token that authenticates, or such a TPM; all others hear `unknown`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use countersign_channel::Profile;
use countersign_channel::identity::{
    CertificateRequest, ProvenKey, SpiffeId, TrustBundle, TrustDomain,
};
use countersign_paseto::MintError;
use countersign_policy::Appraisal;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;

use crate::access::{AccessToken, AccessTokens, Holder};
use crate::attestation::ProvenTpm;
use crate::audit::{Audit, Event, Operator};
use crate::authority::AuthorityService;
use crate::report::with_sources;
use crate::root_key::{RootKey, RootKeyError};
use crate::rotation::{Schedule, VersionedRings};
use crate::state::{ShutOut, State};
use crate::store::{
    Agent, EnrolOutcome, Enrolment, EntersBy, Renewal, Revocation, SealedSecret, SecretKind,
};

mod join_strings;
mod refusal;

pub(crate) use join_strings::{DEFAULT_JOIN, NewJoinString};
pub(crate) use refusal::{BadRequest, EnrolRefusal, JoinStringError, RenewRefusal, RevokeError};

/// Lets agents in and out.
pub(crate) struct EnrolmentService {
    trust_domain: TrustDomain,
    rings: VersionedRings,
    assertion: Vec<u8>,
    state: Arc<State>,
    authority: Arc<AuthorityService>,
    access: Arc<AccessTokens>,
    audit: Arc<Audit>,
}

/// What an agent that enrols sent, and where it came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EnrolRequest<'a> {
    pub(crate) join_token: Option<&'a str>,
    /// The TPM that vouches for the machine.
    pub(crate) tpm: Option<&'a ProvenTpm>,
    /// PKCS#10 in DER.
    pub(crate) certificate_request: &'a [u8],
    /// The agent's clock.
    pub(crate) agent_time: Timestamp,
    pub(crate) peer: SocketAddr,
    /// Of the listener that it came in by.
    pub(crate) profile: Profile,
}

/// What an agent that is in gets: at enrolment and at each renewal.
pub(crate) struct Admission {
    pub(crate) name: String,
    /// The chain, leaf first.
    pub(crate) svid: Vec<CertificateDer<'static>>,
    pub(crate) bundle: Arc<TrustBundle>,
    /// Absent where the machine has a TPM, which has to quote for it.
    pub(crate) access_token: Option<AccessToken>,
}

impl EnrolmentService {
    /// Opens the key rings of join tokens.
    ///
    /// # Errors
    ///
    /// A key in the store does not open.
    pub(crate) fn load(
        (state, root): (&Arc<State>, &Arc<RootKey>),
        secrets: &[SealedSecret],
        authority: Arc<AuthorityService>,
        access: Arc<AccessTokens>,
        audit: Arc<Audit>,
    ) -> Result<Self, RootKeyError> {
        let trust_domain = authority.gateway().trust_domain().clone();
        Ok(Self {
            rings: VersionedRings::load(SecretKind::JoinKey, SCHEDULE, (state, root), secrets)?,
            assertion: format!("countersign {trust_domain} join").into_bytes(),
            trust_domain,
            state: Arc::clone(state),
            authority,
            access,
            audit,
        })
    }

    /// The rings of join tokens, for their rotation.
    pub(crate) fn rings(&self) -> &VersionedRings {
        &self.rings
    }

    /// Lets an agent in. The same key may ask again with the same token: a lost reply burns nothing.
    ///
    /// # Errors
    ///
    /// [`EnrolRefusal`] says which of the reasons it was.
    pub(crate) async fn enrol(
        &self,
        request: EnrolRequest<'_>,
        now: Timestamp,
    ) -> Result<Admission, EnrolRefusal> {
        let entry = self.entry(request, now);
        let name = entry.as_ref().ok().map(|entry| entry.name.clone());
        let token_id = entry.as_ref().ok().and_then(Entry::token_id);
        let outcome = match entry {
            Ok(entry) => self.enter(entry, request, now).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = &outcome {
            self.refused(refusal, name, token_id, request.peer);
        }
        outcome
    }

    /// Writes down that an enrolment was refused.
    pub(crate) fn refused(
        &self,
        refusal: &EnrolRefusal,
        name: Option<String>,
        token_id: Option<String>,
        peer: SocketAddr,
    ) {
        self.audit.record(Event::EnrolmentRefused {
            reason: refusal.code().to_owned(),
            detail: with_sources(refusal),
            name,
            token_id,
            peer,
        });
    }

    /// Renews an agent's certificate, for the key that it came in with or for a new one. Its access token goes on saying what
    /// was found true of the machine, where something was.
    ///
    /// # Errors
    ///
    /// The agent is not the one that enrolled any more, or its request is bad.
    pub(crate) async fn renew(
        &self,
        agent: Holder<'_>,
        certificate_request: &[u8],
        appraisal: Option<Appraisal>,
        now: Timestamp,
    ) -> Result<Admission, RenewRefusal> {
        let renewed = self.renew_admitted(agent, certificate_request, appraisal, now);
        let outcome = renewed.await;
        if let Err(refusal) = &outcome {
            self.audit.record(Event::RenewalRefused {
                name: agent.id.agent_name().unwrap_or_default().to_owned(),
                key: *agent.key,
                reason: with_sources(refusal),
            });
        }
        outcome
    }

    /// Mints an access token for an agent on a channel that proved its key.
    ///
    /// # Errors
    ///
    /// The agent is shut out.
    pub(crate) fn access_token(
        &self,
        agent: Holder<'_>,
        appraisal: Appraisal,
        now: Timestamp,
    ) -> Result<AccessToken, RenewRefusal> {
        let snapshot = self.state.snapshot();
        let name = agent.id.agent_name().unwrap_or_default();
        snapshot.admit(name, agent.key, now)?;
        self.mint(agent, appraisal, now).map_err(RenewRefusal::from)
    }

    /// Shuts an agent and its key out. Whoever watches the state cuts its channels.
    ///
    /// # Errors
    ///
    /// There is no such agent, or the store cannot be written.
    pub(crate) async fn revoke(
        &self,
        name: &str,
        reason: &str,
        operator: Operator,
        now: Timestamp,
    ) -> Result<Agent, RevokeError> {
        let revocation = Revocation {
            at: now,
            reason: reason.to_owned(),
        };
        let Some(agent) = self.state.revoke(name, revocation).await? else {
            return Err(match self.state.snapshot().agents.get(name) {
                Some(agent) => RevokeError::Already {
                    name: name.to_owned(),
                    at: agent
                        .revoked
                        .as_ref()
                        .map_or(now, |revocation| revocation.at),
                },
                None => RevokeError::NoSuchAgent {
                    name: name.to_owned(),
                },
            });
        };
        let (name, key) = (agent.name.clone(), agent.spki);
        let reason = reason.to_owned();
        self.audit
            .record_durably(Event::AgentRevoked {
                name,
                key,
                reason,
                operator,
            })
            .await?;
        Ok(agent)
    }

    /// Which agent comes in, and by what.
    fn entry(&self, request: EnrolRequest<'_>, now: Timestamp) -> Result<Entry, EnrolRefusal> {
        let tpm = request.tpm.map(|proven| proven.tpm().clone());
        let Some(token) = request.join_token else {
            let proven = request.tpm.ok_or(EnrolRefusal::Unknown)?;
            let id = self.trust_domain.agent(proven.agent_name());
            return Ok(Entry {
                id: id.map_err(|_| EnrolRefusal::Unknown)?,
                name: proven.agent_name().to_owned(),
                by: EntersBy::Tpm(proven.tpm().clone()),
            });
        };
        let verified = self.verify_join_token(token, now)?;
        let id = verified
            .subject()
            .and_then(|subject| SpiffeId::parse(subject).ok())
            .ok_or(EnrolRefusal::Unknown)?;
        let token_id = verified.token_id().ok_or(EnrolRefusal::Unknown)?;
        Ok(Entry {
            name: id.agent_name().ok_or(EnrolRefusal::Unknown)?.to_owned(),
            by: EntersBy::Token(token_id.to_owned(), tpm),
            id,
        })
    }

    async fn enter(
        &self,
        entry: Entry,
        request: EnrolRequest<'_>,
        now: Timestamp,
    ) -> Result<Admission, EnrolRefusal> {
        let token_id = entry.token_id();
        let Entry { id, name, by } = entry;
        check_clock(request.agent_time, now)?;
        let key = proven_key(request.certificate_request, request.profile)?;
        self.audit.ready()?;
        let issued = self.authority.issue(&key, &id, now)?;
        let spki = key.public_key().hash();
        let enrolment = Enrolment {
            by,
            name: name.clone(),
            spiffe_id: id.to_string(),
            spki,
            serial: issued.serial,
            certificate_expires_at: issued.expires_at,
            now,
        };
        let repeated = entered(self.state.enrol(enrolment).await?, &name)?;
        self.audit
            .record_durably(Event::EnrolmentAllowed {
                name: name.clone(),
                spiffe_id: id.to_string(),
                key: spki,
                token_id,
                ek_hash: request.tpm.map(|proven| proven.tpm().ek_hash.clone()),
                peer: request.peer,
                repeated,
            })
            .await?;
        let holder = Holder {
            id: &id,
            key: &spki,
            profile: request.profile,
        };
        let appraisal = self.of_software(&name, now);
        let access_token = appraisal.map(|appraisal| self.mint(holder, appraisal, now));
        Ok(Admission {
            name,
            svid: issued.chain,
            bundle: self.authority.trust(),
            access_token: access_token.transpose()?,
        })
    }

    async fn renew_admitted(
        &self,
        agent: Holder<'_>,
        certificate_request: &[u8],
        appraisal: Option<Appraisal>,
        now: Timestamp,
    ) -> Result<Admission, RenewRefusal> {
        let name = agent.id.agent_name().unwrap_or_default();
        self.state.snapshot().admit(name, agent.key, now)?;
        let key = proven_key(certificate_request, agent.profile)?;
        let issued = self.authority.issue(&key, agent.id, now)?;
        let spki = key.public_key().hash();
        let renewal = Renewal {
            name: name.to_owned(),
            from: *agent.key,
            spki,
            serial: issued.serial.clone(),
            certificate_expires_at: issued.expires_at,
            now,
        };
        let renewed = self.state.renew(renewal).await?;
        // It was admitted a moment ago: what changed since says why not.
        let other_key = || {
            RenewRefusal::ShutOut(ShutOut::OtherKey {
                name: name.to_owned(),
            })
        };
        renewed.ok_or_else(other_key)?;
        self.audit.record(Event::CertificateRenewed {
            name: agent.id.to_string(),
            key: spki,
            serial: issued.serial,
            expires_at: issued.expires_at,
            key_changed: spki != *agent.key,
        });
        let holder = Holder {
            key: &spki,
            ..agent
        };
        let appraisal = appraisal.or_else(|| self.of_software(name, now));
        let access_token = appraisal.map(|appraisal| self.mint(holder, appraisal, now));
        let access_token = access_token.transpose()?;
        let (svid, bundle) = (issued.chain, self.authority.trust());
        Ok(Admission {
            name: name.to_owned(),
            svid,
            bundle,
            access_token,
        })
    }

    /// What is found of an agent whose machine nothing vouches for.
    fn of_software(&self, name: &str, now: Timestamp) -> Option<Appraisal> {
        let vouched_for = self.state.snapshot().machines.contains_key(name);
        (!vouched_for).then(|| Appraisal::software(now))
    }

    fn mint(
        &self,
        holder: Holder<'_>,
        appraisal: Appraisal,
        now: Timestamp,
    ) -> Result<AccessToken, MintError> {
        let revision = self.state.snapshot().revision;
        let token = self.access.mint(holder, appraisal, revision, now)?;
        self.audit.record(Event::TokenMinted {
            subject: holder.id.to_string(),
            token_id: token.id.clone(),
            key_id: token.key_id.to_string(),
            expires_at: token.expires_at,
        });
        Ok(token)
    }
}

/// An agent that is about to come in, and what lets it.
struct Entry {
    id: SpiffeId,
    name: String,
    by: EntersBy,
}

impl Entry {
    fn token_id(&self) -> Option<String> {
        match &self.by {
            EntersBy::Token(id, _) => Some(id.clone()),
            EntersBy::Tpm(_) => None,
        }
    }
}

/// An agent's certificate is backdated five minutes: with a clock further off, the agent would refuse its own.
fn check_clock(agent: Timestamp, gateway: Timestamp) -> Result<(), EnrolRefusal> {
    let skew = agent.duration_since(gateway);
    if skew.unsigned_abs() > MOST_SKEW {
        return Err(EnrolRefusal::ClockSkew {
            seconds: skew.as_secs(),
        });
    }
    Ok(())
}

fn proven_key(certificate_request: &[u8], profile: Profile) -> Result<ProvenKey, BadRequest> {
    let key = CertificateRequest::from_der(certificate_request)?.prove()?;
    let (expected, found) = (profile.leaf_key(), key.public_key().algorithm());
    if expected != found {
        return Err(BadRequest::Algorithm {
            profile,
            expected,
            found,
        });
    }
    Ok(key)
}

/// Whether the same key was in before.
fn entered(outcome: EnrolOutcome, name: &str) -> Result<bool, EnrolRefusal> {
    match outcome {
        EnrolOutcome::Enrolled(_) => Ok(false),
        EnrolOutcome::Repeated(_) => Ok(true),
        EnrolOutcome::UnknownToken => Err(EnrolRefusal::Unknown),
        EnrolOutcome::Expired { at } => Err(EnrolRefusal::Expired { at }),
        EnrolOutcome::Used { at } => Err(EnrolRefusal::Used { at }),
        EnrolOutcome::NameInUse => Err(EnrolRefusal::NameInUse {
            name: name.to_owned(),
        }),
        EnrolOutcome::KeyRevoked { at } => Err(EnrolRefusal::KeyRevoked { at }),
        EnrolOutcome::AgentRevoked { at } => Err(EnrolRefusal::AgentRevoked {
            name: name.to_owned(),
            at,
        }),
    }
}

const MOST_SKEW: Duration = Duration::from_secs(5 * 60);

/// A new key each month; the overlap is the longest join string, and how long its end is told.
const SCHEDULE: Schedule = Schedule {
    mints: SignedDuration::from_hours(30 * 24),
    overlap: SignedDuration::from_hours(14 * 24),
    ahead: SignedDuration::from_hours(24),
};

#[cfg(test)]
mod tests;
