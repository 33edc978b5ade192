//! A session token: encrypted, minted at log-in, verified with each request.
//!
//! `cargo run -p countersign-paseto --example session_token`

#![expect(clippy::disallowed_methods, reason = "an application has a clock")]
#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;
use std::time::Duration;

use countersign_paseto::{Claims, Key, Local, Rules, SystemRandom, UntrustedToken, V4};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// What the session says beside its registered claims.
#[derive(Serialize, Deserialize)]
struct Session {
    role: String,
    basket: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    // One key for all servers that share sessions, from `Key::from_paserk`; here a fresh one.
    let key = Key::<V4, Local>::generate(&SystemRandom)?;
    let now = Timestamp::now();

    let session = Session {
        role: "customer".to_owned(),
        basket: 3,
    };
    let token = Claims::new(session)
        .subject("alice")
        .audience("shop.example.org")
        .issued_at(now)
        .expires_at(now + SignedDuration::from_mins(30))
        .mint(&key, &SystemRandom)?;
    println!("cookie: session={token}");

    let rules = Rules::new()
        .audience("shop.example.org")
        .maximum_lifetime(Duration::from_secs(30 * 60));
    let verify = |now| UntrustedToken::parse(&token)?.verify::<Session>(&key, &rules, now);
    let session = verify(now)?;
    let name = session.subject().unwrap_or("somebody");
    println!(
        "{name}, {}, has {} things in the basket",
        session.role, session.basket
    );

    if let Err(refused) = verify(now + SignedDuration::from_hours(24)) {
        println!(
            "tomorrow the log has `{refused}`, the browser `{}`",
            refused.for_peer()
        );
    }
    Ok(())
}

#[cfg(test)]
#[test]
fn it_runs() {
    main().unwrap();
}
