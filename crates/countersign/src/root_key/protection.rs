//! What protects the root key in its file: the file's mode alone, a password, an AES key in a PKCS#11 token, or a TPM.

use std::fmt;
use std::path::{Path, PathBuf};

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_hsm::{HsmError, SealingKey};
use countersign_paseto::paserk::{ProtectedKey, WorkLimits};
use countersign_paseto::{Key, Local, PaserkError, SystemRandom, V4};
use countersign_tpm::{Address, PcrSelection, Sealed, Secret, Tpm};
use zeroize::Zeroizing;

use super::RootKey;
use crate::private_file::{self, PrivateFileError};
use crate::report::Report;

/// What protects the root key in its file.
#[derive(Clone, Debug, Default)]
pub(crate) enum Protection {
    /// The file's mode alone: it holds the key as it is, PASERK `k4.local`.
    #[default]
    Mode,
    /// The password in this file: PASERK `k4.local-pw`, Argon2id.
    Password(PathBuf),
    /// An AES key in a PKCS#11 token.
    Token(SealingKey),
    /// The TPM here: no other opens the file.
    Tpm(Address),
}

/// What a file says that it is protected by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Plain,
    Password,
    Token,
    Tpm,
}

/// Why the root key cannot be put under its protection, or taken from it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ProtectionError {
    /// The file was protected in another way.
    #[error("the root key `{}` {found}, and `root` in `[keys]` {configured}", file.display())]
    Other {
        file: PathBuf,
        found: Form,
        configured: &'static str,
    },
    /// The file with the password cannot be used.
    #[error(transparent)]
    PasswordFile(#[from] PrivateFileError),
    /// The file with the password is empty.
    #[error("`{}` holds no password", file.display())]
    NoPassword { file: PathBuf },
    /// The password is another one, or the file was altered.
    #[error("the password in `{}` does not open the root key", file.display())]
    Password { file: PathBuf, source: PaserkError },
    /// The token cannot be used, or its key does not open the file.
    #[error(transparent)]
    Token(#[from] HsmError),
    /// The TPM cannot be used, or another one sealed the file.
    #[error("the TPM: {0}")]
    Tpm(#[from] countersign_tpm::Error),
    /// The file holds something else.
    #[error("`{}` holds no root key", file.display())]
    Malformed { file: PathBuf },
}

impl Report for ProtectionError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Other { found, .. } => found.remedy().to_owned(),
            Self::PasswordFile(error) => return error.hint(),
            Self::NoPassword { file } => {
                format!("write the password to `{}`, in one line", file.display())
            }
            Self::Password { .. } => {
                "put the right password into that file, or restore a backup".to_owned()
            }
            Self::Token(error) => return error.hint(),
            Self::Tpm(error) => return error.remedy(),
            Self::Malformed { .. } => {
                "put the root key that belongs to this database back, or restore a backup"
                    .to_owned()
            }
        })
    }
}

impl Protection {
    /// The key as its file holds it.
    ///
    /// # Errors
    ///
    /// The password cannot be read, or the token is out of reach.
    pub(super) fn protect(&self, key: &RootKey) -> Result<Zeroizing<String>, ProtectionError> {
        Ok(match self {
            Self::Mode => key.to_paserk(),
            Self::Password(file) => {
                let password = read_password(file)?;
                let protected = key.0.protect(&password, Default::default(), &SystemRandom);
                Zeroizing::new(protected.map_err(|source| ProtectionError::Password {
                    file: file.clone(),
                    source,
                })?)
            }
            Self::Token(token) => {
                let sealed = token.seal(key.to_paserk().as_bytes(), ABOUT)?;
                let text = Base64UrlUnpadded::encode_string(&sealed);
                Zeroizing::new(format!("{TOKEN_PREFIX}{text}"))
            }
            Self::Tpm(device) => {
                let secret = Secret::new(key.to_paserk().as_bytes().to_vec());
                let sealed = Tpm::open(device)?.seal(&secret, &PcrSelection::default())?;
                let text = Base64UrlUnpadded::encode_string(&sealed.to_bytes());
                Zeroizing::new(format!("{TPM_PREFIX}{text}"))
            }
        })
    }

