//! What is known of machines, and which endorsement keys an operator lets in.

use std::sync::{Arc, PoisonError};

use jiff::Timestamp;

use super::State;
use crate::store::{AllowedEk, Machine, Reference, Shown, StoreError};

impl State {
    /// Notes what a machine's TPM said of its clock. Kept in memory until [`State::keep_seen`].
    pub(crate) fn note_clock(&self, agent: &str, clock: String) {
        let mut clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        clocks.insert(agent.to_owned(), clock);
    }

    /// What a machine's TPM said last of its clock.
    pub(crate) fn clock_of(&self, machine: &Machine) -> Option<String> {
        let clocks = self.clocks.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = clocks.get(&machine.agent).cloned();
        newest.or_else(|| machine.clock.clone())
    }

    /// Notes what a machine showed, without a new revision.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn note_shown(
        self: &Arc<Self>,
        agent: &str,
        shown: Shown,
    ) -> Result<(), StoreError> {
        let agent = agent.to_owned();
        self.write(|state| async move {
            state.store.shown(&agent, &shown).await?;
            state.swap(|snapshot| {
                if let Some(machine) = Arc::make_mut(&mut snapshot.machines).get_mut(&agent) {
                    Arc::make_mut(machine).shown = Some(shown);
                }
            });
            Ok(())
        })
        .await
    }

    /// Has a confidential guest vouch for an agent from now on; false if the agent is gone, or a TPM vouches for it.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn enter_guest(
        self: &Arc<Self>,
        machine: Machine,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(|state| async move {
            let revision = state.store.enter_guest(&machine, now).await?;
            state.publish(revision, |snapshot| {
                let machines = Arc::make_mut(&mut snapshot.machines);
                machines.insert(machine.agent.clone(), Arc::new(machine));
            });
            Ok(revision.is_some())
        })
        .await
    }

    /// Sets what is expected of an agent's machine; false if none vouches for it.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn expect_of_machine(
        self: &Arc<Self>,
        agent: &str,
        reference: Reference,
    ) -> Result<bool, StoreError> {
        let agent = agent.to_owned();
        self.write(|state| async move {
            let revision = state.store.expect(&agent, &reference).await?;
            state.publish(revision, |snapshot| {
                if let Some(machine) = Arc::make_mut(&mut snapshot.machines).get_mut(&agent) {
                    Arc::make_mut(machine).reference = Some(reference);
                }
            });
            Ok(revision.is_some())
        })
        .await
    }

    /// Lets an endorsement key in.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn allow_ek(self: &Arc<Self>, key: AllowedEk) -> Result<(), StoreError> {
        self.write(|state| async move {
            let revision = state.store.allow_ek(&key).await?;
            state.publish(Some(revision), |snapshot| {
                Arc::make_mut(&mut snapshot.allowed_eks).insert(key.ek_hash.clone(), key);
            });
            Ok(())
        })
        .await
    }

    /// Lets an endorsement key in no more; false if it was not.
    ///
    /// # Errors
    ///
    /// The store cannot be written; nothing changed.
    pub(crate) async fn forbid_ek(
        self: &Arc<Self>,
        ek_hash: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let ek_hash = ek_hash.to_owned();
        self.write(|state| async move {
            let revision = state.store.forbid_ek(&ek_hash, now).await?;
            state.publish(revision, |snapshot| {
                Arc::make_mut(&mut snapshot.allowed_eks).remove(&ek_hash);
            });
            Ok(revision.is_some())
        })
        .await
    }
}
