//! Keys wrapped under another key: `local-wrap.pie` and `secret-wrap.pie` (PASERK § Wrap, § PIE).

use alloc::string::String;

use super::suite::{AesCtr, Suite, XChaCha};
use super::{Confidential, Header};
use crate::encoding;
use crate::error::PaserkError;
use crate::key::Key;
use crate::primitives::HmacSha384;
use crate::random::{self, Random, RandomnessUnavailable};
use crate::v1::InsecureV1;
use crate::v2::V2;
use crate::v3::V3;
use crate::v4::V4;
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
        let nonce = random::bytes::<NONCE_LEN>(random)?;
        let mut inner = self.expose_secret();
        let length = V::Suite::TAG_LEN + NONCE_LEN + inner.len();
        let mut text = header::<V, K>().begin(encoding::length(length));
        let keys = V::wrapping_keys(&wrapping.material, &nonce);
        keys.apply_keystream(&mut inner);
        let tag = keys.tag(&[text.as_bytes(), &nonce, &inner]);
        encoding::append(&mut text, &[tag.as_ref(), &nonce, &inner].concat());
        Ok(text)
    }

    /// The key that `text` holds, wrapped under `wrapping`.
    ///
    /// # Errors
    ///
    /// [`PaserkError::NotAuthentic`] when `wrapping` is another key, or the text was altered.
    pub fn unwrap(text: &str, wrapping: &Key<V, Local>) -> Result<Self, PaserkError> {
        let (header, mut data) = header::<V, K>().decode(text)?;
        let (tag, rest) = data
            .split_at_mut_checked(V::Suite::TAG_LEN)
            .ok_or(PaserkError::Malformed)?;
        let (nonce, inner) = rest
            .split_first_chunk_mut::<NONCE_LEN>()
            .ok_or(PaserkError::Malformed)?;
        let keys = V::wrapping_keys(&wrapping.material, nonce);
        keys.check(&[header.as_bytes(), &*nonce, inner], tag)?;
        keys.apply_keystream(inner);
        Ok(Self::from_bytes(inner)?)
    }
}

fn header<V: Version, K: Confidential>() -> Header<3> {
    Header([V::PASERK, K::WRAPPED, "pie"])
}

/// A version that wraps keys under a local key.
pub trait Wraps: Holds<Local> {
    #[doc(hidden)]
    type Suite: Suite;

    /// The keys of the wrapping with this nonce.
    #[doc(hidden)]
    fn wrapping_keys(material: &Self::Material, nonce: &[u8; 32]) -> Self::Suite;
}

impl Wraps for V4 {
    type Suite = XChaCha;

    fn wrapping_keys(material: &Self::Material, nonce: &[u8; 32]) -> XChaCha {
        XChaCha::of_wrapping(material.wrapping(), nonce)
    }
}

impl Wraps for InsecureV1 {
    type Suite = AesCtr;

    fn wrapping_keys(material: &Self::Material, nonce: &[u8; 32]) -> AesCtr {
        AesCtr::of_wrapping(&HmacSha384::new(&**material), nonce)
    }
}

impl Wraps for V2 {
    type Suite = XChaCha;

    fn wrapping_keys(material: &Self::Material, nonce: &[u8; 32]) -> XChaCha {
        XChaCha::of_wrapping(material.wrapping(), nonce)
    }
}

impl Wraps for V3 {
    type Suite = AesCtr;

    fn wrapping_keys(material: &Self::Material, nonce: &[u8; 32]) -> AesCtr {
        AesCtr::of_wrapping(material.wrapping(), nonce)
    }
}

const NONCE_LEN: usize = 32;
