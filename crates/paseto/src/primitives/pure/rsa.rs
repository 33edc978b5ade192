use alloc::vec::Vec;

use chacha20::ChaCha20Rng;
use chacha20::rand_core::SeedableRng;
use rsa::pkcs1::{DecodeRsaPrivateKey, EncodeRsaPrivateKey};
use rsa::pkcs8::{DecodePublicKey, EncodePublicKey};
use rsa::pss::{Signature, SigningKey, VerifyingKey};
use rsa::signature::{RandomizedSigner, SignatureEncoding, Verifier};
use rsa::{RsaPrivateKey, RsaPublicKey};
use sha2::Sha384;
use zeroize::Zeroizing;

use crate::error::InvalidKey;
use crate::primitives::RSA_SIGNATURE_LEN;
use crate::random::{self, Random, RandomnessUnavailable};

/// An RSA key that verifies RSASSA-PSS (RFC 8017 section 8.1) with SHA-384.
#[derive(Clone)]
pub(crate) struct RsaPublic {
    key: VerifyingKey<Sha384>,
}

impl RsaPublic {
    /// Reads a SubjectPublicKeyInfo.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, InvalidKey> {
        let key = RsaPublicKey::from_public_key_der(der).map_err(|_| InvalidKey::Invalid)?;
        Ok(Self {
            key: VerifyingKey::new(key),
        })
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; RSA_SIGNATURE_LEN]) -> bool {
        Signature::try_from(signature.as_slice())
            .is_ok_and(|signature| self.key.verify(message, &signature).is_ok())
    }
}

/// An RSA key pair.
pub(crate) struct RsaSecret {
    key: SigningKey<Sha384>,
}

impl RsaSecret {
    /// Reads an RSAPrivateKey of PKCS #1.
    pub(crate) fn from_pkcs1(der: &[u8]) -> Result<Self, InvalidKey> {
        let key = RsaPrivateKey::from_pkcs1_der(der).map_err(|_| InvalidKey::Invalid)?;
        Ok(Self {
            key: SigningKey::new(key),
        })
    }

    /// A fresh RSAPrivateKey of PKCS #1 with `bits` bits.
    pub(crate) fn generate(
        bits: usize,
        random: &dyn Random,
    ) -> Result<Zeroizing<Vec<u8>>, RandomnessUnavailable> {
        let key =
            RsaPrivateKey::new(&mut generator(random)?, bits).map_err(|_| RandomnessUnavailable)?;
        let der = key.to_pkcs1_der().map_err(|_| RandomnessUnavailable)?;
        Ok(Zeroizing::new(der.as_bytes().to_vec()))
    }

    /// The public half as SubjectPublicKeyInfo.
    pub(crate) fn public(&self) -> Result<Vec<u8>, InvalidKey> {
        let public = self.key.as_ref().as_public_key().to_public_key_der();
        Ok(public.map_err(|_| InvalidKey::Invalid)?.into_vec())
    }

    /// Blinded.
    pub(crate) fn sign(
        &self,
        message: &[u8],
        random: &dyn Random,
    ) -> Result<[u8; RSA_SIGNATURE_LEN], RandomnessUnavailable> {
        let signature = self
            .key
            .try_sign_with_rng(&mut generator(random)?, message)
            .map_err(|_| RandomnessUnavailable)?;
        let signature: Vec<u8> = signature.to_vec();
        signature.try_into().map_err(|_| RandomnessUnavailable)
    }
}

/// ChaCha20 under a fresh seed: the search for primes takes a generator that cannot fail.
fn generator(random: &dyn Random) -> Result<ChaCha20Rng, RandomnessUnavailable> {
    let seed = Zeroizing::new(random::bytes::<32>(random)?);
    Ok(ChaCha20Rng::from_seed(*seed))
}
