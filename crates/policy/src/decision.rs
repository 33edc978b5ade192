//! What a policy decides: a permit, or a denial that names its reason, and the record of both.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use crate::facts::Facts;
use crate::fault::Fault;
use crate::policy::{InputTime, Subject};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Request {
    /// The service's name.
    pub service: String,
    /// The port that was asked for.
    pub port: u16,
    /// The request's method: `CONNECT` for a tunnel.
    pub method: String,
}

/// Names one decision in logs and in the audit trail.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct DecisionId([u8; 16]);

impl DecisionId {
    /// An id made of 16 random bytes, written as a version 4 UUID (RFC 9562, section 5.4).
    pub const fn from_random(mut bytes: [u8; 16]) -> Self {
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        Self(bytes)
    }
}

impl fmt::Display for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = u128::from_be_bytes(self.0);
        let (low, mid, version) = (id >> 96, id >> 80 & 0xffff, id >> 64 & 0xffff);
        let (variant, node) = (id >> 48 & 0xffff, id & 0xffff_ffff_ffff);
        write!(
            f,
            "{low:08x}-{mid:04x}-{version:04x}-{variant:04x}-{node:012x}"
        )
    }
}

impl fmt::Debug for DecisionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecisionId({self})")
    }
}

/// The right to open one stream to one service.
///
/// Only [`Policy::decide`](crate::Policy::decide) makes one. It is not `Clone`: one decision, one stream.
///
/// ```
/// use countersign_policy::{Bundle, ChannelFacts, DecisionId, Facts, Grant, Limits, Policy, Request};
/// # let channel = ChannelFacts {
/// #     stage: "hybrid".into(), profile: "hybrid@1".into(), group: "X25519MLKEM768".into(), signature_scheme: None,
/// #     suite: "TLS13_AES_256_GCM_SHA384".into(), sni: None, source: [127, 0, 0, 1].into(), listener: "main".into(),
/// #     exception: None,
/// # };
/// # let now = "2026-11-23T00:00:00Z".parse()?;
/// let grants = [Grant::new("anonymous", "web")?];
/// let policy = Policy::new(&Bundle::built_in(), &grants, 1, Limits::default())?;
/// let request = Request { service: "web".into(), port: 80, method: "GET".into() };
/// let permit = policy.decide(&Facts::anonymous(channel), &request, DecisionId::from_random([7; 16]), now)?;
/// assert_eq!(permit.rule(), "grant anonymous -> web");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot be written down:
///
/// ```compile_fail,E0451
/// fn forge(denial: countersign_policy::Denial) -> countersign_policy::Permit {
///     countersign_policy::Permit { decision: unreachable!() }
/// }
/// ```
///
/// Nor read from data:
///
/// ```compile_fail,E0277
/// let forged: countersign_policy::Permit = serde_json::from_str("{}").unwrap();
/// ```
///
/// Nor used twice, once what opens the stream has taken it:
///
/// ```compile_fail,E0382
/// fn open(permit: countersign_policy::Permit) {}
/// fn open_two(permit: countersign_policy::Permit) {
///     open(permit);
///     open(permit);
/// }
/// ```
#[derive(Debug)]
#[must_use = "a permit that opens nothing was decided for nothing"]
pub struct Permit {
    decision: Decision,
}

impl Permit {
    /// The service that may be reached.
    pub fn service(&self) -> &str {
        &self.decision.subject.request.service
    }

    /// The port that was asked for.
    pub fn port(&self) -> u16 {
        self.decision.subject.request.port
    }

    /// What was asked for and granted.
    pub fn request(&self) -> &Request {
        &self.decision.subject.request
    }

    /// The facts that it rests on.
    pub fn facts(&self) -> &Facts {
        &self.decision.subject.facts
    }

    /// The rule that allowed it, such as `grant spiffe://example.org/agent/laptop -> postgres`.
    pub fn rule(&self) -> &str {
        self.decision.verdict.rule()
    }

    /// The decision's name in the decision log.
    pub fn id(&self) -> DecisionId {
        self.decision.id
    }

    /// The revision of the bundle that decided.
    pub fn bundle_revision(&self) -> &str {
        &self.decision.bundle_revision
    }

    /// The revision of the grants that decided.
    pub fn policy_revision(&self) -> u64 {
        self.decision.policy_revision
    }

    /// The decision as an event of the decision log.
    pub fn event(&self, labels: &BTreeMap<String, String>) -> DecisionEvent {
        self.decision.event(labels)
    }
}

/// A refusal, with the rule that made it.
#[derive(Debug, thiserror::Error)]
#[error("`{}` may not reach `{}`: {}", decision.subject.facts.principal(), decision.subject.request.service, decision.verdict)]
pub struct Denial {
    decision: Box<Decision>,
}

impl Denial {
    /// The rule that refused: `no grant`, the policy's own words, `facts expired`, `token for another service`, or
    /// `policy error`.
    pub fn rule(&self) -> &str {
        self.decision.verdict.rule()
    }

    /// What went wrong, where the policy could not decide.
    pub fn policy_error(&self) -> Option<&PolicyError> {
        match &*self.decision.verdict {
            Verdict::Failed(error) => Some(error),
            _ => None,
        }
    }

    /// What was asked for and refused.
    pub fn request(&self) -> &Request {
        &self.decision.subject.request
    }

