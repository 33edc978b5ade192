//! XChaCha20 with keyed BLAKE2b: local tokens of versions 4 and 6, and BLAKE2b for keys inside keys.

use alloc::vec::Vec;
use core::ops::Range;

use blake2::Blake2bMac;
use blake2::digest::array::{Array, ArraySize};
use blake2::digest::consts::{U32, U56, U64};
use blake2::digest::typenum::{IsLessOrEqual, True};
use blake2::digest::{FixedOutput, KeyInit, Mac};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use crate::encoding::pae;
use crate::error::TokenError;
use crate::key::same_tag;
use crate::prepared::{Of, Prepared};
use crate::random::{self, Random, RandomnessUnavailable};
use crate::version::Context;

/// The key, and what is hashed of it once for all tokens and wrapped keys.
#[expect(unnameable_types, reason = "key material is seen through `Key` alone")]
pub struct LocalKey(Prepared<Zeroizing<[u8; 32]>, Uses>);

struct Uses {
    tokens: Splitting,
    wrapping: Splitting,
}

impl Of<Zeroizing<[u8; 32]>> for Uses {
    fn of(key: &Zeroizing<[u8; 32]>) -> Self {
        Self {
            tokens: Splitting::new(key, b"paseto-encryption-key", b"paseto-auth-key-for-aead"),
            wrapping: Splitting::new(key, &[0x80], &[0x81]),
        }
    }
}

/// BLAKE2b as it stands where the keys of all tokens or wrappings begin: key and label absorbed, the nonce to come.
pub(crate) struct Splitting {
    encryption: Blake2bMac<U56>,
    authentication: Blake2bMac<U32>,
}

impl Splitting {
    fn new(key: &[u8; 32], encrypting: &[u8], authenticating: &[u8]) -> Self {
        let mut encryption = keyed(key);
        encryption.update(encrypting);
        let mut authentication = keyed(key);
        authentication.update(authenticating);
        Self {
            encryption,
            authentication,
        }
    }

    /// The keys of the token or wrapping with this nonce, written where they stay.
    pub(crate) fn by(&self, nonce: &[u8; 32]) -> Split {
        let mut keys = Split {
            encryption: Zeroizing::new([0; 56]),
            authentication: Zeroizing::new([0; 32]),
        };
        let mut encryption = self.encryption.clone();
        encryption.update(nonce);
        encryption.finalize_into((&mut *keys.encryption).into());
        let mut authentication = self.authentication.clone();
        authentication.update(nonce);
        authentication.finalize_into((&mut *keys.authentication).into());
        keys
    }
}

impl LocalKey {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self(Prepared::new(key))
    }

    pub(crate) fn key(&self) -> &[u8; 32] {
        self.0.source()
    }

    /// PASETO Version 4 § Encrypt.
    pub(crate) fn encrypt(
        &self,
        header: &[u8],
        payload: &[u8],
        context: Context<'_>,
        random: &dyn Random,
    ) -> Result<Vec<u8>, RandomnessUnavailable> {
        let nonce = random::bytes::<32>(random)?;
        let keys = self.0.get().tokens.by(&nonce);
        let mut body = Vec::with_capacity(nonce.len() + payload.len() + TAG_LEN);
        body.extend_from_slice(&nonce);
        body.extend_from_slice(payload);
        let ciphertext = body.split_at_mut(nonce.len()).1;
        keys.apply_keystream(ciphertext);
        let tag = keys.tag(header, &nonce, ciphertext, context);
        body.extend_from_slice(&tag);
        Ok(body)
    }

    /// PASETO Version 4 § Decrypt.
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
        let keys = self.0.get().tokens.by(nonce);
        let tag = keys.tag(header, nonce, ciphertext, context);
        if !same_tag(&tag, found) {
            return Err(TokenError::NotAuthentic);
        }
        keys.apply_keystream(ciphertext);
        Ok(nonce.len()..end)
    }

    pub(crate) fn wrapping(&self) -> &Splitting {
        &self.0.get().wrapping
    }
}

/// The keys of one token or wrapping, split from the long-lived key by its nonce.
pub(crate) struct Split {
    /// The cipher's key, then its nonce.
    pub(crate) encryption: Zeroizing<[u8; 56]>,
    pub(crate) authentication: Zeroizing<[u8; 32]>,
}

impl Split {
    /// Pads the last group of four blocks: the cipher does four at once, or one in the time of four.
    fn apply_keystream(&self, bytes: &mut [u8]) {
        let (key, nonce) = self.encryption.split_first_chunk::<32>().expect("56 bytes");
        let nonce = nonce.first_chunk::<24>().expect("24 bytes are left");
        let mut cipher = XChaCha20::new(key.into(), nonce.into());
        let (groups, last) = bytes.as_chunks_mut::<GROUP_LEN>();
        cipher.apply_keystream(groups.as_flattened_mut());
        let mut padded = [0; GROUP_LEN];
        let (start, _) = padded.split_at_mut(last.len());
        start.copy_from_slice(last);
        cipher.apply_keystream(&mut padded);
        last.copy_from_slice(padded.split_at(last.len()).0);
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
) -> Array<u8, N> {
    let mut mac = keyed::<N>(key);
    for piece in pieces {
        mac.update(piece);
    }
    mac.finalize().into_bytes()
}

const TAG_LEN: usize = 32;
/// Four blocks of ChaCha20.
const GROUP_LEN: usize = 256;
