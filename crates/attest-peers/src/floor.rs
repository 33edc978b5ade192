//! The bare signature checks of AWS-LC: what no verifier can do without.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
    RSA_PSS_2048_8192_SHA384, RSA_PSS_SHA384, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm,
};

/// A signature with its key and a message as long as a report.
pub struct Signature {
    algorithm: &'static dyn VerificationAlgorithm,
    key: Vec<u8>,
    signature: Vec<u8>,
}

impl Signature {
    /// ECDSA on P-256 with SHA-256: Intel's.
    pub fn p256() -> Self {
        Self::ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_FIXED)
    }

    /// ECDSA on P-384 with SHA-384: AMD's reports, and AWS's.
    pub fn p384() -> Self {
        Self::ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED)
    }

    /// RSASSA-PSS with 4,096 bits and SHA-384: AMD's certificates.
    pub fn rsa_4096() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa4096).expect("AWS-LC makes keys");
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(
            &RSA_PSS_SHA384,
            &SystemRandom::new(),
            &MESSAGE,
            &mut signature,
        )
        .expect("the buffer is as long as the modulus");
        Self {
            algorithm: &RSA_PSS_2048_8192_SHA384,
            key: pair.public_key().as_ref().to_vec(),
            signature,
        }
    }

    fn ecdsa(
        signing: &'static EcdsaSigningAlgorithm,
        algorithm: &'static dyn VerificationAlgorithm,
    ) -> Self {
        let pair = EcdsaKeyPair::generate(signing).expect("AWS-LC makes keys");
        let signature = pair.sign(&SystemRandom::new(), &MESSAGE);
        Self {
            algorithm,
            key: pair.public_key().as_ref().to_vec(),
            signature: signature.expect("AWS-LC signs").as_ref().to_vec(),
        }
    }

    /// Verifies it so many times.
    pub fn verify(&self, times: usize) {
        let key = UnparsedPublicKey::new(self.algorithm, &self.key);
        for _ in 0..times {
            key.verify(&MESSAGE, &self.signature)
                .expect("it was signed with this key");
        }
    }
}

const MESSAGE: [u8; 672] = [7; 672];
