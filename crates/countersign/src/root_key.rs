//! The root key: what every secret in the store is sealed under, in a file of its own.
//!
//! A copy of the database without this file opens nothing. The file holds one line, with mode 0600: a PASERK `k4.local`, or the
//! same under its [`Protection`].

mod protection;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use countersign_paseto::{
    Envelope, Key, Local, MintError, PaserkError, RandomnessUnavailable, SystemRandom,
    UntrustedToken, V4, mint_payload,
};
use zeroize::Zeroizing;

use self::protection::Standing;
pub(crate) use self::protection::{Protection, ProtectionError};
use crate::private_file;
use crate::report::Report;
use crate::store::SecretKind;

/// The key that seals secrets at rest.
#[derive(Debug)]
pub(crate) struct RootKey(Key<V4, Local>);

/// Why there is no root key, or why it does not open a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RootKeyError {
    /// The database has secrets and the file that opens them is gone.
    #[error("the root key `{}` is missing, and the database was sealed with it", file.display())]
    Missing { file: PathBuf },
    /// Others may read or change the file.
    #[error("the root key `{}` has mode {mode:04o}, which lets others at it", file.display())]
    Mode { file: PathBuf, mode: u32 },
    /// The file cannot be read or written.
    #[error("cannot {action} the root key `{}`", file.display())]
    File {
        action: &'static str,
        file: PathBuf,
        source: io::Error,
    },
    /// What the file holds does not open.
    #[error(transparent)]
    Protection(#[from] ProtectionError),
    /// Another root key sealed the secret, or it was altered.
    #[error("the root key does not open the {kind} `{id}` in the database")]
    Unsealable { kind: &'static str, id: String },
    /// There was no randomness for a new key.
    #[error(transparent)]
    Randomness(#[from] RandomnessUnavailable),
    /// A secret could not be sealed.
    #[error(transparent)]
    Seal(#[from] MintError),
}

impl Report for RootKeyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing { file } => Some(format!(
                "put `{}` back, or restore a backup: `countersign backup restore`",
                file.display()
            )),
            Self::Mode { file, .. } => Some(format!("run `chmod 0600 {}`", file.display())),
            Self::Protection(error) => error.hint(),
            Self::Unsealable { .. } => Some(
                "put the root key that belongs to this database back, or restore a backup"
                    .to_owned(),
            ),
            Self::File { .. } | Self::Randomness(_) | Self::Seal(_) => None,
        }
    }
}

impl RootKey {
    /// Reads the root key. `None`: there is no such file. A key that lies there as it is, though it should be protected, is
    /// protected from now on.
    ///
    /// # Errors
    ///
    /// The file cannot be read, lets others at it, or holds something else.
    pub(crate) fn read(file: &Path, protection: &Protection) -> Result<Option<Self>, RootKeyError> {
        let failed = |source| RootKeyError::File {
            action: "read",
            file: file.to_owned(),
            source,
        };
        let metadata = match fs::metadata(file) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        };
        if let Some(mode) = private_file::exposed(&metadata) {
            return Err(RootKeyError::Mode {
                file: file.to_owned(),
                mode,
            });
        }
        let text = Zeroizing::new(fs::read_to_string(file).map_err(failed)?);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let (key, standing) = protection.open(line, file)?;
        if standing == Standing::Bare {
            let protected = protection.protect(&key)?;
            let replaced = written(file, &protected).and_then(|new| Ok(new.persist(file)?));
            replaced.map_err(|source| RootKeyError::File {
                action: "replace",
                file: file.to_owned(),
                source,
            })?;
            tracing::info!(
                place = protection.place(file),
                "the root key is protected now"
            );
        }
        Ok(Some(key))
    }

    /// Draws a root key and writes it to a file that must not exist: whole or not at all.
    ///
    /// # Errors
    ///
    /// There is no randomness, or the file cannot be written.
    pub(crate) fn create(file: &Path, protection: &Protection) -> Result<Self, RootKeyError> {
        let key = Self(Key::generate(&SystemRandom)?);
        let text = protection.protect(&key)?;
        write_new(file, &text).map_err(|source| RootKeyError::File {
            action: "write",
            file: file.to_owned(),
            source,
        })?;
        Ok(key)
    }

    /// Writes the key as it is to a file that must not exist.
    pub(crate) fn write(&self, file: &Path) -> io::Result<()> {
        write_new(file, &self.to_paserk())
    }

    /// Reads a root key from its text, with or without the newline.
    pub(crate) fn from_paserk(text: &str) -> Result<Self, PaserkError> {
        Key::from_paserk(text.strip_suffix('\n').unwrap_or(text)).map(Self)
    }

    /// The key as text: the secret itself.
    pub(crate) fn to_paserk(&self) -> Zeroizing<String> {
        self.0.to_paserk()
    }

    /// Seals a secret for the store. The seal says what the secret is: it opens as nothing else.
    ///
    /// # Errors
    ///
    /// There is no randomness.
    pub(crate) fn seal(
        &self,
        kind: SecretKind,
        id: &str,
        secret: &[u8],
    ) -> Result<String, RootKeyError> {
        let assertion = assertion(kind, id);
        let envelope = Envelope {
            footer: b"",
            assertion: assertion.as_bytes(),
        };
        Ok(mint_payload(&self.0, secret, envelope, &SystemRandom)?)
    }

    /// Opens a secret that [`RootKey::seal`] sealed as this kind and id.
    ///
    /// # Errors
    ///
    /// [`RootKeyError::Unsealable`].
    pub(crate) fn open(
        &self,
        kind: SecretKind,
        id: &str,
        sealed: &str,
    ) -> Result<Zeroizing<Vec<u8>>, RootKeyError> {
        UntrustedToken::<V4, Local>::parse(sealed)
            .and_then(|token| token.asserting(assertion(kind, id)).open(&self.0))
            .map(|opened| Zeroizing::new(opened.payload().to_vec()))
            .map_err(|_| RootKeyError::Unsealable {
                kind: kind.name(),
                id: id.to_owned(),
            })
    }
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    written(file, text)?.persist_noclobber(file)?;
    File::open(folder_of(file))?.sync_all()
}

