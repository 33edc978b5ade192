//! The passphrase of a backup, read from a file that only its owner can read.

use std::fmt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::private_file::{self, PrivateFileError};
use crate::report::Report;

/// A passphrase. Wiped when it is dropped.
pub(crate) struct Passphrase(Zeroizing<Vec<u8>>);

/// Why a file gives no passphrase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PassphraseError {
    /// The file was not read.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// It would be guessed.
    #[error("the passphrase has {length} bytes, it needs at least {SHORTEST}")]
    TooShort { length: usize },
}

impl Report for PassphraseError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::TooShort { .. } => {
                Some("let the machine draw one: `head -c 24 /dev/urandom | base64`".to_owned())
            }
        }
    }
}

impl Passphrase {
    /// Reads a passphrase; one newline at its end is taken off.
    ///
    /// # Errors
    ///
    /// The file cannot be read, lets others at it, or holds too little.
    pub(crate) fn read(file: &Path) -> Result<Self, PassphraseError> {
        Self::new(private_file::read(file)?)
    }

    fn new(mut bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        if bytes.last() == Some(&b'\n') {
            bytes.pop();
        }
        match bytes.len() {
            length if length < SHORTEST => Err(PassphraseError::TooShort { length }),
            _ => Ok(Self(bytes)),
        }
    }

    /// The passphrase itself.
    pub(crate) fn expose_secret(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}

/// Short ones are guessed in spite of the key derivation: the file may be in an attacker's hands for years.
const SHORTEST: usize = 12;
