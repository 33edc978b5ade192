use ed25519_dalek::{Signer, SigningKey};

use crate::error::InvalidKey;

/// An Ed25519 key pair, precomputed.
pub(crate) struct Ed25519Secret {
    key: SigningKey,
}

impl Ed25519Secret {
    #[expect(clippy::unnecessary_wraps, reason = "AWS-LC's can fail")]
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let key = SigningKey::from_bytes(seed);
        Ok(Self { key })
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.key.sign(message).to_bytes()
    }
}
