//! Backups: a gateway's whole state in one file, sealed with a passphrase, its root key included.
//!
//! The file has two lines of text and then bytes: the name of the format; a JSON object with a fresh key under the
//! passphrase, as PASERK `k4.local-pw` (Argon2id); then the root key and a snapshot of the database under AES-256-GCM, with
//! both lines authenticated.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use countersign_channel::identity::TrustDomain;
use countersign_paseto::paserk::{Argon2id, ProtectedKey, WorkLimits};
use countersign_paseto::{Key, Local, PaserkError, SystemRandom, V4};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::audit::{Audit, AuditError, Event, Operator, WhenUnwritable};
use crate::custody::Custody;
use crate::operator::BackupDone;
use crate::report::{Report, Verdict};
use crate::root_key::{RootKey, RootKeyError};
use crate::store::{Contents, Lock, SqliteStore, Store, StoreError};

mod passphrase;

pub(crate) use passphrase::Passphrase;

/// Where a restored state goes.
#[derive(Clone, Debug)]
pub(crate) struct RestoreTarget {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) store_file: PathBuf,
    pub(crate) root_key_file: PathBuf,
    pub(crate) audit_file: PathBuf,
}

/// Why there is no backup, or why it was not restored. Nothing was written then.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BackupError {
    /// The file, or the state that would be restored, is there already.
    #[error("`{}` exists", file.display())]
    Exists { file: PathBuf },
    /// The file system refused.
    #[error("cannot {action} `{}`", file.display())]
    File {
        action: &'static str,
        file: PathBuf,
        source: io::Error,
    },
    /// It is no backup.
    #[error("`{}` is no backup of countersign", file.display())]
    NotABackup { file: PathBuf },
    /// A later version made it.
    #[error("the backup `{}` has the format `{format}`, this program reads `{FORMAT}`", file.display())]
    NewerFormat { file: PathBuf, format: String },
    /// Its key would cost more than that of any backup of ours.
    #[error("the passphrase of `{}` costs too much to check", file.display())]
    TooCostly { file: PathBuf, source: PaserkError },
    /// The passphrase is another one, or the file was damaged.
    #[error("the passphrase does not open `{}`, or the file is damaged", file.display())]
    Sealed { file: PathBuf },
    /// It is the state of another trust domain.
    #[error("the backup is of the trust domain `{stored}`, not `{configured}`")]
    OtherTrustDomain {
        stored: String,
        configured: TrustDomain,
    },
    /// The database in it, or the one that runs, cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The root key in it does not open its secrets.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// The audit trail cannot be written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// AWS-LC failed.
    #[error("the cryptographic library failed")]
    Library,
}

impl Report for BackupError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Exists { .. } => Some("nothing is overwritten: move it away first".to_owned()),
            Self::NewerFormat { .. } => Some("restore it with a newer countersign".to_owned()),
            Self::OtherTrustDomain { stored, .. } => Some(format!(
                "set `trust_domain = \"{stored}\"` in the configuration"
            )),
            Self::Store(error) => error.hint(),
            Self::RootKey(error) => error.hint(),
            Self::Audit(error) => error.hint(),
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::NotABackup { .. } | Self::Sealed { .. } | Self::OtherTrustDomain { .. } => {
                Verdict::No
            }
            _ => Verdict::Unknown,
        }
    }
}

/// Writes the state of a running gateway to a file that must not exist.
///
/// # Errors
///
/// [`BackupError`]; there is no file then.
pub(crate) async fn create(
    custody: &Custody,
    file: &Path,
    passphrase: Passphrase,
    operator: Operator,
    now: Timestamp,
) -> Result<BackupDone, BackupError> {
    refuse_existing(file)?;
    let (folder, failed) = (folder_of(file), failing("write", file));
    let scratch = tempfile::tempdir_in(folder).map_err(&failed)?;
    let copy = scratch.path().join("gateway.db");
    custody.state.copy_to(&copy).await?;
    let root = custody.root().to_paserk();
    let target = file.to_owned();
    blocking(move || {
        let database = std::fs::read(&copy).map_err(failing("read", &copy))?;
        let sealed = seal(&root, &database, &passphrase, now)?;
        write_new(&target, &sealed).map_err(failing("write", &target))
    })
    .await?;
    custody
        .audit
        .record_durably(Event::BackupCreated {
            file: file.to_owned(),
            operator,
        })
        .await?;
    Ok(BackupDone {
        file: file.to_owned(),
        trust_domain: custody.authority.gateway().trust_domain().to_string(),
        revision: custody.state.snapshot().revision,
    })
}

