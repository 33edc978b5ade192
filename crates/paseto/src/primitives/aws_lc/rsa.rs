use alloc::vec::Vec;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair, ParsedPublicKey, RSA_PSS_2048_8192_SHA384, RSA_PSS_SHA384};
use zeroize::Zeroizing;

use crate::error::InvalidKey;
use crate::primitives::RSA_SIGNATURE_LEN;
use crate::random::{Random, RandomnessUnavailable};

/// An RSA key that verifies RSASSA-PSS (RFC 8017 section 8.1) with SHA-384.
#[derive(Clone)]
pub(crate) struct RsaPublic {
    parsed: ParsedPublicKey,
}

impl RsaPublic {
    /// Reads a SubjectPublicKeyInfo.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, InvalidKey> {
        let parsed = ParsedPublicKey::new(&RSA_PSS_2048_8192_SHA384, der)
            .map_err(|_| InvalidKey::Invalid)?;
        Ok(Self { parsed })
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8; RSA_SIGNATURE_LEN]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

/// An RSA key pair.
pub(crate) struct RsaSecret {
    pair: RsaKeyPair,
}

impl RsaSecret {
    /// Reads an RSAPrivateKey of PKCS #1.
    pub(crate) fn from_pkcs1(der: &[u8]) -> Result<Self, InvalidKey> {
        let pair = RsaKeyPair::from_der(der).map_err(|_| InvalidKey::Invalid)?;
        Ok(Self { pair })
    }

    /// A fresh RSAPrivateKey of PKCS #1 with `bits` bits. The primes come from AWS-LC, which takes no other source.
    pub(crate) fn generate(
        bits: usize,
        _random: &dyn Random,
    ) -> Result<Zeroizing<Vec<u8>>, RandomnessUnavailable> {
        let size = match bits {
            2048 => KeySize::Rsa2048,
            _ => KeySize::Rsa4096,
        };
        let pair = RsaKeyPair::generate(size).map_err(|_| RandomnessUnavailable)?;
        let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|_| RandomnessUnavailable)?;
        let (_, pkcs1) = pkcs8.as_ref().split_at(PKCS8_HEADER_LEN);
        Ok(Zeroizing::new(pkcs1.to_vec()))
    }

    /// The public half as SubjectPublicKeyInfo.
    pub(crate) fn public(&self) -> Result<Vec<u8>, InvalidKey> {
        let public: PublicKeyX509Der<'_> = self
            .pair
            .public_key()
            .as_der()
            .map_err(|_| InvalidKey::Invalid)?;
        Ok(public.as_ref().to_vec())
    }

    /// The signature's salt comes from AWS-LC, which takes no other source.
    pub(crate) fn sign(
        &self,
        message: &[u8],
        _random: &dyn Random,
    ) -> Result<[u8; RSA_SIGNATURE_LEN], RandomnessUnavailable> {
        let mut signature = [0; RSA_SIGNATURE_LEN];
        let random = SystemRandom::new();
        self.pair
            .sign(&RSA_PSS_SHA384, &random, message, &mut signature)
            .map_err(|_| RandomnessUnavailable)?;
        Ok(signature)
    }
}

/// PKCS #8 before the PKCS #1 key inside: version, algorithm, three lengths of two bytes each (RFC 5208 section 5).
const PKCS8_HEADER_LEN: usize = 26;
