//! SPIFFE IDs and trust domains, read as strictly as the specification says.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A trust domain, such as `example.org`: lower-case letters, digits, dots, dashes and underscores.
///
/// SPIFFE-ID section 2.1.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct TrustDomain(String);

/// A SPIFFE ID, such as `spiffe://example.org/agent/laptop`.
///
/// ```
/// use countersign_channel::identity::SpiffeId;
///
/// let id: SpiffeId = "spiffe://example.org/agent/laptop".parse()?;
/// assert_eq!(id.agent_name(), Some("laptop"));
/// assert_eq!(id.trust_domain().as_str(), "example.org");
/// # Ok::<(), countersign_channel::identity::InvalidSpiffeId>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SpiffeId {
    trust_domain: TrustDomain,
    path: String,
}

/// A text that is no SPIFFE ID, or holds no trust domain or name that may stand in one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidSpiffeId {
    /// It is longer than the specification allows.
    #[error("a SPIFFE ID has at most {MAX_ID} bytes, this has {length}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It does not start with `spiffe://`.
    #[error("`{id}` does not start with `spiffe://`")]
    Scheme {
        /// The text that was given.
        id: String,
    },
    /// Its trust domain is empty, too long or has a character that may not stand there.
    #[error(
        "`{trust_domain}` is no trust domain: it holds 1 to {MAX_TRUST_DOMAIN} of a-z, 0-9, `.`, `-` and `_`"
    )]
    TrustDomain {
        /// The trust domain that was given.
        trust_domain: String,
    },
    /// A segment of its path is empty, `.`, `..` or has a character that may not stand there.
    #[error(
        "`{segment}` cannot be a part of a SPIFFE ID's path: it holds letters, digits, `.`, `-` and `_`"
    )]
    Path {
        /// The segment that was given.
        segment: String,
    },
}

impl TrustDomain {
    /// Reads a trust domain's name, without a scheme.
    ///
    /// # Errors
    ///
    /// It is empty, longer than 255 bytes, or has a character outside `a-z0-9.-_`.
    pub fn parse(name: &str) -> Result<Self, InvalidSpiffeId> {
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
        if name.is_empty() || name.len() > MAX_TRUST_DOMAIN || !name.bytes().all(allowed) {
            return Err(InvalidSpiffeId::TrustDomain {
                trust_domain: name.chars().take(MAX_TRUST_DOMAIN).collect(),
            });
        }
        Ok(Self(name.to_owned()))
    }

    /// Its name, without a scheme.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The ID of the agent with this name.
    ///
    /// # Errors
    ///
    /// The name cannot stand in a SPIFFE ID.
    pub fn agent(&self, name: &str) -> Result<SpiffeId, InvalidSpiffeId> {
        self.member("agent", name)
    }

    /// The ID of the gateway with this name.
    ///
    /// # Errors
    ///
    /// The name cannot stand in a SPIFFE ID.
    pub fn gateway(&self, name: &str) -> Result<SpiffeId, InvalidSpiffeId> {
        self.member("gateway", name)
    }

    /// The server name that agents ask for: `gateway.` and the trust domain.
    pub fn gateway_server_name(&self) -> String {
        format!("gateway.{}", self.0)
    }

    fn member(&self, kind: &str, name: &str) -> Result<SpiffeId, InvalidSpiffeId> {
        check_segment(name)?;
        SpiffeId::parse(&format!("{SCHEME}{}/{kind}/{name}", self.0))
    }
}

