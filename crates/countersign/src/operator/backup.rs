//! `backup`: the whole state in one sealed file.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `POST /backup`. Both paths are absolute: the gateway opens them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupRequest {
    /// The file to write; it must not exist.
    pub(crate) file: PathBuf,
    /// The file that holds the passphrase.
    pub(crate) passphrase_file: PathBuf,
}

/// The answer to [`BackupRequest`], and what `backup restore` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupDone {
    /// The file.
    pub(crate) file: PathBuf,
    /// The trust domain whose state it holds.
    pub(crate) trust_domain: String,
    /// The state's revision.
    pub(crate) revision: u64,
}
