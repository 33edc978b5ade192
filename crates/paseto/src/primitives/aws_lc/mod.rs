//! AWS-LC's.

mod ed25519;
#[cfg(feature = "draft")]
mod ml_dsa;
mod p384;
mod rsa;
mod symmetric;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

pub(crate) use ed25519::Ed25519Secret;
#[cfg(feature = "draft")]
pub(crate) use ml_dsa::{MlDsaPublic, MlDsaSecret};
pub(crate) use p384::{P384Agreement, P384Public, P384Secret};
pub(crate) use rsa::{RsaPublic, RsaSecret};
pub(crate) use symmetric::{
    HmacSha384, aes_256_ctr, chacha20_poly1305_open, chacha20_poly1305_seal, pbkdf2_sha384, sha384,
    sha512,
};

use crate::random::RandomnessUnavailable;

/// AWS-LC's generator.
pub(crate) fn system_random(bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| RandomnessUnavailable)
}
