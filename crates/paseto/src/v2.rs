//! Version 2 (PASETO § Version 2): XChaCha20-Poly1305, and Ed25519. Keys are those of version 4.

use std::ops::Range;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use blake2::digest::Mac;
use blake2::digest::consts::U24;
use chacha20::{R20, hchacha};
use zeroize::{Zeroize, Zeroizing};

use crate::encoding::pae_vec;
use crate::error::{InvalidKey, TokenError};
use crate::key::Pairs;
use crate::paserk::{HASH_LEN, Identifies};
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
        let (cipher, short) = cipher(&key.key, &nonce);
        let tag = cipher
            .seal_in_place_separate_tag(
                short,
                Aad::from(authenticated(&nonce, context)),
                ciphertext,
            )
            .expect("a token is shorter than ChaCha20's 256 GiB");
        body.extend_from_slice(tag.as_ref());
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
        let (cipher, short) = cipher(&key.key, nonce);
        let payload = cipher
            .open_in_place(short, Aad::from(authenticated(nonce, context)), sealed)
            .map_err(|_| TokenError::NotAuthentic)?;
        Ok(NONCE_LEN..NONCE_LEN + payload.len())
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
        Ok([payload, key.sign(&signed(payload, context)).as_ref()].concat())
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
fn cipher(key: &[u8; 32], nonce: &[u8; NONCE_LEN]) -> (LessSafeKey, Nonce) {
    let (first, last) = nonce.split_at(16);
    let first = first.try_into().expect("the first 16 of 24 bytes");
    let mut derived = hchacha::<R20>(key.into(), first);
    let cipher = UnboundKey::new(&CHACHA20_POLY1305, &derived).expect("a key of 32 bytes");
    derived.zeroize();
    let mut short = [0; 12];
    short.split_at_mut(4).1.copy_from_slice(last);
    (
        LessSafeKey::new(cipher),
        Nonce::assume_unique_for_key(short),
    )
}

fn authenticated(nonce: &[u8; NONCE_LEN], context: Context<'_>) -> Vec<u8> {
    pae_vec(&[b"v2.local.", nonce, context.footer])
}

fn signed(payload: &[u8], context: Context<'_>) -> Vec<u8> {
    pae_vec(&[b"v2.public.", payload, context.footer])
}

const NONCE_LEN: usize = 24;
