//! Version 3 (PASETO § Version 3): AES-256-CTR with HMAC-SHA-384, and ECDSA over P-384.

use alloc::vec::Vec;
use core::ops::Range;

use zeroize::Zeroizing;

use crate::encoding::{pae, pae_vec};
use crate::error::{InvalidKey, TokenError};
use crate::key::{Pairs, cut, same_tag, sized, symmetric};
use crate::paserk::{HASH_LEN, Identifies};
use crate::prepared::{Of, Prepared};
use crate::primitives::{
    HmacSha384, P384_POINT_LEN, P384_SCALAR_LEN, P384_SIGNATURE_LEN, P384Public, P384Secret,
    SHA384_LEN, aes_256_ctr, sha384,
};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::version::{
    Asserts, Context, Generates, Holds, Local, Mints, Opens, Public, Secret, Version,
};

/// Version 3, of NIST's algorithms: AES-256-CTR and HMAC-SHA-384, ECDSA over P-384 with SHA-384.
///
/// Local tokens are safe against quantum computers, public ones are not.
///
/// ```
/// use countersign_paseto::{Claims, Key, Rules, Secret, SystemRandom, UntrustedToken, V3};
/// use jiff::{SignedDuration, Timestamp};
///
/// let (secret, now) = (Key::<V3, Secret>::generate(&SystemRandom)?, Timestamp::now());
/// let token = Claims::new(()).expires_at(now + SignedDuration::from_mins(5)).mint(&secret, &SystemRandom)?;
/// assert!(token.starts_with("v3.public."));
/// UntrustedToken::parse(&token)?.verify::<()>(&secret.public(), &Rules::new(), now)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V3 {}

impl Version for V3 {
    const TOKEN: &'static str = "v3";
    const PASERK: &'static str = "k3";
}

impl Asserts for V3 {}

impl Identifies for V3 {
    fn hash_id(pieces: &[&[u8]]) -> [u8; HASH_LEN] {
        *sha384(pieces).first_chunk().expect("SHA-384 has 48 bytes")
    }
}

/// The key, and what is hashed of it once for all tokens and wrapped keys.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct LocalKey(Prepared<Zeroizing<[u8; 32]>, Extracted>);

struct Extracted {
    /// HKDF-Extract without salt, keyed for HKDF-Expand (RFC 5869 section 2).
    tokens: HmacSha384,
    /// The key itself, for keys that it wraps.
    wrapping: HmacSha384,
}

impl Of<Zeroizing<[u8; 32]>> for Extracted {
    fn of(key: &Zeroizing<[u8; 32]>) -> Self {
        Self {
            tokens: HmacSha384::new(&HmacSha384::new(&[]).tag(&[&**key])),
            wrapping: HmacSha384::new(&**key),
        }
    }
}

impl LocalKey {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(Prepared::new(key))
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        self.0.source()
    }

    pub(crate) fn wrapping(&self) -> &HmacSha384 {
        &self.0.get().wrapping
    }

    /// HKDF-Expand to 48 bytes: one block of HMAC-SHA-384.
    fn expand(&self, label: &[u8], nonce: &[u8]) -> Zeroizing<[u8; SHA384_LEN]> {
        Zeroizing::new(self.0.get().tokens.tag(&[label, nonce, &[1]]))
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
        body.extend_from_slice(&tag);
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
        if !same_tag(&tag, found) {
            return Err(TokenError::NotAuthentic);
        }
        self.apply_keystream(nonce, ciphertext);
        Ok(nonce.len()..end)
    }

    fn apply_keystream(&self, nonce: &[u8; 32], bytes: &mut [u8]) {
        let split = self.expand(b"paseto-encryption-key", nonce);
        let (encryption, counter) = cut::<32, 16>(&*split);
        aes_256_ctr(&encryption, &counter, bytes);
    }

    fn tag(
        &self,
        header: &[u8],
        nonce: &[u8],
        ciphertext: &[u8],
        context: Context<'_>,
    ) -> [u8; TAG_LEN] {
        let authentication = self.expand(b"paseto-auth-key-for-aead", nonce);
        let pieces = [header, nonce, ciphertext, context.footer, context.assertion];
        HmacSha384::new(&*authentication).tag_of(|mac| pae(&pieces, mac))
    }
}

impl Holds<Local> for V3 {
    type Material = LocalKey;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        symmetric(bytes).map(LocalKey::new)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.key().to_vec())
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
        let compressed = *sized(bytes)?;
        let key = P384Public::from_compressed(&compressed)?;
        Ok(VerifyingKey { key, compressed })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.compressed.to_vec())
    }
}

/// A point of P-384, decompressed once.
#[derive(Clone)]
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct VerifyingKey {
    pub(crate) key: P384Public,
    pub(crate) compressed: [u8; P384_POINT_LEN],
}

impl Opens<Public> for V3 {
    /// PASETO Version 3 § Verify.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let (payload, signature) = body
            .split_last_chunk::<P384_SIGNATURE_LEN>()
            .ok_or(TokenError::NotAuthentic)?;
        let message = signed(&key.compressed, payload, context);
        match key.key.verify(&message, signature) {
            true => Ok(0..payload.len()),
            false => Err(TokenError::NotAuthentic),
        }
    }
}

/// A P-384 key pair, its scalar and its public half.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct SigningKey {
    pub(crate) pair: P384Secret,
    scalar: Zeroizing<[u8; P384_SCALAR_LEN]>,
    pub(crate) public: VerifyingKey,
}

impl SigningKey {
    fn from_scalar(scalar: Zeroizing<[u8; P384_SCALAR_LEN]>) -> Result<Self, InvalidKey> {
        let pair = P384Secret::from_scalar(&scalar)?;
        let public = <V3 as Holds<Public>>::parse(pair.agreement().public())?;
        Ok(Self {
            pair,
            scalar,
            public,
        })
    }
}

impl Holds<Secret> for V3 {
    type Material = SigningKey;

    /// The scalar, big-endian (PASERK § secret, k3).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        SigningKey::from_scalar(Zeroizing::new(*sized(bytes)?))
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.scalar.to_vec())
    }
}

impl Generates<Secret> for V3 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        random::accepted(random, |scalar| SigningKey::from_scalar(scalar).ok())
    }
}

impl Pairs for V3 {
    fn public(secret: &SigningKey) -> VerifyingKey {
        secret.public.clone()
    }
}

impl Mints<Secret> for V3 {
    type Purpose = Public;

    /// PASETO Version 3 § Sign.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        _random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let message = signed(&key.public.compressed, payload, context);
        Ok([payload, &key.pair.sign(&message)?].concat())
    }
}

/// What a public token's signature covers: the public key too, since an ECDSA signature can verify under several.
pub(crate) fn signed(
    public: &[u8; P384_POINT_LEN],
    payload: &[u8],
    context: Context<'_>,
) -> Vec<u8> {
    pae_vec(&[
        public,
        b"v3.public.",
        payload,
        context.footer,
        context.assertion,
    ])
}

const TAG_LEN: usize = SHA384_LEN;