    /// The facts that it rests on.
    pub fn facts(&self) -> &Facts {
        &self.decision.subject.facts
    }

    /// The decision's name in the decision log.
    pub fn id(&self) -> DecisionId {
        self.decision.id
    }

    /// The revision of the bundle that decided.
    pub fn bundle_revision(&self) -> &str {
        &self.decision.bundle_revision
    }

    /// The revision of the grants that decided.
    pub fn policy_revision(&self) -> u64 {
        self.decision.policy_revision
    }

    /// The decision as an event of the decision log.
    pub fn event(&self, labels: &BTreeMap<String, String>) -> DecisionEvent {
        self.decision.event(labels)
    }
}

/// Why a policy could not decide. It denies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The evaluation ran longer than [`Limits::evaluation_time`](crate::Limits::evaluation_time).
    #[error("the policy ran longer than {} ms", limit.as_millis())]
    TimeLimit {
        /// The limit that it met.
        limit: Duration,
    },
    /// Facts and request are longer than [`Limits::input_bytes`](crate::Limits::input_bytes).
    #[error("the input has {bytes} bytes, more than {limit}")]
    InputSize {
        /// How long it is.
        bytes: usize,
        /// The limit that it met.
        limit: usize,
    },
    /// A rule failed.
    #[error("the policy failed: {0}")]
    Evaluation(Fault),
    /// `decision` is defined, but is not an object with a boolean `allow` and a text `rule`.
    #[error(
        "`data.countersign.access.decision` is not {{\"allow\": true or false, \"rule\": text}}: `{value}`"
    )]
    Result {
        /// What it is.
        value: String,
    },
}

/// One decision in the format of OPA's decision log.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionEvent {
    labels: BTreeMap<String, String>,
    decision_id: String,
    bundles: BTreeMap<&'static str, BundleLabel>,
    path: &'static str,
    input: serde_json::Value,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<EventError>,
    requested_by: String,
    timestamp: Timestamp,
    custom: serde_json::Value,
}

#[derive(Clone, Debug, Serialize)]
struct BundleLabel {
    revision: String,
}

#[derive(Clone, Debug, Serialize)]
struct EventError {
    code: &'static str,
    message: String,
}

/// A decision with what it rests on, for a person who asks why.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// Whether a permit would be given.
    pub allowed: bool,
    /// The rule that decides.
    pub rule: String,
    /// Why the policy could not decide, where it could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The facts and the request, as the policy sees them.
    pub input: serde_json::Value,
    /// What the policy printed on the way.
    pub printed: Vec<String>,
    /// The revision of the bundle that decides.
    pub bundle_revision: String,
    /// The revision of the grants that decide.
    pub policy_revision: u64,
}

/// What an evaluation comes to; what the cache holds.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    Allowed(String),
    Refused(String),
    Undefined,
    Expired,
    OtherService,
    Failed(PolicyError),
}

impl Verdict {
    pub(crate) fn rule(&self) -> &str {
        match self {
            Self::Allowed(rule) | Self::Refused(rule) => rule,
            Self::Undefined => "no grant",
            Self::Expired => "facts expired",
            Self::OtherService => "token for another service",
            Self::Failed(_) => "policy error",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "{error}"),
            _ => f.write_str(self.rule()),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Decision {
    pub(crate) id: DecisionId,
    pub(crate) at: Timestamp,
    pub(crate) subject: Arc<Subject>,
    pub(crate) verdict: Arc<Verdict>,
    pub(crate) bundle_revision: Arc<str>,
    pub(crate) policy_revision: u64,
}

impl Decision {
    pub(crate) fn into_result(self) -> Result<Permit, Denial> {
        match &*self.verdict {
            Verdict::Allowed(_) => Ok(Permit { decision: self }),
            _ => Err(Denial {
                decision: Box::new(self),
            }),
        }
    }

    fn event(&self, labels: &BTreeMap<String, String>) -> DecisionEvent {
        let (result, error) = match &*self.verdict {
            Verdict::Allowed(rule) => (Some(json!({"allow": true, "rule": rule})), None),
            Verdict::Failed(error) => (
                None,
                Some(EventError {
                    code: "eval_error",
                    message: error.to_string(),
                }),
            ),
            denied => (Some(json!({"allow": false, "rule": denied.rule()})), None),
        };
        DecisionEvent {
            labels: labels.clone(),
            decision_id: self.id.to_string(),
            bundles: [(
                "countersign",
                BundleLabel {
                    revision: self.bundle_revision.to_string(),
                },
            )]
            .into(),
            path: "countersign/access/decision",
            input: input_json(&self.subject, self.at),
            result,
            error,
            requested_by: self.subject.facts.channel().source.to_string(),
            timestamp: self.at,
            custom: json!({"policy_revision": self.policy_revision, "token_id": self.subject.facts.token_id()}),
        }
    }
}

/// The `input` of a policy, as the log and an explanation show it.
pub(crate) fn input_json(subject: &Subject, at: Timestamp) -> serde_json::Value {
    let mut input = subject.facts.to_json();
    if let Some(fields) = input.as_object_mut() {
        fields.insert("request".to_owned(), json!(subject.request));
        fields.insert("time".to_owned(), json!(InputTime::of(at)));
    }
    input
}
