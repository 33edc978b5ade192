//! The agent's state directory: who may read it, who may use it, and how a file in it is replaced.
//!
//! A file is written beside its final place, flushed, renamed and its directory flushed, so that a crash at any
//! moment leaves either the old file or the new one. `agent.lock` is held by `flock(2)` as long as the agent runs: the
//! kernel lets go of it however the process ends.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::report::Report;

/// A state directory that this process alone uses.
#[derive(Debug)]
pub(crate) struct Home {
    directory: PathBuf,
    _lock: File,
}

/// A file of the state directory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Item {
    /// The private key, PKCS#8 in PEM.
    Key,
    /// The private key, sealed to the machine's TPM.
    SealedKey,
    /// The key that the TPM quotes with, as only that TPM can load it.
    AttestationKey,
    /// The certificate of that key, PEM.
    Svid,
    /// Where the gateway is, and the signed trust bundle of its domain, JSON.
    Bundle,
    /// The join string of an enrolment that was begun.
    Join,
}

impl Home {
    /// Opens the state directory, which is made where it is missing, and locks it.
    ///
    /// # Errors
    ///
    /// Another user could read or change the directory, another agent uses it, or the file system refuses.
    pub(crate) fn open(directory: &Path) -> Result<Self, HomeError> {
        create(directory)?;
        check_mode(directory)?;
        let lock = lock(&directory.join(LOCK), directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            _lock: lock,
        })
    }

    /// Where the directory is.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The content of a file, or nothing where it was never written.
    ///
    /// # Errors
    ///
    /// Another user could read the file, it is longer than any that an agent writes, or the file system refuses.
    pub(crate) fn read(&self, item: Item) -> Result<Option<Vec<u8>>, HomeError> {
        let path = self.path(item);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(HomeError::io(&path, error)),
        };
        check_mode(&path)?;
        let mut content = Vec::new();
        let read = file.take(LONGEST_FILE + 1).read_to_end(&mut content);
        match read {
            Err(error) => Err(HomeError::io(&path, error)),
            Ok(_) if u64::try_from(content.len()).is_ok_and(|length| length > LONGEST_FILE) => {
                Err(HomeError::TooLong { path })
            }
            Ok(_) => Ok(Some(content)),
        }
    }

    /// Replaces a file as a whole; once this returns the new content survives a loss of power.
    ///
    /// # Errors
    ///
    /// The file system refuses; the old content is still there.
    pub(crate) fn write(&self, item: Item, content: &[u8]) -> Result<(), HomeError> {
        let path = self.path(item);
        self.replace(&path, content)
            .map_err(|error| HomeError::io(&path, error))
    }

    /// Removes a file, if it is there.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub(crate) fn remove(&self, item: Item) -> Result<(), HomeError> {
        let path = self.path(item);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(HomeError::io(&path, error))
            }
            _ => Ok(()),
        }
    }

    /// The path of a file.
    pub(crate) fn path(&self, item: Item) -> PathBuf {
        self.directory.join(item.name())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(PRIVATE_FILE)
            .open(&fresh)?;
        // A file left behind by a crash keeps the mode it had.
        file.set_permissions(Permissions::from_mode(PRIVATE_FILE))?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&fresh, path)?;
        File::open(&self.directory)?.sync_all()
    }
}

impl Item {
    fn name(self) -> &'static str {
        match self {
            Self::Key => "key.pem",
            Self::SealedKey => "key.sealed",
            Self::AttestationKey => "attestation-key",
            Self::Svid => "svid.pem",
            Self::Bundle => "bundle.json",
            Self::Join => "join-string",
        }
    }
}

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HomeError {
    /// Somebody else could read or change the path.
    #[error("`{}` is open to other users (mode {mode:04o})", path.display())]
    TooOpen {
        /// The file or directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The widest permission bits that are accepted.
        wanted: u32,
    },
    /// Somebody else owns the path.
    #[error("`{}` belongs to uid {owner}, and this agent runs as uid {uid}", path.display())]
    Foreign {
        /// The file or directory.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whom the agent runs as.
        uid: u32,
    },
    /// Another agent holds the lock.
    #[error("another agent uses `{}`", .0.display())]
    InUse(PathBuf),
    /// The file is longer than any that an agent writes.
    #[error("`{}` is too long to be a file of an agent", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot use `{}`: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
}

impl HomeError {
    fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl Report for HomeError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::TooOpen { path, wanted, .. } => {
                Some(format!("run `chmod {wanted:o} {}`", path.display()))
            }
            Self::Foreign { path, uid, .. } => Some(format!(
                "run the agent as the owner, or `chown -R {uid} {}`",
                path.display()
            )),
            Self::InUse(_) => {
                Some("stop the other agent, or give each its own `state_dir`".to_owned())
            }
            Self::TooLong { .. } | Self::Io { .. } => None,
        }
    }
}

