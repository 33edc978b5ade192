//! The join string: one line that lets one machine in, once, or that tells machines with a TPM where to ask.
//!
//! `countersign-join-v1.` and then JSON in base64url: where the gateway is, the trust domain, the SHA-384 of the trust
//! domain's key, and a join token. An agent checks the gateway against the hash before it sends the token. Without a token
//! it is no secret: a machine comes in by its TPM alone.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_channel::identity::{InvalidSpiffeId, InvalidSpkiHash, SpkiHash, TrustDomain};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::config::HostPort;

/// What a join string says.
pub(crate) struct JoinString {
    /// Where the gateway is.
    pub(crate) address: HostPort,
    /// The trust domain to join.
    pub(crate) trust_domain: TrustDomain,
    /// The SHA-384 of the trust domain's key.
    pub(crate) pin: SpkiHash,
    /// What lets the machine in, unless its TPM does.
    pub(crate) token: Option<JoinToken>,
}

impl JoinString {
    /// The line that is handed to the machine's operator.
    pub(crate) fn expose_secret(&self) -> Zeroizing<String> {
        let document = Document {
            address: self.address.to_string(),
            trust_domain: self.trust_domain.as_str().to_owned(),
            pin: self.pin.to_string(),
            token: self
                .token
                .as_ref()
                .map(|token| Cow::Borrowed(token.expose_secret())),
        };
        let json = serde_json::to_vec(&document).map(Zeroizing::new);
        let json = json.expect("strings are always JSON");
        let encoded = Zeroizing::new(Base64UrlUnpadded::encode_string(&json));
        Zeroizing::new(format!("{PREFIX}{}", *encoded))
    }
}

impl FromStr for JoinString {
    type Err = JoinStringError;

    /// Reads one line; white space around it is left out.
    fn from_str(text: &str) -> Result<Self, JoinStringError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(JoinStringError::Empty);
        }
        if text.len() > LONGEST {
            return Err(JoinStringError::TooLong(text.len()));
        }
        let encoded = text.strip_prefix(PREFIX).ok_or(JoinStringError::Prefix)?;
        let json = Base64UrlUnpadded::decode_vec(encoded)
            .map(Zeroizing::new)
            .map_err(|_| JoinStringError::Damaged)?;
        let document: Document<'static> =
            serde_json::from_slice(&json).map_err(|_| JoinStringError::Damaged)?;
        let is_none = |token: &str| {
            !["v4.local.", "v3.local."]
                .iter()
                .any(|version| token.starts_with(version))
        };
        if document.token.as_deref().is_some_and(is_none) {
            return Err(JoinStringError::Damaged);
        }
        Ok(Self {
            address: document
                .address
                .parse()
                .map_err(|_| JoinStringError::Address(document.address.clone()))?,
            trust_domain: TrustDomain::parse(&document.trust_domain)?,
            pin: document.pin.parse()?,
            token: document
                .token
                .map(|token| JoinToken::new(token.into_owned())),
        })
    }
}

impl fmt::Debug for JoinString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinString")
    }
}

/// A token that lets one machine in, once.
pub(crate) struct JoinToken(Zeroizing<String>);

impl JoinToken {
    /// A token that was minted here.
    pub(crate) fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// The token as it is sent to the gateway.
    pub(crate) fn expose_secret(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken")
    }
}

