//! Encryption and authentication of keys inside keys: XChaCha20 with BLAKE2b, AES-256-CTR with HMAC-SHA-384.

use aws_lc_rs::{digest, hmac};
use blake2::digest::consts::{U32, U56};
use blake2::digest::{Digest, Mac};
use blake2::{Blake2b, Blake2bMac};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use crate::error::PaserkError;
use crate::key::cut;
use crate::v3::aes_256_ctr;
use crate::xchacha::{keyed, keyed_hash};

/// The keys of one wrapping: they encrypt, then authenticate.
#[doc(hidden)]
#[expect(unnameable_types, reason = "seen by the versions alone")]
pub trait Suite: Sized {
    const TAG_LEN: usize;
    const NONCE_LEN: usize;

    /// Of a wrapping key (PASERK § PIE).
    fn of_wrapping(key: &[u8; 32], nonce: &[u8; 32]) -> Self;

    /// Of what a password was stretched to (PASERK § PBKW).
    fn of_password(stretched: &[u8; 32], nonce: &[u8]) -> Self;

    fn apply_keystream(&self, bytes: &mut [u8]);

    fn tag(&self, pieces: &[&[u8]]) -> Vec<u8>;

    fn check(&self, pieces: &[&[u8]], tag: &[u8]) -> Result<(), PaserkError> {
        match bool::from(self.tag(pieces).ct_eq(tag)) {
            true => Ok(()),
            false => Err(PaserkError::NotAuthentic),
        }
    }
}

/// Of versions 2 and 4.
#[expect(unnameable_types, reason = "seen by the versions alone")]
pub struct XChaCha {
    pub(crate) encryption: Zeroizing<[u8; 32]>,
    pub(crate) nonce: [u8; 24],
    pub(crate) authentication: Zeroizing<[u8; 32]>,
}

impl Suite for XChaCha {
    const TAG_LEN: usize = 32;
    const NONCE_LEN: usize = 24;

    fn of_wrapping(key: &[u8; 32], nonce: &[u8; 32]) -> Self {
        let mut split = keyed_hash::<U56>(key, &[&[0x80], nonce]);
        let (encryption, nonce_of_cipher) = cut(&split);
        let keys = Self {
            encryption,
            nonce: nonce_of_cipher,
            authentication: Zeroizing::new(keyed_hash::<U32>(key, &[&[0x81], nonce]).into()),
        };
        split.zeroize();
        keys
    }

    fn of_password(stretched: &[u8; 32], nonce: &[u8]) -> Self {
        Self {
            encryption: blake2b_256(&[&[0xff], stretched]),
            nonce: nonce.try_into().expect("a nonce of 24 bytes"),
            authentication: blake2b_256(&[&[0xfe], stretched]),
        }
    }

    fn apply_keystream(&self, bytes: &mut [u8]) {
        XChaCha20::new((&*self.encryption).into(), (&self.nonce).into()).apply_keystream(bytes);
    }

    fn tag(&self, pieces: &[&[u8]]) -> Vec<u8> {
        let mut mac: Blake2bMac<U32> = keyed(&*self.authentication);
        pieces.iter().for_each(|piece| Mac::update(&mut mac, piece));
        mac.finalize().into_bytes().to_vec()
    }
}

/// Of versions 1 and 3.
#[expect(unnameable_types, reason = "seen by the versions alone")]
pub struct AesCtr {
    pub(crate) encryption: Zeroizing<[u8; 32]>,
    pub(crate) counter: [u8; 16],
    pub(crate) authentication: hmac::Key,
}

impl AesCtr {
    pub(crate) fn new(
        encryption: Zeroizing<[u8; 32]>,
        counter: [u8; 16],
        authentication: &[u8],
    ) -> Self {
        Self {
            encryption,
            counter,
            authentication: hmac::Key::new(hmac::HMAC_SHA384, authentication),
        }
    }
}

impl Suite for AesCtr {
    const TAG_LEN: usize = 48;
    const NONCE_LEN: usize = 16;

    fn of_wrapping(key: &[u8; 32], nonce: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA384, key);
        let split = hmac_of(&key, &[&[0x80], nonce]);
        let (encryption, counter) = cut(split.as_ref());
        let authentication = hmac_of(&key, &[&[0x81], nonce]);
        let (authentication, _) = authentication.as_ref().split_at(32);
        Self {
            encryption,
            counter,
            authentication: hmac::Key::new(hmac::HMAC_SHA384, authentication),
        }
    }

    fn of_password(stretched: &[u8; 32], nonce: &[u8]) -> Self {
        let encryption = sha384(&[&[0xff], stretched]);
        let (encryption, _unused) = cut::<32, 16>(encryption.as_ref());
        let authentication = sha384(&[&[0xfe], stretched]);
        Self {
            encryption,
            counter: nonce.try_into().expect("a nonce of 16 bytes"),
            authentication: hmac::Key::new(hmac::HMAC_SHA384, authentication.as_ref()),
        }
    }

    fn apply_keystream(&self, bytes: &mut [u8]) {
        aes_256_ctr(&*self.encryption, &self.counter, bytes);
    }

    fn tag(&self, pieces: &[&[u8]]) -> Vec<u8> {
        hmac_of(&self.authentication, pieces).as_ref().to_vec()
    }
}

pub(crate) fn blake2b_256(pieces: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut hash = Blake2b::<U32>::default();
    pieces
        .iter()
        .for_each(|piece| Digest::update(&mut hash, piece));
    Zeroizing::new(hash.finalize().into())
}

pub(crate) fn sha384(pieces: &[&[u8]]) -> digest::Digest {
    let mut hash = digest::Context::new(&digest::SHA384);
    pieces.iter().for_each(|piece| hash.update(piece));
    hash.finish()
}

fn hmac_of(key: &hmac::Key, pieces: &[&[u8]]) -> hmac::Tag {
    let mut mac = hmac::Context::with_key(key);
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.sign()
}
