//! PASERK: keys as text.
//!
//! [`Key::to_paserk`] and [`Key::from_paserk`] are the plain types, `k4.local.…`, `k4.public.…` and `k4.secret.…`;
//! [`Key::id`] is the key's id. Secrets that are stored or sent go in a wrapping: [`Key::wrap`] under another key,
//! [`Key::protect`] under a password, [`Key::seal`] to a public key.
//!
//! ```
//! use countersign_paseto::{Key, Public, Secret, SystemRandom, V4};
//!
//! let secret = Key::<V4, Secret>::generate(&SystemRandom)?;
//! let text = secret.public().to_paserk();
//! let public = Key::<V4, Public>::from_paserk(&text)?;
//! assert_eq!(public.id(), secret.public().id());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use zeroize::Zeroizing;

mod id;
mod password;
mod pie;
#[cfg(feature = "k1-seal")]
mod rsa_kem;
mod seal;
pub(crate) mod suite;

pub(crate) use id::HASH_LEN;
pub use id::{Identifies, KeyId};
pub use password::{Argon2id, Pbkdf2, ProtectedKey, Protects, WorkFactor, WorkLimits};
pub use pie::Wraps;
pub use seal::Seals;

use crate::encoding;
use crate::error::PaserkError;
use crate::key::Key;
use crate::version::{Holds, Kind, Local, SealSecret, Secret};

impl<V: Holds<K>, K: Kind> Key<V, K> {
    /// The key as text: the secret itself unless the kind is [`Public`](crate::Public).
    pub fn to_paserk(&self) -> Zeroizing<String> {
        let data = encoding::encode_secret(&self.expose_secret());
        let mut text = Zeroizing::new(plain_header::<V, K>().begin(data.len()));
        text.push_str(&data);
        text
    }

    /// The key that `text` holds.
    ///
    /// # Errors
    ///
    /// [`PaserkError`].
    pub fn from_paserk(text: &str) -> Result<Self, PaserkError> {
        let (_, data) = plain_header::<V, K>().cut(text)?;
        let data = encoding::decode_secret(data).ok_or(PaserkError::Malformed)?;
        Ok(Self::from_bytes(&data)?)
    }
}

fn plain_header<V: Holds<K>, K: Kind>() -> Header<2> {
    Header([V::PASERK, K::PLAIN])
}

/// A kind of key that must not be seen: [`Local`], [`Secret`] or [`SealSecret`].
///
/// This trait is sealed: kinds are defined by the PASERK specification.
pub trait Confidential: Kind {
    /// The type under another key, such as `local-wrap`.
    const WRAPPED: &'static str;
    /// The type under a password, such as `local-pw`.
    const PROTECTED: &'static str;
}

impl Confidential for Local {
    const WRAPPED: &'static str = "local-wrap";
    const PROTECTED: &'static str = "local-pw";
}

impl Confidential for Secret {
    const WRAPPED: &'static str = "secret-wrap";
    const PROTECTED: &'static str = "secret-pw";
}

impl Confidential for SealSecret {
    const WRAPPED: &'static str = "secret-wrap";
    const PROTECTED: &'static str = "secret-pw";
}

/// The words that stand before the data, each with a dot after it, such as `k4.local-wrap.pie.`.
struct Header<const N: usize>([&'static str; N]);

impl<const N: usize> Header<N> {
    /// The header, with room after it for `length` characters of data.
    fn begin(&self, length: usize) -> String {
        let words = self.0.iter().map(|word| word.len() + 1).sum::<usize>();
        let mut text = String::with_capacity(words + length);
        for word in self.0 {
            text.push_str(word);
            text.push('.');
        }
        text
    }

    /// The header and the data of `text`.
    fn cut<'t>(&self, text: &'t str) -> Result<(&'t str, &'t str), PaserkError> {
        if text.len() > MAX_PASERK_LEN {
            return Err(PaserkError::TooLong {
                found: text.len(),
                limit: MAX_PASERK_LEN,
            });
        }
        let mut words = self.0.iter();
        let data = words.try_fold(text, |rest, word| {
            rest.strip_prefix(word)?.strip_prefix('.')
        });
        let data = data.ok_or_else(|| PaserkError::WrongHeader {
            expected: self.begin(0),
        })?;
        Ok(text.split_at(text.len() - data.len()))
    }

    /// The header of `text` and the bytes after it, which are encrypted: their base64 needs no constant time.
    fn decode<'t>(&self, text: &'t str) -> Result<(&'t str, Zeroizing<Vec<u8>>), PaserkError> {
        let (header, data) = self.cut(text)?;
        let data = encoding::decode(data).ok_or(PaserkError::Malformed)?;
        Ok((header, Zeroizing::new(data)))
    }
}

/// The longest serialised key that is read: the largest, an RSA key of 4,096 bits under a password, has some 4,600 bytes.
pub const MAX_PASERK_LEN: usize = 6 * 1024;
