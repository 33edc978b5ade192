//! What can go wrong with a store, told apart so that each has its remedy.

use std::io;
use std::path::PathBuf;

use crate::report::Report;

/// Why the store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StoreError {
    /// Another gateway has the database open.
    #[error("the database `{}` is in use by the gateway with process id {holder}", file.display())]
    InUse { file: PathBuf, holder: String },
    /// Another program holds the database's own lock.
    #[error("the database `{}` is locked by another program", file.display())]
    Locked { file: PathBuf },
    /// The disk, or the database's size limit, is full.
    #[error("no room to write the database `{}`", file.display())]
    Full { file: PathBuf },
    /// The file is no SQLite database, or a damaged one.
    #[error("`{}` is not a database, or it is damaged", file.display())]
    NotADatabase { file: PathBuf },
    /// An SQLite database that another program made.
    #[error("`{}` is the database of another program (application id {application_id:#010x})", file.display())]
    Foreign { file: PathBuf, application_id: i64 },
    /// A later version of this program wrote it.
    #[error(
        "the database `{}` has schema version {found}, this program knows up to {known}",
        file.display()
    )]
    NewerSchema {
        file: PathBuf,
        found: i64,
        known: i64,
    },
    /// The schema differs from the one that this version made.
    #[error("schema version {version} of the database `{}` was changed after it was applied", file.display())]
    AlteredSchema { file: PathBuf, version: i64 },
    /// The file may not be written.
    #[error("the database `{}` is read-only", file.display())]
    ReadOnly { file: PathBuf },
    /// Others may read or change the file.
    #[error("`{}` has mode {mode:04o}, which lets others at it", file.display())]
    Mode { file: PathBuf, mode: u32 },
    /// The file system refused.
    #[error("cannot {action} `{}`", file.display())]
    File {
        action: &'static str,
        file: PathBuf,
        source: io::Error,
    },
    /// The store already belongs to a trust domain.
    #[error("the database `{}` already holds the trust domain `{stored}`", file.display())]
    TrustDomainSet { file: PathBuf, stored: String },
    /// A row does not hold what this program writes.
    #[error("the database `{}` holds a bad value in {place}", file.display())]
    BadValue { file: PathBuf, place: &'static str },
    /// The write was cut off because the gateway stops; it may or may not have happened.
    #[error("the gateway is stopping")]
    Stopping,
    /// Whatever else the database said.
    #[error("the database `{}` failed: {message}", file.display())]
    Other { file: PathBuf, message: String },
}

impl Report for StoreError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::InUse { holder, .. } => {
                format!(
                    "stop the other gateway first (`kill {holder}`), or give this one a `state_dir` of its own"
                )
            }
            Self::Locked { file } => {
                format!(
                    "find the program with `fuser {}` and let it finish",
                    file.display()
                )
            }
            Self::Full { .. } => "free space on that file system; nothing was lost".to_owned(),
            Self::NotADatabase { .. } => {
                "move the file away and restore a backup: `countersign backup restore`".to_owned()
            }
            Self::Foreign { .. } => "check `state_dir` in the configuration".to_owned(),
            Self::NewerSchema { .. } => {
                "run the newer countersign, or restore a backup that this version made".to_owned()
            }
            Self::AlteredSchema { .. } => {
                "restore a backup: `countersign backup restore`".to_owned()
            }
            Self::ReadOnly { file } => format!("let the gateway's user write `{}`", file.display()),
            Self::Mode { file, .. } => format!("run `chmod 0600 {}`", file.display()),
            Self::TrustDomainSet { .. } => {
                "set `trust_domain` to that name, or give this gateway another `state_dir`"
                    .to_owned()
            }
            Self::File { .. } | Self::BadValue { .. } | Self::Stopping | Self::Other { .. } => {
                return None;
            }
        })
    }
}
