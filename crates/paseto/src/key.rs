//! Keys that know their version and kind.

use alloc::vec::Vec;
use core::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::error::InvalidKey;
use crate::random::{Random, RandomnessUnavailable};
use crate::version::{Generates, Holds, Kind, Local, Public, SealPublic, Secret};

/// A key of version `V` and kind `K`, such as `Key<V4, Local>`.
///
/// It is checked when it is made and wiped when it is dropped. It cannot be cloned, and `Debug` shows its type alone.
/// Text goes through [PASERK](crate::paserk): [`Key::from_paserk`] and [`Key::to_paserk`].
///
/// ```
/// use countersign_paseto::{Key, Local, SystemRandom, V4};
///
/// let key = Key::<V4, Local>::generate(&SystemRandom)?;
/// assert_eq!(format!("{key:?}"), "Key(k4.local)");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A key of one kind is not one of another. A local key verifies no signature:
///
/// ```compile_fail,E0308
/// use countersign_paseto::{Key, Local, Public, TokenError, UntrustedToken, V4};
///
/// fn open(token: UntrustedToken<V4, Public>, key: &Key<V4, Local>) -> Result<(), TokenError> {
///     token.open(key).map(drop)
/// }
/// ```
pub struct Key<V: Holds<K>, K: Kind> {
    pub(crate) material: V::Material,
}

impl<V: Holds<K>, K: Kind> Key<V, K> {
    /// The key whose serialised bytes these are, as in PASERK's plain types.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`] when the length is wrong or the bytes are no safe key.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, InvalidKey> {
        V::parse(bytes).map(|material| Self { material })
    }

    /// The key's bytes: the secret itself unless the kind is [`Public`].
    pub fn expose_secret(&self) -> Zeroizing<Vec<u8>> {
        V::serialize(&self.material)
    }
}

impl<V: Generates<K>, K: Kind> Key<V, K> {
    /// A fresh key.
    ///
    /// # Errors
    ///
    /// [`RandomnessUnavailable`] when `random` fails.
    pub fn generate(random: &dyn Random) -> Result<Self, RandomnessUnavailable> {
        V::generate(random).map(|material| Self { material })
    }
}

impl<V: Holds<Public>> Key<V, Public> {
    /// The key's bytes, which are no secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        V::serialize(&self.material).to_vec()
    }
}

impl<V: Holds<SealPublic>> Key<V, SealPublic> {
    /// The key's bytes, which are no secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        V::serialize(&self.material).to_vec()
    }
}

impl<V: Pairs> Key<V, Secret> {
    /// The key that verifies what this one signs.
    pub fn public(&self) -> Key<V, Public> {
        Key {
            material: V::public(&self.material),
        }
    }
}

impl<V: Holds<K>, K: Kind> fmt::Debug for Key<V, K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Key({}.{}", V::PASERK, K::PLAIN)?;
        match V::DRAFT_REVISION {
            Some(revision) => write!(formatter, ", draft {revision})"),
            None => formatter.write_str(")"),
        }
    }
}

/// A version whose secret keys have a public half.
pub trait Pairs: Holds<Secret> + Holds<Public> {
    #[doc(hidden)]
    fn public(secret: &<Self as Holds<Secret>>::Material) -> <Self as Holds<Public>>::Material;
}

/// Whether two tags are the same, in constant time, a word at a time. Their lengths are no secret.
pub(crate) fn same_tag(tag: &[u8], found: &[u8]) -> bool {
    if tag.len() != found.len() {
        return false;
    }
    let (words, rest) = tag.as_chunks::<8>();
    let (found_words, found_rest) = found.as_chunks::<8>();
    let mut same = rest.ct_eq(found_rest);
    for (word, found) in words.iter().zip(found_words) {
        same &= u64::from_ne_bytes(*word).ct_eq(&u64::from_ne_bytes(*found));
    }
    same.into()
}

/// A hash of `A` + `B` bytes cut in two: a key, and what is no secret.
pub(crate) fn cut<const A: usize, const B: usize>(hash: &[u8]) -> (Zeroizing<[u8; A]>, [u8; B]) {
    let (mut key, mut rest) = (Zeroizing::new([0; A]), [0; B]);
    let (first, last) = hash.split_at(A);
    key.copy_from_slice(first);
    rest.copy_from_slice(last);
    (key, rest)
}

/// Thirty-two bytes of symmetric key, as all versions have.
pub(crate) fn symmetric(bytes: &[u8]) -> Result<Zeroizing<[u8; 32]>, InvalidKey> {
    Ok(Zeroizing::new(*sized(bytes)?))
}

/// As many bytes as a key has.
pub(crate) fn sized<const N: usize>(bytes: &[u8]) -> Result<&[u8; N], InvalidKey> {
    bytes.try_into().map_err(|_| InvalidKey::Length {
        expected: N,
        found: bytes.len(),
    })
}

const _: () = {
    const fn sendable<T: Send + Sync>() {}
    sendable::<Key<crate::V4, Local>>();
    sendable::<Key<crate::V4, Secret>>();
    sendable::<Key<crate::V3, Local>>();
};
