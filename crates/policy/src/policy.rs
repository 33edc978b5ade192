//! A bundle with the grants of one revision, ready to decide.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use regorus::{Engine, LimitError, Value};
use serde::Serialize;

use crate::bundle::{Bundle, ENTRY_POINT, Limits};
use crate::decision::{
    Decision, DecisionId, Denial, Explanation, Permit, PolicyError, Request, Verdict, input_json,
};
use crate::facts::Facts;
use crate::fault::{BundleError, Fault};
use crate::grant::{self, Grant};

mod cache;

use cache::Cache;

/// A policy in force: one bundle and the grants of one revision.
///
/// It decides from any number of threads at once. When grants or bundle change, make another: remembered decisions
/// go with the policy that made them.
pub struct Policy {
    template: Engine,
    idle: Mutex<Vec<Engine>>,
    cache: Cache,
    bundle_revision: Arc<str>,
    revision: u64,
    limits: Limits,
}

impl Policy {
    /// Puts grants beside a bundle. `revision` names this set of grants in decisions.
    ///
    /// # Errors
    ///
    /// When the bundle does not compile with these grants.
    pub fn new(
        bundle: &Bundle,
        grants: &[Grant],
        revision: u64,
        limits: Limits,
    ) -> Result<Self, BundleError> {
        let grants =
            serde_json::to_value(grant::index(grants)).expect("strings alone are always JSON");
        Ok(Self {
            template: bundle.engine(grants, &limits)?,
            idle: Mutex::default(),
            cache: Cache::new(limits.cached_decisions),
            bundle_revision: bundle.shared_revision(),
            revision,
            limits,
        })
    }

    /// The revision of the grants.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// The revision of the bundle.
    pub fn bundle_revision(&self) -> &str {
        &self.bundle_revision
    }

    /// Decides a request.
    ///
    /// `id` names this decision; `now` is what the policy sees as `input.time`, to the minute.
    ///
    /// # Errors
    ///
    /// A denial: no rule allows the request, a rule refuses it, the facts expired, or the policy could not decide.
    pub fn decide(
        &self,
        facts: &Facts,
        request: &Request,
        id: DecisionId,
        now: Timestamp,
    ) -> Result<Permit, Denial> {
        let subject = Arc::new(Subject {
            facts: facts.clone(),
            request: request.clone(),
        });
        let decision = Decision {
            id,
            at: now,
            verdict: self.verdict(&subject, now),
            subject,
            bundle_revision: self.bundle_revision.clone(),
            policy_revision: self.revision,
        };
        decision.into_result()
    }

    /// Says what [`Policy::decide`] would decide, and on what. It is evaluated afresh.
    pub fn explain(&self, facts: &Facts, request: &Request, now: Timestamp) -> Explanation {
        let subject = Subject {
            facts: facts.clone(),
            request: request.clone(),
        };
        let (verdict, printed) = match beyond_policy(&subject, now) {
            Some(verdict) => (verdict, Vec::new()),
            None => self.evaluate(&subject, now),
        };
        Explanation {
            allowed: matches!(verdict, Verdict::Allowed(_)),
            rule: verdict.rule().to_owned(),
            error: match &verdict {
                Verdict::Failed(error) => Some(error.to_string()),
                _ => None,
            },
            input: input_json(&subject, now),
            printed,
            bundle_revision: self.bundle_revision.to_string(),
            policy_revision: self.revision,
        }
    }

    fn verdict(&self, subject: &Arc<Subject>, now: Timestamp) -> Arc<Verdict> {
        if let Some(verdict) = beyond_policy(subject, now) {
            return Arc::new(verdict);
        }
        let minute = minute_of(now);
        if let Some(verdict) = self.cache.find(subject, minute) {
            return verdict;
        }
        let verdict = Arc::new(self.evaluate(subject, now).0);
        // A busy machine may be to blame for the time, so the next request gets its own chance.
        if !matches!(*verdict, Verdict::Failed(PolicyError::TimeLimit { .. })) {
            self.cache.keep(subject.clone(), minute, verdict.clone());
        }
        verdict
    }

