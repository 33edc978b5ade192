//! Who asks, and the names that grants have for them.

use std::borrow::Cow;
use std::fmt;

use serde::Serialize;

/// Who is asking, as it was proven.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Principal {
    /// An agent, by its SPIFFE ID.
    Agent {
        /// `spiffe://<trust domain>/agent/<name>`.
        id: String,
    },
    /// A client with a certificate of an authority that the operator configured.
    Cert {
        /// The authority's name in the configuration.
        authority: String,
        /// The name in the certificate: a URI, an email address or a DNS name.
        name: String,
    },
    /// A client with a bearer token that an operator issued.
    Bearer {
        /// The name that the operator gave it.
        subject: String,
    },
    /// A client that presented no identity.
    Anonymous,
}

/// A name that cannot name a principal, since a grant could mean it otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot name a principal: {reason}")]
pub struct UnfitName {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl Principal {
    /// The holder of a bearer token with this subject.
    ///
    /// # Errors
    ///
    /// When the subject could be taken for a pattern, or for another.
    pub fn bearer(subject: &str) -> Result<Self, UnfitName> {
        fit(subject, check_name)?;
        let subject = subject.to_owned();
        Ok(Self::Bearer { subject })
    }

    /// The holder of a certificate with this name, of this authority.
    ///
    /// # Errors
    ///
    /// When either name could be taken for a pattern, or for another.
    pub fn cert(authority: &str, name: &str) -> Result<Self, UnfitName> {
        fit(authority, check_authority)?;
        fit(name, check_name)?;
        let (authority, name) = (authority.to_owned(), name.to_owned());
        Ok(Self::Cert { authority, name })
    }

    /// The name that a grant uses for exactly this principal.
    ///
    /// ```
    /// use countersign_policy::Principal;
    ///
    /// let alice = Principal::Cert { authority: "partners".into(), name: "alice@example.com".into() };
    /// assert_eq!(alice.name(), "cert:partners/alice@example.com");
    /// assert_eq!(Principal::Bearer { subject: "ci".into() }.name(), "bearer:ci");
    /// assert_eq!(Principal::Anonymous.name(), "anonymous");
    /// ```
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Agent { id } => Cow::Borrowed(id),
            Self::Cert { authority, name } => Cow::Owned(format!("{CERT}{authority}/{name}")),
            Self::Bearer { subject } => Cow::Owned(format!("{BEARER}{subject}")),
            Self::Anonymous => Cow::Borrowed(ANONYMOUS),
        }
    }

    /// Every name that a grant could have for it: its own, then the patterns that cover it, the longest first.
    pub(crate) fn names(&self) -> Vec<String> {
        let name = self.name().into_owned();
        let start = match self {
            Self::Agent { .. } => SPIFFE.len(),
            Self::Cert { .. } => CERT.len(),
            Self::Bearer { .. } => BEARER.len(),
            Self::Anonymous => return vec![name],
        };
        let covering = name.match_indices('/').map(|(at, _)| at).rev();
        let covering = covering
            .filter(|at| *at >= start)
            .filter_map(|at| Some(format!("{}*", name.get(..=at)?)));
        let mut names: Vec<String> = covering.collect();
        names.insert(0, name);
        if matches!(self, Self::Bearer { .. }) {
            names.push(format!("{BEARER}*"));
        }
        names
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

fn fit(name: &str, check: fn(&str) -> Result<(), &'static str>) -> Result<(), UnfitName> {
    check(name).map_err(|reason| UnfitName {
        name: name.to_owned(),
        reason,
    })
}

/// What a grant may name: a principal, or a pattern that covers some.
pub(crate) fn check_granted(text: &str) -> Result<(), &'static str> {
    if text == ANONYMOUS {
        return Ok(());
    }
    let (exact, covers_all) = match text.strip_suffix("/*") {
        Some(prefix) => (prefix, true),
        None => (text, false),
    };
    if let Some(rest) = exact.strip_prefix(SPIFFE) {
        return match rest.contains('/') {
            false if covers_all => check_trust_domain(rest),
            _ => check_spiffe_id(exact),
        };
    }
    if let Some(rest) = exact.strip_prefix(CERT) {
        return match rest.split_once('/') {
            None if covers_all => check_authority(rest),
            None => Err("it has no name; `/*` stands for every name of an authority"),
            Some((authority, name)) => check_authority(authority).and_then(|()| check_name(name)),
        };
    }
    match exact.strip_prefix(BEARER) {
        Some("*") if !covers_all => Ok(()),
        Some(name) => check_name(name),
        None => Err(
            "it is neither `anonymous` nor does it start with `spiffe://`, `cert:` or `bearer:`",
        ),
    }
}

