#![doc = include_str!("../README.md")]

mod algorithm;
mod connection;
mod error;
mod key;
mod module;
mod pin;
mod public_key;
mod token;
mod uri;
mod worker;

pub use algorithm::KeyAlgorithm;
pub use error::{HsmError, PinRisk};
pub use key::{SealingKey, SigningKey};
pub use public_key::PublicKey;
pub use token::{Token, TokenState};
pub use uri::{KeyName, Pkcs11Uri, TokenName, UriError};
