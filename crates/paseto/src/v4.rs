//! Version 4 (PASETO § Version 4): XChaCha20 with keyed BLAKE2b, and Ed25519.

use std::ops::Range;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use blake2::digest::array::ArraySize;
use blake2::digest::consts::{U32, U33, U56, U64};
use blake2::digest::typenum::{IsLessOrEqual, True};
use blake2::digest::{Digest, KeyInit, Mac};
use blake2::{Blake2b, Blake2bMac};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::Signature;
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::encoding::{pae, pae_vec};
use crate::error::{InvalidKey, TokenError};
use crate::key::{Key, Pairs, cut, symmetric};
use crate::paserk::{HASH_LEN, Identifies};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::version::{
    Asserts, Context, Generates, Holds, Local, Mints, Opens, Public, Secret, Version,
};

/// Version 4: XChaCha20 and BLAKE2b, Ed25519.
///
/// Local tokens are safe against quantum computers, public ones are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V4 {}

impl Version for V4 {
    const TOKEN: &'static str = "v4";
    const PASERK: &'static str = "k4";
}

impl Asserts for V4 {}

impl Identifies for V4 {
    fn hash_id(pieces: &[&[u8]]) -> [u8; HASH_LEN] {
        let mut hash = Blake2b::<U33>::default();
        for piece in pieces {
            hash.update(piece);
        }
        hash.finalize().into()
    }
}

impl Holds<Local> for V4 {
    type Material = Zeroizing<[u8; 32]>;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        symmetric(bytes)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.to_vec())
    }
}

impl Generates<Local> for V4 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        random::bytes(random).map(Zeroizing::new)
    }
}

impl Mints<Local> for V4 {
    type Purpose = Local;

    /// PASETO Version 4 § Encrypt.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        encrypt(key, b"v4.local.", payload, context, random)
    }
}

impl Opens<Local> for V4 {
    /// PASETO Version 4 § Decrypt.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        decrypt(key, b"v4.local.", body, context)
    }
}

pub(crate) fn encrypt(
    key: &[u8; 32],
    header: &[u8],
    payload: &[u8],
    context: Context<'_>,
    random: &dyn Random,
) -> Result<Vec<u8>, RandomnessUnavailable> {
    let nonce = random::bytes::<32>(random)?;
    let keys = LocalKeys::derive(key, &nonce);
    let mut body = Vec::with_capacity(nonce.len() + payload.len() + TAG_LEN);
    body.extend_from_slice(&nonce);
    body.extend_from_slice(payload);
    let ciphertext = body.split_at_mut(nonce.len()).1;
    keys.apply_keystream(ciphertext);
    let tag = keys.tag(header, &nonce, ciphertext, context);
    body.extend_from_slice(&tag);
    Ok(body)
}

pub(crate) fn decrypt(
    key: &[u8; 32],
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
    let keys = LocalKeys::derive(key, nonce);
    let tag = keys.tag(header, nonce, ciphertext, context);
    if !bool::from(tag.ct_eq(found)) {
        return Err(TokenError::NotAuthentic);
    }
    keys.apply_keystream(ciphertext);
    Ok(nonce.len()..end)
}

/// Thirty-two bytes, and the point of Ed25519 that they stand for, decompressed once.
#[derive(Clone)]
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct VerifyingKey {
    bytes: [u8; 32],
    point: Result<ed25519_dalek::VerifyingKey, InvalidKey>,
}

impl VerifyingKey {
    /// The point, for any use but serialising.
    pub(crate) fn point(&self) -> Result<&ed25519_dalek::VerifyingKey, InvalidKey> {
        self.point.as_ref().map_err(Clone::clone)
    }
}

/// A point in its one encoding (RFC 8032 section 5.1.3) and not of small order.
fn decompress(bytes: &[u8; 32]) -> Result<ed25519_dalek::VerifyingKey, InvalidKey> {
    let point = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| InvalidKey::Invalid)?;
    if point.to_edwards().compress().as_bytes() != bytes {
        return Err(InvalidKey::Invalid);
    }
    match point.is_weak() {
        true => Err(InvalidKey::Weak),
        false => Ok(point),
    }
}

impl Holds<Public> for V4 {
    type Material = VerifyingKey;

    /// Any 32 bytes have a PASERK: the official vectors serialise some that are no point.
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let bytes = *<&[u8; 32]>::try_from(bytes).map_err(|_| InvalidKey::Length {
            expected: 32,
            found: bytes.len(),
        })?;
        Ok(VerifyingKey {
            bytes,
            point: decompress(&bytes),
        })
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.bytes.to_vec())
    }
}

impl Key<V4, Public> {
    /// Whether the bytes are a point that signatures can be verified under.
    ///
    /// Every use asks this; asking it early tells who configured a bad key at once.
    ///
    /// # Errors
    ///
    /// [`InvalidKey::Weak`] for a point of small order, under which one signature verifies for every message;
    /// [`InvalidKey::Invalid`] for what is no point, or not in its one encoding.
    pub fn check(&self) -> Result<(), InvalidKey> {
        self.material.point().map(drop)
    }
}

