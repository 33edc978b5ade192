use ml_dsa::signature::Keypair;
use ml_dsa::{EncodedVerifyingKey, MlDsa87, Signature, SigningKey, VerifyingKey};

use crate::error::InvalidKey;
use crate::primitives::{ML_DSA_PUBLIC_LEN, ML_DSA_SIGNATURE_LEN};
use crate::random::RandomnessUnavailable;

/// An ML-DSA-87 public key (FIPS 204), read once; pure, with an empty context.
#[derive(Clone)]
pub(crate) struct MlDsaPublic {
    key: VerifyingKey<MlDsa87>,
}

impl MlDsaPublic {
    pub(crate) fn from_bytes(bytes: &[u8; ML_DSA_PUBLIC_LEN]) -> Result<Self, InvalidKey> {
        let encoded = EncodedVerifyingKey::<MlDsa87>::try_from(bytes.as_slice())
            .map_err(|_| InvalidKey::Invalid)?;
        Ok(Self {
            key: VerifyingKey::decode(&encoded),
        })
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; ML_DSA_SIGNATURE_LEN]) -> bool {
        Signature::try_from(signature.as_slice())
            .is_ok_and(|signature| self.key.verify_with_context(message, &[], &signature))
    }
}

/// An ML-DSA-87 key pair, expanded from its seed once.
pub(crate) struct MlDsaSecret {
    key: SigningKey<MlDsa87>,
    public: EncodedVerifyingKey<MlDsa87>,
}

impl MlDsaSecret {
    #[expect(clippy::unnecessary_wraps, reason = "AWS-LC's can fail")]
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Result<Self, InvalidKey> {
        let key = SigningKey::from_seed(seed.into());
        let public = key.verifying_key().encode();
        Ok(Self { key, public })
    }

    pub(crate) fn public(&self) -> &[u8] {
        &self.public
    }

    /// Deterministic (FIPS 204 section 3.4).
    pub(crate) fn sign(
        &self,
        message: &[u8],
    ) -> Result<[u8; ML_DSA_SIGNATURE_LEN], RandomnessUnavailable> {
        let signature = self
            .key
            .expanded_key()
            .sign_deterministic(message, &[])
            .map_err(|_| RandomnessUnavailable)?;
        Ok(signature.encode().into())
    }
}