/// Puts a backup's state in place for a gateway that does not run. Everything is verified before anything is written,
/// nothing is overwritten, and join strings that were not used by then are void.
///
/// # Errors
///
/// [`BackupError`].
pub(crate) async fn restore(
    file: &Path,
    passphrase: Passphrase,
    target: &RestoreTarget,
    operator: Operator,
    now: Timestamp,
) -> Result<BackupDone, BackupError> {
    for place in [
        &target.store_file,
        &target.root_key_file,
        &target.audit_file,
    ] {
        make_folder_of(place)?;
    }
    let _no_gateway_runs = Lock::take(&target.store_file)?;
    let wal = with_suffix(&target.store_file, "-wal");
    for existing in [&target.store_file, &wal, &target.root_key_file] {
        refuse_existing(existing)?;
    }
    let from = file.to_owned();
    let opened = blocking(move || {
        let sealed = std::fs::read(&from).map_err(failing("read", &from))?;
        open(&from, sealed, &passphrase)
    })
    .await?;
    let folder = folder_of(&target.store_file);
    let scratch = tempfile::tempdir_in(folder).map_err(failing("write", folder))?;
    let copy = scratch.path().join("gateway.db");
    write_new(&copy, &opened.database).map_err(failing("write", &copy))?;
    let contents = verify(&copy, &opened.root, &target.trust_domain, now).await?;
    // The database first: without its root key a gateway refuses to start, with a root key alone it would begin anew.
    place(&copy, &target.store_file).map_err(failing("write", &target.store_file))?;
    if let Err(error) = opened.root.write(&target.root_key_file) {
        std::fs::remove_file(&target.store_file).map_err(failing("remove", &target.store_file))?;
        return Err(failing("write", &target.root_key_file)(error));
    }
    let audit = Audit::open(&target.audit_file, WhenUnwritable::Refuse)?;
    let (file, created_at) = (file.to_owned(), opened.created_at);
    let restored = Event::BackupRestored {
        file: file.clone(),
        created_at,
        operator,
    };
    audit.record_durably(restored).await?;
    Ok(BackupDone {
        file,
        trust_domain: target.trust_domain.to_string(),
        revision: contents.revision,
    })
}

/// Opens the database as a gateway would, with every secret in it.
async fn verify(
    copy: &Path,
    root: &RootKey,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<Contents, BackupError> {
    let store = SqliteStore::open(copy).await?;
    store.check_integrity().await?;
    let contents = store.load().await?;
    let stored = contents.trust_domain.clone().unwrap_or_default();
    if stored != trust_domain.as_str() {
        return Err(BackupError::OtherTrustDomain {
            stored,
            configured: trust_domain.clone(),
        });
    }
    for secret in &contents.secrets {
        root.open(secret.kind, &secret.id, &secret.sealed)?;
    }
    store.void_join_tokens(now).await?;
    store.close().await?;
    Ok(contents)
}

struct Opened {
    root: RootKey,
    database: Vec<u8>,
    created_at: Timestamp,
}

/// When the backup was made, and its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    created_at: Timestamp,
    /// `k4.local-pw`: opened by the passphrase.
    key: String,
}

fn seal(
    root: &str,
    database: &[u8],
    passphrase: &Passphrase,
    now: Timestamp,
) -> Result<Vec<u8>, BackupError> {
    let key = Key::<V4, Local>::generate(&SystemRandom).map_err(|_| BackupError::Library)?;
    let protected = key.protect(passphrase.expose_secret(), WORK, &SystemRandom);
    let header = Header {
        created_at: now,
        key: protected.map_err(|_| BackupError::Library)?,
    };
    let header = serde_json::to_string(&header).map_err(|_| BackupError::Library)?;
    let header = format!("{FORMAT}\n{header}\n");
    let mut body = Vec::with_capacity(root.len() + database.len() + 32);
    body.extend_from_slice(root.as_bytes());
    body.push(b'\n');
    body.extend_from_slice(database);
    cipher(&key)?
        .seal_in_place_append_tag(only_nonce(), Aad::from(header.as_bytes()), &mut body)
        .map_err(|_| BackupError::Library)?;
    Ok([header.as_bytes(), &body].concat())
}

fn open(file: &Path, mut sealed: Vec<u8>, passphrase: &Passphrase) -> Result<Opened, BackupError> {
    let not_a_backup = || BackupError::NotABackup {
        file: file.to_owned(),
    };
    let (header, length) = read_header(file, &sealed)?;
    let key = unlock(file, &header, passphrase)?;
    let mut body = Zeroizing::new(sealed.split_off(length));
    let opened = cipher(&key)?
        .open_in_place(only_nonce(), Aad::from(&sealed), &mut body)
        .map_err(|_| BackupError::Sealed {
            file: file.to_owned(),
        })?;
    let end = opened
        .iter()
        .position(|byte| *byte == b'\n')
        .ok_or_else(not_a_backup)?;
    let (root, database) = opened.split_at(end);
    let root = std::str::from_utf8(root).map_err(|_| not_a_backup())?;
    let root = RootKey::from_paserk(root).map_err(|_| not_a_backup())?;
    let database = database.get(1..).ok_or_else(not_a_backup)?.to_vec();
    Ok(Opened {
        root,
        database,
        created_at: header.created_at,
    })
}