/// A line, in a file beside `file` that is yet to be moved there. It has mode 0600, as tempfile creates.
fn written(file: &Path, text: &str) -> io::Result<tempfile::NamedTempFile> {
    let mut unnamed = tempfile::NamedTempFile::new_in(folder_of(file))?;
    unnamed.write_all(text.as_bytes())?;
    unnamed.write_all(b"\n")?;
    unnamed.as_file().sync_all()?;
    Ok(unnamed)
}

fn folder_of(file: &Path) -> &Path {
    let folder = file.parent();
    let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn assertion(kind: SecretKind, id: &str) -> String {
    format!("countersign sealed {} {id}", kind.name())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn check_refusal(content: &str, mode: u32, expected: &str) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.key");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
        let message = RootKey::read(&file, &Protection::Mode)
            .unwrap_err()
            .to_string();
        assert_eq!(
            message.replace(&file.display().to_string(), "FILE"),
            expected
        );
    }

    #[test]
    fn a_root_key_is_created_once_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("root.key");
        assert!(RootKey::read(&file, &Protection::Mode).unwrap().is_none());
        let key = RootKey::create(&file, &Protection::Mode).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o600);
        let again = RootKey::read(&file, &Protection::Mode).unwrap().unwrap();
        assert_eq!(*again.to_paserk(), *key.to_paserk());
        assert!(
            RootKey::create(&file, &Protection::Mode).is_err(),
            "it must not be replaced"
        );
        assert_eq!(
            *RootKey::read(&file, &Protection::Mode)
                .unwrap()
                .unwrap()
                .to_paserk(),
            *key.to_paserk()
        );
    }

    #[test]
    fn a_root_key_that_others_can_read_is_refused() {
        check_refusal(
            "x",
            0o640,
            "the root key `FILE` has mode 0640, which lets others at it",
        );
    }

    #[test]
    fn a_file_with_something_else_is_refused() {
        check_refusal("k4.secret.AAAA", 0o600, "`FILE` holds no root key");
        check_refusal("", 0o600, "`FILE` holds no root key");
    }

    #[test]
    fn a_sealed_secret_opens_only_as_what_it_is() {
        let key = RootKey(Key::generate(&SystemRandom).unwrap());
        let sealed = key.seal(SecretKind::Anchor, "a", b"secret").unwrap();
        assert_eq!(
            *key.open(SecretKind::Anchor, "a", &sealed).unwrap(),
            b"secret"
        );
        assert!(key.open(SecretKind::Anchor, "b", &sealed).is_err());
        assert!(key.open(SecretKind::TrustDomainKey, "a", &sealed).is_err());
        let other = RootKey(Key::generate(&SystemRandom).unwrap());
        assert!(other.open(SecretKind::Anchor, "a", &sealed).is_err());
    }
}
