//! Version 3 (PASETO § Version 3): AES-256-CTR with HMAC-SHA-384, and ECDSA over P-384.

use std::ops::Range;

use aws_lc_rs::agreement;
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyCompressedBin};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand::SystemRandom as Generator;
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, ParsedPublicKey,
    Signature,
};
use aws_lc_rs::{digest, hmac};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::encoding::{pae, pae_vec};
use crate::error::{InvalidKey, TokenError};
use crate::key::{Pairs, cut, symmetric};
use crate::paserk::{HASH_LEN, Identifies};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::version::{
    Asserts, Context, Generates, Holds, Local, Mints, Opens, Public, Secret, Version,
};

/// Version 3, of NIST's algorithms: AES-256-CTR and HMAC-SHA-384, ECDSA over P-384 with SHA-384.
///
/// Local tokens are safe against quantum computers, public ones are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V3 {}

impl Version for V3 {
    const TOKEN: &'static str = "v3";
    const PASERK: &'static str = "k3";
}

impl Asserts for V3 {}

impl Identifies for V3 {
    fn hash_id(pieces: &[&[u8]]) -> [u8; HASH_LEN] {
        let mut hash = digest::Context::new(&digest::SHA384);
        for piece in pieces {
            hash.update(piece);
        }
        *hash
            .finish()
            .as_ref()
            .first_chunk()
            .expect("SHA-384 has 48 bytes")
    }
}

/// The key, and what HKDF extracts from it once for all tokens.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct LocalKey {
    pub(crate) key: Zeroizing<[u8; 32]>,
    /// HKDF-Extract without salt, keyed for HKDF-Expand (RFC 5869 section 2).
    extracted: hmac::Key,
}

impl LocalKey {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        let salt = hmac::Key::new(hmac::HMAC_SHA384, &[]);
        let extracted = hmac::Key::new(hmac::HMAC_SHA384, hmac::sign(&salt, &*key).as_ref());
        Self { key, extracted }
    }

    /// HKDF-Expand to 48 bytes: one block of HMAC-SHA-384.
    fn expand(&self, label: &[u8], nonce: &[u8]) -> hmac::Tag {
        let mut block = hmac::Context::with_key(&self.extracted);
        block.update(label);
        block.update(nonce);
        block.update(&[1]);
        block.sign()
    }

    pub(crate) fn encrypt(
        &self,
        header: &[u8],
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let nonce = random::bytes::<32>(random)?;
        let mut body = Vec::with_capacity(nonce.len() + payload.len() + TAG_LEN);
        body.extend_from_slice(&nonce);
        body.extend_from_slice(payload);
        let ciphertext = body.split_at_mut(nonce.len()).1;
        self.apply_keystream(&nonce, ciphertext);
        let tag = self.tag(header, &nonce, ciphertext, context);
        body.extend_from_slice(tag.as_ref());
        Ok(body)
    }

    pub(crate) fn decrypt(
        &self,
        header: &[u8],
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let end = body
            .len()
            .checked_sub(TAG_LEN)
            .ok_or(TokenError::NotAuthentic)?;
        let (nonce, rest) = body
            .split_first_chunk_mut::<32>()
            .ok_or(TokenError::NotAuthentic)?;
        let (ciphertext, found) = rest
            .split_last_chunk_mut::<TAG_LEN>()
            .ok_or(TokenError::NotAuthentic)?;
        let tag = self.tag(header, nonce, ciphertext, context);
        if !bool::from(tag.as_ref().ct_eq(found)) {
            return Err(TokenError::NotAuthentic);
        }
        self.apply_keystream(nonce, ciphertext);
        Ok(nonce.len()..end)
    }

    fn apply_keystream(&self, nonce: &[u8; 32], bytes: &mut [u8]) {
        let split = self.expand(b"paseto-encryption-key", nonce);
        let (encryption, counter) = cut::<32, 16>(split.as_ref());
        aes_256_ctr(&*encryption, &counter, bytes);
    }

    fn tag(
        &self,
        header: &[u8],
        nonce: &[u8],
        ciphertext: &[u8],
        context: Context<'_>,
    ) -> hmac::Tag {
        let authentication = self.expand(b"paseto-auth-key-for-aead", nonce);
        let authentication = hmac::Key::new(hmac::HMAC_SHA384, authentication.as_ref());
        let mut mac = hmac::Context::with_key(&authentication);
        pae(
            &[header, nonce, ciphertext, context.footer, context.assertion],
            |bytes| mac.update(bytes),
        );
        mac.sign()
    }
}

impl Holds<Local> for V3 {
    type Material = LocalKey;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        symmetric(bytes).map(LocalKey::new)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.key.to_vec())
    }
}

impl Generates<Local> for V3 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        random::bytes(random).map(Zeroizing::new).map(LocalKey::new)
    }
}

impl Mints<Local> for V3 {
    type Purpose = Local;

    /// PASETO Version 3 § Encrypt.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        key.encrypt(b"v3.local.", payload, context, random)
    }
}

impl Opens<Local> for V3 {
    /// PASETO Version 3 § Decrypt.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        key.decrypt(b"v3.local.", body, context)
    }
}

impl Holds<Public> for V3 {
    type Material = VerifyingKey;

    /// A point of the curve in compressed form (PASERK § public, k3).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let compressed = *<&[u8; POINT_LEN]>::try_from(bytes).map_err(|_| InvalidKey::Length {
            expected: POINT_LEN,
            found: bytes.len(),
        })?;
        let parsed = ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, compressed)
            .map_err(|_| InvalidKey::Invalid)?;
        Ok(VerifyingKey { parsed, compressed })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.compressed.to_vec())
    }
}

