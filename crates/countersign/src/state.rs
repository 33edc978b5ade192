//! What the data plane reads: one [`Snapshot`] in memory, swapped whole, with a revision.
//!
//! A write goes to the store first, then into a new snapshot, then to whoever watches [`State::changes`]. Each write
//! runs to its end even if its caller goes away, so that memory never falls behind the store.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwap;
use countersign_channel::identity::SpkiHash;
use jiff::Timestamp;
use tokio::sync::{Mutex, watch};

use crate::store::{
    Agent, AgentChange, AllowedEk, BearerToken, BundleDocument, EnrolOutcome, Enrolment,
    ExceptionRecord, GrantRecord, JoinToken, Machine, Renewal, Revocation, SealedSecret,
    SecretKind, Store, StoreError,
};

mod bearers;
mod exceptions;
mod machines;

/// The state of the trust domain, in memory and in the store.
pub(crate) struct State {
    store: Arc<dyn Store>,
    snapshot: ArcSwap<Snapshot>,
    revision: watch::Sender<u64>,
    /// One write at a time, so that snapshots follow each other as the transactions did.
    writing: Mutex<()>,
    /// Who was there since the last time that was written down.
    seen: std::sync::Mutex<BTreeMap<String, Timestamp>>,
    /// What the clocks of machines' TPMs said since then.
    clocks: std::sync::Mutex<BTreeMap<String, String>>,
}

/// The state at one revision. Cheap to hold, never changed.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) grants: Arc<Vec<GrantRecord>>,
    pub(crate) agents: Arc<BTreeMap<String, Arc<Agent>>>,
    /// What vouches for the machines of agents, by the agent's name.
    pub(crate) machines: Arc<BTreeMap<String, Arc<Machine>>>,
    /// Endorsement keys that an operator lets in, by their hash.
    pub(crate) allowed_eks: Arc<BTreeMap<String, AllowedEk>>,
    pub(crate) bundle: Option<Arc<BundleDocument>>,
    /// Bearer tokens by id, those that have ended lately and the revoked ones too.
    pub(crate) bearers: Arc<BTreeMap<String, Arc<BearerToken>>>,
    /// Exceptions that operators made, the oldest first, those that have ended lately too.
    pub(crate) exceptions: Arc<Vec<ExceptionRecord>>,
}

/// Why an agent's key opens nothing, although its certificate may still be good.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ShutOut {
    /// Nobody of that name enrolled.
    #[error("no agent `{name}` is enrolled")]
    NotEnrolled { name: String },
    /// An operator revoked it.
    #[error("the agent `{name}` was revoked at {at}: {reason}")]
    Revoked {
        name: String,
        at: Timestamp,
        reason: String,
    },
    /// Another key has the name now.
    #[error("the agent `{name}` has another key now")]
    OtherKey { name: String },
}

impl ShutOut {
    /// The stable `code` of the problem that the agent is told.
    pub(crate) const fn code(&self) -> &'static str {
        match self {
            Self::NotEnrolled { .. } => "not_enrolled",
            Self::Revoked { .. } => "revoked",
            Self::OtherKey { .. } => "wrong_key",
        }
    }
}

impl Snapshot {
    /// The state before anything is in it.
    pub(crate) fn empty() -> Self {
        Self {
            revision: 0,
            grants: Arc::default(),
            agents: Arc::default(),
            machines: Arc::default(),
            allowed_eks: Arc::default(),
            bundle: None,
            bearers: Arc::default(),
            exceptions: Arc::default(),
        }
    }

    /// The agent whose key this is, if it may come in.
    ///
    /// # Errors
    ///
    /// It is not enrolled, it was revoked, or its name went to another key.
    pub(crate) fn admit(
        &self,
        name: &str,
        key: &SpkiHash,
        now: Timestamp,
    ) -> Result<&Arc<Agent>, ShutOut> {
        let name = name.to_owned();
        let Some(agent) = self.agents.get(&name) else {
            return Err(ShutOut::NotEnrolled { name });
        };
        if let Some(Revocation { at, reason }) = agent.revoked.clone() {
            return Err(ShutOut::Revoked { name, at, reason });
        }
        if !agent.holds(key, now) {
            return Err(ShutOut::OtherKey { name });
        }
        Ok(agent)
    }
}

