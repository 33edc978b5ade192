use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use crate::error::InvalidKey;

/// An Ed25519 key pair, precomputed. Verification is dalek's, which is faster.
pub(crate) struct Ed25519Secret {
    pair: Ed25519KeyPair,
}

impl Ed25519Secret {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).map_err(|_| InvalidKey::Invalid)?;
        Ok(Self { pair })
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        let public = self.pair.public_key().as_ref();
        public.try_into().expect("a public key has 32 bytes")
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        let signature = self.pair.sign(message);
        signature
            .as_ref()
            .try_into()
            .expect("a signature has 64 bytes")
    }
}