/// An exact identity of a workload: a SPIFFE ID with a path (SPIFFE-ID, section 2).
pub(crate) fn check_spiffe_id(id: &str) -> Result<(), &'static str> {
    if id.len() > SPIFFE_ID_LIMIT {
        return Err("a SPIFFE ID has at most 2048 bytes");
    }
    let rest = id
        .strip_prefix(SPIFFE)
        .ok_or("it does not start with `spiffe://`")?;
    let (domain, path) = rest
        .split_once('/')
        .ok_or("it has no path; `/*` stands for a whole trust domain")?;
    check_trust_domain(domain)?;
    path.split('/').try_for_each(|segment| {
        check_segment(segment)?;
        match segment.bytes().all(is_name_byte) {
            true => Ok(()),
            false => Err("a path segment is letters, digits, dots, dashes and underscores"),
        }
    })
}

/// The name of an authority of client certificates.
fn check_authority(name: &str) -> Result<(), &'static str> {
    match name.len() {
        1..=AUTHORITY_LIMIT if name.bytes().all(is_name_byte) => Ok(()),
        _ => Err("an authority is at most 63 letters, digits, dots, dashes and underscores"),
    }
}

/// A name that a certificate or a bearer token gives.
///
/// What could be read in two ways is no name: a `*`, an escape, white space, a path that climbs.
fn check_name(name: &str) -> Result<(), &'static str> {
    if name.len() > NAME_LIMIT {
        return Err("a name has at most 512 bytes");
    }
    let path = match name.split_once("://") {
        Some((scheme, path)) if !scheme.is_empty() && !scheme.contains('/') => path,
        _ => name,
    };
    path.split('/').try_for_each(check_segment)?;
    let allowed = |byte| is_name_byte(byte) || matches!(byte, b'@' | b'+' | b':' | b'/' | b'~');
    match name.bytes().all(allowed) {
        true => Ok(()),
        false => Err("a name is letters, digits and `.-_@+:/~`"),
    }
}

/// The name of a service, and no pattern.
pub(crate) fn check_service(service: &str) -> Result<(), &'static str> {
    match service.len() {
        0 => Err("it is empty"),
        1..=SERVICE_LIMIT if service.bytes().all(is_name_byte) => Ok(()),
        _ => Err("a service is `*`, or at most 253 letters, digits, dots, dashes and underscores"),
    }
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
        _ if segment.contains('*') => Err("`*` is a whole last segment or nothing"),
        _ => Ok(()),
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_')
}

/// The principal of a client without an identity.
const ANONYMOUS: &str = "anonymous";
const SPIFFE: &str = "spiffe://";
const CERT: &str = "cert:";
const BEARER: &str = "bearer:";

/// SPIFFE-ID, section 2.3.
const SPIFFE_ID_LIMIT: usize = 2048;
/// A DNS label, as other names in a configuration.
const AUTHORITY_LIMIT: usize = 63;
/// Twice an email address (RFC 5321, section 4.5.3.1); names end up in each line of audit.
const NAME_LIMIT: usize = 512;
/// A service's name is the host of a CONNECT request: the limit of a DNS name.
const SERVICE_LIMIT: usize = 253;
