//! Prints fresh vectors of our own making, for `tests/vectors.json`, where what was written once stays:
//! `cargo run -p countersign-paseto --all-features --example vectors`.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;

use countersign_paseto::paserk::{Confidential, Identifies, Protects, Seals, Wraps};
use countersign_paseto::{
    Generates, Holds, InsecureV1, Key, Kind, Local, Mints, Pairs, Secret, SystemRandom, V2, V3, V4,
    V5, V6, mint_payload_with_footer,
};
use serde_json::{Value, json};

fn main() -> Result<(), Box<dyn Error>> {
    let mut vectors = Vec::new();
    tokens_and_keys::<InsecureV1>(&mut vectors)?;
    tokens_and_keys::<V2>(&mut vectors)?;
    tokens_and_keys::<V3>(&mut vectors)?;
    tokens_and_keys::<V4>(&mut vectors)?;
    tokens_and_keys::<V5>(&mut vectors)?;
    tokens_and_keys::<V6>(&mut vectors)?;
    vectors.push(sealed::<InsecureV1>()?);
    vectors.push(sealed::<V2>()?);
    vectors.push(sealed::<V3>()?);
    vectors.push(sealed::<V4>()?);
    vectors.push(sealed::<V5>()?);
    vectors.push(sealed::<V6>()?);
    println!("{}", serde_json::to_string_pretty(&vectors)?);
    Ok(())
}

/// One vector for each purpose and each type of serialised key but `seal`.
fn tokens_and_keys<V>(vectors: &mut Vec<Value>) -> Result<(), Box<dyn Error>>
where
    V: Pairs
        + Protects
        + Identifies
        + Generates<Local>
        + Generates<Secret>
        + Mints<Local>
        + Mints<Secret>,
{
    let local = Key::<V, Local>::generate(&SystemRandom)?;
    let secret = Key::<V, Secret>::generate(&SystemRandom)?;
    let wrapping = Key::<V, Local>::generate(&SystemRandom)?;
    vectors.push(token(&local, &local)?);
    vectors.push(token(&secret, &secret.public())?);
    vectors.push(json!({ "type": "lid", "key": *local.to_paserk(), "paserk": local.id() }));
    vectors.push(json!({ "type": "sid", "key": *secret.to_paserk(), "paserk": secret.id() }));
    vectors.push(json!({ "type": "pid", "key": *secret.public().to_paserk(), "paserk": secret.public().id() }));
    vectors.push(wrapped(&local, &wrapping)?);
    vectors.push(wrapped(&secret, &wrapping)?);
    vectors.push(protected(&local)?);
    vectors.push(protected(&secret)?);
    Ok(())
}

fn sealed<V>() -> Result<Value, Box<dyn Error>>
where
    V: Seals + Generates<Local> + Generates<<V as Seals>::With>,
{
    let local = Key::<V, Local>::generate(&SystemRandom)?;
    let secret = Key::<V, V::With>::generate(&SystemRandom)?;
    Ok(json!({
        "type": "seal",
        "key": *local.to_paserk(),
        "secret": *secret.to_paserk(),
        "paserk": local.seal(&secret.recipient(), &SystemRandom)?,
    }))
}

fn token<V, M, P>(minting: &Key<V, M>, opening: &Key<V, P>) -> Result<Value, Box<dyn Error>>
where
    V: Mints<M> + Holds<P>,
    M: Kind,
    P: Kind,
{
    let (payload, footer) = (r#"{"sub":"alice","exp":"2039-01-01T00:00:00Z"}"#, "foot");
    let token = mint_payload_with_footer(
        minting,
        payload.as_bytes(),
        footer.as_bytes(),
        &SystemRandom,
    )?;
    Ok(json!({
        "type": "token",
        "key": *opening.to_paserk(),
        "payload": payload,
        "footer": footer,
        "token": token,
    }))
}

fn wrapped<V: Wraps + Holds<K>, K: Confidential>(
    key: &Key<V, K>,
    wrapping: &Key<V, Local>,
) -> Result<Value, Box<dyn Error>> {
    Ok(json!({
        "type": K::WRAPPED,
        "key": *key.to_paserk(),
        "wrapping": *wrapping.to_paserk(),
        "paserk": key.wrap(wrapping, &SystemRandom)?,
    }))
}

fn protected<V: Protects + Holds<K>, K: Confidential>(
    key: &Key<V, K>,
) -> Result<Value, Box<dyn Error>> {
    let work = V::Work::default();
    Ok(json!({
        "type": K::PROTECTED,
        "key": *key.to_paserk(),
        "password": "correct horse battery staple",
        "paserk": key.protect(b"correct horse battery staple", work, &SystemRandom)?,
    }))
}
