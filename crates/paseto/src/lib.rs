#![doc = include_str!("../README.md")]
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

mod claims;
mod encoding;
mod error;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod key;
pub mod paserk;
mod prepared;
mod primitives;
mod random;
mod ring;
mod rules;
mod signer;
mod token;
mod v1;
mod v2;
mod v3;
mod v4;
#[cfg(feature = "draft")]
mod v5;
#[cfg(feature = "draft")]
mod v6;
mod version;
mod xchacha;

pub use claims::{Claims, Registered, Verified};
pub use error::{ClaimError, InvalidKey, MintError, PaserkError, TokenError};
pub use key::{Key, Pairs};
pub use paserk::KeyId;
#[cfg(any(feature = "aws-lc", feature = "getrandom"))]
pub use random::SystemRandom;
pub use random::{Random, RandomnessUnavailable};
#[cfg(feature = "std")]
pub use ring::KeyRing;
pub use ring::{AnyKey, KeySet, PublishedKey, Window};
pub use rules::Rules;
pub use signer::{MemorySigner, SignError, Signer, SignsElsewhere};
pub use token::{
    Envelope, MAX_TOKEN_LEN, UntrustedToken, VerifiedPayload, mint_payload, mint_payload_if_known,
    mint_payload_with_footer,
};
pub use v1::InsecureV1;
pub use v2::V2;
pub use v3::V3;
pub use v4::V4;
#[cfg(feature = "draft")]
pub use v5::V5;
#[cfg(feature = "draft")]
pub use v6::V6;
pub use version::{
    Asserts, Generates, Holds, Kind, Local, Mints, Opens, Public, Purpose, SealPublic, SealSecret,
    Secret, Version,
};
