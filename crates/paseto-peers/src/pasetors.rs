//! pasetors: tokens of versions 2 and 4, public ones of version 3, plain keys and ids.

use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey, SymmetricKey};
use pasetors::paserk::{FormatAsPaserk, Id};
use pasetors::token::UntrustedToken;
use pasetors::version2::V2;
use pasetors::version3::V3;
use pasetors::version4::V4;
use pasetors::{version2, version3, version4};

use crate::{Answer, Library, Payloads, Question, Refusal};

/// pasetors.
#[derive(Debug, Clone, Copy)]
pub struct Pasetors;

impl Library for Pasetors {
    fn name(&self) -> &'static str {
        "pasetors"
    }

    /// It gives payloads as text.
    fn payloads(&self) -> Payloads {
        Payloads::Text
    }

    fn prepare(&self, question: &Question) -> Result<Answer, Refusal> {
        match question {
            Question::Mint { .. } => minting(question),
            Question::Open { .. } => opening(question),
            Question::Identify { key } => identifying(question.about(), key),
            _ => Err(Refusal::Unsupported),
        }
    }
}

/// Its three versions have functions of the same names and no trait in common; version 2 knows no assertions.
macro_rules! mint_with {
    ($key:ty, $call:path, $question:expr $(, $assertion:ident)?) => {{
        let Question::Mint { key, payload, footer, assertion } = $question.clone() else {
            return Err(Refusal::Unsupported);
        };
        let key = <$key>::try_from(key.as_str())?;
        Ok(Box::new(move |give: &mut dyn FnMut(&[u8])| {
            let _assertion = some(&assertion);
            $(let $assertion = _assertion;)?
            give($call(&key, &payload, some(&footer) $(, $assertion)?)?.as_bytes());
            Ok(())
        }))
    }};
}

macro_rules! open_with {
    ($key:ty, $call:path, $question:expr $(, $assertion:ident)?) => {{
        let Question::Open { key, token, footer, assertion } = $question.clone() else {
            return Err(Refusal::Unsupported);
        };
        let key = <$key>::try_from(key.as_str())?;
        Ok(Box::new(move |give: &mut dyn FnMut(&[u8])| {
            let _assertion = some(&assertion);
            $(let $assertion = _assertion;)?
            let token = UntrustedToken::try_from(&token)?;
            give($call(&key, &token, some(&footer) $(, $assertion)?)?.payload().as_bytes());
            Ok(())
        }))
    }};
}

fn minting(question: &Question) -> Result<Answer, Refusal> {
    match question.about() {
        ("k2", "local") => {
            mint_with!(SymmetricKey<V2>, version2::LocalToken::encrypt, question)
        }
        ("k2", "secret") => {
            mint_with!(
                AsymmetricSecretKey<V2>,
                version2::PublicToken::sign,
                question
            )
        }
        ("k3", "secret") => mint_with!(
            AsymmetricSecretKey<V3>,
            version3::PublicToken::sign,
            question,
            assertion
        ),
        ("k4", "local") => mint_with!(
            SymmetricKey<V4>,
            version4::LocalToken::encrypt,
            question,
            assertion
        ),
        ("k4", "secret") => mint_with!(
            AsymmetricSecretKey<V4>,
            version4::PublicToken::sign,
            question,
            assertion
        ),
        _ => Err(Refusal::Unsupported),
    }
}

fn opening(question: &Question) -> Result<Answer, Refusal> {
    match question.about() {
        ("k2", "local") => {
            open_with!(SymmetricKey<V2>, version2::LocalToken::decrypt, question)
        }
        ("k2", "public") => {
            open_with!(
                AsymmetricPublicKey<V2>,
                version2::PublicToken::verify,
                question
            )
        }
        ("k3", "public") => open_with!(
            AsymmetricPublicKey<V3>,
            version3::PublicToken::verify,
            question,
            assertion
        ),
        ("k4", "local") => open_with!(
            SymmetricKey<V4>,
            version4::LocalToken::decrypt,
            question,
            assertion
        ),
        ("k4", "public") => open_with!(
            AsymmetricPublicKey<V4>,
            version4::PublicToken::verify,
            question,
            assertion
        ),
        _ => Err(Refusal::Unsupported),
    }
}

fn identifying(about: (&str, &str), key: &str) -> Result<Answer, Refusal> {
    match about {
        ("k2", "local") => ids_of(SymmetricKey::<V2>::try_from(key)?),
        ("k2", "public") => ids_of(AsymmetricPublicKey::<V2>::try_from(key)?),
        ("k2", "secret") => ids_of(AsymmetricSecretKey::<V2>::try_from(key)?),
        ("k3", "public") => ids_of(AsymmetricPublicKey::<V3>::try_from(key)?),
        ("k3", "secret") => ids_of(AsymmetricSecretKey::<V3>::try_from(key)?),
        ("k4", "local") => ids_of(SymmetricKey::<V4>::try_from(key)?),
        ("k4", "public") => ids_of(AsymmetricPublicKey::<V4>::try_from(key)?),
        ("k4", "secret") => ids_of(AsymmetricSecretKey::<V4>::try_from(key)?),
        _ => Err(Refusal::Unsupported),
    }
}

fn ids_of<K: 'static>(key: K) -> Result<Answer, Refusal>
where
    for<'k> Id: From<&'k K>,
{
    Ok(Box::new(move |give| {
        let mut text = String::new();
        Id::from(&key).fmt(&mut text)?;
        give(text.as_bytes());
        Ok(())
    }))
}

fn some(bytes: &[u8]) -> Option<&[u8]> {
    Some(bytes).filter(|bytes| !bytes.is_empty())
}
