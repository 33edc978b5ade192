//! What is known to be true of a channel's far end.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use countersign_paseto::Verified;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::claims::{AccessClaims, Appraisal, BearerClaims};
use crate::principal::{Principal, UnfitName, check_service, check_spiffe_id};

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

/// A client certificate that a channel verified to an authority of the operator's.
///
/// As with the hash of an agent's key, what stands here is the caller's word: it is to come from the verified handshake and
/// from nowhere else.
#[derive(Clone, Copy, Debug)]
pub struct ClientCertificate<'a> {
    /// The authority's name in the configuration.
    pub authority: &'a str,
    /// The name in the certificate.
    pub name: &'a str,
    /// When the certificate ends.
    pub not_after: Timestamp,
}

/// A valid token that proves nothing on this channel.
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
    #[error("the token of `{subject}` does not expire")]
    NoExpiry {
        /// Whose token it is.
        subject: String,
    },
    /// The subject of a bearer token cannot name a principal. No gateway mints such a token.
    #[error("the token's subject {0}")]
    Name(UnfitName),
    /// A bearer token is not for one service. No gateway mints such a token.
    #[error("the token of `{subject}` is not for one service: {reason}")]
    Service {
        /// Whose token it is.
        subject: String,
        /// What is wrong with its audience.
        reason: &'static str,
    },
}

/// What a decision may rest on: a proven principal, and the channel it was proven on.
///
/// Only a verified token on its own key makes the facts of an agent, and only a verified bearer token those of its holder.
/// Cheap to clone.
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
/// A bearer token makes the facts of its subject:
///
/// ```
/// use countersign_paseto::Verified;
/// use countersign_policy::{BearerClaims, ChannelFacts, Facts, UnfitToken};
///
/// fn facts(token: &Verified<BearerClaims>, channel: ChannelFacts) -> Result<Facts, UnfitToken> {
///     Facts::bearer(token, channel)
/// }
/// ```
///
/// A token of another kind is none, however well it verified:
///
/// ```compile_fail,E0308
/// use countersign_paseto::Verified;
/// use countersign_policy::{AccessClaims, ChannelFacts, Facts, UnfitToken};
///
/// fn facts(token: &Verified<AccessClaims>, channel: ChannelFacts) -> Result<Facts, UnfitToken> {
///     Facts::bearer(token, channel)
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
    proof: Option<Proof>,
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
#[serde(untagged)]
enum TokenFacts {
    Access {
        profile: String,
        policy_revision: u64,
    },
    Bearer {
        service: String,
    },
}

/// What the principal was proven by: a token with its id, or a certificate.
#[derive(Debug)]
struct Proof {
    token_id: Option<String>,
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
        let proof = Proof::of(token)?;
        let facts = TokenFacts::Access {
            profile: claims.profile.clone(),
            policy_revision: claims.policy_revision,
        };
        let appraisal = Some(claims.appraisal.clone());
        let principal = Principal::Agent { id: subject };
        Ok(Self::new(
            principal,
            channel,
            appraisal,
            Some(facts),
            Some(proof),
        ))
    }

    /// The facts of who holds a bearer token. It opens the service of its audience and no other.
    ///
    /// # Errors
    ///
    /// When the token is not for one service, or names nobody, or never ends.
    pub fn bearer(
        token: &Verified<BearerClaims>,
        channel: ChannelFacts,
    ) -> Result<Self, UnfitToken> {
        let subject = token.subject().unwrap_or_default().to_owned();
        let principal = Principal::bearer(&subject).map_err(UnfitToken::Name)?;
        let service = token.registered().audience.clone().unwrap_or_default();
        if let Err(reason) = check_service(&service) {
            return Err(UnfitToken::Service { subject, reason });
        }
        let proof = Proof::of(token)?;
        let facts = TokenFacts::Bearer { service };
        Ok(Self::new(
            principal,
            channel,
            None,
            Some(facts),
            Some(proof),
        ))
    }

    /// The facts of a client whose certificate the channel verified.
    ///
    /// # Errors
    ///
    /// When the name could be taken for a pattern, or for another.
    pub fn certificate(
        certificate: ClientCertificate<'_>,
        channel: ChannelFacts,
    ) -> Result<Self, UnfitName> {
        let ClientCertificate {
            authority,
            name,
            not_after,
        } = certificate;
        let principal = Principal::cert(authority, name)?;
        let proof = Proof {
            token_id: None,
            expires_at: not_after,
        };
        Ok(Self::new(principal, channel, None, None, Some(proof)))
    }

    fn new(
        principal: Principal,
        channel: ChannelFacts,
        appraisal: Option<Appraisal>,
        token: Option<TokenFacts>,
        proof: Option<Proof>,
    ) -> Self {
        let names = principal.names();
        let known = Known {
            principal: Named { principal, names },
            channel,
            appraisal,
            token,
        };
        let json =
            serde_json::to_value(&known).expect("strings, numbers and string keys are always JSON");
        let text = json.to_string();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        let inner = Inner {
            known,
            proof,
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
        self.inner.proof.as_ref()?.token_id.as_deref()
    }

    /// When these facts stop holding: the end of the token, or of the certificate.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.inner.proof.as_ref().map(|proof| proof.expires_at)
    }

    /// The one service that these facts open, where they rest on a token that was issued for one.
    pub fn only_service(&self) -> Option<&str> {
        match &self.inner.known.token {
            Some(TokenFacts::Bearer { service }) => Some(service),
            _ => None,
        }
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

impl Proof {
    fn of<C>(token: &Verified<C>) -> Result<Self, UnfitToken> {
        let expires_at = token.expires_at().ok_or_else(|| UnfitToken::NoExpiry {
            subject: token.subject().unwrap_or_default().to_owned(),
        })?;
        Ok(Self {
            token_id: token.token_id().map(str::to_owned),
            expires_at,
        })
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
