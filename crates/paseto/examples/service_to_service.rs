//! One service signs, another verifies, and the keys rotate while both run.
//!
//! `cargo run -p countersign-paseto --example service_to_service`

#![expect(clippy::disallowed_methods, reason = "an application has a clock")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;

use countersign_paseto::{
    Claims, Key, KeyRing, KeySet, Public, PublishedKey, Rules, Secret, SystemRandom, TokenError,
    V4, Window,
};
use jiff::{SignedDuration, Timestamp};

fn main() -> Result<(), Box<dyn Error>> {
    let now = Timestamp::now();
    let day = SignedDuration::from_hours(24);

    // The service `orders` signs. Its next key is in the ring a day before it mints, so that others know it in time; each is
    // accepted for an hour after it has minted its last token.
    let today = Key::<V4, Secret>::generate(&SystemRandom)?;
    let next = Key::<V4, Secret>::generate(&SystemRandom)?;
    let todays_id = today.public().id();
    let hour = SignedDuration::from_hours(1);
    let orders = KeyRing::new(
        KeySet::new()
            .with(today, Window::new(now, now + day, now + day + hour))
            .with(
                next,
                Window::new(now + day, now + day * 2, now + day * 2 + hour),
            ),
    );

    // The service `billing` verifies: it has the public keys alone, from wherever `orders` publishes them.
    let billing = KeyRing::new(from_published(&orders.keys().published(now))?);
    let rules = Rules::new().issuer("orders").audience("billing");
    let verify = |token: &str, at| billing.verify::<()>(token, b"", &rules, at).map(drop);
    let mint = |at: Timestamp| {
        let claims = Claims::new(())
            .issuer("orders")
            .audience("billing")
            .expires_at(at + hour);
        orders.mint(&claims, b"", at, &SystemRandom)
    };

    let first = mint(now)?;
    verify(&first, now)?;
    println!("signed with {todays_id}");

    let second = mint(now + day)?;
    verify(&second, now + day)?;
    verify(&first, now + hour / 2)?;
    println!("a day later the next key signs, and nobody had to be told");

    // A key that leaked is retired at once, on either side.
    billing.replace(KeySet::clone(&billing.keys()).retire(&todays_id, now));
    let refused = verify(&first, now);
    assert!(matches!(refused, Err(TokenError::RetiredKey { .. })));
    println!(
        "after it leaked: {}",
        refused
            .err()
            .map(|error| error.to_string())
            .unwrap_or_default()
    );
    Ok(())
}

/// The keys that a service published, for those who verify.
fn from_published(published: &[PublishedKey]) -> Result<KeySet, Box<dyn Error>> {
    published.iter().try_fold(KeySet::new(), |keys, key| {
        let public = Key::<V4, Public>::from_paserk(&key.paserk)?;
        Ok(keys.with(public, key.window))
    })
}

#[cfg(test)]
#[test]
fn it_runs() {
    main().unwrap();
}
