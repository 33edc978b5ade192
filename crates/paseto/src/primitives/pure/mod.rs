//! RustCrypto's and dalek's, in Rust alone: for targets that AWS-LC does not know.

mod ed25519;
#[cfg(feature = "draft")]
mod ml_dsa;
mod p384;
mod rsa;
mod symmetric;

pub(crate) use ed25519::Ed25519Secret;
#[cfg(feature = "draft")]
pub(crate) use ml_dsa::{MlDsaPublic, MlDsaSecret};
pub(crate) use p384::{P384Agreement, P384Public, P384Secret};
pub(crate) use rsa::{RsaPublic, RsaSecret};
pub(crate) use symmetric::{
    HmacSha384, aes_256_ctr, chacha20_poly1305_open, chacha20_poly1305_seal, pbkdf2_sha384, sha384,
    sha512,
};

/// The operating system's generator.
#[cfg(feature = "getrandom")]
pub(crate) fn system_random(bytes: &mut [u8]) -> Result<(), crate::random::RandomnessUnavailable> {
    getrandom::fill(bytes).map_err(|_| crate::random::RandomnessUnavailable)
}