impl Opens<Public> for V4 {
    /// PASETO Version 4 § Verify.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let point = key.point()?;
        let (payload, signature) = body
            .split_last_chunk::<64>()
            .ok_or(TokenError::NotAuthentic)?;
        point
            .verify_strict(&signed(payload, context), &Signature::from_bytes(signature))
            .map_err(|_| TokenError::NotAuthentic)?;
        Ok(0..payload.len())
    }
}

/// An Ed25519 key pair, precomputed by AWS-LC, and its seed.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct SigningKey {
    pair: Ed25519KeyPair,
    seed: Zeroizing<[u8; 32]>,
    public: VerifyingKey,
}

impl SigningKey {
    fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, InvalidKey> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| InvalidKey::Invalid)?;
        let public = <V4 as Holds<Public>>::parse(pair.public_key().as_ref())?;
        Ok(Self { pair, seed, public })
    }
}

impl SigningKey {
    pub(crate) fn sign(&self, message: &[u8]) -> aws_lc_rs::signature::Signature {
        self.pair.sign(message)
    }

    /// The X25519 pair of the same seed (RFC 8032 section 5.1.5, RFC 7748 section 4.1), for sealing.
    pub(crate) fn x25519(&self) -> Result<(Zeroizing<[u8; 32]>, MontgomeryPoint), InvalidKey> {
        let hash = digest::digest(&digest::SHA512, &*self.seed);
        let (scalar, _prefix) = cut::<32, 32>(hash.as_ref());
        Ok((scalar, self.public.point()?.to_montgomery()))
    }
}

impl Holds<Secret> for V4 {
    type Material = SigningKey;

    /// The seed and the public key that belongs to it (PASERK § secret, k4).
    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        let wrong_length = InvalidKey::Length {
            expected: 64,
            found: bytes.len(),
        };
        let (seed, public) = bytes
            .split_first_chunk::<32>()
            .ok_or(wrong_length.clone())?;
        let public = <&[u8; 32]>::try_from(public).map_err(|_| wrong_length)?;
        let key = SigningKey::from_seed(Zeroizing::new(*seed))?;
        match bool::from(key.public.bytes.ct_eq(public)) {
            true => Ok(key),
            false => Err(InvalidKey::Inconsistent),
        }
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(64));
        bytes.extend_from_slice(&*material.seed);
        bytes.extend_from_slice(&material.public.bytes);
        bytes
    }
}

impl Generates<Secret> for V4 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        let seed = Zeroizing::new(random::bytes(random)?);
        Ok(SigningKey::from_seed(seed).expect("a seed of 32 bytes is an Ed25519 key"))
    }
}

impl Pairs for V4 {
    fn public(secret: &SigningKey) -> VerifyingKey {
        secret.public.clone()
    }
}

impl Mints<Secret> for V4 {
    type Purpose = Public;

    /// PASETO Version 4 § Sign.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        _random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        Ok([payload, key.sign(&signed(payload, context)).as_ref()].concat())
    }
}

/// What a public token's signature covers.
pub(crate) fn signed(payload: &[u8], context: Context<'_>) -> Vec<u8> {
    pae_vec(&[b"v4.public.", payload, context.footer, context.assertion])
}

/// The keys of one local token, split from the long-lived key by its nonce.
struct LocalKeys {
    encryption: Zeroizing<[u8; 32]>,
    nonce: [u8; 24],
    authentication: Zeroizing<[u8; 32]>,
}

impl LocalKeys {
    fn derive(key: &[u8; 32], nonce: &[u8; 32]) -> Self {
        let mut split = keyed_hash::<U56>(key, &[b"paseto-encryption-key", nonce]);
        let (encryption, nonce_of_cipher) = cut(&split);
        let keys = Self {
            encryption,
            nonce: nonce_of_cipher,
            authentication: Zeroizing::new(
                keyed_hash::<U32>(key, &[b"paseto-auth-key-for-aead", nonce]).into(),
            ),
        };
        split.zeroize();
        keys
    }

    fn apply_keystream(&self, bytes: &mut [u8]) {
        XChaCha20::new((&*self.encryption).into(), (&self.nonce).into()).apply_keystream(bytes);
    }

    fn tag(
        &self,
        header: &[u8],
        nonce: &[u8],
        ciphertext: &[u8],
        context: Context<'_>,
    ) -> [u8; TAG_LEN] {
        let mut mac = keyed::<U32>(&*self.authentication);
        pae(
            &[header, nonce, ciphertext, context.footer, context.assertion],
            |bytes| mac.update(bytes),
        );
        mac.finalize().into_bytes().into()
    }
}

/// BLAKE2b with a key and an output of `N` bytes (RFC 7693 section 2.9).
pub(crate) fn keyed<N: ArraySize + IsLessOrEqual<U64, Output = True>>(key: &[u8]) -> Blake2bMac<N> {
    Blake2bMac::new_from_slice(key).expect("a key of 32 bytes is within BLAKE2b's 64")
}

pub(crate) fn keyed_hash<N: ArraySize + IsLessOrEqual<U64, Output = True>>(
    key: &[u8],
    pieces: &[&[u8]],
) -> blake2::digest::array::Array<u8, N> {
    let mut mac = keyed::<N>(key);
    for piece in pieces {
        mac.update(piece);
    }
    mac.finalize().into_bytes()
}

const TAG_LEN: usize = 32;
