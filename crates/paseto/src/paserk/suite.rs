//! Encryption and authentication of keys inside keys: XChaCha20 with BLAKE2b, AES-256-CTR with HMAC-SHA-384.

use blake2::Blake2b;
use blake2::digest::Digest;
use blake2::digest::consts::U32;
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use zeroize::Zeroizing;

use crate::error::PaserkError;
use crate::key::{cut, same_tag};
use crate::primitives::{HmacSha384, SHA384_LEN, aes_256_ctr, sha384};
use crate::xchacha::{Splitting, keyed_hash};

/// The keys of one wrapping: they encrypt, then authenticate.
#[doc(hidden)]
#[expect(unnameable_types, reason = "seen by the versions alone")]
pub trait Suite: Sized {
    type Tag: AsRef<[u8]>;
    const TAG_LEN: usize = size_of::<Self::Tag>();
    const NONCE_LEN: usize;

    /// Of what a password was stretched to (PASERK § PBKW).
    fn of_password(stretched: &[u8; 32], nonce: &[u8]) -> Self;

    fn apply_keystream(&self, bytes: &mut [u8]);

    fn tag(&self, pieces: &[&[u8]]) -> Self::Tag;

    fn check(&self, pieces: &[&[u8]], tag: &[u8]) -> Result<(), PaserkError> {
        match same_tag(self.tag(pieces).as_ref(), tag) {
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

impl XChaCha {
    /// Of a wrapping key (PASERK § PIE).
    pub(crate) fn of_wrapping(key: &Splitting, nonce: &[u8; 32]) -> Self {
        let split = key.by(nonce);
        let (encryption, nonce) = cut(&*split.encryption);
        Self {
            encryption,
            nonce,
            authentication: split.authentication,
        }
    }
}

impl Suite for XChaCha {
    type Tag = [u8; 32];
    const NONCE_LEN: usize = 24;

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

    fn tag(&self, pieces: &[&[u8]]) -> Self::Tag {
        keyed_hash::<U32>(&*self.authentication, pieces).into()
    }
}

/// Of versions 1 and 3.
#[expect(unnameable_types, reason = "seen by the versions alone")]
pub struct AesCtr {
    encryption: Zeroizing<[u8; 32]>,
    counter: [u8; 16],
    authentication: HmacSha384,
}

impl AesCtr {
    /// Of a wrapping key (PASERK § PIE).
    pub(crate) fn of_wrapping(key: &HmacSha384, nonce: &[u8; 32]) -> Self {
        let (encryption, counter) = cut(&*Zeroizing::new(key.tag(&[&[0x80], nonce])));
        let (authentication, _) = cut::<32, 16>(&*Zeroizing::new(key.tag(&[&[0x81], nonce])));
        Self::new(encryption, counter, &*authentication)
    }

    pub(crate) fn new(
        encryption: Zeroizing<[u8; 32]>,
        counter: [u8; 16],
        authentication: &[u8],
    ) -> Self {
        Self {
            encryption,
            counter,
            authentication: HmacSha384::new(authentication),
        }
    }
}

impl Suite for AesCtr {
    type Tag = [u8; SHA384_LEN];
    const NONCE_LEN: usize = 16;

    fn of_password(stretched: &[u8; 32], nonce: &[u8]) -> Self {
        let (encryption, _unused) = cut::<32, 16>(&*sha384(&[&[0xff], stretched]));
        let counter = nonce.try_into().expect("a nonce of 16 bytes");
        Self::new(encryption, counter, &*sha384(&[&[0xfe], stretched]))
    }

    fn apply_keystream(&self, bytes: &mut [u8]) {
        aes_256_ctr(&self.encryption, &self.counter, bytes);
    }

    fn tag(&self, pieces: &[&[u8]]) -> Self::Tag {
        self.authentication.tag(pieces)
    }
}

pub(crate) fn blake2b_256(pieces: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut hash = Blake2b::<U32>::default();
    pieces
        .iter()
        .for_each(|piece| Digest::update(&mut hash, piece));
    Zeroizing::new(hash.finalize().into())
}
