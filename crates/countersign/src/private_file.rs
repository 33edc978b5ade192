//! Files that hold a secret: they are read if nobody but their owner can open them.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::report::Report;

/// Why a file with a secret was not read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum PrivateFileError {
    /// It cannot be read.
    #[error("cannot read `{}`", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read it.
    #[error("`{}` has mode {mode:04o}, which lets others at a secret", file.display())]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

impl Report for PrivateFileError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { .. } => None,
            Self::Exposed { file, .. } => Some(remedy(&file.display())),
        }
    }
}

/// What makes a file its owner's alone.
pub(crate) fn remedy(file: &dyn std::fmt::Display) -> String {
    format!("run `chmod 0600 {file}`")
}

/// The permission bits, if they let anyone but the owner at it.
pub(crate) fn exposed(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.mode() & 0o7777;
    (mode & 0o077 != 0).then_some(mode)
}

/// Reads a file that only its owner can read. What was read is wiped when it is dropped.
///
/// # Errors
///
/// It cannot be read, or lets others at it.
pub(crate) fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, PrivateFileError> {
    let unreadable = |source| PrivateFileError::Unreadable {
        file: file.to_owned(),
        source,
    };
    // The file that is looked at is the one that is read, whatever its name leads to a moment later.
    let mut open = File::open(file).map_err(unreadable)?;
    let metadata = open.metadata().map_err(unreadable)?;
    if let Some(mode) = exposed(&metadata) {
        let file = file.to_owned();
        return Err(PrivateFileError::Exposed { file, mode });
    }
    // As long as it is: growing would leave copies behind.
    let length = usize::try_from(metadata.len()).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.saturating_add(1)));
    open.read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(mode: u32, taken: bool) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key.pem");
        std::fs::write(&file, "secret").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let read = read(&file);
        match taken {
            true => assert_eq!(**read.unwrap(), *b"secret"),
            false => {
                let hint = read.unwrap_err().hint().unwrap();
                assert_eq!(hint, format!("run `chmod 0600 {}`", file.display()));
            }
        }
    }

    #[test]
    fn a_file_of_its_owner_is_read_and_one_that_others_can_open_is_not() {
        check(0o600, true);
        check(0o400, true);
        for mode in [0o640, 0o604, 0o644, 0o620] {
            check(mode, false);
        }
    }
}
