//! `countersign hsm …`: keys in PKCS#11 tokens.

use clap::{Subcommand, ValueEnum};
use countersign_hsm::{KeyAlgorithm, Pkcs11Uri};

/// `countersign hsm …`: each verb takes the `pkcs11:` URI that the configuration would name.
#[derive(Debug, Subcommand)]
pub(crate) enum HsmCommand {
    /// Make a key that never leaves its token, and write its public half if it has one.
    Generate {
        /// What it is for.
        #[arg(long, value_enum)]
        algorithm: HsmAlgorithm,
        /// The key, its module, and the file with the PIN: RFC 7512.
        #[arg(value_name = "PKCS11-URI")]
        uri: Pkcs11Uri,
    },
    /// Write the public half of a key: PASERK for keys that sign tokens, else PEM.
    Public {
        /// The key, its module, and the file with the PIN: RFC 7512.
        #[arg(value_name = "PKCS11-URI")]
        uri: Pkcs11Uri,
    },
}

/// A kind of key in a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum HsmAlgorithm {
    /// Seals the root key.
    Aes256,
    /// Signs identity tokens of version v4.
    Ed25519,
    /// Issues certificates under `fips-hybrid@1`.
    P384,
    /// Signs, where the module has it.
    #[value(name = "ml-dsa-65")]
    MlDsa65,
    /// Issues certificates under every other profile, and signs identity tokens of version v5, where the module has it.
    #[value(name = "ml-dsa-87")]
    MlDsa87,
}

impl HsmAlgorithm {
    /// The kind as the module is asked for it.
    pub(crate) const fn of_key(self) -> KeyAlgorithm {
        match self {
            Self::Aes256 => KeyAlgorithm::Aes256,
            Self::Ed25519 => KeyAlgorithm::Ed25519,
            Self::P384 => KeyAlgorithm::EcdsaP384,
            Self::MlDsa65 => KeyAlgorithm::MlDsa65,
            Self::MlDsa87 => KeyAlgorithm::MlDsa87,
        }
    }
}
