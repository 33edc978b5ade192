//! Who may reach what: the small schema that operators fill in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::principal::{check_granted, check_service};

/// Lets one principal, or all below a prefix, reach one service, or all.
///
/// | principal | covers |
/// |---|---|
/// | `spiffe://example.org/agent/laptop` | this identity, exactly |
/// | `spiffe://example.org/agent/*` | every identity below the prefix, at any depth |
/// | `spiffe://example.org/*` | every identity of the trust domain |
/// | `cert:partners/alice@example.com` | this name in a certificate of this authority |
/// | `cert:partners/spiffe://example.com/*` | every name below the prefix |
/// | `cert:partners/*` | every name of this authority |
/// | `bearer:ci` | the holder of a token with this subject |
/// | `bearer:ci/*`, `bearer:*` | every subject below the prefix, and every one |
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
        check_granted(principal).map_err(|reason| InvalidGrant::Principal {
            principal: principal.to_owned(),
            reason,
        })?;
        if service != "*" {
            check_service(service).map_err(|reason| InvalidGrant::Service {
                service: service.to_owned(),
                reason,
            })?;
        }
        Ok(Self {
            principal: principal.to_owned(),
            service: service.to_owned(),
        })
    }

    /// Who, in one of the forms above.
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
