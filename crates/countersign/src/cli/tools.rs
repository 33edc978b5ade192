//! `countersign key …` and `countersign token …`: tools that need no gateway.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use jiff::Timestamp;

use super::span;

/// `countersign key …`: each verb that makes a key writes its PASERK.
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Make a key.
    Generate {
        /// The version of PASETO.
        #[arg(long, value_enum)]
        version: PasetoVersion,
        /// What it is for: to encrypt tokens, to sign them, or to have keys sealed to it.
        #[arg(long, value_enum)]
        purpose: KeyPurpose,
        #[command(flatten)]
        output: SecretOutput,
    },
    /// Write the public half of a secret key.
    Public {
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Write a key's id: `lid`, `pid` or `sid`.
    Id {
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Say what a file holds, and nothing that is secret.
    Show {
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Wrap a local or secret key under a local one.
    Wrap {
        /// The local key to wrap it under.
        #[arg(long, value_name = "FILE")]
        with: PathBuf,
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Take a key out of its wrapping.
    Unwrap {
        /// The local key that it was wrapped under.
        #[arg(long, value_name = "FILE")]
        with: PathBuf,
        #[command(flatten)]
        wrapped: PaserkArgument,
        #[command(flatten)]
        output: SecretOutput,
    },
    /// Put a local or secret key under a password.
    Protect {
        /// A file that holds the password.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Take a key from under its password.
    Unlock {
        /// A file that holds the password.
        #[arg(long, value_name = "FILE")]
        password_file: PathBuf,
        #[command(flatten)]
        wrapped: PaserkArgument,
        #[command(flatten)]
        output: SecretOutput,
    },
    /// Seal a local key to a public one: only who has the secret half opens it.
    Seal {
        /// The public key to seal it to.
        #[arg(long, value_name = "PUBLIC")]
        to: PathBuf,
        #[command(flatten)]
        key: KeyArgument,
    },
    /// Open a key that was sealed to a public one.
    Unseal {
        /// The secret key.
        #[arg(long, value_name = "SECRET")]
        with: PathBuf,
        #[command(flatten)]
        wrapped: PaserkArgument,
        #[command(flatten)]
        output: SecretOutput,
    },
}

/// A key.
#[derive(Debug, Args)]
pub(crate) struct KeyArgument {
    /// The key: PASERK, or PEM for v1 and v3; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// A key inside something.
#[derive(Debug, Args)]
pub(crate) struct PaserkArgument {
    /// The PASERK to open; `-` is standard input.
    #[arg(value_name = "PASERK-FILE")]
    pub(crate) file: PathBuf,
}

/// Where a key goes.
#[derive(Debug, Args)]
pub(crate) struct SecretOutput {
    /// Write it to a new file that only you can read, instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// `countersign token …`.
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Mint a token.
    Create(TokenCreate),
    /// Write the claims of a token that is valid.
    Verify(TokenVerify),
    /// Show a token's header and the key that its footer names, with nothing verified.
    Inspect {
        /// The token; `-` is standard input.
        #[arg(value_name = "FILE")]
        token: PathBuf,
    },
}

/// `countersign token create`.
#[derive(Debug, Args)]
pub(crate) struct TokenCreate {
    /// A local or secret key; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// The claims, a JSON object; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) claims: Option<PathBuf>,
    /// Take the bytes of `--claims` as the payload as they are, with no claim rules.
    #[arg(long, requires = "claims", conflicts_with = "expires_in")]
    pub(crate) raw: bool,
    /// The footer: readable by anyone, authentic.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) footer: Option<String>,
    /// The implicit assertion: authentic, and not in the token.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) assertion: Option<String>,
    /// How long the token is good: sets `exp`, and `iat` to now where the claims have none.
    #[arg(long, value_name = "SPAN", value_parser = span)]
    pub(crate) expires_in: Option<Duration>,
}

/// `countersign token verify`.
#[derive(Debug, Args)]
pub(crate) struct TokenVerify {
    /// The local or public key; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Write the payload as it is, with no claim rules.
    #[arg(long)]
    pub(crate) raw: bool,
    /// Demand exactly this footer; an empty one demands that there is none.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) footer: Option<String>,
    /// The implicit assertion that the token was minted with.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    pub(crate) assertion: Option<String>,
    /// Verify as if it were this time.
    #[arg(long, value_name = "RFC3339", value_parser = moment)]
    pub(crate) at: Option<Timestamp>,
    /// The token; `-` is standard input.
    #[arg(value_name = "FILE")]
    pub(crate) token: PathBuf,
}

/// A version of PASETO, with those that are drafts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PasetoVersion {
    /// RSA of 2048 bits: to read what others still mint.
    V1,
    /// XChaCha20-Poly1305, Ed25519; no assertions.
    V2,
    /// NIST's algorithms.
    V3,
    /// XChaCha20 with BLAKE2b, Ed25519.
    V4,
    /// A draft: NIST's algorithms, ML-DSA-87.
    V5,
    /// A draft: XChaCha20 with BLAKE2b, SLH-DSA.
    V6,
}

impl PasetoVersion {
    /// The version whose number stands behind this letter: `v` in tokens, `k` in keys.
    pub(crate) fn named(name: &str, letter: char) -> Option<Self> {
        let number = name.strip_prefix(letter)?;
        let all = Self::value_variants().iter().copied();
        all.into_iter().find(|version| version.number() == number)
    }

    /// Such as `4`.
    pub(crate) const fn number(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
            Self::V3 => "3",
            Self::V4 => "4",
            Self::V5 => "5",
            Self::V6 => "6",
        }
    }
}

impl fmt::Display for PasetoVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.number())
    }
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeyPurpose {
    /// Tokens that are encrypted: one key mints and verifies.
    Local,
    /// Tokens that are signed: anyone with the public key verifies.
    Public,
    /// Keys that are sealed to its public half; in v2, v3 and v4 the same as `public`.
    Seal,
}

pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|_| "a time is written as `2026-11-23T10:15:00Z`".to_owned())
}
