//! Version 2 (PASETO § Version 2): XChaCha20-Poly1305, and Ed25519. Keys are those of version 4.

use alloc::vec::Vec;
use core::ops::Range;

use blake2::digest::Mac;
use blake2::digest::consts::U24;
use chacha20::{R20, hchacha};
use zeroize::Zeroizing;

use crate::encoding::{pae_vec, with_pae};
use crate::error::{InvalidKey, TokenError};
use crate::key::Pairs;
use crate::paserk::{HASH_LEN, Identifies};
use crate::primitives::{chacha20_poly1305_open, chacha20_poly1305_seal};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::v4::{self, V4};
use crate::version::{
    Context, Generates, Holds, Kind, Local, Mints, Opens, Public, Secret, Version,
};
use crate::xchacha::keyed;

/// Version 2: XChaCha20-Poly1305, Ed25519. For tokens of others; new ones are better [`V4`](crate::V4).
///
/// It has no implicit assertions, so that asking for one does not compile:
///
/// ```compile_fail,E0277
/// use countersign_paseto::{Local, UntrustedToken, V2};
///
/// fn asserting(token: UntrustedToken<V2, Local>) -> UntrustedToken<V2, Local> {
///     token.asserting("context")
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V2 {}

impl Version for V2 {
    const TOKEN: &'static str = "v2";
    const PASERK: &'static str = "k2";
    const ASSERTS: bool = false;
}

impl Identifies for V2 {
    fn hash_id(pieces: &[&[u8]]) -> [u8; HASH_LEN] {
        V4::hash_id(pieces)
    }
}

impl<K: Kind> Holds<K> for V2
where
    V4: Holds<K>,
{
    type Material = <V4 as Holds<K>>::Material;

    fn parse(bytes: &[u8]) -> Result<Self::Material, InvalidKey> {
        <V4 as Holds<K>>::parse(bytes)
    }

    fn serialize(material: &Self::Material) -> Zeroizing<Vec<u8>> {
        <V4 as Holds<K>>::serialize(material)
    }
}

impl<K: Kind> Generates<K> for V2
where
    V4: Generates<K>,
{
    fn generate(random: &dyn Random) -> Result<Self::Material, RandomnessUnavailable> {
        <V4 as Generates<K>>::generate(random)
    }
}

impl Pairs for V2 {
    fn public(secret: &v4::SigningKey) -> v4::VerifyingKey {
        V4::public(secret)
    }
}

impl Mints<Local> for V2 {
    type Purpose = Local;

    /// PASETO Version 2 § Encrypt.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let nonce = nonce(&random::bytes::<NONCE_LEN>(random)?, payload);
        let mut body = [&nonce, payload].concat();
        let (_, ciphertext) = body.split_at_mut(nonce.len());
        let (derived, short) = derive(key.key(), &nonce);
        let tag = with_pae(&authenticated(&nonce, context), |authenticated| {
            chacha20_poly1305_seal(&derived, short, authenticated, ciphertext)
        });
        body.extend_from_slice(&tag);
        Ok(body)
    }
}

impl Opens<Local> for V2 {
    /// PASETO Version 2 § Decrypt.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let (nonce, sealed) = body
            .split_first_chunk_mut::<NONCE_LEN>()
            .ok_or(TokenError::NotAuthentic)?;
        let (derived, short) = derive(key.key(), nonce);
        let length = with_pae(&authenticated(nonce, context), |authenticated| {
            chacha20_poly1305_open(&derived, short, authenticated, sealed)
        });
        let length = length.ok_or(TokenError::NotAuthentic)?;
        Ok(NONCE_LEN..NONCE_LEN + length)
    }
}

impl Mints<Secret> for V2 {
    type Purpose = Public;

    /// PASETO Version 2 § Sign.
    fn seal(
        key: &Self::Material,
        payload: &[u8],
        context: Context<'_>,
        _random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        Ok([payload, &key.sign(&signed(payload, context))].concat())
    }
}

impl Opens<Public> for V2 {
    /// PASETO Version 2 § Verify.
    fn open(
        key: &Self::Material,
        body: &mut [u8],
        context: Context<'_>,
    ) -> Result<Range<usize>, TokenError> {
        let point = key.point()?;
        let (payload, signature) = body
            .split_last_chunk::<64>()
            .ok_or(TokenError::NotAuthentic)?;
        let covered: [&[u8]; 3] = [b"v2.public.", payload, context.footer];
        v4::verify(point, &covered, signature)?;
        Ok(0..payload.len())
    }
}

/// The nonce covers the payload too, so that a bad source of randomness repeats it for equal payloads alone.
fn nonce(random: &[u8; NONCE_LEN], payload: &[u8]) -> [u8; NONCE_LEN] {
    let mut mac = keyed::<U24>(random);
    mac.update(payload);
    mac.finalize().into_bytes().into()
}

/// XChaCha20-Poly1305 as ChaCha20-Poly1305 under a derived key (draft-irtf-cfrg-xchacha-03 section 2.3).
fn derive(key: &[u8; 32], nonce: &[u8; NONCE_LEN]) -> (Zeroizing<[u8; 32]>, [u8; 12]) {
    let (first, last) = nonce.split_at(16);
    let first = first.try_into().expect("the first 16 of 24 bytes");
    let derived = Zeroizing::new(hchacha::<R20>(key.into(), first).into());
    let mut short = [0; 12];
    short.split_at_mut(4).1.copy_from_slice(last);
    (derived, short)
}

fn authenticated<'a>(nonce: &'a [u8; NONCE_LEN], context: Context<'a>) -> [&'a [u8]; 3] {
    [b"v2.local.", nonce, context.footer]
}

fn signed(payload: &[u8], context: Context<'_>) -> Vec<u8> {
    pae_vec(&[b"v2.public.", payload, context.footer])
}

const NONCE_LEN: usize = 24;
