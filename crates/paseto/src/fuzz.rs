//! What holds for every input that a parser accepts: written again, it is the input.
//!
//! The tests run these on mutations of our own vectors, `fuzz/` at the root of the repository gives them to libFuzzer. Each
//! says whether it accepted the input.

use alloc::string::String;
use alloc::vec::Vec;
use core::str;

use serde_json::{Map, Value};

use crate::encoding;
use crate::paserk::suite::Suite;
use crate::paserk::{Confidential, ProtectedKey, Protects, WorkFactor, Wraps};
use crate::token::{UntrustedToken, write};
use crate::{
    Claims, Holds, InsecureV1, Key, KeyId, Kind, Local, Public, Purpose, Random,
    RandomnessUnavailable, Secret, TokenError, V2, V3, V4, Version,
};
#[cfg(feature = "draft")]
use crate::{SealPublic, SealSecret, V5, V6};

/// A token of any version and purpose.
pub fn token(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else {
        return false;
    };
    let known = tokens_of::<InsecureV1>(text)
        || tokens_of::<V2>(text)
        || tokens_of::<V3>(text)
        || tokens_of::<V4>(text);
    #[cfg(feature = "draft")]
    let known = known || tokens_of::<V5>(text) || tokens_of::<V6>(text);
    known
}

fn tokens_of<V: Version>(text: &str) -> bool {
    read_token::<V, Local>(text) || read_token::<V, Public>(text)
}

fn read_token<V: Version, P: Purpose>(text: &str) -> bool {
    let Ok(token) = UntrustedToken::<V, P>::parse(text) else {
        return false;
    };
    assert_eq!(write::<V, P>(&token.body, &token.footer), text);
    true
}

/// A footer: it is carried as it is, and a key id in it is found again in a footer that we write.
pub fn footer(input: &[u8]) -> bool {
    let text = write::<V4, Local>(b"", input);
    let token = UntrustedToken::<V4, Local>::parse(&text).expect("written by us");
    assert_eq!(token.footer, input);
    let Some(id) = token.unverified_key_id() else {
        return false;
    };
    let again = KeyId::in_footer(id.to_footer().as_bytes());
    assert_eq!(again.as_deref(), Some(id.as_str()));
    true
}

/// A serialised key of any version and type; what is wrapped, under the key of 32 times [`WRAPPED_UNDER`].
pub fn paserk(input: &[u8]) -> bool {
    let Ok(text) = str::from_utf8(input) else {
        return false;
    };
    let known = id(text)
        || keys_of::<InsecureV1>(text)
        || keys_of::<V2>(text)
        || keys_of::<V3>(text)
        || keys_of::<V4>(text);
    #[cfg(feature = "draft")]
    let known = known
        || keys_of::<V5>(text)
        || keys_of::<V6>(text)
        || plain::<V5, SealPublic>(text)
        || plain::<V5, SealSecret>(text)
        || plain::<V6, SealPublic>(text)
        || plain::<V6, SealSecret>(text);
    known
}

fn keys_of<V: Protects + Holds<Public> + Holds<Secret>>(text: &str) -> bool {
    plain::<V, Local>(text)
        || plain::<V, Public>(text)
        || plain::<V, Secret>(text)
        || protected::<V, Local>(text)
        || protected::<V, Secret>(text)
        || wrapped::<V, Local>(text)
        || wrapped::<V, Secret>(text)
}

fn id(text: &str) -> bool {
    let Ok(id) = text.parse::<KeyId>() else {
        return false;
    };
    assert_eq!(id.as_str(), text);
    let data = text.rsplit('.').next().unwrap_or_default();
    let hash = encoding::decode(data).expect("it was read");
    let mut again = String::from(text.trim_end_matches(data));
    encoding::append(&mut again, &hash);
    assert_eq!(again, text);
    true
}

fn plain<V: Holds<K>, K: Kind>(text: &str) -> bool {
    let Ok(key) = Key::<V, K>::from_paserk(text) else {
        return false;
    };
    assert_eq!(*key.to_paserk(), text);
    true
}

