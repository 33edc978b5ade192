//! A new file for a secret, readable by its owner alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::report::Report;

/// A file that was made for a secret and is still empty.
pub(super) struct SecretFile {
    file: File,
    path: PathBuf,
}

/// The file cannot be made or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write `{}`: {source}", path.display())]
pub(crate) struct SecretFileError {
    path: PathBuf,
    source: io::Error,
}

impl Report for SecretFileError {
    fn hint(&self) -> Option<String> {
        (self.source.kind() == io::ErrorKind::AlreadyExists)
            .then(|| "nothing is overwritten: remove it, or name another file".to_owned())
    }
}

impl SecretFile {
    /// Makes the file, with mode 0600.
    ///
    /// # Errors
    ///
    /// It exists, or cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self, SecretFileError> {
        let mut options = OpenOptions::new();
        let made = options.write(true).create_new(true).mode(0o600).open(path);
        match made {
            Ok(file) => Ok(Self {
                file,
                path: path.to_owned(),
            }),
            Err(source) => Err(SecretFileError {
                path: path.to_owned(),
                source,
            }),
        }
    }

    /// Writes the secret and a newline.
    ///
    /// # Errors
    ///
    /// The disk is full, or gone.
    pub(super) fn write(mut self, secret: &str) -> Result<(), SecretFileError> {
        let written = writeln!(self.file, "{secret}").and_then(|()| self.file.sync_all());
        written.map_err(|source| SecretFileError {
            path: self.path,
            source,
        })
    }

    /// Takes the empty file away again.
    pub(super) fn remove(self) {
        // It is empty and nobody was told of it: what is left behind is only untidy.
        let _ = std::fs::remove_file(self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_written_for_its_owner_alone_and_never_over_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("join.txt");
        SecretFile::create(&path).unwrap().write("secret").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret\n");
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let refused = SecretFile::create(&path).err().unwrap();
        assert!(
            refused
                .hint()
                .unwrap()
                .starts_with("nothing is overwritten")
        );
    }

    #[test]
    fn a_file_that_is_not_needed_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("join.txt");
        SecretFile::create(&path).unwrap().remove();
        assert!(!path.exists());
    }
}
