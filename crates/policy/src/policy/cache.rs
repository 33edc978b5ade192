//! Decisions that a policy remembers, bounded.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use super::Subject;
use crate::decision::Verdict;

/// Two generations: when the young one is full it becomes the old one, and the old one is forgotten.
///
/// What is asked for again moves to the young one, so that a client who asks for many things that do not exist
/// cannot push out what honest ones ask for all the time. A key is compared in full: a hash that collides costs time
/// and never a wrong answer.
pub(super) struct Cache {
    generations: RwLock<Generations>,
    half: usize,
}

#[derive(Default)]
struct Generations {
    young: HashMap<Arc<Subject>, Entry>,
    old: HashMap<Arc<Subject>, Entry>,
}

/// A verdict holds for the minute that the policy saw.
#[derive(Clone)]
struct Entry {
    minute: i64,
    verdict: Arc<Verdict>,
}

impl Cache {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            generations: RwLock::default(),
            half: capacity / 2,
        }
    }

    pub(super) fn find(&self, subject: &Arc<Subject>, minute: i64) -> Option<Arc<Verdict>> {
        let generations = self
            .generations
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let valid = |entry: &&Entry| entry.minute == minute;
        if let Some(entry) = generations.young.get(subject).filter(valid) {
            return Some(entry.verdict.clone());
        }
        let verdict = generations.old.get(subject).filter(valid)?.verdict.clone();
        drop(generations);
        self.keep(subject.clone(), minute, verdict.clone());
        Some(verdict)
    }

    pub(super) fn keep(&self, subject: Arc<Subject>, minute: i64, verdict: Arc<Verdict>) {
        if self.half == 0 {
            return;
        }
        let mut generations = self
            .generations
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if generations.young.len() >= self.half {
            generations.old = std::mem::take(&mut generations.young);
        }
        generations.young.insert(subject, Entry { minute, verdict });
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self
            .generations
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        generations.young.len() + generations.old.len()
    }
}