fn protected<V: Protects + Holds<K>, K: Confidential>(text: &str) -> bool {
    let Ok(read) = ProtectedKey::<V, K>::parse(text) else {
        return false;
    };
    let mut again = alloc::format!("{}.{}.", V::PASERK, K::PROTECTED);
    encoding::append(&mut again, &read.data);
    assert_eq!(again, text);
    let mut work = Vec::new();
    read.work().write(&mut work);
    let after_salt = read.data.get(V::SALT_LEN..).unwrap_or_default();
    assert!(after_salt.starts_with(&work));
    true
}

fn wrapped<V: Wraps + Holds<K>, K: Confidential>(text: &str) -> bool {
    let wrapping = Key::<V, Local>::from_bytes(&[WRAPPED_UNDER; 32]).expect("any 32 bytes are one");
    let Ok(key) = Key::<V, K>::unwrap(text, &wrapping) else {
        return false;
    };
    let data = encoding::decode(text.rsplit('.').next().unwrap_or_default()).expect("it was read");
    let nonce = data.get(V::Suite::TAG_LEN..).unwrap_or_default();
    let again = key
        .wrap(&wrapping, &Again(nonce))
        .expect("the nonce is there");
    assert_eq!(again, text);
    true
}

/// Claims, their own and the registered ones: JSON has many texts, so what is compared is what they say.
pub fn claims(input: &[u8]) -> bool {
    let read = Claims::<Map<String, Value>>::from_json(input);
    as_serde_json_has_them(input, &read);
    let Ok(read) = read else {
        return false;
    };
    let written = read.dangerous_without_expiry();
    let json = written.to_json().expect("what was read can be written");
    let again = Claims::<Map<String, Value>>::from_json(&json).expect("what was written is read");
    let (first, second) = (written.registered(), again.registered());
    let texts = |claims: &crate::Registered| {
        let own = [&claims.issuer, &claims.subject, &claims.audience];
        (own.map(Clone::clone), claims.token_id.clone())
    };
    assert_eq!(texts(first), texts(second));
    let times = |claims: &crate::Registered| {
        let times = [claims.expires_at, claims.not_before, claims.issued_at];
        times.map(|time| time.map(|time| time.as_second()))
    };
    assert_eq!(times(first), times(second));
    assert_eq!(names(&written), names(&again));
    true
}

/// The entries are cut by hand: as a parser of the whole would, also where it refuses.
fn as_serde_json_has_them(input: &[u8], read: &Result<Claims<Map<String, Value>>, TokenError>) {
    let whole = serde_json::from_slice::<Map<String, Value>>(input);
    let registered = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];
    match read {
        Ok(read) => {
            let mut whole = whole.expect("serde_json reads it too");
            let subject = whole.get("sub").and_then(Value::as_str);
            assert_eq!(read.registered().subject.as_deref(), subject);
            whole.retain(|name, _| !registered.contains(&name.as_str()));
            assert_eq!(read.private, whole);
        }
        Err(TokenError::Unreadable(why)) => {
            let has_none =
                |whole: Map<_, _>| !registered.iter().any(|name| whole.contains_key(*name));
            assert!(!whole.is_ok_and(has_none), "{why}");
        }
        Err(_) => {}
    }
}

fn names(claims: &Claims<Map<String, Value>>) -> Vec<&String> {
    claims.private.keys().collect()
}

/// Gives the same bytes again.
struct Again<'a>(&'a [u8]);

impl Random for Again<'_> {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        let given = self.0.get(..bytes.len()).ok_or(RandomnessUnavailable)?;
        bytes.copy_from_slice(given);
        Ok(())
    }
}

/// Of which byte the wrapping key consists.
pub const WRAPPED_UNDER: u8 = 7;

#[cfg(test)]
mod tests {
    use alloc::borrow::ToOwned;

    use super::*;