impl State {
    /// Reads everything from the store; the sealed secrets are for those who can open them.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub(crate) async fn load(
        store: Arc<dyn Store>,
    ) -> Result<(Arc<Self>, Vec<SealedSecret>), StoreError> {
        let contents = store.load().await?;
        let agents = contents
            .agents
            .into_iter()
            .map(|agent| (agent.name.clone(), Arc::new(agent)));
        let machines = contents
            .machines
            .into_iter()
            .map(|machine| (machine.agent.clone(), Arc::new(machine)));
        let allowed_eks = contents
            .allowed_eks
            .into_iter()
            .map(|key| (key.ek_hash.clone(), key));
        let bearers = contents
            .bearers
            .into_iter()
            .map(|token| (token.id.clone(), Arc::new(token)));
        let snapshot = Snapshot {
            revision: contents.revision,
            grants: Arc::new(contents.grants),
            agents: Arc::new(agents.collect()),
            machines: Arc::new(machines.collect()),
            allowed_eks: Arc::new(allowed_eks.collect()),
            bundle: contents.bundle.map(Arc::new),
            bearers: Arc::new(bearers.collect()),
            exceptions: Arc::new(contents.exceptions),
        };
        let state = Self {
            store,
            revision: watch::Sender::new(snapshot.revision),
            snapshot: ArcSwap::from_pointee(snapshot),
            writing: Mutex::new(()),
            seen: std::sync::Mutex::default(),
            clocks: std::sync::Mutex::default(),
        };
        Ok((Arc::new(state), contents.secrets))
    }

    /// The state as it is now. Never waits.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Told of each new revision, after the snapshot has it.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }

    /// Adds a grant; false if it was there.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn add_grant(
        self: &Arc<Self>,
        grant: GrantRecord,
    ) -> Result<bool, StoreError> {
        self.write(|state| async move {
            let revision = state.store.add_grant(&grant).await?;
            state.publish(revision, |snapshot| {
                let grants = Arc::make_mut(&mut snapshot.grants);
                grants.push(grant);
                grants.sort_by(|a, b| (&a.principal, &a.service).cmp(&(&b.principal, &b.service)));
            });
            Ok(revision.is_some())
        })
        .await
    }

    /// Removes a grant; false if there was none.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn remove_grant(
        self: &Arc<Self>,
        principal: &str,
        service: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (principal, service) = (principal.to_owned(), service.to_owned());
        self.write(|state| async move {
            let revision = state.store.remove_grant(&principal, &service, now).await?;
            state.publish(revision, |snapshot| {
                Arc::make_mut(&mut snapshot.grants)
                    .retain(|grant| grant.principal != principal || grant.service != service);
            });
            Ok(revision.is_some())
        })
        .await
    }

    /// Remembers a join token.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn create_join(self: &Arc<Self>, token: JoinToken) -> Result<(), StoreError> {
        self.write(|state| async move {
            let revision = state.store.create_join(&token).await?;
            state.publish(Some(revision), |_| {});
            Ok(())
        })
        .await
    }

    /// Uses a join token and enters its agent.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn enrol(
        self: &Arc<Self>,
        enrolment: Enrolment,
    ) -> Result<EnrolOutcome, StoreError> {
        self.write(|state| async move {
            let outcome = state.store.enrol(&enrolment).await?;
            if let EnrolOutcome::Enrolled(change) | EnrolOutcome::Repeated(change) = &outcome {
                state.publish_agent(change);
            }
            Ok(outcome)
        })
        .await
    }

    /// Notes an agent's new certificate. `None`: the key that asked holds no agent any more.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn renew(
        self: &Arc<Self>,
        renewal: Renewal,
    ) -> Result<Option<Agent>, StoreError> {
        self.write(|state| async move {
            let change = state.store.renew(&renewal).await?;
            Ok(change.map(|change| state.publish_agent(&change)))
        })
        .await
    }

    /// Revokes an agent. `None`: no such agent, or revoked before.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn revoke(
        self: &Arc<Self>,
        name: &str,
        revocation: Revocation,
    ) -> Result<Option<Agent>, StoreError> {
        let name = name.to_owned();
        self.write(|state| async move {
            let change = state.store.revoke(&name, &revocation).await?;
            Ok(change.map(|change| state.publish_agent(&change)))
        })
        .await
    }

    /// Notes that an agent is there now. Kept in memory until [`State::keep_seen`].
    pub(crate) fn seen(&self, name: &str, now: Timestamp) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert(name.to_owned(), now);
    }

    /// Writes when agents were last seen, and what their machines' clocks said, to the store and into the snapshot, without a
    /// new revision.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn keep_seen(self: &Arc<Self>) -> Result<(), StoreError> {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner));
        let clocks =
            std::mem::take(&mut *self.clocks.lock().unwrap_or_else(PoisonError::into_inner));
        if seen.is_empty() && clocks.is_empty() {
            return Ok(());
        }
        let agents: Vec<(String, Timestamp)> = seen.into_iter().collect();
        let clocks: Vec<(String, String)> = clocks.into_iter().collect();
        self.write(|state| async move {
            state.store.seen(&agents, &clocks).await?;
            state.swap(|snapshot| {
                let known = Arc::make_mut(&mut snapshot.agents);
                for (name, at) in &agents {
                    if let Some(agent) = known.get_mut(name) {
                        let agent = Arc::make_mut(agent);
                        agent.last_seen = agent.last_seen.max(Some(*at));
                    }
                }
                let machines = Arc::make_mut(&mut snapshot.machines);
                for (agent, clock) in &clocks {
                    if let Some(machine) = machines.get_mut(agent) {
                        Arc::make_mut(machine).clock = Some(clock.clone());
                    }
                }
            });
            Ok(())
        })
        .await
    }

    /// Keeps a sealed secret.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn put_secret(
        self: &Arc<Self>,
        secret: SealedSecret,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|state| async move {
            let revision = state.store.put_secret(&secret, now).await?;
            state.publish(Some(revision), |_| {});
            Ok(())
        })
        .await
    }

    /// Removes a sealed secret.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn remove_secret(
        self: &Arc<Self>,
        kind: SecretKind,
        id: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.write(|state| async move {
            let revision = state.store.remove_secret(kind, &id, now).await?;
            state.publish(Some(revision), |_| {});
            Ok(())
        })
        .await
    }

    /// Publishes a version of the trust bundle.
    ///
    /// # Errors
    ///
    /// The store cannot be written; the bundle before stays.
    pub(crate) async fn publish_bundle(
        self: &Arc<Self>,
        bundle: BundleDocument,
    ) -> Result<(), StoreError> {
        self.write(|state| async move {
            let revision = state.store.publish_bundle(&bundle).await?;
            state.publish(Some(revision), |snapshot| {
                snapshot.bundle = Some(Arc::new(bundle))
            });
            Ok(())
        })
        .await
    }

    /// Writes a consistent copy of the store to a file that must not exist.
    ///
    /// # Errors
    ///
    /// The copy cannot be written.
    pub(crate) async fn copy_to(&self, file: &Path) -> Result<(), StoreError> {
        self.store.copy_to(file).await
    }

    /// Finishes the write that runs and closes the store.
    ///
    /// # Errors
    ///
    /// The store could not write what was left.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        let _none_writes = self.writing.lock().await;
        self.store.close().await
    }

    /// Runs a write to its end, whether or not its caller waits for it.
    async fn write<T, W>(
        self: &Arc<Self>,
        work: impl FnOnce(Arc<Self>) -> W,
    ) -> Result<T, StoreError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let state = Arc::clone(self);
        let work = work(Arc::clone(self));
        let task = tokio::spawn(async move {
            let _one_at_a_time = state.writing.lock().await;
            work.await
        });
        task.await.unwrap_or(Err(StoreError::Stopping))
    }

    fn publish_agent(&self, change: &AgentChange) -> Agent {
        let AgentChange {
            revision,
            agent,
            machine,
        } = change.clone();
        let name = agent.name.clone();
        self.publish(Some(revision), |snapshot| {
            let machines = Arc::make_mut(&mut snapshot.machines);
            match machine {
                Some(machine) => machines.insert(name.clone(), Arc::new(machine)),
                None => machines.remove(&name),
            };
            Arc::make_mut(&mut snapshot.agents).insert(name, Arc::new(agent));
        });
        change.agent.clone()
    }

    /// Swaps in a changed snapshot, then tells those who watch. Without a revision nothing changed.
    fn publish(&self, revision: Option<u64>, change: impl FnOnce(&mut Snapshot)) {
        let Some(revision) = revision else { return };
        self.swap(|snapshot| {
            change(snapshot);
            snapshot.revision = revision;
        });
        self.revision.send_replace(revision);
    }

    /// Swaps in a changed snapshot. Only a write may: it is the only one that runs.
    fn swap(&self, change: impl FnOnce(&mut Snapshot)) {
        let mut snapshot = Snapshot::clone(&self.snapshot.load());
        change(&mut snapshot);
        self.snapshot.store(Arc::new(snapshot));
    }
}

#[cfg(test)]
mod tests;
