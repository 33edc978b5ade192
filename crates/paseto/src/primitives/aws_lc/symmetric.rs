use core::num::NonZeroU32;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{digest, hmac, pbkdf2};
use zeroize::Zeroizing;

use crate::primitives::SHA384_LEN;

/// SHA-384 over `pieces`, one after the other.
pub(crate) fn sha384(pieces: &[&[u8]]) -> Zeroizing<[u8; SHA384_LEN]> {
    hash(&digest::SHA384, pieces)
}

/// SHA-512 over `pieces`, one after the other.
pub(crate) fn sha512(pieces: &[&[u8]]) -> Zeroizing<[u8; 64]> {
    hash(&digest::SHA512, pieces)
}

fn hash<const N: usize>(
    algorithm: &'static digest::Algorithm,
    pieces: &[&[u8]],
) -> Zeroizing<[u8; N]> {
    let mut hash = digest::Context::new(algorithm);
    pieces.iter().for_each(|piece| hash.update(piece));
    let mut bytes = Zeroizing::new([0; N]);
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

/// A key of HMAC with SHA-384, its first block hashed once.
#[derive(Clone)]
pub(crate) struct HmacSha384(hmac::Key);

impl HmacSha384 {
    pub(crate) fn new(key: &[u8]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA384, key))
    }

    /// The tag over `pieces`, one after the other.
    pub(crate) fn tag(&self, pieces: &[&[u8]]) -> [u8; SHA384_LEN] {
        self.tag_of(|mac| pieces.iter().for_each(|piece| mac(piece)))
    }

    /// The tag over what `feed` hands on.
    pub(crate) fn tag_of(&self, feed: impl FnOnce(&mut dyn FnMut(&[u8]))) -> [u8; SHA384_LEN] {
        let mut mac = hmac::Context::with_key(&self.0);
        feed(&mut |bytes| mac.update(bytes));
        let mut tag = [0; SHA384_LEN];
        tag.copy_from_slice(mac.sign().as_ref());
        tag
    }
}

/// AES-256 in counter mode; the counter is the whole block, 128 bits, big-endian (NIST SP 800-38A section B.1).
pub(crate) fn aes_256_ctr(key: &[u8; 32], counter: &[u8; 16], bytes: &mut [u8]) {
    let key = UnboundCipherKey::new(&AES_256, key).expect("a key of 32 bytes");
    let context = EncryptionContext::Iv128(FixedLength::from(counter));
    EncryptingKey::ctr(key)
        .and_then(|cipher| cipher.less_safe_encrypt(bytes, context))
        .expect("counter mode takes any length");
}

/// PBKDF2 with HMAC-SHA-384 (RFC 8018 section 5.2).
pub(crate) fn pbkdf2_sha384(
    password: &[u8],
    salt: &[u8],
    iterations: NonZeroU32,
) -> Zeroizing<[u8; 32]> {
    let mut stretched = Zeroizing::new([0; 32]);
    let algorithm = pbkdf2::PBKDF2_HMAC_SHA384;
    pbkdf2::derive(algorithm, iterations, salt, password, &mut *stretched);
    stretched
}

/// Encrypts `bytes` in place and gives the tag (RFC 8439 section 2.8).
pub(crate) fn chacha20_poly1305_seal(
    key: &[u8; 32],
    nonce: [u8; 12],
    authenticated: &[u8],
    bytes: &mut [u8],
) -> [u8; 16] {
    let tag = chacha20_poly1305(key)
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(authenticated),
            bytes,
        )
        .expect("a token is shorter than ChaCha20's 256 GiB");
    tag.as_ref().try_into().expect("a tag of 16 bytes")
}

/// Decrypts `bytes` in place, of which the last 16 are the tag; `None` when they do not authenticate.
pub(crate) fn chacha20_poly1305_open(
    key: &[u8; 32],
    nonce: [u8; 12],
    authenticated: &[u8],
    bytes: &mut [u8],
) -> Option<usize> {
    let opened = chacha20_poly1305(key).open_in_place(
        Nonce::assume_unique_for_key(nonce),
        Aad::from(authenticated),
        bytes,
    );
    opened.ok().map(|payload| payload.len())
}

fn chacha20_poly1305(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes"))
}