    /// The verdict, and what the policy printed.
    fn evaluate(&self, subject: &Subject, now: Timestamp) -> (Verdict, Vec<String>) {
        let input = match self.input(subject, now) {
            Ok(input) => input,
            Err(error) => return (Verdict::Failed(error), Vec::new()),
        };
        let mut engine = self
            .lock_idle()
            .pop()
            .unwrap_or_else(|| self.template.clone());
        engine.set_input(input);
        let value = engine.eval_rule(ENTRY_POINT.to_owned());
        let printed = engine.take_prints().unwrap_or_default();
        match value {
            Ok(value) => {
                self.lock_idle().push(engine);
                (verdict_of(&value), printed)
            }
            // An engine that stopped half-way keeps what it was doing: it is not used again.
            Err(error) => (
                Verdict::Failed(self.failure(&error.to_string(), error.downcast_ref())),
                printed,
            ),
        }
    }

    fn input(&self, subject: &Subject, now: Timestamp) -> Result<Value, PolicyError> {
        let request =
            serde_json::to_value(&subject.request).expect("strings and numbers are always JSON");
        let bytes = subject
            .facts
            .bytes()
            .saturating_add(request.to_string().len());
        if bytes > self.limits.input_bytes {
            return Err(PolicyError::InputSize {
                bytes,
                limit: self.limits.input_bytes,
            });
        }
        let time =
            serde_json::to_value(InputTime::of(now)).expect("strings and numbers are always JSON");
        let mut input = subject.facts.document().clone();
        if let Ok(fields) = input.as_object_mut() {
            fields.insert("request".into(), request.into());
            fields.insert("time".into(), time.into());
        }
        Ok(input)
    }

    fn failure(&self, text: &str, limit: Option<&LimitError>) -> PolicyError {
        match limit {
            Some(LimitError::TimeLimitExceeded { limit, .. }) => {
                PolicyError::TimeLimit { limit: *limit }
            }
            _ => PolicyError::Evaluation(Fault::from_interpreter("", text)),
        }
    }

    fn lock_idle(&self) -> std::sync::MutexGuard<'_, Vec<Engine>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Policy({} with grants {})",
            self.bundle_revision, self.revision
        )
    }
}

/// What a decision is about.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Subject {
    pub(crate) facts: Facts,
    pub(crate) request: Request,
}

/// The moment of a decision as a policy sees it: UTC, to the minute, so that decisions can be remembered.
#[derive(Serialize)]
pub(crate) struct InputTime {
    at: Timestamp,
    weekday: String,
    hour: i8,
    minute: i8,
}

impl InputTime {
    pub(crate) fn of(now: Timestamp) -> Self {
        let at =
            Timestamp::from_second(minute_of(now).saturating_mul(60)).unwrap_or(Timestamp::MIN);
        let civil = at.to_zoned(TimeZone::UTC);
        Self {
            at,
            weekday: format!("{:?}", civil.weekday()).to_lowercase(),
            hour: civil.hour(),
            minute: civil.minute(),
        }
    }
}

fn minute_of(now: Timestamp) -> i64 {
    now.as_second().div_euclid(60)
}

/// What no policy may allow: facts that hold no more, and a token's use for what it was not issued for.
fn beyond_policy(subject: &Subject, now: Timestamp) -> Option<Verdict> {
    let Subject { facts, request } = subject;
    if facts.expires_at().is_some_and(|end| now >= end) {
        return Some(Verdict::Expired);
    }
    let other = |service: &str| service != request.service;
    facts
        .only_service()
        .is_some_and(other)
        .then_some(Verdict::OtherService)
}

/// Undefined is deny; anything but a decision is an error, which denies too.
fn verdict_of(value: &Value) -> Verdict {
    if *value == Value::Undefined {
        return Verdict::Undefined;
    }
    let field = |name: &str| value.as_object().ok()?.get(&name.into());
    let allow = field("allow").and_then(|allow| allow.as_bool().ok());
    let rule = field("rule")
        .and_then(|rule| rule.as_string().ok())
        .filter(|rule| !rule.is_empty());
    match (allow, rule) {
        (Some(true), Some(rule)) => Verdict::Allowed(rule.to_string()),
        (Some(false), Some(rule)) => Verdict::Refused(rule.to_string()),
        _ => Verdict::Failed(PolicyError::Result {
            value: value.to_string(),
        }),
    }
}
