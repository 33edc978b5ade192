use aws_lc_rs::signature::{KeyPair, ML_DSA_87, ML_DSA_87_SIGNING, ParsedPublicKey, PqdsaKeyPair};

use crate::error::InvalidKey;
use crate::primitives::{ML_DSA_PUBLIC_LEN, ML_DSA_SIGNATURE_LEN};
use crate::random::RandomnessUnavailable;

/// An ML-DSA-87 public key (FIPS 204), read once; pure, with an empty context.
#[derive(Clone)]
pub(crate) struct MlDsaPublic {
    parsed: ParsedPublicKey,
}

impl MlDsaPublic {
    pub(crate) fn from_bytes(bytes: &[u8; ML_DSA_PUBLIC_LEN]) -> Result<Self, InvalidKey> {
        let parsed = ParsedPublicKey::new(&ML_DSA_87, bytes).map_err(|_| InvalidKey::Invalid)?;
        Ok(Self { parsed })
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; ML_DSA_SIGNATURE_LEN]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

/// An ML-DSA-87 key pair, expanded from its seed once.
pub(crate) struct MlDsaSecret {
    pair: PqdsaKeyPair,
}

impl MlDsaSecret {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let pair =
            PqdsaKeyPair::from_seed(&ML_DSA_87_SIGNING, seed).map_err(|_| InvalidKey::Invalid)?;
        Ok(Self { pair })
    }

    pub(crate) fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// The hedge comes from AWS-LC, which takes no other source.
    pub(crate) fn sign(
        &self,
        message: &[u8],
    ) -> Result<[u8; ML_DSA_SIGNATURE_LEN], RandomnessUnavailable> {
        let mut signature = [0; ML_DSA_SIGNATURE_LEN];
        self.pair
            .sign(message, &mut signature)
            .map_err(|_| RandomnessUnavailable)?;
        Ok(signature)
    }
}
