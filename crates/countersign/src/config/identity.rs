//! `[identity]`: how upstream services are told who calls.

use std::fmt;
use std::path::PathBuf;

use super::error::ConfigError;
use super::key::key;
use super::kind::{FILE, IDENTITY_VERSION};
use super::reader::Table;

/// How identity tokens are signed, and where their keys are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdentityConfig {
    /// The version of the tokens.
    pub(crate) version: IdentityVersion,
    /// A file for verifiers on the same machine; none when absent.
    pub(crate) keys_file: Option<PathBuf>,
}

/// A version of identity tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum IdentityVersion {
    /// `v4.public`: Ed25519, which a quantum computer forges.
    #[default]
    V4,
    /// `v5.public`: ML-DSA-87, by a draft that may change.
    V5,
}

impl fmt::Display for IdentityVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "v4",
            Self::V5 => "v5",
        })
    }
}

impl IdentityConfig {
    pub(super) fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let version = key(
            "version",
            &IDENTITY_VERSION,
            "how identity tokens are signed: `v4` is Ed25519, `v5` is ML-DSA-87 by a draft of PASETO that may change",
        );
        let keys_file = key(
            "keys_file",
            &FILE,
            "where the public keys are written, for services on this machine; everyone may read it",
        );
        let identity = Self {
            version: table.read(version.or("\"v4\""))?,
            keys_file: table.find_path(keys_file.absent("they are not written to a file"))?,
        };
        table.finish().map(|()| identity)
    }
}
