use core::num::NonZeroU32;

use aes::Aes256;
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::AeadInOut;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::primitives::SHA384_LEN;

/// SHA-384 over `pieces`, one after the other.
pub(crate) fn sha384(pieces: &[&[u8]]) -> Zeroizing<[u8; SHA384_LEN]> {
    let mut hash = Sha384::new();
    pieces.iter().for_each(|piece| hash.update(piece));
    Zeroizing::new(hash.finalize().into())
}

/// SHA-512 over `pieces`, one after the other.
pub(crate) fn sha512(pieces: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    let mut hash = Sha512::new();
    pieces.iter().for_each(|piece| hash.update(piece));
    Zeroizing::new(hash.finalize().into())
}

/// A key of HMAC with SHA-384, its first block hashed once.
#[derive(Clone)]
pub(crate) struct HmacSha384(Hmac<Sha384>);

impl HmacSha384 {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(KeyInit::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The tag over `pieces`, one after the other.
    pub(crate) fn tag(&self, pieces: &[&[u8]]) -> [u8; SHA384_LEN] {
        self.tag_of(|mac| pieces.iter().for_each(|piece| mac(piece)))
    }

    /// The tag over what `feed` hands on.
    pub(crate) fn tag_of(&self, feed: impl FnOnce(&mut dyn FnMut(&[u8]))) -> [u8; SHA384_LEN] {
        let mut mac = self.0.clone();
        feed(&mut |bytes| Mac::update(&mut mac, bytes));
        mac.finalize().into_bytes().into()
    }
}

/// AES-256 in counter mode; the counter is the whole block, 128 bits, big-endian (NIST SP 800-38A section B.1).
pub(crate) fn aes_256_ctr(key: &[u8; 32], counter: &[u8; 16], bytes: &mut [u8]) {
    Ctr128BE::<Aes256>::new(key.into(), counter.into()).apply_keystream(bytes);
}

/// PBKDF2 with HMAC-SHA-384 (RFC 8018 section 5.2).
pub(crate) fn pbkdf2_sha384(
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
) -> Zeroizing<[u8; 32]> {
    let mut stretched = Zeroizing::new([0; 32]);
    pbkdf2::pbkdf2_hmac::<Sha384>(password, salt, iterations.get(), &mut *stretched);
    stretched
}

/// Encrypts `bytes` in place and gives the tag (RFC 8439 section 2.8).
pub(crate) fn chacha20_poly1305_seal(
    key: &[u8; 32],
    nonce: [u8; 12],
    authenticated: &[u8],
    bytes: &mut [u8],
) -> [u8; 16] {
    ChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(&nonce.into(), authenticated, bytes.into())
        .expect("a token is shorter than ChaCha20's 256 GiB")
        .into()
}

/// Decrypts `bytes` in place, of which the last 16 are the tag; `None` when they do not authenticate.
pub(crate) fn chacha20_poly1305_open(
    key: &[u8; 32],
    nonce: [u8; 12],
    authenticated: &[u8],
    bytes: &mut [u8],
) -> Option<usize> {
    let (ciphertext, tag) = bytes.split_last_chunk_mut::<16>()?;
    let length = ciphertext.len();
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(
            &nonce.into(),
            authenticated,
            ciphertext.into(),
            (&*tag).into(),
        )
        .ok()?;
    Some(length)
}