impl SpiffeId {
    /// Reads a SPIFFE ID. Nothing is normalised: an ID that needs it is refused.
    ///
    /// # Errors
    ///
    /// The text is not a SPIFFE ID; the error says which part is wrong.
    pub fn parse(id: &str) -> Result<Self, InvalidSpiffeId> {
        if id.len() > MAX_ID {
            return Err(InvalidSpiffeId::TooLong { length: id.len() });
        }
        let rest = id
            .strip_prefix(SCHEME)
            .ok_or_else(|| InvalidSpiffeId::Scheme { id: id.to_owned() })?;
        let (domain, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let trust_domain = TrustDomain::parse(domain)?;
        if let Some(segments) = path.strip_prefix('/') {
            segments.split('/').try_for_each(check_segment)?;
        }
        Ok(Self {
            trust_domain,
            path: path.to_owned(),
        })
    }

    /// The trust domain it belongs to.
    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// Its path with the leading slash, or nothing.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The name, where it is an agent's.
    pub fn agent_name(&self) -> Option<&str> {
        self.name_below("/agent/")
    }

    /// The name, where it is a gateway's.
    pub fn gateway_name(&self) -> Option<&str> {
        self.name_below("/gateway/")
    }

    fn name_below(&self, prefix: &str) -> Option<&str> {
        self.path
            .strip_prefix(prefix)
            .filter(|name| !name.contains('/'))
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}{}", self.trust_domain, self.path)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! text {
    ($name:ident) => {
        impl FromStr for $name {
            type Err = InvalidSpiffeId;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidSpiffeId;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

text!(TrustDomain);
text!(SpiffeId);

fn check_segment(segment: &str) -> Result<(), InvalidSpiffeId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if segment.is_empty() || segment == "." || segment == ".." || !segment.bytes().all(allowed) {
        return Err(InvalidSpiffeId::Path {
            segment: segment.to_owned(),
        });
    }
    Ok(())
}

const SCHEME: &str = "spiffe://";

/// SPIFFE-ID section 2.3: implementations support 2,048 bytes and must not generate more.
const MAX_ID: usize = 2048;

/// SPIFFE-ID section 2.3: the host part of RFC 3986, at most 255 bytes.
const MAX_TRUST_DOMAIN: usize = 255;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, valid: bool) {
        assert_eq!(SpiffeId::parse(text).is_ok(), valid, "{text}");
    }

    #[test]
    fn what_the_specification_allows_is_read() {
        check("spiffe://example.org", true);
        check("spiffe://example.org/agent/laptop", true);
        check("spiffe://a_b-c.9/Upper/..x/x..", true);
    }

    #[test]
    fn another_scheme_or_spelling_of_it_is_refused() {
        check("https://example.org/agent/a", false);
        check("SPIFFE://example.org/agent/a", false);
        check("spiffe:/example.org", false);
        check("", false);
    }

    #[test]
    fn a_trust_domain_has_no_port_user_escape_or_upper_case() {
        check("spiffe:///agent/a", false);
        check("spiffe://example.org:443/agent/a", false);
        check("spiffe://user@example.org/agent/a", false);
        check("spiffe://Example.org/agent/a", false);
        check("spiffe://ex%61mple.org/agent/a", false);
        check(&format!("spiffe://{}/a", "a".repeat(256)), false);
    }

    #[test]
    fn a_path_has_no_empty_relative_or_escaped_segment_query_or_fragment() {
        for path in [
            "/", "//a", "/a/", "/a//b", "/.", "/..", "/a/../b", "/%61", "/a?b", "/a#b", "/ä",
            "/a b", "/a\0",
        ] {
            check(&format!("spiffe://example.org{path}"), false);
        }
    }

    #[test]
    fn an_id_longer_than_2048_bytes_is_refused() {
        let prefix = "spiffe://example.org/";
        check(
            &format!("{prefix}{}", "a".repeat(2048 - prefix.len())),
            true,
        );
        check(
            &format!("{prefix}{}", "a".repeat(2049 - prefix.len())),
            false,
        );
    }

    #[test]
    fn a_name_with_a_slash_makes_no_agent() {
        let domain = TrustDomain::parse("example.org").unwrap();
        assert!(domain.agent("a/b").is_err());
        assert_eq!(
            SpiffeId::parse("spiffe://example.org/agent/a/b")
                .unwrap()
                .agent_name(),
            None
        );
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_the_same(text in "(spiffe://)?[a-zA-Z0-9./_%:-]{0,40}") {
            if let Ok(id) = SpiffeId::parse(&text) {
                prop_assert_eq!(id.to_string(), text);
            }
        }

        /// But for a trust domain in upper case, which it puts into lower case and we refuse.
        #[test]
        fn an_independent_library_reads_the_same(text in "spiffe://[a-z0-9._%:-]{0,12}(/[a-zA-Z0-9./_%:-]{0,12})?") {
            prop_assert_eq!(SpiffeId::parse(&text).is_ok(), spiffe::SpiffeId::new(&text).is_ok(), "{}", text);
        }
    }
}
