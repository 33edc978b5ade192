//! How a key is named: by the SHA-384 of its SubjectPublicKeyInfo.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA384, digest};
use serde::{Deserialize, Serialize};

/// The SHA-384 of a SubjectPublicKeyInfo: how tokens and pins name a key. It is written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct SpkiHash([u8; 48]);

/// A text that is not the SHA-384 of a key in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no SHA-384 in hexadecimal, which has 96 digits")]
pub struct InvalidSpkiHash {
    /// The text that was given.
    pub text: String,
}

impl SpkiHash {
    /// Hashes a SubjectPublicKeyInfo in DER.
    pub fn of(spki_der: &[u8]) -> Self {
        let mut hash = [0; 48];
        hash.copy_from_slice(digest(&SHA384, spki_der).as_ref());
        Self(hash)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; 48] {
        &self.0
    }
}

impl From<[u8; 48]> for SpkiHash {
    fn from(hash: [u8; 48]) -> Self {
        Self(hash)
    }
}

impl fmt::Display for SpkiHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpkiHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SpkiHash {
    type Err = InvalidSpkiHash;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSpkiHash {
            text: text.to_owned(),
        };
        let digits: Option<Vec<u8>> = text
            .chars()
            .map(|digit| {
                digit
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect();
        let bytes: Vec<u8> = digits
            .filter(|digits| digits.len() == 96)
            .ok_or_else(invalid)?
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        bytes.try_into().map(Self).map_err(|_| invalid())
    }
}

impl TryFrom<String> for SpkiHash {
    type Error = InvalidSpkiHash;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SpkiHash> for String {
    fn from(hash: SpkiHash) -> Self {
        hash.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_reads_back_from_its_hexadecimal() {
        let hash = SpkiHash::of(b"key");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        assert!("00".parse::<SpkiHash>().is_err());
        assert!("zz".repeat(48).parse::<SpkiHash>().is_err());
    }
}
