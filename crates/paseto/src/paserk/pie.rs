//! Keys wrapped under another key: `local-wrap.pie` and `secret-wrap.pie` (PASERK "Wrap", "PIE").

use aws_lc_rs::hmac;
use blake2::digest::Mac;
use blake2::digest::consts::{U32, U56};
use chacha20::XChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, Zeroizing};

use super::{Confidential, decode};
use crate::encoding;
use crate::error::PaserkError;
use crate::key::Key;
use crate::random::{self, Random, RandomnessUnavailable};
use crate::v3::{V3, aes_256_ctr};
use crate::v4::{V4, keyed, keyed_hash};
use crate::version::{Holds, Local, Version};

impl<V: Wraps + Holds<K>, K: Confidential> Key<V, K> {
    /// The key as text that only `wrapping` opens, such as `k4.local-wrap.pie.…`. The text is no secret.
    ///
    /// ```
    /// use countersign_paseto::{Key, Local, Secret, SystemRandom, V4};
    ///
    /// let root = Key::<V4, Local>::generate(&SystemRandom)?;
    /// let signing = Key::<V4, Secret>::generate(&SystemRandom)?;
    /// let stored = signing.wrap(&root, &SystemRandom)?;
    /// let again = Key::<V4, Secret>::unwrap(&stored, &root)?;
    /// assert_eq!(again.id(), signing.id());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`RandomnessUnavailable`] when `random` fails.
    pub fn wrap(
        &self,
        wrapping: &Key<V, Local>,
        random: &dyn Random,
    ) -> Result<String, RandomnessUnavailable> {
        let mut text = header::<V, K>();
        let nonce = random::bytes::<NONCE_LEN>(random)?;
        let mut inner = self.expose_secret();
        let keys = V::split(&wrapping.material, &nonce);
        keys.apply_keystream(&mut inner);
        let tag = keys.tag(&[text.as_bytes(), &nonce, &inner]);
        encoding::append(&mut text, &[tag.as_slice(), &nonce, &inner].concat());
        Ok(text)
    }

    /// The key that `text` holds, wrapped under `wrapping`.
    ///
    /// # Errors
    ///
    /// [`PaserkError::NotAuthentic`] when `wrapping` is another key, or the text was altered.
    pub fn unwrap(text: &str, wrapping: &Key<V, Local>) -> Result<Self, PaserkError> {
        let header = header::<V, K>();
        let mut data = decode(text, &header)?;
        let (tag, rest) = data
            .split_at_mut_checked(V::TAG_LEN)
            .ok_or(PaserkError::Malformed)?;
        let (nonce, inner) = rest
            .split_first_chunk_mut::<NONCE_LEN>()
            .ok_or(PaserkError::Malformed)?;
        let keys = V::split(&wrapping.material, nonce);
        if !bool::from(keys.tag(&[header.as_bytes(), &*nonce, inner]).ct_eq(tag)) {
            return Err(PaserkError::NotAuthentic);
        }
        keys.apply_keystream(inner);
        Ok(Self::from_bytes(inner)?)
    }
}

fn header<V: Version, K: Confidential>() -> String {
    format!("{}.{}.pie.", V::PASERK, K::WRAPPED)
}

/// A version that wraps keys under a local key.
pub trait Wraps: Holds<Local> {
    #[doc(hidden)]
    const TAG_LEN: usize;

    #[doc(hidden)]
    type Keys: WrappingKeys;

    #[doc(hidden)]
    fn split(wrapping: &Self::Material, nonce: &[u8; NONCE_LEN]) -> Self::Keys;
}

/// The keys of one wrapping, split from the wrapping key by its nonce.
#[doc(hidden)]
#[expect(unnameable_types, reason = "seen by the versions alone")]
pub trait WrappingKeys {
    fn apply_keystream(&self, bytes: &mut [u8]);
    fn tag(&self, pieces: &[&[u8]]) -> Zeroizing<Vec<u8>>;
}

impl Wraps for V4 {
    const TAG_LEN: usize = 32;

    type Keys = V4Keys;

    fn split(wrapping: &Self::Material, nonce: &[u8; NONCE_LEN]) -> V4Keys {
        let mut split = keyed_hash::<U56>(&**wrapping, &[&[ENCRYPTION], nonce]);
        let (encryption, counter_nonce) = split.split_at(32);
        let keys = V4Keys {
            encryption: Zeroizing::new(encryption.try_into().expect("the first 32 of 56 bytes")),
            nonce: counter_nonce.try_into().expect("the last 24 of 56 bytes"),
            authentication: Zeroizing::new(
                keyed_hash::<U32>(&**wrapping, &[&[AUTHENTICATION], nonce]).into(),
            ),
        };
        split.zeroize();
        keys
    }
}

#[expect(unnameable_types, reason = "seen by the versions alone")]
pub struct V4Keys {
    encryption: Zeroizing<[u8; 32]>,
    nonce: [u8; 24],
    authentication: Zeroizing<[u8; 32]>,
}

impl WrappingKeys for V4Keys {
    fn apply_keystream(&self, bytes: &mut [u8]) {
        XChaCha20::new((&*self.encryption).into(), (&self.nonce).into()).apply_keystream(bytes);
    }

    fn tag(&self, pieces: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let mut mac = keyed::<U32>(&*self.authentication);
        pieces.iter().for_each(|piece| mac.update(piece));
        Zeroizing::new(mac.finalize().into_bytes().to_vec())
    }
}

impl Wraps for V3 {
    const TAG_LEN: usize = 48;

    type Keys = V3Keys;

    fn split(wrapping: &Self::Material, nonce: &[u8; NONCE_LEN]) -> V3Keys {
        let wrapping = hmac::Key::new(hmac::HMAC_SHA384, &*wrapping.key);
        let encryption = hmac_of(&wrapping, &[&[ENCRYPTION], nonce]);
        let authentication = hmac_of(&wrapping, &[&[AUTHENTICATION], nonce]);
        let (authentication, _) = authentication.as_ref().split_at(32);
        V3Keys {
            encryption: Zeroizing::new(
                encryption
                    .as_ref()
                    .try_into()
                    .expect("SHA-384 has 48 bytes"),
            ),
            authentication: hmac::Key::new(hmac::HMAC_SHA384, authentication),
        }
    }
}

#[expect(unnameable_types, reason = "seen by the versions alone")]
pub struct V3Keys {
    /// The key and the first counter.
    encryption: Zeroizing<[u8; 48]>,
    authentication: hmac::Key,
}

impl WrappingKeys for V3Keys {
    fn apply_keystream(&self, bytes: &mut [u8]) {
        let (key, counter) = self.encryption.split_at(32);
        aes_256_ctr(
            key,
            counter.try_into().expect("the last 16 of 48 bytes"),
            bytes,
        );
    }

    fn tag(&self, pieces: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(hmac_of(&self.authentication, pieces).as_ref().to_vec())
    }
}

fn hmac_of(key: &hmac::Key, pieces: &[&[u8]]) -> hmac::Tag {
    let mut mac = hmac::Context::with_key(key);
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.sign()
}

/// Domain separation of the two keys.
const ENCRYPTION: u8 = 0x80;
const AUTHENTICATION: u8 = 0x81;
const NONCE_LEN: usize = 32;
