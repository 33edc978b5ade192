//! `[keys]`: which keys live elsewhere than sealed in the store, and what protects the one that seals them.

use std::path::PathBuf;

use countersign_hsm::Pkcs11Uri;

use super::error::ConfigError;
use super::key::key;
use super::kind::{PKCS11, PKCS11S, ROOT_PROTECTION};
use super::reader::Table;

/// Where keys live.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeysConfig {
    /// What protects the root key in its file, beside the file's mode.
    pub(crate) root: RootProtection,
    /// The key that issues certificates; drawn and sealed in the store when absent.
    pub(crate) authority: Option<Pkcs11Uri>,
    /// The key that signs identity tokens, and others that are published; drawn, sealed in the store and replaced each week
    /// when absent.
    pub(crate) identity: Vec<Pkcs11Uri>,
}

/// What protects the root key in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum RootProtection {
    /// The file's mode alone.
    #[default]
    Mode,
    /// A password, in a file of its own.
    Password(PathBuf),
    /// An AES key in a PKCS#11 token.
    Token(Box<Pkcs11Uri>),
    /// The machine's TPM.
    Tpm(countersign_tpm::Address),
}

impl KeysConfig {
    pub(super) fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let root = key(
            "root",
            &ROOT_PROTECTION,
            "what the root key is sealed under in `root_key_file`: an AES key of 256 bits in a PKCS#11 token, the password in a file, or the machine's TPM",
        );
        let authority = key(
            "authority",
            &PKCS11,
            "the key that issues certificates, for the profiles whose authority has such a key",
        );
        let identity = key(
            "identity",
            &PKCS11S,
            "the key that signs identity tokens: Ed25519 for `v4`, ML-DSA-87 for `v5`; of several the first signs, and all are published. A reload takes keys of the PKCS#11 tokens that the start opened",
        );
        let root = root.absent("the file's mode alone protects it");
        let authority = authority.absent("drawn, and sealed under the root key");
        let identity = identity.absent("drawn each week, and sealed under the root key");
        let keys = Self {
            root: table.find(root.until_restart())?.unwrap_or_default(),
            authority: table.find(authority.until_restart())?,
            identity: table.find(identity)?.unwrap_or_default(),
        };
        table.finish().map(|()| keys)
    }
}
