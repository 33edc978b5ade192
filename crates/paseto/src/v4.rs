//! Version 4 (PASETO § Version 4): XChaCha20 with keyed BLAKE2b, and Ed25519.

use alloc::vec::Vec;
use core::ops::Range;

use blake2::Blake2b;
use blake2::digest::Digest;
use blake2::digest::consts::U33;
use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::Signature;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::encoding::{pae, pae_vec};
use crate::error::{InvalidKey, TokenError};
use crate::key::{Key, Pairs, cut, symmetric};
use crate::paserk::{HASH_LEN, Identifies};
use crate::primitives::{Ed25519Secret, sha512};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::version::{
    Asserts, Context, Generates, Holds, Local, Mints, Opens, Public, Secret, Version,
};
use crate::xchacha::LocalKey;

/// Version 4: XChaCha20 and BLAKE2b, Ed25519.
///
/// Local tokens are safe against quantum computers, public ones are not.
///
/// ```
/// use countersign_paseto::{Claims, Key, Rules, Secret, SystemRandom, UntrustedToken, V4};
/// use jiff::{SignedDuration, Timestamp};
///
/// let (secret, now) = (Key::<V4, Secret>::generate(&SystemRandom)?, Timestamp::now());
/// let token = Claims::new(()).expires_at(now + SignedDuration::from_mins(5)).mint(&secret, &SystemRandom)?;
/// assert!(token.starts_with("v4.public."));
/// UntrustedToken::parse(&token)?.verify::<()>(&secret.public(), &Rules::new(), now)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    type Material = LocalKey;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        symmetric(bytes).map(LocalKey::new)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(material.key().to_vec())
    }
}

impl Generates<Local> for V4 {
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        random::bytes(random).map(Zeroizing::new).map(LocalKey::new)
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
        key.encrypt(b"v4.local.", payload, context, random)
    }
}

impl Opens<Local> for V4 {
    /// PASETO Version 4 § Decrypt.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        key.decrypt(b"v4.local.", body, context)
    }
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
        let covered: [&[u8]; 4] = [b"v4.public.", payload, context.footer, context.assertion];
        verify(point, &covered, signature)?;
        Ok(0..payload.len())
    }
}

/// Verifies a signature over `pieces` as strictly as `verify_strict`, and does not decompress R for it.
///
/// The R that a verifier computes is compared with the signature's byte by byte, so that a valid signature has R in its one
/// encoding, and R is of small order exactly when its bytes say so. `point` is none of small order.
pub(crate) fn verify(
    point: &ed25519_dalek::VerifyingKey,
    pieces: &[&[u8]],
    signature: &[u8; 64],
) -> Result<(), TokenError> {
    let mut y = *signature.first_chunk::<32>().expect("32 of 64 bytes");
    y[31] &= 0x7f;
    if SMALL_ORDER.contains(&y) {
        return Err(TokenError::NotAuthentic);
    }
    let mut verifier = point
        .verify_stream(&Signature::from_bytes(signature))
        .map_err(|_| TokenError::NotAuthentic)?;
    pae(pieces, |bytes| verifier.update(bytes));
    verifier
        .finalize_and_verify()
        .map_err(|_| TokenError::NotAuthentic)
}

/// An Ed25519 key pair, precomputed by AWS-LC, and its seed.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct SigningKey {
    pair: Ed25519Secret,
    seed: Zeroizing<[u8; 32]>,
    public: VerifyingKey,
}

impl SigningKey {
    fn from_seed(seed: Zeroizing<[u8; 32]>) -> Result<Self, InvalidKey> {
        let pair = Ed25519Secret::from_seed(&seed)?;
        let public = <V4 as Holds<Public>>::parse(&pair.public())?;
        Ok(Self { pair, seed, public })
    }
}

impl SigningKey {
    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.pair.sign(message)
    }

    /// The X25519 pair of the same seed (RFC 8032 section 5.1.5, RFC 7748 section 4.1), for sealing.
    pub(crate) fn x25519(&self) -> Result<(Zeroizing<[u8; 32]>, MontgomeryPoint), InvalidKey> {
        let (scalar, _prefix) = cut::<32, 32>(&*sha512(&[&*self.seed]));
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
        Ok([payload, &key.sign(&signed(payload, context))].concat())
    }
}

/// What a public token's signature covers.
pub(crate) fn signed(payload: &[u8], context: Context<'_>) -> Vec<u8> {
    pae_vec(&[b"v4.public.", payload, context.footer, context.assertion])
}

/// The y of the eight points whose order divides the cofactor: 0, 1, -1, and two more.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    *b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
    *b"\xec\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\
       \xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
    *b"\x26\xe8\x95\x8f\xc2\xb2\x27\xb0\x45\xc3\xf4\x89\xf2\xef\x98\xf0\
       \xd5\xdf\xac\x05\xd3\xc6\x33\x39\xb1\x38\x02\x88\x6d\x53\xfc\x05",
    *b"\xc7\x17\x6a\x70\x3d\x4d\xd8\x4f\xba\x3c\x0b\x76\x0d\x10\x67\x0f\
       \x2a\x20\x53\xfa\x2c\x39\xcc\xc6\x4e\xc7\xfd\x77\x92\xac\x03\x7a",
];

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::SMALL_ORDER;

    #[test]
    fn every_point_of_small_order_is_known() {
        for point in EIGHT_TORSION {
            let mut y = point.compress().to_bytes();
            y[31] &= 0x7f;
            assert!(SMALL_ORDER.contains(&y), "{y:02x?}");
        }
    }
}
