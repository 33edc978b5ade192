//! What a gateway keeps: one trait, and SQLite behind it.
//!
//! The data plane never comes here. [`State`](crate::state::State) holds everything in memory; a write goes to the
//! store first, then to memory, then to whoever watches. Secrets arrive sealed: the store never sees a key.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

mod agent;
mod error;
mod exception;
mod lock;
mod machine;
mod sqlite;

pub(crate) use agent::{
    Agent, AgentChange, EnrolOutcome, Enrolment, EntersBy, Renewal, Revocation,
};
pub(crate) use error::StoreError;
pub(crate) use exception::ExceptionRecord;
pub(crate) use lock::Lock;
pub(crate) use machine::{AllowedEk, KnownGuest, KnownTpm, Machine, Reference, Shown, Voucher};
pub(crate) use sqlite::SqliteStore;

/// What a store's method gives: boxed, so that the store behind it is chosen at start.
pub(crate) type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The durable state of a trust domain. Each method is one transaction; those that change something give the new
/// revision.
pub(crate) trait Store: Send + Sync + 'static {
    /// Everything, for the snapshot in memory.
    fn load(&self) -> Answer<'_, Contents>;

    /// Writes a new trust domain, all or nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::TrustDomainSet`] when the store already has one.
    fn initialise<'a>(&'a self, first: &'a Initial) -> Answer<'a, u64>;

    /// Adds a sealed secret, or replaces the one with the same kind and id.
    fn put_secret<'a>(&'a self, secret: &'a SealedSecret, now: Timestamp) -> Answer<'a, u64>;

    /// Removes a sealed secret that is no longer needed.
    fn remove_secret<'a>(
        &'a self,
        kind: SecretKind,
        id: &'a str,
        now: Timestamp,
    ) -> Answer<'a, u64>;

    /// Adds a version of the signed trust bundle.
    fn publish_bundle<'a>(&'a self, bundle: &'a BundleDocument) -> Answer<'a, u64>;

    /// Remembers a join token, so that it is used once, and forgets those long past.
    fn create_join<'a>(&'a self, token: &'a JoinToken) -> Answer<'a, u64>;

    /// Enters an agent by what lets it in, with its machine: all or nothing.
    fn enrol<'a>(&'a self, enrolment: &'a Enrolment) -> Answer<'a, EnrolOutcome>;

    /// Notes an agent's new certificate, and its new key if that changed. `None`: the key that asked holds no agent.
    fn renew<'a>(&'a self, renewal: &'a Renewal) -> Answer<'a, Option<AgentChange>>;

    /// Notes when agents were last seen, and what the clocks of their TPMs said. Not a change: the revision stays.
    fn seen<'a>(
        &'a self,
        agents: &'a [(String, Timestamp)],
        clocks: &'a [(String, String)],
    ) -> Answer<'a, ()>;

    /// Revokes an agent and its key. `None`: no such agent, or revoked before.
    fn revoke<'a>(
        &'a self,
        name: &'a str,
        revocation: &'a Revocation,
    ) -> Answer<'a, Option<AgentChange>>;

    /// Writes the machine of an agent whose confidential guest vouches for it. `None`: no such agent, or a TPM vouches for it.
    fn enter_guest<'a>(&'a self, machine: &'a Machine, now: Timestamp) -> Answer<'a, Option<u64>>;

    /// Notes what an agent's machine showed. Not a change: the revision stays.
    fn shown<'a>(&'a self, agent: &'a str, shown: &'a Shown) -> Answer<'a, ()>;

    /// Sets what is expected of an agent's machine. `None`: no TPM vouches for that agent.
    fn expect<'a>(&'a self, agent: &'a str, reference: &'a Reference) -> Answer<'a, Option<u64>>;

    /// Lets an endorsement key in, in place of what was said of it before.
    fn allow_ek<'a>(&'a self, key: &'a AllowedEk) -> Answer<'a, u64>;

    /// Lets an endorsement key in no more. `None`: it was not.
    fn forbid_ek<'a>(&'a self, ek_hash: &'a str, now: Timestamp) -> Answer<'a, Option<u64>>;

    /// Adds a grant. `None`: it was there.
    fn add_grant<'a>(&'a self, grant: &'a GrantRecord) -> Answer<'a, Option<u64>>;

    /// Removes a grant. `None`: there was none.
    fn remove_grant<'a>(
        &'a self,
        principal: &'a str,
        service: &'a str,
        now: Timestamp,
    ) -> Answer<'a, Option<u64>>;

    /// Remembers a bearer token that was issued, and forgets those long past.
    fn issue_bearer<'a>(&'a self, token: &'a BearerToken) -> Answer<'a, u64>;

    /// Revokes a bearer token. `None`: no such token, or revoked before.
    fn revoke_bearer<'a>(
        &'a self,
        id: &'a str,
        revocation: &'a Revocation,
    ) -> Answer<'a, Option<u64>>;

    /// Adds an exception, and forgets those long past.
    fn add_exception<'a>(&'a self, record: &'a ExceptionRecord) -> Answer<'a, u64>;

    /// Ends an exception now, by an operator's uid. `None`: no such exception, or it has ended.
    fn end_exception<'a>(&'a self, id: &'a str, by: (u32, Timestamp)) -> Answer<'a, Option<u64>>;

    /// Writes a consistent copy to a file that must not exist.
    fn copy_to<'a>(&'a self, file: &'a Path) -> Answer<'a, ()>;

    /// Finishes what was begun and lets go of the files.
    fn close(&self) -> Answer<'_, ()>;
}