/// Why a text is no join string. No variant repeats the text: it may be a secret in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum JoinStringError {
    /// There is nothing.
    #[error("the join string is empty")]
    Empty,
    /// It is longer than a join string can be.
    #[error("a join string has at most {LONGEST} bytes, this has {0}")]
    TooLong(usize),
    /// It is something else.
    #[error("this is no join string: it does not start with `{PREFIX}`")]
    Prefix,
    /// It was cut or changed on its way.
    #[error("the join string is damaged")]
    Damaged,
    /// The address is none.
    #[error("the join string holds `{}`, which is no address", .0.escape_debug())]
    Address(String),
    /// The trust domain is none.
    #[error("the join string is damaged")]
    TrustDomain(#[from] InvalidSpiffeId),
    /// The hash is none.
    #[error("the join string is damaged")]
    Pin(#[from] InvalidSpkiHash),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<'a> {
    address: String,
    trust_domain: String,
    pin: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    token: Option<Cow<'a, str>>,
}

const PREFIX: &str = "countersign-join-v1.";
/// An address and a trust domain of 255 bytes each, a hash and a token of 1 KiB, in base64, twice over.
const LONGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn document(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut json = serde_json::json!({
            "address": "gate.example.org:8443",
            "trust_domain": "example.org",
            "pin": "ab".repeat(48),
            "token": "v4.local.c2VjcmV0",
        });
        change(&mut json);
        let encoded = Base64UrlUnpadded::encode_string(json.to_string().as_bytes());
        format!("{PREFIX}{encoded}")
    }

    fn check(text: &str, expected: &str) {
        let error = text.parse::<JoinString>().unwrap_err();
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn a_join_string_reads_back_as_it_was_written() {
        let joined: JoinString = document(|_| ()).parse().unwrap();
        assert_eq!(joined.address.to_string(), "gate.example.org:8443");
        assert_eq!(joined.trust_domain.as_str(), "example.org");
        assert_eq!(joined.pin.as_bytes(), &[0xab; 48]);
        let token = joined.token.as_ref().map(JoinToken::expose_secret);
        assert_eq!(token, Some("v4.local.c2VjcmV0"));
        let again: JoinString = joined.expose_secret().parse().unwrap();
        assert_eq!(again.expose_secret(), joined.expose_secret());
    }

    #[test]
    fn without_a_token_it_is_for_machines_with_a_tpm() {
        let remove = |json: &mut serde_json::Value| {
            json.as_object_mut().unwrap().remove("token");
        };
        let joined: JoinString = document(remove).parse().unwrap();
        assert!(joined.token.is_none());
        let again: JoinString = joined.expose_secret().parse().unwrap();
        assert!(again.token.is_none());
    }

    #[test]
    fn the_line_end_of_a_file_does_not_matter() {
        assert!(
            format!("{}\r\n", document(|_| ()))
                .parse::<JoinString>()
                .is_ok()
        );
    }

    #[test]
    fn what_is_no_join_string_is_said_without_repeating_it() {
        check("", "the join string is empty");
        check(" \n", "the join string is empty");
        check(
            "hunter2",
            "this is no join string: it does not start with `countersign-join-v1.`",
        );
        check(
            &"a".repeat(9000),
            "a join string has at most 8192 bytes, this has 9000",
        );
    }

    #[test]
    fn a_join_string_that_was_cut_or_changed_is_damaged() {
        let whole = document(|_| ());
        check(&whole[..whole.len() - 4], "the join string is damaged");
        check(&format!("{whole}="), "the join string is damaged");
        check(&format!("{whole}\n{whole}"), "the join string is damaged");
        check(
            &document(|json| json["pin"] = "abc".into()),
            "the join string is damaged",
        );
        check(
            &document(|json| json["trust_domain"] = "A B".into()),
            "the join string is damaged",
        );
        check(
            &document(|json| json["token"] = "v4.public.x".into()),
            "the join string is damaged",
        );
        check(
            &document(|json| json["more"] = true.into()),
            "the join string is damaged",
        );
    }

    #[test]
    fn an_address_that_is_none_is_named() {
        check(
            &document(|json| json["address"] = "gate".into()),
            "the join string holds `gate`, which is no address",
        );
    }

    #[test]
    fn a_join_string_prints_nothing_of_itself() {
        let joined: JoinString = document(|_| ()).parse().unwrap();
        assert_eq!(
            format!("{joined:?} {:?}", joined.token),
            "JoinString Some(JoinToken)"
        );
    }
}
