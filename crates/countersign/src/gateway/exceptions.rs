//! Who may still use classical key exchange: by the configuration, and by what operators added while the gateway ran.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use countersign_channel::server::Exception;
use jiff::Timestamp;

use crate::config::GatewayConfig;
use crate::operator::Origin;
use crate::state::Snapshot;

/// Every exception of a gateway.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Exceptions(Vec<KnownException>);

/// An exception, and where it stands.
#[derive(Debug, PartialEq)]
pub(crate) struct KnownException {
    pub(crate) exception: Exception,
    /// The listener it holds for; every `classical-canary` one when absent.
    pub(crate) listener: Option<String>,
    pub(crate) origin: Origin,
    /// When it was made, if the store has it.
    pub(crate) added_at: Option<Timestamp>,
    /// The uid of the operator who ended it before its time.
    pub(crate) ended_by: Option<u32>,
}

/// How exceptions were used since the gateway started.
#[derive(Default)]
pub(crate) struct ExceptionUses(Mutex<HashMap<String, ExceptionUse>>);

/// How an exception was used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ExceptionUse {
    /// The channels that it let in.
    pub(crate) channels: u64,
    /// When it let in the last one.
    pub(crate) last: Option<Timestamp>,
}

impl Exceptions {
    /// Those of a configuration, then those of the store, the oldest first.
    pub(crate) fn new(config: &GatewayConfig, snapshot: &Snapshot) -> Self {
        let configured = config.exceptions.iter().map(|one| KnownException {
            exception: one.exception(),
            listener: one.listener.clone(),
            origin: Origin::Config,
            added_at: None,
            ended_by: None,
        });
        let kept = snapshot.exceptions.iter().map(|record| KnownException {
            exception: record.exception.clone(),
            listener: record.listener.clone(),
            origin: Origin::Store,
            added_at: Some(record.created_at),
            ended_by: record.ended_by,
        });
        Self(configured.chain(kept).collect())
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &KnownException> {
        self.0.iter()
    }

    /// The one with this id.
    pub(crate) fn find(&self, id: &str) -> Option<&KnownException> {
        self.iter().find(|known| known.exception.id == id)
    }

    /// Those that hold for clients of a listener; of those that have ended, what the configuration still has.
    pub(crate) fn of_listener(&self, name: &str, now: Timestamp) -> Vec<Exception> {
        let here = self.iter().filter(|known| known.holds_for(name));
        here.filter(|known| known.origin == Origin::Config || now < known.exception.ends)
            .map(|known| known.exception.clone())
            .collect()
    }

    /// When the first exception ends after `since`, if one does.
    pub(crate) fn next_end(&self, since: Timestamp) -> Option<Timestamp> {
        let ends = self.iter().map(|known| known.exception.ends);
        ends.filter(|ends| *ends > since).min()
    }

    /// Those that ended after `since` and by `now`.
    pub(crate) fn ended_between(
        &self,
        since: Timestamp,
        now: Timestamp,
    ) -> impl Iterator<Item = &KnownException> {
        let ended = move |ends: Timestamp| since < ends && ends <= now;
        self.iter().filter(move |known| ended(known.exception.ends))
    }
}

impl KnownException {
    /// Whether it holds for clients of this listener.
    pub(crate) fn holds_for(&self, listener: &str) -> bool {
        self.listener.as_deref().is_none_or(|name| name == listener)
    }
}

impl ExceptionUses {
    /// Counts a channel.
    pub(crate) fn count(&self, id: &str, now: Timestamp) {
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = uses.entry(id.to_owned()).or_default();
        one.channels += 1;
        one.last = Some(now);
    }

    /// How an exception was used.
    pub(crate) fn of(&self, id: &str) -> ExceptionUse {
        let uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.get(id).copied().unwrap_or_default()
    }
}
