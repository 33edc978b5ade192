//! Who may reach what: the small schema that operators fill in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Lets one principal, or all below a prefix, reach one service, or all.
///
/// | principal | covers |
/// |---|---|
/// | `spiffe://example.org/agent/laptop` | this identity, exactly |
/// | `spiffe://example.org/agent/*` | every identity below the prefix, at any depth |
/// | `spiffe://example.org/*` | every identity of the trust domain |
/// | `anonymous` | a client that presented no identity |
///
/// `*` stands alone as the last segment and nowhere else. A service is a name, exactly, or `*`.
///
/// ```
/// use countersign_policy::Grant;
///
/// let grant = Grant::new("spiffe://example.org/agent/*", "postgres")?;
/// assert_eq!(grant.to_string(), "spiffe://example.org/agent/* -> postgres");
/// assert!(Grant::new("spiffe://example.org/agent/lap*", "postgres").is_err());
/// # Ok::<(), countersign_policy::InvalidGrant>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "UnverifiedGrant")]
pub struct Grant {
    principal: String,
    service: String,
}

impl Grant {
    /// Reads a grant from its two names.
    ///
    /// # Errors
    ///
    /// When `principal` is none of the forms above, or `service` is not a name.
    pub fn new(principal: &str, service: &str) -> Result<Self, InvalidGrant> {
        if principal != ANONYMOUS {
            check_identity(principal).map_err(|reason| InvalidGrant::Principal {
                principal: principal.to_owned(),
                reason,
            })?;
        }
        check_service(service).map_err(|reason| InvalidGrant::Service {
            service: service.to_owned(),
            reason,
        })?;
        Ok(Self {
            principal: principal.to_owned(),
            service: service.to_owned(),
        })
    }

    /// Who: a SPIFFE ID, a prefix ending in `/*`, or `anonymous`.
    pub fn principal(&self) -> &str {
        &self.principal
    }

    /// What: a service's name, or `*`.
    pub fn service(&self) -> &str {
        &self.service
    }
}

impl std::fmt::Display for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.principal, self.service)
    }
}

/// A grant that could never match, or would match more than its author meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidGrant {
    /// The principal is none of the forms that a grant can name.
    #[error("`{principal}` is not a principal: {reason}")]
    Principal {
        /// What was given.
        principal: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The service is not a name.
    #[error("`{service}` is not a service: {reason}")]
    Service {
        /// What was given.
        service: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// The principal of a client without an identity.
pub(crate) const ANONYMOUS: &str = "anonymous";

/// Grants as `data.grants`: by principal, then by service, so that a policy looks up and never scans.
///
/// The innermost object is empty; conditions will stand there.
pub(crate) fn index(grants: &[Grant]) -> BTreeMap<&str, BTreeMap<&str, Conditions>> {
    let mut index = BTreeMap::<_, BTreeMap<_, _>>::new();
    for grant in grants {
        index
            .entry(grant.principal())
            .or_default()
            .insert(grant.service(), Conditions {});
    }
    index
}

#[derive(Serialize)]
pub(crate) struct Conditions {}

/// Every principal that a grant could name to cover `identity`: itself, then its prefixes, the longest first.
pub(crate) fn names_covering(identity: &str) -> Vec<String> {
    let mut names = vec![identity.to_owned()];
    let Some(path) = identity.strip_prefix(SCHEME) else {
        return names;
    };
    let ends = path
        .match_indices('/')
        .map(|(at, _)| SCHEME.len() + at)
        .rev();
    names.extend(ends.filter_map(|end| Some(format!("{}/*", identity.get(..end)?))));
    names
}

/// Unknown keys are refused: a grant with a condition that this version cannot read must not lose it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UnverifiedGrant {
    principal: String,
    service: String,
}

impl TryFrom<UnverifiedGrant> for Grant {
    type Error = InvalidGrant;

    fn try_from(grant: UnverifiedGrant) -> Result<Self, InvalidGrant> {
        Self::new(&grant.principal, &grant.service)
    }
}

/// SPIFFE-ID, section 2: trust domain, then path segments; here the last one may be `*`.
fn check_identity(principal: &str) -> Result<(), &'static str> {
    if !principal.starts_with(SCHEME) {
        return Err("it is neither `anonymous` nor does it start with `spiffe://`");
    }
    let Some(prefix) = principal.strip_suffix("/*") else {
        return check_spiffe_id(principal);
    };
    match prefix.strip_prefix(SCHEME) {
        Some(domain) if !domain.contains('/') => check_trust_domain(domain),
        _ => check_spiffe_id(prefix),
    }
}

/// An exact identity of a workload: a SPIFFE ID with a path.
pub(crate) fn check_spiffe_id(id: &str) -> Result<(), &'static str> {
    if id.len() > SPIFFE_ID_LIMIT {
        return Err("a SPIFFE ID has at most 2048 bytes");
    }
    let rest = id
        .strip_prefix(SCHEME)
        .ok_or("it does not start with `spiffe://`")?;
    let (domain, path) = rest
        .split_once('/')
        .ok_or("it has no path; `/*` stands for a whole trust domain")?;
    check_trust_domain(domain)?;
    path.split('/').try_for_each(check_segment)
}

fn check_trust_domain(domain: &str) -> Result<(), &'static str> {
    let allowed =
        |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'-' | b'_');
    match domain.len() {
        0 => Err("it has no trust domain"),
        1..=255 if domain.bytes().all(allowed) => Ok(()),
        _ => Err(
            "a trust domain is at most 255 lower-case letters, digits, dots, dashes and underscores",
        ),
    }
}

fn check_segment(segment: &str) -> Result<(), &'static str> {
    match segment {
        "" => Err("it has an empty path segment"),
        "." | ".." => Err("it has a relative path segment"),
        _ if segment.bytes().all(is_name_byte) => Ok(()),
        _ if segment.contains('*') => Err("`*` is a whole last segment or nothing"),
        _ => Err("a path segment is letters, digits, dots, dashes and underscores"),
    }
}

fn check_service(service: &str) -> Result<(), &'static str> {
    match service.len() {
        0 => Err("it is empty"),
        _ if service == "*" => Ok(()),
        1..=SERVICE_LIMIT if service.bytes().all(is_name_byte) => Ok(()),
        _ => Err("a service is `*`, or at most 253 letters, digits, dots, dashes and underscores"),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

const SCHEME: &str = "spiffe://";
/// SPIFFE-ID, section 2.3.
const SPIFFE_ID_LIMIT: usize = 2048;
/// A service's name is the host of a CONNECT request: the limit of a DNS name.
const SERVICE_LIMIT: usize = 253;
