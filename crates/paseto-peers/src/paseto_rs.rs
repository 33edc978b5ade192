//! The crates of paseto-rs: RustCrypto for all versions, AWS-LC for version 3, libsodium for version 4.

use std::error::Error;
use std::fmt::Display;
use std::sync::Arc;

use paseto_core::encodings::{Payload, WriteBytes};
use paseto_core::key::{HasKey, Key, KeyType, SealingKey};
use paseto_core::paserk::{
    IdVersion, PasswordWrappedKey, PieWrapVersion, PieWrappedKey, PkeSealingVersion,
    PkeUnsealingVersion, PwWrapVersion, SealedKey,
};
use paseto_core::tokens::{SealedToken, UnsealedToken};
use paseto_core::validation::NoValidation;
use paseto_core::version::{
    Local, PkePublic, PkeSecret, Public, Purpose, SealingVersion, Secret, UnsealingVersion,
};

use crate::{Answer, Library, Question, Refusal, check_footer};

/// paseto-v2, paseto-v3 and paseto-v4.
#[derive(Debug, Clone, Copy)]
pub struct PasetoRs;

impl Library for PasetoRs {
    fn name(&self) -> &'static str {
        "paseto-rs"
    }

    fn prepare(&self, question: &Question) -> Result<Answer, Refusal> {
        match question.about().0 {
            "k2" => of_version::<paseto_v2::core::V2>(question),
            "k3" => of_version::<paseto_v3::core::V3>(question),
            "k4" => of_version::<paseto_v4::core::V4>(question),
            _ => Err(Refusal::Unsupported),
        }
    }
}

/// paseto-v3-aws-lc and paseto-v4-sodium.
#[derive(Debug, Clone, Copy)]
pub struct PasetoRsOnC;

impl Library for PasetoRsOnC {
    fn name(&self) -> &'static str {
        "paseto-rs on C"
    }

    fn prepare(&self, question: &Question) -> Result<Answer, Refusal> {
        match question.about().0 {
            "k3" => of_version::<paseto_v3_aws_lc::core::V3>(question),
            "k4" => {
                paseto_v4_sodium::ensure_init().map_err(Refusal::because)?;
                of_version::<paseto_v4_sodium::core::V4>(question)
            }
            _ => Err(Refusal::Unsupported),
        }
    }
}

/// A version with everything, whose keys can be used again after they were wrapped.
trait Whole:
    SealingVersion<Local>
    + SealingVersion<Public>
    + HasKey<Local, Key: Clone + 'static>
    + HasKey<Secret, Key: Clone + 'static>
    + HasKey<Public, Key: 'static>
    + HasKey<PkePublic, Key: 'static>
    + HasKey<PkeSecret, Key: 'static>
    + PieWrapVersion
    + PwWrapVersion
    + PkeSealingVersion
    + PkeUnsealingVersion
    + IdVersion
{
}

impl<V> Whole for V where
    V: SealingVersion<Local>
        + SealingVersion<Public>
        + HasKey<Local, Key: Clone + 'static>
        + HasKey<Secret, Key: Clone + 'static>
        + HasKey<Public, Key: 'static>
        + HasKey<PkePublic, Key: 'static>
        + HasKey<PkeSecret, Key: 'static>
        + PieWrapVersion
        + PwWrapVersion
        + PkeSealingVersion
        + PkeUnsealingVersion
        + IdVersion
{
}

fn of_version<V: Whole>(question: &Question) -> Result<Answer, Refusal> {
    let kind = question.about().1;
    match question.clone() {
        Question::Mint { key, .. } if kind == "local" => minting::<V, Local>(&key, question),
        Question::Mint { key, .. } => minting::<V, Public>(&key, question),
        Question::Open { key, .. } if kind == "local" => opening::<V, Local>(&key, question),
        Question::Open { key, .. } => opening::<V, Public>(&key, question),
        Question::Identify { key } => match kind {
            "local" => identifying::<V, Local>(&key),
            "secret" => identifying::<V, Secret>(&key),
            _ => identifying::<V, Public>(&key),
        },
        Question::Wrap { key, with } => {
            let with = key_of::<V, Local>(&with)?;
            match kind {
                "local" => each(key_of::<V, Local>(&key)?, move |key| key.wrap_pie(&with)),
                _ => each(key_of::<V, Secret>(&key)?, move |key| key.wrap_pie(&with)),
            }
        }
        Question::Protect { key, password } => match kind {
            "local" => each(key_of::<V, Local>(&key)?, move |key| {
                key.password_wrap(password.as_bytes())
            }),
            _ => each(key_of::<V, Secret>(&key)?, move |key| {
                key.password_wrap(password.as_bytes())
            }),
        },
        Question::Seal { key, to } => {
            let to = key_of::<V, PkePublic>(&to)?;
            each(key_of::<V, Local>(&key)?, move |key| key.seal(&to))
        }
        Question::Unwrap { .. } | Question::Unlock { .. } | Question::Unseal { .. } => match kind {
            "local-wrap" | "local-pw" => recovering::<V, Local>(question),
            "secret-wrap" | "secret-pw" => recovering::<V, Secret>(question),
            _ => unsealing::<V>(question),
        },
    }
}