/// The header, and how long both lines are. Nothing costly is done for a file that is none of ours.
fn read_header(file: &Path, sealed: &[u8]) -> Result<(Header, usize), BackupError> {
    let not_a_backup = || BackupError::NotABackup {
        file: file.to_owned(),
    };
    let start = sealed
        .get(..sealed.len().min(MAX_HEADER))
        .unwrap_or_default();
    let mut lines = start.split_inclusive(|byte| *byte == b'\n');
    let (format, header) = (
        lines.next().ok_or_else(not_a_backup)?,
        lines.next().ok_or_else(not_a_backup)?,
    );
    let name = std::str::from_utf8(format)
        .map_err(|_| not_a_backup())?
        .trim_end();
    if name != FORMAT && name.starts_with("countersign-backup-v") {
        return Err(BackupError::NewerFormat {
            file: file.to_owned(),
            format: name.to_owned(),
        });
    }
    let read: Header = serde_json::from_slice(header).map_err(|_| not_a_backup())?;
    if name != FORMAT || header.last() != Some(&b'\n') {
        return Err(not_a_backup());
    }
    Ok((read, format.len() + header.len()))
}

fn unlock(
    file: &Path,
    header: &Header,
    passphrase: &Passphrase,
) -> Result<Key<V4, Local>, BackupError> {
    let file = file.to_owned();
    let unlocked = ProtectedKey::<V4, Local>::parse(&header.key)
        .and_then(|key| key.unlock(passphrase.expose_secret(), &WorkLimits::default()));
    unlocked.map_err(|source| match source {
        PaserkError::TooCostly { .. } => BackupError::TooCostly { file, source },
        PaserkError::NotAuthentic => BackupError::Sealed { file },
        _ => BackupError::NotABackup { file },
    })
}

/// The cipher of the body: its key is derived, since a PASETO key is used for PASETO and nothing else.
fn cipher(key: &Key<V4, Local>) -> Result<LessSafeKey, BackupError> {
    let key = hmac::Key::new(hmac::HMAC_SHA384, &key.expose_secret());
    let derived = hmac::sign(&key, b"countersign backup v1 body");
    let (derived, _) = derived
        .as_ref()
        .split_first_chunk::<32>()
        .ok_or(BackupError::Library)?;
    let key = UnboundKey::new(&AES_256_GCM, derived).map_err(|_| BackupError::Library)?;
    Ok(LessSafeKey::new(key))
}

/// Each key seals one message: it is fresh.
fn only_nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// Writes a file with mode 0600 that must not exist: whole or not at all.
fn write_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut unnamed = tempfile::NamedTempFile::new_in(folder_of(file))?;
    unnamed.write_all(bytes)?;
    unnamed.as_file().sync_all()?;
    unnamed.persist_noclobber(file)?;
    std::fs::File::open(folder_of(file))?.sync_all()
}

/// Gives a file its final name, which must be free.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::hard_link(from, to)?;
    std::fs::File::open(to)?.sync_all()?;
    std::fs::File::open(folder_of(to))?.sync_all()
}

fn refuse_existing(file: &Path) -> Result<(), BackupError> {
    match file.try_exists() {
        Ok(false) => Ok(()),
        Ok(true) => Err(BackupError::Exists {
            file: file.to_owned(),
        }),
        Err(error) => Err(failing("read", file)(error)),
    }
}

fn failing(action: &'static str, file: &Path) -> impl Fn(io::Error) -> BackupError + use<> {
    let file = file.to_owned();
    move |source| BackupError::File {
        action,
        file: file.clone(),
        source,
    }
}

/// A machine that never was a gateway has no state folder yet.
fn make_folder_of(file: &Path) -> Result<(), BackupError> {
    let folder = folder_of(file);
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(failing("make", folder))
}

fn folder_of(file: &Path) -> &Path {
    let folder = file
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

fn with_suffix(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Deriving a key takes a second: not on a thread that carries streams.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BackupError> + Send + 'static,
) -> Result<T, BackupError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(BackupError::Library))
}

const FORMAT: &str = "countersign-backup-v1";
const MAX_HEADER: usize = 1024;

/// About a second of one core and 128 MiB: whoever finds the file pays that for each guess.
const WORK: Argon2id = if cfg!(test) {
    Argon2id {
        memory: 64 << 10,
        passes: 1,
        parallelism: 1,
    }
} else {
    Argon2id {
        memory: 128 << 20,
        passes: 4,
        parallelism: 1,
    }
};

#[cfg(test)]
mod tests;
