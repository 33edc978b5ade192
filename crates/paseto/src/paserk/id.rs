//! Key ids: `lid`, `pid` and `sid` (PASERK § ID).

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::encoding;
use crate::error::PaserkError;
use crate::key::Key;
use crate::version::{Holds, Kind, Version};

/// A key's id: a hash that names it without giving it away, such as `k4.lid.…`.
///
/// ```
/// use countersign_paseto::{Key, Local, SystemRandom, V4};
///
/// let key = Key::<V4, Local>::generate(&SystemRandom)?;
/// assert!(key.id().as_str().starts_with("k4.lid."));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct KeyId(String);

impl KeyId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the key whose plain PASERK is `paserk`.
    pub(crate) fn of<V: Identifies, K: Kind>(paserk: &str) -> Self {
        let mut text = format!("{}.{}.", V::PASERK, K::ID);
        let hash = V::hash_id(&[text.as_bytes(), paserk.as_bytes()]);
        encoding::append(&mut text, &hash);
        Self(text)
    }

    /// The footer that names this key, `{"kid":"k4.lid.…"}`, as a [`KeyRing`](crate::KeyRing) writes and reads it.
    pub fn to_footer(&self) -> String {
        format!(r#"{{"kid":"{}"}}"#, self.0)
    }

    /// What a footer gives as `kid`, whatever it is.
    pub(crate) fn in_footer(footer: &[u8]) -> Option<String> {
        #[derive(Deserialize)]
        struct Footer {
            kid: String,
        }

        serde_json::from_slice::<Footer>(footer)
            .ok()
            .map(|footer| footer.kid)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for KeyId {
    type Err = PaserkError;

    fn from_str(text: &str) -> Result<Self, PaserkError> {
        let wrong_header = || PaserkError::WrongHeader {
            expected: "k4.lid.".to_owned(),
        };
        let (header, data) = text.split_at_checked(HEADER_LEN).ok_or_else(wrong_header)?;
        let known = matches!(
            header.get(..3),
            Some("k1." | "k2." | "k3." | "k4." | "k5." | "k6.")
        ) && matches!(header.get(3..), Some("lid." | "pid." | "sid."));
        if !known {
            return Err(wrong_header());
        }
        match encoding::decode(data) {
            Some(hash) if hash.len() == HASH_LEN => Ok(Self(text.to_owned())),
            _ => Err(PaserkError::Malformed),
        }
    }
}

impl<V: Holds<K> + Identifies, K: Kind> Key<V, K> {
    /// The key's id: PASERK `lid`, `pid` or `sid`.
    pub fn id(&self) -> KeyId {
        KeyId::of::<V, K>(&self.to_paserk())
    }
}

/// A version with a hash for key ids.
pub trait Identifies: Version {
    /// The first 33 bytes of the version's hash over `pieces`.
    #[doc(hidden)]
    fn hash_id(pieces: &[&[u8]]) -> [u8; HASH_LEN];
}

/// 264 bits: a multiple of 3 bytes, so that base64url needs no padding.
pub(crate) const HASH_LEN: usize = 33;

/// As in `k4.lid.`.
const HEADER_LEN: usize = 7;