fn create(directory: &Path) -> Result<(), HomeError> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIRECTORY)
        .create(directory)
        .map_err(|error| HomeError::io(directory, error))
}

fn check_mode(path: &Path) -> Result<(), HomeError> {
    let metadata = std::fs::metadata(path).map_err(|error| HomeError::io(path, error))?;
    let uid = rustix::process::geteuid().as_raw();
    if metadata.uid() != uid {
        return Err(HomeError::Foreign {
            path: path.to_owned(),
            owner: metadata.uid(),
            uid,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(HomeError::TooOpen {
        path: path.to_owned(),
        mode,
        wanted: if metadata.is_dir() {
            PRIVATE_DIRECTORY
        } else {
            PRIVATE_FILE
        },
    })
}

fn lock(path: &Path, directory: &Path) -> Result<File, HomeError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(PRIVATE_FILE)
        .open(path)
        .map_err(|error| HomeError::io(path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(HomeError::InUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(HomeError::io(path, error)),
    }
}

const LOCK: &str = "agent.lock";
const PRIVATE_DIRECTORY: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// A bundle of eight ML-DSA-87 anchors is about 100 KiB of JSON.
const LONGEST_FILE: u64 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn fresh() -> (tempfile::TempDir, Home) {
        let root = tempfile::tempdir().unwrap();
        let home = Home::open(&root.path().join("agent")).unwrap();
        (root, home)
    }

    #[test]
    fn a_new_home_and_its_files_are_for_their_owner_alone() {
        let (_root, home) = fresh();
        home.write(Item::Key, b"secret").unwrap();
        assert_eq!(mode(home.directory()), 0o700);
        assert_eq!(mode(&home.path(Item::Key)), 0o600);
        assert_eq!(mode(&home.directory().join(LOCK)), 0o600);
    }

    #[test]
    fn two_agents_on_one_home_are_an_error() {
        let (_root, home) = fresh();
        let second = Home::open(home.directory()).unwrap_err();
        assert!(
            second.to_string().starts_with("another agent uses `"),
            "{second}"
        );
        assert!(second.hint().is_some());
    }

    #[test]
    fn a_home_can_be_opened_again_after_it_was_let_go() {
        let (_root, home) = fresh();
        let directory = home.directory().to_owned();
        drop(home);
        Home::open(&directory).unwrap();
    }

    #[test]
    fn a_home_open_to_others_is_refused_with_the_command_that_closes_it() {
        let (_root, home) = fresh();
        let directory = home.directory().to_owned();
        drop(home);
        std::fs::set_permissions(&directory, Permissions::from_mode(0o755)).unwrap();
        let error = Home::open(&directory).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "`{}` is open to other users (mode 0755)",
                directory.display()
            )
        );
        assert_eq!(
            error.hint(),
            Some(format!("run `chmod 700 {}`", directory.display()))
        );
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_root, home) = fresh();
        home.write(Item::Key, b"secret").unwrap();
        let path = home.path(Item::Key);
        std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        let error = home.read(Item::Key).unwrap_err();
        assert_eq!(
            error.hint(),
            Some(format!("run `chmod 600 {}`", path.display()))
        );
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_the_rest_of_a_crash_does_not_matter() {
        let (_root, home) = fresh();
        assert_eq!(home.read(Item::Svid).unwrap(), None);
        home.write(Item::Svid, b"first, and longer").unwrap();
        // What SIGKILL leaves behind between the write and the rename.
        let rest = home.path(Item::Svid).with_extension("new");
        std::fs::write(&rest, b"half a certifi").unwrap();
        std::fs::set_permissions(&rest, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(
            home.read(Item::Svid).unwrap().unwrap(),
            b"first, and longer"
        );
        home.write(Item::Svid, b"second").unwrap();
        assert_eq!(home.read(Item::Svid).unwrap().unwrap(), b"second");
        assert_eq!(mode(&home.path(Item::Svid)), 0o600);
        assert!(!rest.exists());
    }

    #[test]
    fn a_file_without_end_is_not_read() {
        let (_root, home) = fresh();
        let longest = usize::try_from(LONGEST_FILE).unwrap();
        home.write(Item::Bundle, &vec![b' '; longest + 1]).unwrap();
        assert!(matches!(
            home.read(Item::Bundle),
            Err(HomeError::TooLong { .. })
        ));
    }
}
