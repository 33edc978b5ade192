//! countersign-paseto.

use countersign_paseto::paserk::{
    Argon2id, Confidential, Identifies, Pbkdf2, ProtectedKey, Protects, Seals, WorkLimits, Wraps,
};
use countersign_paseto::{
    Envelope, Holds, InsecureV1, Key, Kind, Local, Mints, Opens, Pairs, Public, Purpose, Secret,
    SystemRandom, UntrustedToken, V2, V3, V4, V5, V6, mint_payload_if_known,
};

use crate::{Answer, Library, Question, Refusal, check_footer};

/// countersign-paseto itself.
#[derive(Debug, Clone, Copy)]
pub struct Countersign;

impl Library for Countersign {
    fn name(&self) -> &'static str {
        "countersign-paseto"
    }

    fn prepare(&self, question: &Question) -> Result<Answer, Refusal> {
        match question.about().0 {
            "k1" => of_version::<InsecureV1>(question),
            "k2" => everything::<V2>(question),
            "k3" => everything::<V3>(question),
            "k4" => everything::<V4>(question),
            "k5" => everything::<V5>(question),
            "k6" => everything::<V6>(question),
            _ => Err(Refusal::Unsupported),
        }
    }
}

/// A version with everything but `seal`.
trait Whole:
    Pairs
    + Identifies
    + Protects<Work: Cheap>
    + Opens<Local>
    + Opens<Public>
    + Mints<Local, Purpose = Local>
    + Mints<Secret, Purpose = Public>
{
}

impl<V> Whole for V where
    V: Pairs
        + Identifies
        + Protects<Work: Cheap>
        + Opens<Local>
        + Opens<Public>
        + Mints<Local, Purpose = Local>
        + Mints<Secret, Purpose = Public>
{
}

fn everything<V: Whole + Seals>(question: &Question) -> Result<Answer, Refusal> {
    match question {
        Question::Seal { .. } | Question::Unseal { .. } => sealing::<V>(question),
        _ => of_version::<V>(question),
    }
}

fn of_version<V: Whole>(question: &Question) -> Result<Answer, Refusal> {
    match question.about().1 {
        "public" => of_public_key::<V>(question),
        "secret" => match question {
            Question::Mint { .. } => minting::<V, Secret>(question),
            _ => of_confidential_key::<V, Secret>(question),
        },
        "local" => match question {
            Question::Mint { .. } => minting::<V, Local>(question),
            Question::Open { .. } => opening::<V, Local>(question),
            _ => of_confidential_key::<V, Local>(question),
        },
        "secret-wrap" | "secret-pw" => recovering::<V, Secret>(question),
        "local-wrap" | "local-pw" => recovering::<V, Local>(question),
        _ => Err(Refusal::Unsupported),
    }
}

fn minting<V: Mints<K>, K: Kind>(question: &Question) -> Result<Answer, Refusal> {
    let Question::Mint {
        key,
        payload,
        footer,
        assertion,
    } = question.clone()
    else {
        return Err(Refusal::Unsupported);
    };
    let key = Key::<V, K>::from_paserk(&key)?;
    Ok(Box::new(move |give| {
        let envelope = Envelope {
            footer: &footer,
            assertion: &assertion,
        };
        let token = mint_payload_if_known(&key, &payload, envelope, &SystemRandom)?;
        give(token.as_bytes());
        Ok(())
    }))
}

fn opening<V: Opens<P>, P: Purpose + Kind>(question: &Question) -> Result<Answer, Refusal> {
    let Question::Open {
        key,
        token,
        footer,
        assertion,
    } = question.clone()
    else {
        return Err(Refusal::Unsupported);
    };
    let key = Key::<V, P>::from_paserk(&key)?;
    Ok(Box::new(move |give| {
        let token = UntrustedToken::<V, P>::parse(&token)?;
        let opened = token.asserting_if_known(&assertion)?.open(&key)?;
        check_footer(opened.footer(), &footer)?;
        give(opened.payload());
        Ok(())
    }))
}

fn of_public_key<V: Whole>(question: &Question) -> Result<Answer, Refusal> {
    match question {
        Question::Open { .. } => opening::<V, Public>(question),
        Question::Identify { key } => identifying::<V, Public>(key),
        _ => Err(Refusal::Unsupported),
    }
}

fn of_confidential_key<V, K>(question: &Question) -> Result<Answer, Refusal>
where
    V: Protects<Work: Cheap> + Identifies + Holds<K>,
    K: Confidential,
{
    match question {
        Question::Identify { key } => identifying::<V, K>(key),
        Question::Wrap { key, with } => wrapping::<V, K>(key, with),
        Question::Protect { key, password } => {
            let (key, password) = (Key::<V, K>::from_paserk(key)?, password.clone());
            Ok(Box::new(move |give| {
                let text = key.protect(password.as_bytes(), V::Work::cheap(), &SystemRandom)?;
                give(text.as_bytes());
                Ok(())
            }))
        }
        _ => Err(Refusal::Unsupported),
    }
}

fn identifying<V: Identifies + Holds<K>, K: Kind>(key: &str) -> Result<Answer, Refusal> {
    let key = Key::<V, K>::from_paserk(key)?;
    Ok(Box::new(move |give| {
        give(key.id().as_str().as_bytes());
        Ok(())
    }))
}

fn wrapping<V: Wraps + Holds<K>, K: Confidential>(
    key: &str,
    with: &str,
) -> Result<Answer, Refusal> {
    let (key, with) = (Key::<V, K>::from_paserk(key)?, Key::from_paserk(with)?);
    Ok(Box::new(move |give| {
        give(key.wrap(&with, &SystemRandom)?.as_bytes());
        Ok(())
    }))
}

fn recovering<V: Protects + Holds<K>, K: Confidential>(
    question: &Question,
) -> Result<Answer, Refusal> {
    match question.clone() {
        Question::Unwrap { paserk, with } => {
            let with = Key::from_paserk(&with)?;
            Ok(Box::new(move |give| {
                give(&Key::<V, K>::unwrap(&paserk, &with)?.expose_secret());
                Ok(())
            }))
        }
        Question::Unlock { paserk, password } => Ok(Box::new(move |give| {
            let protected = ProtectedKey::<V, K>::parse(&paserk)?;
            let key = protected.unlock(password.as_bytes(), &WorkLimits::default())?;
            give(&key.expose_secret());
            Ok(())
        })),
        _ => Err(Refusal::Unsupported),
    }
}

fn sealing<V: Seals>(question: &Question) -> Result<Answer, Refusal> {
    match question.clone() {
        Question::Seal { key, to } => {
            let (key, to) = (Key::<V, Local>::from_paserk(&key)?, Key::from_paserk(&to)?);
            Ok(Box::new(move |give| {
                give(key.seal(&to, &SystemRandom)?.as_bytes());
                Ok(())
            }))
        }
        Question::Unseal { paserk, with } => {
            let with = Key::<V, V::With>::from_paserk(&with)?;
            Ok(Box::new(move |give| {
                give(&Key::unseal(&paserk, &with)?.expose_secret());
                Ok(())
            }))
        }
        _ => Err(Refusal::Unsupported),
    }
}

/// As little work as the key derivation allows.
trait Cheap {
    fn cheap() -> Self;
}

impl Cheap for Argon2id {
    fn cheap() -> Self {
        Self {
            memory: 64 << 10,
            passes: 1,
            parallelism: 1,
        }
    }
}

impl Cheap for Pbkdf2 {
    fn cheap() -> Self {
        Self { iterations: 100 }
    }
}
