//! Answers the questions of crates/paseto-peers with rusty_paseto, a line of JSON for a line of JSON.
//!
//! Local tokens of all versions, public ones of the version whose feature is on, wrapped and sealed keys of version 4.

use std::error::Error;
use std::io::{BufRead, Write, stdin, stdout};

#[cfg(feature = "v4")]
use paserk::{K4, PaserkLocal, PaserkLocalWrap, PaserkSeal, PaserkSecret, Pie};
use rusty_paseto::core::*;
use serde::Deserialize;
use serde_json::{Value, json};

#[path = "../../../crates/paseto-peers/src/clock.rs"]
mod clock;

#[derive(Deserialize)]
struct Question {
    ask: String,
    #[serde(default)]
    key: String,
    #[serde(default)]
    paserk: String,
    #[cfg(feature = "v4")]
    #[serde(default)]
    with: String,
    #[cfg(feature = "v4")]
    #[serde(default)]
    to: String,
    #[serde(default)]
    token: String,
    #[serde(default)]
    payload: String,
    #[serde(default)]
    footer: String,
    #[serde(default)]
    assertion: String,
    /// Whether to answer with the time that an answer takes.
    #[serde(default)]
    measure: bool,
}

type Answer = Result<Vec<u8>, Box<dyn Error>>;

fn main() -> Result<(), Box<dyn Error>> {
    for line in stdin().lock().lines() {
        let answer = answer(serde_json::from_str(&line?)?);
        let answer = answer.unwrap_or_else(|error| json!({ "refused": error.to_string() }));
        writeln!(stdout(), "{answer}")?;
        stdout().flush()?;
    }
    Ok(())
}

fn answer(question: Question) -> Result<Value, Box<dyn Error>> {
    let Some(call) = prepare(&question)? else {
        return Ok(json!({ "unsupported": null }));
    };
    if question.measure {
        call()?;
        let nanoseconds = clock::nanoseconds(|| drop(std::hint::black_box(call())));
        return Ok(json!({ "nanoseconds": nanoseconds }));
    }
    Ok(match question.ask.as_str() {
        "mint" | "wrap" | "seal" => json!({ "text": String::from_utf8(call()?)? }),
        _ => json!({ "bytes": hexadecimal(&call()?) }),
    })
}

/// The key of a plain PASERK, as the `Key` that most of this library's keys are made from.
macro_rules! key {
    ($length:literal, $paserk:expr) => {
        Key::<$length>::try_from(
            base64_simd::URL_SAFE_NO_PAD
                .decode_to_vec($paserk)?
                .as_slice(),
        )?
    };
}

/// Each version has functions of the same names and no trait in common; the first two take no assertion.
macro_rules! local {
    ($version:ty, $nonce:literal, $question:ident, $data:ident $(, $assertion:ident)?) => {{
        let key = PasetoSymmetricKey::<$version, Local>::from(key!(32, $data));
        let Texts { payload, footer, token, .. } = texts($question)?;
        $(let $assertion = texts($question)?.assertion;)?
        match $question.ask.as_str() {
            "mint" => boxed(move || {
                let nonce = Key::<$nonce>::try_new_random()?;
                let mut builder = Paseto::<$version, Local>::builder();
                builder.set_payload(Payload::from(payload.as_str()));
                some(&footer).map(|footer| builder.set_footer(Footer::from(footer)));
                $(builder.set_implicit_assertion(ImplicitAssertion::from($assertion.as_str()));)?
                Ok(builder.try_encrypt(&key, &PasetoNonce::<$version, Local>::from(&nonce))?.into_bytes())
            }),
            _ => boxed(move || {
                let footer = some(&footer).map(Footer::from);
                Ok(Paseto::<$version, Local>::try_decrypt(
                    &token, &key, footer $(, ImplicitAssertion::from($assertion.as_str()))?
                )?.into_bytes())
            }),
        }
    }};
}

#[cfg(any(feature = "v2", feature = "v3", feature = "v4"))]
macro_rules! public {
    ($version:ty, $secret:literal, $public:literal, $question:ident, $data:ident $(, $assertion:ident)?) => {{
        let Texts { payload, footer, token, .. } = texts($question)?;
        $(let $assertion = texts($question)?.assertion;)?
        match $question.ask.as_str() {
            "mint" => {
                let key = key!($secret, $data);
                boxed(move || {
                    let mut builder = Paseto::<$version, Public>::builder();
                    builder.set_payload(Payload::from(payload.as_str()));
                    some(&footer).map(|footer| builder.set_footer(Footer::from(footer)));
                    $(builder.set_implicit_assertion(ImplicitAssertion::from($assertion.as_str()));)?
                    Ok(builder.try_sign(&PasetoAsymmetricPrivateKey::<$version, Public>::from(&key))?.into_bytes())
                })
            }
            _ => {
                let key = key!($public, $data);
                boxed(move || {
                    let key = PasetoAsymmetricPublicKey::<$version, Public>::try_from(&key)?;
                    let footer = some(&footer).map(Footer::from);
                    Ok(Paseto::<$version, Public>::try_verify(
                        &token, &key, footer $(, ImplicitAssertion::from($assertion.as_str()))?
                    )?.into_bytes())
                })
            }
        }
    }};
}

