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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::Request;
    use crate::facts::{ChannelFacts, Facts};

    const MINUTE: i64 = 7;

    fn subject(service: usize) -> Arc<Subject> {
        let channel = ChannelFacts {
            stage: "hybrid".into(),
            profile: "hybrid@1".into(),
            group: "X25519MLKEM768".into(),
            signature_scheme: None,
            suite: "TLS13_AES_256_GCM_SHA384".into(),
            sni: None,
            source: [192, 0, 2, 7].into(),
            listener: "main".into(),
            exception: None,
        };
        let request = Request {
            service: format!("s{service}"),
            port: 1,
            method: "CONNECT".into(),
        };
        Arc::new(Subject {
            facts: Facts::anonymous(channel),
            request,
        })
    }

    fn keep(cache: &Cache, service: usize) {
        cache.keep(
            subject(service),
            MINUTE,
            Arc::new(Verdict::Allowed(format!("r{service}"))),
        );
    }

    fn rule(cache: &Cache, service: usize, minute: i64) -> Option<String> {
        cache
            .find(&subject(service), minute)
            .map(|verdict| verdict.rule().to_owned())
    }

    fn len(cache: &Cache) -> usize {
        let generations = cache.generations.read().unwrap();
        generations.young.len() + generations.old.len()
    }

    #[test]
    fn a_verdict_is_found_by_equal_facts_in_its_minute_only() {
        let cache = Cache::new(8);
        keep(&cache, 1);
        assert_eq!(rule(&cache, 1, MINUTE).as_deref(), Some("r1"));
        assert_eq!(rule(&cache, 2, MINUTE), None);
        assert_eq!(rule(&cache, 1, MINUTE + 1), None);
    }

    #[test]
    fn a_flood_of_other_requests_neither_grows_the_cache_nor_pushes_out_what_is_in_use() {
        let cache = Cache::new(8);
        keep(&cache, 0);
        for service in 1..1000 {
            keep(&cache, service);
            assert!(len(&cache) <= 8, "{} entries", len(&cache));
            assert_eq!(rule(&cache, 0, MINUTE).as_deref(), Some("r0"));
        }
        assert_eq!(rule(&cache, 1, MINUTE), None);
    }

    #[test]
    fn a_cache_of_nothing_remembers_nothing() {
        let cache = Cache::new(0);
        keep(&cache, 1);
        assert_eq!(rule(&cache, 1, MINUTE), None);
    }
}