    /// The key in the text of `file`, and whether it lies there as it is although more was asked for.
    ///
    /// # Errors
    ///
    /// The file was protected in another way, or does not open.
    pub(super) fn open(
        &self,
        text: &str,
        file: &Path,
    ) -> Result<(RootKey, Standing), ProtectionError> {
        let found = Form::of(text);
        match (self, found) {
            (Self::Mode, Form::Plain) => Ok((plain(text, file)?, Standing::Kept)),
            (_, Form::Plain) => Ok((plain(text, file)?, Standing::Bare)),
            (Self::Password(password), Form::Password) => {
                Ok((unlock(text, password)?, Standing::Kept))
            }
            (Self::Token(token), Form::Token) => {
                let sealed = sealed(text, TOKEN_PREFIX, file)?;
                Ok((opened(&token.open(&sealed, ABOUT)?, file)?, Standing::Kept))
            }
            (Self::Tpm(device), Form::Tpm) => {
                let sealed = Sealed::from_bytes(&sealed(text, TPM_PREFIX, file)?)?;
                let secret = Tpm::open(device)?.unseal(&sealed)?;
                Ok((opened(secret.expose_secret(), file)?, Standing::Kept))
            }
            _ => Err(ProtectionError::Other {
                file: file.to_owned(),
                found,
                configured: self.configured(),
            }),
        }
    }

    /// Where the root key lives, in words.
    pub(crate) fn place(&self, file: &Path) -> String {
        let file = file.display();
        match self {
            Self::Mode => format!("`{file}`, protected by its mode alone"),
            Self::Password(password) => {
                format!("`{file}`, under the password in `{}`", password.display())
            }
            Self::Token(key) => {
                let token = key.token().label();
                format!("`{file}`, sealed by a key in the PKCS#11 token `{token}`")
            }
            Self::Tpm(device) => format!("`{file}`, sealed to the TPM at `{device}`"),
        }
    }

    const fn configured(&self) -> &'static str {
        match self {
            Self::Mode => "is not set",
            Self::Password(_) => "names a password",
            Self::Token(_) => "names a key in a PKCS#11 token",
            Self::Tpm(_) => "names a TPM",
        }
    }
}

/// How a key was found in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As it should be.
    Kept,
    /// As it is, although it should be under a password or a token.
    Bare,
}

impl Form {
    fn of(text: &str) -> Self {
        if text.starts_with(TOKEN_PREFIX) {
            Self::Token
        } else if text.starts_with(TPM_PREFIX) {
            Self::Tpm
        } else if text.starts_with("k4.local-pw.") {
            Self::Password
        } else {
            Self::Plain
        }
    }

    const fn remedy(self) -> &'static str {
        match self {
            Self::Plain => "take `root` out of `[keys]`",
            Self::Password => {
                "set `root = \"password:/…\"` in `[keys]` to the file with its password"
            }
            Self::Token => "set `root` in `[keys]` to the `pkcs11:` URI of the key that sealed it",
            Self::Tpm => {
                "set `root = \"tpm:/dev/tpmrm0\"` in `[keys]`, on the machine whose TPM sealed it"
            }
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "is under nothing",
            Self::Password => "is under a password",
            Self::Token => "is sealed by a key in a PKCS#11 token",
            Self::Tpm => "is sealed to a TPM",
        })
    }
}

fn plain(text: &str, file: &Path) -> Result<RootKey, ProtectionError> {
    RootKey::from_paserk(text).map_err(|_| ProtectionError::Malformed {
        file: file.to_owned(),
    })
}

fn unlock(text: &str, password_file: &Path) -> Result<RootKey, ProtectionError> {
    let password = read_password(password_file)?;
    let refused = |source| ProtectionError::Password {
        file: password_file.to_owned(),
        source,
    };
    let protected = ProtectedKey::<V4, Local>::parse(text).map_err(refused)?;
    let key = protected.unlock(&password, &WorkLimits::default());
    Ok(RootKey(key.map_err(refused)?))
}

/// What stands behind the word for how it was sealed.
fn sealed(text: &str, prefix: &str, file: &Path) -> Result<Vec<u8>, ProtectionError> {
    let sealed = text.strip_prefix(prefix).map(str::trim_end);
    let sealed = sealed.and_then(|text| Base64UrlUnpadded::decode_vec(text).ok());
    sealed.ok_or_else(|| ProtectionError::Malformed {
        file: file.to_owned(),
    })
}

fn opened(paserk: &[u8], file: &Path) -> Result<RootKey, ProtectionError> {
    let text = std::str::from_utf8(paserk).ok();
    let key = text.and_then(|text| Key::from_paserk(text).ok());
    key.map(RootKey).ok_or_else(|| ProtectionError::Malformed {
        file: file.to_owned(),
    })
}

/// The first line of the file.
fn read_password(file: &Path) -> Result<Zeroizing<Vec<u8>>, ProtectionError> {
    let mut password = private_file::read(file)?;
    while password.last().is_some_and(u8::is_ascii_control) {
        password.pop();
    }
    match password.is_empty() {
        true => Err(ProtectionError::NoPassword {
            file: file.to_owned(),
        }),
        false => Ok(password),
    }
}

const TOKEN_PREFIX: &str = "countersign-root-key.pkcs11.";
const TPM_PREFIX: &str = "countersign-root-key.tpm.";

/// What a token is told that it seals: it opens as nothing else.
const ABOUT: &[u8] = b"countersign root key";