/// All that a store holds, as one transaction saw it.
#[derive(Debug)]
pub(crate) struct Contents {
    /// Counts changes; grows with each.
    pub(crate) revision: u64,
    /// Absent before the first start.
    pub(crate) trust_domain: Option<String>,
    pub(crate) secrets: Vec<SealedSecret>,
    /// The newest.
    pub(crate) bundle: Option<BundleDocument>,
    /// By name.
    pub(crate) agents: Vec<Agent>,
    /// By agent.
    pub(crate) machines: Vec<Machine>,
    /// By name.
    pub(crate) allowed_eks: Vec<AllowedEk>,
    /// By principal, then service.
    pub(crate) grants: Vec<GrantRecord>,
    /// By id.
    pub(crate) bearers: Vec<BearerToken>,
    /// The oldest first.
    pub(crate) exceptions: Vec<ExceptionRecord>,
}

/// What a first start writes.
#[derive(Debug)]
pub(crate) struct Initial {
    pub(crate) trust_domain: String,
    pub(crate) secrets: Vec<SealedSecret>,
    pub(crate) bundle: BundleDocument,
}

/// What a secret is for; its name is part of what the seal authenticates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum SecretKind {
    /// Signs the trust bundle.
    TrustDomainKey,
    /// Issues certificates: one for each anchor.
    Anchor,
    /// Seals access tokens.
    AccessKey,
    /// Seals join tokens.
    JoinKey,
    /// Signs identity tokens.
    IdentityKey,
    /// Seals bearer tokens.
    BearerKey,
    /// The account with an ACME server.
    AcmeAccount,
    /// A certificate for agentless clients from an ACME server, with its key.
    AcmeCertificate,
}

impl SecretKind {
    const ALL: [Self; 8] = [
        Self::TrustDomainKey,
        Self::Anchor,
        Self::AccessKey,
        Self::JoinKey,
        Self::IdentityKey,
        Self::BearerKey,
        Self::AcmeAccount,
        Self::AcmeCertificate,
    ];

    /// The name in the store.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::TrustDomainKey => "trust-domain-key",
            Self::Anchor => "anchor",
            Self::AccessKey => "access-key",
            Self::JoinKey => "join-key",
            Self::IdentityKey => "identity-key",
            Self::BearerKey => "bearer-key",
            Self::AcmeAccount => "acme-account",
            Self::AcmeCertificate => "acme-certificate",
        }
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A secret as it lies on disk: ciphertext under the root key.
#[derive(Clone, Debug)]
pub(crate) struct SealedSecret {
    pub(crate) kind: SecretKind,
    /// Tells secrets of one kind apart: a key id or an algorithm.
    pub(crate) id: String,
    /// PASERK or PASETO text.
    pub(crate) sealed: String,
    pub(crate) not_before: Timestamp,
    pub(crate) not_after: Option<Timestamp>,
}

/// One version of the signed trust bundle, in the form it is served in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BundleDocument {
    pub(crate) version: u64,
    pub(crate) issued_at: Timestamp,
    pub(crate) document: Vec<u8>,
}

/// A join token that was given out: its id, never the token.
#[derive(Clone, Debug)]
pub(crate) struct JoinToken {
    pub(crate) id: String,
    /// The agent that it lets in.
    pub(crate) name: String,
    /// Whether it may take over a name in use.
    pub(crate) replaces: bool,
    pub(crate) created_at: Timestamp,
    /// The uid of the operator.
    pub(crate) created_by: u32,
    pub(crate) expires_at: Timestamp,
}

/// A bearer token that was issued: its id, never the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BearerToken {
    pub(crate) id: String,
    /// Whom it names.
    pub(crate) subject: String,
    /// The one service that it opens.
    pub(crate) service: String,
    pub(crate) issued_at: Timestamp,
    /// The uid of the operator.
    pub(crate) issued_by: u32,
    pub(crate) expires_at: Timestamp,
    pub(crate) revoked: Option<Revocation>,
}

impl BearerToken {
    /// Before this, tokens have been over for so long that nobody asks for them any more.
    pub(crate) fn long_past(now: Timestamp) -> Timestamp {
        now.saturating_sub(BEARERS_KEPT).unwrap_or(Timestamp::MIN)
    }
}

/// A grant, and who gave it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct GrantRecord {
    pub(crate) principal: String,
    pub(crate) service: String,
    pub(crate) created_at: Timestamp,
    /// The uid of the operator.
    pub(crate) created_by: u32,
}

/// How long a bearer token that has ended is still listed.
const BEARERS_KEPT: SignedDuration = SignedDuration::from_hours(24 * 30);
