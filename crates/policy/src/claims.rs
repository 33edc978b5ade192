//! What an access token says beside its registered claims.

use std::collections::BTreeMap;
use std::fmt;

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_attest::{Fact, Technology};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subtle::ConstantTimeEq;

/// The private claims of an access token.
///
/// The registered ones (`sub`, `aud`, `exp`, `nbf`, `iat`, `jti`) are the token library's. Reading these says nothing
/// about who presents the token: [`Facts::agent`](crate::Facts::agent) does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// The key that the token is bound to.
    pub cnf: Confirmation,
    /// What the gateway found true of the machine when it minted the token.
    pub appraisal: Appraisal,
    /// The profile of the channel that the token was minted on, such as `hybrid@1`.
    pub profile: String,
    /// The revision of grants and policy in force when the token was minted.
    pub policy_revision: u64,
}

/// The private claims of a bearer token that an operator issued: none.
///
/// What it says is registered: `sub` names the holder, `aud` is the one service that it opens, `exp` its end and `jti` the
/// name by which it is revoked. The type keeps it apart from every other kind of token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BearerClaims {}

/// The `cnf` claim: the SHA-384 hash of the only public key that may present the token.
///
/// The idea is that of RFC 8705, section 3.1, over the leaf's SubjectPublicKeyInfo instead of its certificate, so that
/// a renewed certificate keeps its token. On the wire it is `{"x5t-spki#s384": "<base64url>"}`.
///
/// ```
/// use countersign_policy::Confirmation;
///
/// let cnf = Confirmation::new([7; 48]);
/// assert!(cnf.is_for(&[7; 48]));
/// assert!(!cnf.is_for(&[8; 48]));
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ConfirmationClaim", into = "ConfirmationClaim")]
pub struct Confirmation {
    spki_sha384: [u8; 48],
}

impl Confirmation {
    /// Binds to the key whose DER SubjectPublicKeyInfo has this SHA-384 hash.
    pub const fn new(spki_sha384: [u8; 48]) -> Self {
        Self { spki_sha384 }
    }

    /// Whether the key with this hash is the bound one, compared in constant time.
    pub fn is_for(&self, spki_sha384: &[u8; 48]) -> bool {
        self.spki_sha384.ct_eq(spki_sha384).into()
    }
}

impl fmt::Debug for Confirmation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Confirmation({})",
            Base64UrlUnpadded::encode_string(&self.spki_sha384)
        )
    }
}

/// A `cnf` claim that is not the base64url of 48 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`x5t-spki#s384` is not 48 bytes of base64url without padding")]
pub struct MalformedConfirmation;

#[derive(Serialize, Deserialize)]
struct ConfirmationClaim {
    #[serde(rename = "x5t-spki#s384")]
    spki_sha384: String,
}

impl TryFrom<ConfirmationClaim> for Confirmation {
    type Error = MalformedConfirmation;

    fn try_from(claim: ConfirmationClaim) -> Result<Self, MalformedConfirmation> {
        let bytes =
            Base64UrlUnpadded::decode_vec(&claim.spki_sha384).map_err(|_| MalformedConfirmation)?;
        let spki_sha384 = bytes.try_into().map_err(|_| MalformedConfirmation)?;
        Ok(Self { spki_sha384 })
    }
}

impl From<Confirmation> for ConfirmationClaim {
    fn from(confirmation: Confirmation) -> Self {
        Self {
            spki_sha384: Base64UrlUnpadded::encode_string(&confirmation.spki_sha384),
        }
    }
}

/// The result of an appraisal, as a token carries it and a policy sees it.
///
/// Read from a token it is that token's word; only [`Appraisal::of`] makes one that says more than `software`, and only of
/// evidence that was appraised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appraisal {
    /// What was found.
    pub result: AppraisalResult,
    /// What vouched for the machine: an evidence technology, or `software` where nothing but its own word did.
    pub technology: String,
    /// Who made what vouched for it, by its certificate chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// When the evidence was appraised.
    pub at: Timestamp,
    /// What was measured, by name, in hexadecimal: `pcr.sha256.7`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub measurements: BTreeMap<String, String>,
    /// Named facts, such as `secure_boot`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, Value>,
    /// Why the result is not `affirming`, a sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

impl Appraisal {
    /// A machine that has nothing but its own word, seen at `at`.
    pub fn software(at: Timestamp) -> Self {
        Self {
            result: AppraisalResult::None,
            technology: Technology::Software.name().to_owned(),
            vendor: None,
            at,
            measurements: BTreeMap::new(),
            facts: BTreeMap::new(),
            reasons: Vec::new(),
        }
    }

    /// What evidence came to, and how that compares with what is expected of the machine.
    pub fn of(
        evidence: &countersign_attest::Appraisal,
        result: AppraisalResult,
        reasons: Vec<String>,
    ) -> Self {
        let measurements = evidence.measurements().iter();
        let facts = evidence.facts().iter();
        Self {
            result,
            technology: evidence.technology().name().to_owned(),
            vendor: evidence.vendor().map(str::to_owned),
            at: evidence.appraised_at(),
            measurements: measurements
                .map(|one| (one.name.clone(), hex(&one.value)))
                .collect(),
            facts: facts
                .map(|(name, fact)| ((*name).to_owned(), value(fact)))
                .collect(),
            reasons,
        }
    }
}

fn value(fact: &Fact) -> Value {
    match fact {
        Fact::Flag(flag) => (*flag).into(),
        Fact::Number(number) => (*number).into(),
        Fact::Text(text) => text.as_str().into(),
        Fact::List(list) => list.as_slice().into(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The trustworthiness tiers of RATS (draft-ietf-rats-ar4si, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AppraisalResult {
    /// Nothing was claimed or nothing could be said.
    None,
    /// The evidence matches what is expected of this machine.
    Affirming,
    /// The evidence matches, with something that the operator wants to know of.
    Warning,
    /// The evidence contradicts what is expected of this machine.
    Contraindicated,
}

impl fmt::Display for AppraisalResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Affirming => "affirming",
            Self::Warning => "warning",
            Self::Contraindicated => "contraindicated",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcH";

    fn check(claim: &str, expected: Option<[u8; 48]>) {
        let json = format!(r#"{{"x5t-spki#s384":"{claim}"}}"#);
        let read = serde_json::from_str::<Confirmation>(&json).ok();
        assert_eq!(read, expected.map(Confirmation::new), "`{claim}`");
        if let Some(confirmation) = read {
            assert_eq!(serde_json::to_string(&confirmation).unwrap(), json);
        }
    }

    #[test]
    fn forty_eight_bytes_are_read_and_written_back() {
        check(KEY, Some([7; 48]));
    }

    #[test]
    fn any_other_length_spelling_or_padding_is_refused() {
        check("", None);
        check(&KEY[4..], None);
        check(&format!("{KEY}BwcH"), None);
        check(&format!("{KEY}="), None);
        check(&KEY.replace("Bw", "B/"), None);
    }

    #[test]
    fn the_claims_have_the_names_on_the_wire_that_tokens_carry() {
        let claims = AccessClaims {
            cnf: Confirmation::new([7; 48]),
            appraisal: Appraisal::software("2026-11-23T00:00:00Z".parse().unwrap()),
            profile: "hybrid@1".into(),
            policy_revision: 7,
        };
        insta::assert_json_snapshot!(claims);
        let json = serde_json::to_string(&claims).unwrap();
        assert_eq!(serde_json::from_str::<AccessClaims>(&json).unwrap(), claims);
    }
}
