//! Moving from JWT: both kinds of token are accepted until a date, and new ones are PASETO.
//!
//! `cargo run -p countersign-paseto --example from_jwt`

#![expect(clippy::disallowed_methods, reason = "an application has a clock")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;

use base64_simd::URL_SAFE_NO_PAD;
use countersign_paseto::{Claims, Key, Local, Rules, SystemRandom, UntrustedToken, V4};
use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// What both kinds of token say beside their registered claims.
#[derive(Debug, Serialize, Deserialize, PartialEq)]
struct Session {
    role: String,
}

/// Takes both kinds of token, JWTs for as long as any that was issued can live.
struct Verifier {
    key: Key<V4, Local>,
    rules: Rules,
    jwt_secret: Vec<u8>,
    jwts_until: Timestamp,
}

impl Verifier {
    /// Who it is, and what their session says. The text's start tells which kind it is: never its own header, as in JWT.
    fn verify(&self, token: &str, now: Timestamp) -> Result<(String, Session), Box<dyn Error>> {
        if token.starts_with("v4.local.") {
            let verified =
                UntrustedToken::parse(token)?.verify::<Session>(&self.key, &self.rules, now)?;
            let subject = verified.subject().unwrap_or_default().to_owned();
            return Ok((subject, verified.into_claims()));
        }
        if now >= self.jwts_until {
            return Err("a JWT, after the last of them has expired".into());
        }
        verify_jwt(token, &self.jwt_secret, now)
    }
}

/// Stands for the JWT library that you have, which pins the algorithm as this does: whatever else the header says is refused.
fn verify_jwt(
    token: &str,
    secret: &[u8],
    now: Timestamp,
) -> Result<(String, Session), Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Payload {
        sub: String,
        exp: i64,
        #[serde(flatten)]
        session: Session,
    }

    let (signed, tag) = token.rsplit_once('.').ok_or("not a JWT")?;
    let (header, payload) = signed.split_once('.').ok_or("not a JWT")?;
    if header != URL_SAFE_NO_PAD.encode_to_string(HS256) {
        return Err("not a JWT with HS256".into());
    }
    let mac = Hmac::<Sha256>::new_from_slice(secret)?.chain_update(signed);
    mac.verify_slice(&URL_SAFE_NO_PAD.decode_to_vec(tag)?)?;
    let payload: Payload = serde_json::from_slice(&URL_SAFE_NO_PAD.decode_to_vec(payload)?)?;
    match now < Timestamp::from_second(payload.exp)? {
        true => Ok((payload.sub, payload.session)),
        false => Err("the JWT is expired".into()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let now = Timestamp::now();
    let hour = SignedDuration::from_hours(1);
    let verifier = Verifier {
        key: Key::generate(&SystemRandom)?,
        rules: Rules::new().audience("shop.example.org"),
        jwt_secret: b"the secret of the old tokens, 32 bytes or more".to_vec(),
        jwts_until: now + hour * 24,
    };

    // A client still has a token from before.
    let old = old_jwt(&verifier.jwt_secret, now + hour)?;
    println!("{:?}", verifier.verify(&old, now)?);

    // What is minted from now on.
    let role = "customer".to_owned();
    let new = Claims::new(Session { role })
        .subject("alice")
        .audience("shop.example.org")
        .expires_at(now + hour)
        .mint(&verifier.key, &SystemRandom)?;
    println!("{:?}", verifier.verify(&new, now)?);
    assert_eq!(verifier.verify(&old, now)?, verifier.verify(&new, now)?);

    // The day after, the old kind is over, whoever signed it; then this code goes.
    assert!(verifier.verify(&old, now + hour * 24).is_err());
    Ok(())
}

/// As the application minted them before.
fn old_jwt(secret: &[u8], expires_at: Timestamp) -> Result<String, Box<dyn Error>> {
    let exp = expires_at.as_second();
    let payload = format!(r#"{{"sub":"alice","role":"customer","exp":{exp}}}"#);
    let signed = [HS256, &payload]
        .map(|part| URL_SAFE_NO_PAD.encode_to_string(part))
        .join(".");
    let mac = Hmac::<Sha256>::new_from_slice(secret)?.chain_update(&signed);
    let tag = URL_SAFE_NO_PAD.encode_to_string(mac.finalize().into_bytes());
    Ok(format!("{signed}.{tag}"))
}

const HS256: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

#[cfg(test)]
#[test]
fn it_runs() {
    main().unwrap();
}