fn key_of<V: HasKey<K>, K: KeyType>(paserk: &str) -> Result<Key<V, K>, Refusal> {
    Ok(paserk.parse()?)
}

/// Shows what `make` makes of a copy of the key: the library takes it.
fn each<V, K, T, E>(
    key: Key<V, K>,
    make: impl Fn(Key<V, K>) -> Result<T, E> + 'static,
) -> Result<Answer, Refusal>
where
    V: HasKey<K, Key: Clone + 'static>,
    K: KeyType,
    T: Display,
    E: Error,
{
    Ok(Box::new(move |give| {
        give(make(key.clone())?.to_string().as_bytes());
        Ok(())
    }))
}

fn minting<V, P>(key: &str, question: &Question) -> Result<Answer, Refusal>
where
    V: SealingVersion<P> + HasKey<P::SealingKey, Key: 'static>,
    P: Purpose,
{
    let Question::Mint {
        payload,
        footer,
        assertion,
        ..
    } = question.clone()
    else {
        return Err(Refusal::Unsupported);
    };
    let key = key_of::<V, P::SealingKey>(key)?;
    let payload = Bytes(payload.into());
    Ok(Box::new(move |give| {
        let token = UnsealedToken::<V, P, Bytes>::new(payload.clone()).with_footer(footer.clone());
        give(token.seal(&key, &assertion)?.to_string().as_bytes());
        Ok(())
    }))
}

fn opening<V, P>(key: &str, question: &Question) -> Result<Answer, Refusal>
where
    V: UnsealingVersion<P> + HasKey<P, Key: 'static>,
    P: Purpose,
{
    let Question::Open {
        token,
        footer,
        assertion,
        ..
    } = question.clone()
    else {
        return Err(Refusal::Unsupported);
    };
    let key = key_of::<V, P>(key)?;
    Ok(Box::new(move |give| {
        let token: SealedToken<V, P, Bytes, Vec<u8>> = token.parse()?;
        let opened = token.unseal(&key, &assertion, &NoValidation::dangerous_no_validation())?;
        check_footer(&opened.footer, &footer)?;
        give(&opened.claims.0);
        Ok(())
    }))
}

fn identifying<V, K>(key: &str) -> Result<Answer, Refusal>
where
    V: IdVersion + HasKey<K, Key: 'static>,
    K: KeyType,
{
    let key = key_of::<V, K>(key)?;
    Ok(Box::new(move |give| {
        give(key.id().to_string().as_bytes());
        Ok(())
    }))
}

fn recovering<V, K>(question: &Question) -> Result<Answer, Refusal>
where
    V: PieWrapVersion + PwWrapVersion + HasKey<K> + HasKey<Local, Key: 'static>,
    K: SealingKey,
{
    match question.clone() {
        Question::Unwrap { paserk, with } => {
            let with = key_of::<V, Local>(&with)?;
            Ok(Box::new(move |give| {
                let key = paserk.parse::<PieWrappedKey<V, K>>()?.unwrap(&with)?;
                give(key.expose_key().as_raw_bytes());
                Ok(())
            }))
        }
        Question::Unlock { paserk, password } => Ok(Box::new(move |give| {
            let protected: PasswordWrappedKey<V, K> = paserk.parse()?;
            let key = protected.unwrap(password.as_bytes())?;
            give(key.expose_key().as_raw_bytes());
            Ok(())
        })),
        _ => Err(Refusal::Unsupported),
    }
}

fn unsealing<V>(question: &Question) -> Result<Answer, Refusal>
where
    V: PkeUnsealingVersion + HasKey<PkeSecret, Key: 'static>,
{
    let Question::Unseal { paserk, with } = question.clone() else {
        return Err(Refusal::Unsupported);
    };
    let with = key_of::<V, PkeSecret>(&with)?;
    Ok(Box::new(move |give| {
        let key = paserk.parse::<SealedKey<V>>()?.unseal(&with)?;
        give(key.expose_key().as_raw_bytes());
        Ok(())
    }))
}

/// A payload as it is.
#[derive(Clone)]
struct Bytes(Arc<[u8]>);

impl Payload for Bytes {
    const SUFFIX: &'static str = "";

    fn encode(self, mut writer: impl WriteBytes) -> Result<(), Box<dyn Error + Send + Sync>> {
        writer.write(&self.0);
        Ok(())
    }

    fn decode(payload: &[u8]) -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self(payload.into()))
    }
}
