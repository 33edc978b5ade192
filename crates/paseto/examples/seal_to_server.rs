//! A key is sealed to a server: only it can open what lies in a configuration, a repository or a message.
//!
//! `cargo run -p countersign-paseto --example seal_to_server`

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::error::Error;

use countersign_paseto::{Key, Local, PaserkError, Public, Secret, SystemRandom, V4};

fn main() -> Result<(), Box<dyn Error>> {
    // The server's pair; everybody may have the public half.
    let server = Key::<V4, Secret>::generate(&SystemRandom)?;
    let to = server.public().to_paserk();

    // Whoever deploys it makes the key for its tokens, and can read the sealed one no more than anybody else.
    let key = Key::<V4, Local>::generate(&SystemRandom)?;
    let sealed = key.seal(&Key::<V4, Public>::from_paserk(&to)?, &SystemRandom)?;
    println!("tokens_key = \"{sealed}\"");

    // The server opens it when it starts.
    let opened = Key::unseal(&sealed, &server)?;
    assert_eq!(opened.id(), key.id());
    println!("the server has {}", opened.id());

    // Another one cannot.
    let other = Key::<V4, Secret>::generate(&SystemRandom)?;
    let refused = Key::<V4, Local>::unseal(&sealed, &other).map(drop);
    assert_eq!(refused, Err(PaserkError::NotAuthentic));
    Ok(())
}

#[cfg(test)]
#[test]
fn it_runs() {
    main().unwrap();
}