type Call = Option<Box<dyn Fn() -> Answer>>;

fn prepare(question: &Question) -> Result<Call, Box<dyn Error>> {
    let about = [&question.key, &question.paserk]
        .into_iter()
        .find(|text| !text.is_empty());
    let parts: Vec<&str> = about
        .map(|text| text.splitn(3, '.').collect())
        .unwrap_or_default();
    let [version, kind, data] = parts[..] else {
        return Ok(None);
    };
    match (question.ask.as_str(), version, kind) {
        ("mint" | "open", "k1", "local") => local!(V1, 32, question, data),
        ("mint" | "open", "k2", "local") => local!(V2, 24, question, data),
        ("mint" | "open", "k3", "local") => local!(V3, 32, question, data, assertion),
        ("mint" | "open", "k4", "local") => local!(V4, 32, question, data, assertion),
        #[cfg(feature = "v2")]
        ("mint" | "open", "k2", _) => public!(V2, 64, 32, question, data),
        #[cfg(feature = "v3")]
        ("mint" | "open", "k3", _) => public!(V3, 48, 49, question, data, assertion),
        #[cfg(feature = "v4")]
        ("mint" | "open", "k4", _) => public!(V4, 64, 32, question, data, assertion),
        #[cfg(feature = "v4")]
        (_, "k4", "local" | "local-wrap" | "seal") => on_keys(question),
        _ => Ok(None),
    }
}

#[cfg(feature = "v4")]
fn on_keys(question: &Question) -> Result<Call, Box<dyn Error>> {
    let (paserk, key) = (question.paserk.as_str(), question.key.as_str());
    match question.ask.as_str() {
        "wrap" => {
            let (key, with) = (
                PaserkLocal::<K4>::try_from(key)?,
                PaserkLocal::try_from(question.with.as_str())?,
            );
            boxed(move || {
                Ok(PaserkLocalWrap::<K4, Pie>::try_wrap(&key, &with)?
                    .to_string()
                    .into())
            })
        }
        "unwrap" => {
            let (paserk, with) = (
                paserk.to_owned(),
                PaserkLocal::try_from(question.with.as_str())?,
            );
            boxed(move || {
                let wrapped = PaserkLocalWrap::<K4, Pie>::try_from(paserk.as_str())?;
                Ok(wrapped.try_unwrap(&with)?.as_bytes().to_vec())
            })
        }
        // It takes the recipient's secret key, and has no way from the public one.
        "seal" if question.to.starts_with("k4.public.") => Ok(None),
        "seal" => {
            let (key, to) = (
                PaserkLocal::<K4>::try_from(key)?,
                PaserkSecret::try_from(question.to.as_str())?,
            );
            boxed(move || Ok(PaserkSeal::<K4>::try_seal(&key, &to)?.to_string().into()))
        }
        "unseal" => {
            let (paserk, with) = (
                paserk.to_owned(),
                PaserkSecret::try_from(question.with.as_str())?,
            );
            boxed(move || {
                let sealed = PaserkSeal::<K4>::try_from(paserk.as_str())?;
                Ok(sealed.try_unseal(&with)?.as_bytes().to_vec())
            })
        }
        _ => Ok(None),
    }
}

fn boxed(call: impl Fn() -> Answer + 'static) -> Result<Call, Box<dyn Error>> {
    Ok(Some(Box::new(call)))
}

/// The question's texts, which arrive as hexadecimal.
struct Texts {
    payload: String,
    footer: String,
    assertion: String,
    token: String,
}

fn texts(question: &Question) -> Result<Texts, Box<dyn Error>> {
    Ok(Texts {
        payload: text(&question.payload)?,
        footer: text(&question.footer)?,
        assertion: text(&question.assertion)?,
        token: question.token.clone(),
    })
}

fn text(hexadecimal: &str) -> Result<String, Box<dyn Error>> {
    let pairs = hexadecimal.as_bytes().chunks(2);
    let digits = pairs.map(|pair| std::str::from_utf8(pair).unwrap_or_default());
    let bytes: Result<_, _> = digits.map(|pair| u8::from_str_radix(pair, 16)).collect();
    Ok(String::from_utf8(bytes?)?)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn some(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}
