//! The passphrase of a backup, read from a file that only its owner can read.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::report::Report;

/// A passphrase. Wiped when it is dropped.
pub(crate) struct Passphrase(Zeroizing<Vec<u8>>);

/// Why a file gives no passphrase.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PassphraseError {
    /// It cannot be read.
    #[error("cannot read the passphrase file `{}`", file.display())]
    File { file: PathBuf, source: io::Error },
    /// Others may read it.
    #[error("the passphrase file `{}` has mode {mode:04o}, which lets others at it", file.display())]
    Mode { file: PathBuf, mode: u32 },
    /// It would be guessed.
    #[error("the passphrase has {length} bytes, it needs at least {SHORTEST}")]
    TooShort { length: usize },
}

impl Report for PassphraseError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::File { .. } => None,
            Self::Mode { file, .. } => Some(format!("run `chmod 0600 {}`", file.display())),
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
        let failed = |source| PassphraseError::File {
            file: file.to_owned(),
            source,
        };
        let mode = fs::metadata(file).map_err(failed)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(PassphraseError::Mode {
                file: file.to_owned(),
                mode,
            });
        }
        Self::new(Zeroizing::new(fs::read(file).map_err(failed)?))
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