    /// Every seed is accepted, or it would be none.
    fn check(seeds: &[String], target: fn(&[u8]) -> bool) {
        assert!(!seeds.is_empty());
        for seed in seeds {
            assert!(target(seed.as_bytes()), "{seed}");
        }
        let tally = countersign_fuzz::run(seeds, WORDS, target);
        assert!(tally.tried > tally.accepted && tally.accepted > 0);
    }

    /// The texts in this field of our own vectors, of the versions that are built.
    fn texts(field: &str) -> Vec<String> {
        let vectors: Vec<Value> =
            serde_json::from_str(include_str!("../tests/vectors.json")).unwrap();
        let texts = vectors.iter().filter_map(|vector| vector[field].as_str());
        let drafted = |text: &str| matches!(text.get(1..2), Some("5" | "6"));
        let built = |text: &&str| cfg!(feature = "draft") || !drafted(text);
        texts.filter(built).map(str::to_owned).collect()
    }

    #[test]
    fn a_token_is_written_as_it_was_read() {
        check(&texts("token"), token);
    }

    #[test]
    fn a_footer_is_written_as_it_was_read() {
        let ids = texts("paserk")
            .into_iter()
            .filter(|text| text.contains("id."));
        let footers = ids.map(|id| alloc::format!(r#"{{"kid":"{id}","more":[1]}}"#));
        check(&footers.collect::<Vec<_>>(), footer);
    }

    #[test]
    fn a_serialised_key_is_written_as_it_was_read() {
        let mut seeds = texts("key");
        // Whether such a key is its public half's takes a fifth of a second to see.
        seeds.retain(|text| !text.starts_with("k6.secret."));
        let own = texts("paserk").into_iter();
        seeds.extend(own.filter(|text| text.contains("id.") || text.contains("-pw.")));
        let local = Key::<V4, Local>::from_bytes(&[WRAPPED_UNDER; 32]).unwrap();
        let signing = Key::<V3, Secret>::from_bytes(&[WRAPPED_UNDER; 48]).unwrap();
        let wrapping = Key::<V3, Local>::from_bytes(&[WRAPPED_UNDER; 32]).unwrap();
        seeds.push(local.wrap(&local, &Again(&[1; 32])).unwrap());
        seeds.push(signing.wrap(&wrapping, &Again(&[1; 32])).unwrap());
        check(&seeds, paserk);
    }

    #[test]
    fn claims_are_written_as_they_were_read() {
        let seeds = [
            r#"{"iss":"a","sub":"b","aud":"c","exp":"2039-01-01T00:00:00Z","nbf":"2038-01-01T00:00:00+01:00","iat":"2038-01-01T00:00:00.5Z","jti":"d"}"#,
            r#"{"exp":"2039-01-01T00:00:00Z","role":"admin","n":[1,2.5,-3e9,{"a":null,"b":true}]}"#,
            r#"{"su\u0062":"\ud83d\ude00","":{"":{"":[[[]]]}}}"#,
        ];
        check(&seeds.map(str::to_owned), claims);
    }

    /// What parsers here look for.
    const WORDS: &[&str] = &[
        ".",
        "=",
        "..",
        "\n",
        "AA",
        "_",
        "-",
        "v1.",
        "v2.",
        "v3.",
        "v4.",
        "v5.",
        "v6.",
        "k1.",
        "k2.",
        "k3.",
        "k4.",
        "k5.",
        "k6.",
        "local.",
        "public.",
        "secret.",
        "lid.",
        "pid.",
        "sid.",
        "local-pw.",
        "secret-pw.",
        "pie.",
        "{",
        "}",
        "[",
        "]",
        "[[[[[[[[",
        "\"",
        ",",
        ":",
        "\\u0065",
        "\\",
        "null",
        "1e999",
        " ",
        "\t",
        "\r\n",
        "\"exp\":",
        "\"sub\":",
        "\"aud\":",
        "\"kid\":",
        "2039-01-01T00:00:00Z",
        "-009999-01-01T00:00:00Z",
        ".999999999Z",
        "\u{0}",
        "é",
    ];
}
