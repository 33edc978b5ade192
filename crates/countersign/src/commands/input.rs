//! What people hand over in a file or on standard input, and never as an argument.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use zeroize::Zeroizing;

use crate::private_file;
use crate::report::Report;

/// The bytes of a file or of standard input. Wiped when they are dropped.
pub(super) struct Input {
    name: String,
    bytes: Zeroizing<Vec<u8>>,
    /// A file's permission bits, if they let others at it.
    exposed: Option<u32>,
}

/// Why there is nothing to work with. No variant repeats what was read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum InputError {
    /// The file cannot be read.
    #[error("cannot read `{name}`")]
    Unreadable {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
    /// There is more than makes sense.
    #[error("`{name}` has more than {limit} bytes")]
    TooLong {
        /// The file.
        name: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Others may read a secret.
    #[error("`{name}` has mode {mode:04o}, which lets others at a secret")]
    Exposed {
        /// The file.
        name: String,
        /// Its permission bits.
        mode: u32,
    },
    /// A key or a token stands where its file should be named.
    #[error("a key or a token stands on the command line, where its file should be named")]
    Argument,
    /// Two things are to come from standard input.
    #[error("standard input (`-`) can be read once")]
    Twice,
}

impl Report for InputError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Argument => Some(
                "other users see the command line: write it to a file, or pipe it in and name `-`"
                    .to_owned(),
            ),
            Self::Exposed { name, .. } => Some(private_file::remedy(name)),
            Self::Twice => Some("put one of them in a file".to_owned()),
            Self::Unreadable { .. } | Self::TooLong { .. } => None,
        }
    }
}

impl Input {
    /// Reads a file, or standard input where the path is `-`, up to a limit in bytes.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is longer.
    pub(super) fn read(path: &Path, limit: usize) -> Result<Self, InputError> {
        let name = match is_stdin(path) {
            true => "standard input".to_owned(),
            false => path.display().to_string(),
        };
        if looks_secret(&name) && !path.exists() {
            return Err(InputError::Argument);
        }
        // As long as it can be: growing would leave copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(limit + 32));
        let read = fill(path, limit, &mut bytes);
        match read {
            Ok(_) if bytes.len() > limit => Err(InputError::TooLong { name, limit }),
            Ok(exposed) => Ok(Self {
                name,
                bytes,
                exposed,
            }),
            Err(source) => Err(InputError::Unreadable { name, source }),
        }
    }

    /// What it is called in messages.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// All of it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Without the newline at its end, if there is one.
    pub(super) fn line(&self) -> &[u8] {
        self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes)
    }

    /// Refuses a file that holds a secret and lets others at it.
    ///
    /// # Errors
    ///
    /// [`InputError::Exposed`].
    pub(super) fn check_private(&self) -> Result<(), InputError> {
        match self.exposed {
            Some(mode) => Err(InputError::Exposed {
                name: self.name.clone(),
                mode,
            }),
            None => Ok(()),
        }
    }
}

/// Refuses a second `-`.
///
/// # Errors
///
/// [`InputError::Twice`].
pub(super) fn check_stdin<'p>(paths: impl IntoIterator<Item = &'p Path>) -> Result<(), InputError> {
    match paths.into_iter().filter(|path| is_stdin(path)).count() {
        0 | 1 => Ok(()),
        _ => Err(InputError::Twice),
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// As tokens and keys begin: `v4.local.`, `k4.secret.`.
fn looks_secret(name: &str) -> bool {
    let mut characters = name.chars();
    matches!(characters.next(), Some('v' | 'k'))
        && characters
            .next()
            .is_some_and(|digit| digit.is_ascii_digit())
        && characters.next() == Some('.')
}

fn fill(path: &Path, limit: usize, bytes: &mut Vec<u8>) -> io::Result<Option<u32>> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    if is_stdin(path) {
        io::stdin().lock().take(most).read_to_end(bytes)?;
        return Ok(None);
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    file.take(most).read_to_end(bytes)?;
    Ok(private_file::exposed(&metadata).filter(|_| metadata.is_file()))
}
