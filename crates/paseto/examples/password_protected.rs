//! A signing key in a file, under a password.
//!
//! `cargo run -p countersign-paseto --example password_protected`

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;

use countersign_paseto::paserk::{Argon2id, ProtectedKey, WorkLimits};
use countersign_paseto::{Key, PaserkError, Secret, SystemRandom, V4};

fn main() -> Result<(), Box<dyn Error>> {
    let key = Key::<V4, Secret>::generate(&SystemRandom)?;
    let file = key.protect(
        b"correct horse battery staple",
        Argon2id::default(),
        &SystemRandom,
    )?;
    println!("{file}");

    // Reading it costs nothing, and says what unlocking would: the file may be a stranger's.
    let read = ProtectedKey::<V4, Secret>::parse(&file)?;
    println!("{:?}", read.work());

    // Unlocking refuses, before any work, what goes over the limits; they are yours to raise.
    let unlocked = read.unlock(b"correct horse battery staple", &WorkLimits::default())?;
    assert_eq!(unlocked.id(), key.id());
    println!("unlocked {}", unlocked.public().id());

    let read = ProtectedKey::<V4, Secret>::parse(&file)?;
    let refused = read
        .unlock(b"incorrect horse", &WorkLimits::default())
        .map(drop);
    assert_eq!(refused, Err(PaserkError::NotAuthentic));
    Ok(())
}

#[cfg(test)]
#[test]
fn it_runs() {
    main().unwrap();
}
