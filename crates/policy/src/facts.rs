//! What is known to be true of a channel's far end.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use countersign_paseto::Verified;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::claims::{AccessClaims, Appraisal};
use crate::grant::{ANONYMOUS, check_spiffe_id, names_covering};

/// What the gateway saw of a channel's handshake, in the names that records and metrics use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelFacts {
    /// The listener's stage: `strict`, `hybrid` or `classical-canary`.
    pub stage: String,
    /// The listener's profile, such as `hybrid@1`.
    pub profile: String,
    /// The key exchange group that was selected, by its IANA name.
    pub group: String,
    /// The signature scheme of the client's certificate, or of the gateway's where the client had none.
    pub signature_scheme: Option<String>,
    /// The cipher suite, by its IANA name.
    pub suite: String,
    /// The server name that the client asked for.
    pub sni: Option<String>,
    /// Where the client connected from. Its port is left out: two connections of one client are one fact.
    pub source: IpAddr,
    /// The listener's name.
    pub listener: String,
    /// The exception that let in a classical channel.
    pub exception: Option<String>,
}

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
    /// A client that presented no identity.
    Anonymous,
}

impl Principal {
    /// The name that a grant uses for exactly this principal.
    pub fn name(&self) -> &str {
        match self {
            Self::Agent { id } => id,
            Self::Anonymous => ANONYMOUS,
        }
    }
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A valid access token that proves nothing on this channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnfitToken {
    /// The token is bound to another key than the channel's: somebody holds a token that is not theirs, or an agent
    /// changed its key and must ask for a new one.
    #[error("the access token of `{subject}` is bound to another key than this channel's")]
    WrongKey {
        /// Whose token it is.
        subject: String,
    },
    /// The token's subject is no SPIFFE ID. No gateway mints such a token.
    #[error("the access token's subject `{subject}` is not a SPIFFE ID: {reason}")]
    Subject {
        /// Its subject, or nothing.
        subject: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token never expires. No gateway mints such a token.
    #[error("the access token of `{subject}` does not expire")]
    NoExpiry {
        /// Whose token it is.
        subject: String,
    },
}

/// What a decision may rest on: a proven principal, and the channel it was proven on.
///
/// Only a verified token on its own key makes the facts of an agent. Cheap to clone.
///
/// ```
/// use countersign_paseto::Verified;
/// use countersign_policy::{AccessClaims, ChannelFacts, Facts, UnfitToken};
///
/// fn facts(token: &Verified<AccessClaims>, spki_sha384: &[u8; 48], channel: ChannelFacts) -> Result<Facts, UnfitToken> {
///     Facts::agent(token, spki_sha384, channel)
/// }
/// ```
///
/// Claims that nobody verified make none:
///
/// ```compile_fail,E0308
/// use countersign_policy::{AccessClaims, ChannelFacts, Facts, UnfitToken};
///
/// fn facts(token: &AccessClaims, spki_sha384: &[u8; 48], channel: ChannelFacts) -> Result<Facts, UnfitToken> {
///     Facts::agent(token, spki_sha384, channel)
/// }
/// ```
///
/// Nor can they be written down or read from data:
///
/// ```compile_fail,E0451
/// let forged = countersign_policy::Facts { inner: unreachable!() };
/// ```
///
/// ```compile_fail,E0277
/// let forged: countersign_policy::Facts = serde_json::from_str("{}").unwrap();
/// ```
#[derive(Clone, Debug)]
pub struct Facts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    known: Known,
    token: Option<Token>,
    document: regorus::Value,
    bytes: usize,
    digest: u64,
}

/// The part that a policy sees.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Known {
    principal: Named,
    channel: ChannelFacts,
    #[serde(skip_serializing_if = "Option::is_none")]
    appraisal: Option<Appraisal>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<TokenFacts>,
}

/// A principal with every name that a grant could have for it, the most exact first.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Named {
    #[serde(flatten)]
    principal: Principal,
    names: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct TokenFacts {
    profile: String,
    policy_revision: u64,
}

#[derive(Debug)]
struct Token {
    id: Option<String>,
    expires_at: Timestamp,
}

impl Facts {
    /// The facts of a client that presented no identity.
    pub fn anonymous(channel: ChannelFacts) -> Self {
        Self::new(Principal::Anonymous, channel, None, None, None)
    }

    /// The facts of an agent: a verified access token, presented on a channel whose client proved the key with this
    /// SHA-384 hash of its DER SubjectPublicKeyInfo.
    ///
    /// # Errors
    ///
    /// When the token is bound to another key, or names nobody, or never ends.
    pub fn agent(
        token: &Verified<AccessClaims>,
        spki_sha384: &[u8; 48],
        channel: ChannelFacts,
    ) -> Result<Self, UnfitToken> {
        let claims = token.claims();
        let subject = token.subject().unwrap_or_default().to_owned();
        if !claims.cnf.is_for(spki_sha384) {
            return Err(UnfitToken::WrongKey { subject });
        }
        // Grants match names: an identity that looks like a pattern would get what the pattern gets.
        if let Err(reason) = check_spiffe_id(&subject) {
            return Err(UnfitToken::Subject { subject, reason });
        }
        let Some(expires_at) = token.expires_at() else {
            return Err(UnfitToken::NoExpiry { subject });
        };
        let id = token.registered().token_id.clone();
        let facts = TokenFacts {
            profile: claims.profile.clone(),
            policy_revision: claims.policy_revision,
        };
        Ok(Self::new(
            Principal::Agent { id: subject },
            channel,
            Some(claims.appraisal.clone()),
            Some(facts),
            Some(Token { id, expires_at }),
        ))
    }

    fn new(
        principal: Principal,
        channel: ChannelFacts,
        appraisal: Option<Appraisal>,
        facts: Option<TokenFacts>,
        token: Option<Token>,
    ) -> Self {
        let names = names_covering(principal.name());
        let known = Known {
            principal: Named { principal, names },
            channel,
            appraisal,
            token: facts,
        };
        let json =
            serde_json::to_value(&known).expect("strings, numbers and string keys are always JSON");
        let text = json.to_string();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let inner = Inner {
            known,
            token,
            document: json.into(),
            bytes: text.len(),
            digest: hasher.finish(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Who is asking.
    pub fn principal(&self) -> &Principal {
        &self.inner.known.principal.principal
    }

    /// The channel that it is asked on.
    pub fn channel(&self) -> &ChannelFacts {
        &self.inner.known.channel
    }

    /// What the gateway found true of the machine; nothing for a principal without a token.
    pub fn appraisal(&self) -> Option<&Appraisal> {
        self.inner.known.appraisal.as_ref()
    }

    /// The `jti` of the token, for the audit trail: the id, never the token.
    pub fn token_id(&self) -> Option<&str> {
        self.inner.token.as_ref()?.id.as_deref()
    }

    /// When these facts stop holding: the end of the token's validity.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.inner.token.as_ref().map(|token| token.expires_at)
    }

    /// The facts as a policy's `input`.
    pub(crate) fn document(&self) -> &regorus::Value {
        &self.inner.document
    }

    /// The length of the facts as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.inner.bytes
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::to_value(&self.inner.known)
            .expect("strings, numbers and string keys are always JSON")
    }
}

/// Facts are equal where a policy could not tell them apart: a renewed token with the same claims changes nothing.
impl PartialEq for Facts {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
            || (self.inner.digest == other.inner.digest && self.inner.known == other.inner.known)
    }
}

impl Eq for Facts {}

impl Hash for Facts {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.inner.digest);
    }
}