/// A point of P-384, decompressed once.
#[derive(Clone)]
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct VerifyingKey {
    parsed: ParsedPublicKey,
    pub(crate) compressed: [u8; POINT_LEN],
}

impl Opens<Public> for V3 {
    /// PASETO Version 3 § Verify.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let (payload, signature) = body
            .split_last_chunk::<SIGNATURE_LEN>()
            .ok_or(TokenError::NotAuthentic)?;
        key.parsed
            .verify_sig(&signed(&key.compressed, payload, context), signature)
            .map_err(|_| TokenError::NotAuthentic)?;
        Ok(0..payload.len())
    }
}

/// A P-384 key pair, its scalar and its public half.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct SigningKey {
    pair: EcdsaKeyPair,
    /// The same key as one that agrees, for sealing.
    pub(crate) agreement: agreement::PrivateKey,
    pub(crate) scalar: Zeroizing<[u8; SCALAR_LEN]>,
    pub(crate) public: VerifyingKey,
}

impl SigningKey {
    fn from_scalar(scalar: Zeroizing<[u8; SCALAR_LEN]>) -> Result<Self, InvalidKey> {
        let agreement = agreement::PrivateKey::from_private_key(&agreement::ECDH_P384, &*scalar)
            .map_err(|_| InvalidKey::Invalid)?;
        let point = agreement
            .compute_public_key()
            .map_err(|_| InvalidKey::Invalid)?;
        let compressed: EcPublicKeyCompressedBin<'_> =
            point.as_be_bytes().map_err(|_| InvalidKey::Invalid)?;
        let public = <V3 as Holds<Public>>::parse(compressed.as_ref())?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P384_SHA384_FIXED_SIGNING,
            &*scalar,
            point.as_ref(),
        )
        .map_err(|_| InvalidKey::Invalid)?;
        Ok(Self {
            pair,
            agreement,
            scalar,
            public,
        })
    }
}

impl SigningKey {
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Signature, RandomnessUnavailable> {
        self.pair
            .sign(&Generator::new(), message)
            .map_err(|_| RandomnessUnavailable)
    }
}

impl Holds<Secret> for V3 {
    type Material = SigningKey;

    /// The scalar, big-endian (PASERK § secret, k3).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let scalar = <&[u8; SCALAR_LEN]>::try_from(bytes).map_err(|_| InvalidKey::Length {
            expected: SCALAR_LEN,
            found: bytes.len(),
        })?;
        SigningKey::from_scalar(Zeroizing::new(*scalar))
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.scalar.to_vec())
    }
}

impl Generates<Secret> for V3 {
    /// Draws again in the case, met once in 2^190 draws, that the number is not below the group's order.
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        for _ in 0..8 {
            let scalar = Zeroizing::new(random::bytes(random)?);
            if let Ok(key) = SigningKey::from_scalar(scalar) {
                return Ok(key);
            }
        }
        Err(RandomnessUnavailable)
    }
}

impl Pairs for V3 {
    fn public(secret: &SigningKey) -> VerifyingKey {
        secret.public.clone()
    }
}

impl Mints<Secret> for V3 {
    type Purpose = Public;

    /// PASETO Version 3 § Sign. The signature's own nonce comes from AWS-LC, which takes no other source.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        _random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let message = signed(&key.public.compressed, payload, context);
        let signature = key.sign(&message)?;
        Ok([payload, signature.as_ref()].concat())
    }
}

/// What a public token's signature covers: the public key too, since an ECDSA signature can verify under several.
pub(crate) fn signed(public: &[u8; POINT_LEN], payload: &[u8], context: Context<'_>) -> Vec<u8> {
    pae_vec(&[
        public,
        b"v3.public.",
        payload,
        context.footer,
        context.assertion,
    ])
}

/// AES-256 in counter mode; the counter is the whole block, 128 bits, big-endian (NIST SP 800-38A section B.1).
pub(crate) fn aes_256_ctr(key: &[u8], counter: &[u8; 16], bytes: &mut [u8]) {
    let key = UnboundCipherKey::new(&AES_256, key).expect("a key of 32 bytes");
    let context = EncryptionContext::Iv128(FixedLength::from(counter));
    EncryptingKey::ctr(key)
        .and_then(|cipher| cipher.less_safe_encrypt(bytes, context))
        .expect("counter mode takes any length");
}

const TAG_LEN: usize = 48;
const SCALAR_LEN: usize = 48;
const SIGNATURE_LEN: usize = 96;
/// A coordinate and the byte that tells its sign.
pub(crate) const POINT_LEN: usize = 49;

#[cfg(test)]
mod tests {
    use super::aes_256_ctr;

    /// The second block under `counter` is the first block under `next`.
    fn check(counter: u128, next: u128) {
        let mut two = [0; 32];
        aes_256_ctr(&[7; 32], &counter.to_be_bytes(), &mut two);
        let mut one = [0; 16];
        aes_256_ctr(&[7; 32], &next.to_be_bytes(), &mut one);
        assert_eq!(two[16..], one);
    }

    #[test]
    fn the_counter_carries_through_all_128_bits() {
        check(u128::from(u32::MAX), 1 << 32);
        check(u128::from(u64::MAX), 1 << 64);
        check(u128::MAX, 0);
    }
}
