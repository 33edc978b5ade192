//! `countersign key …`: keys as text, made, named, put into something and taken out of it.

mod file;
mod pem;
pub(super) mod version;

use std::path::Path;

use countersign_paseto::paserk::{Confidential, ProtectedKey, WorkLimits};
use countersign_paseto::{
    Holds, InvalidKey, Key, KeyId, Local, PaserkError, Public, RandomnessUnavailable, Secret,
    SystemRandom,
};
use serde::Serialize;
use zeroize::Zeroizing;

use self::file::KeyFileError;
pub(super) use self::file::{KeyFile, Kind};
use self::version::{Offered, with_version};
use super::input::{Input, check_stdin};
use super::secret_file::SecretFile;
use super::show::{self, Show};
use crate::cli::{Format, KeyCommand, KeyPurpose, SecretOutput};
use crate::report::{Failure, Report};

/// `countersign key …`.
///
/// # Errors
///
/// A file cannot be read, or holds no key that the verb can use.
pub(crate) fn key(command: KeyCommand, format: Format) -> Result<(), Failure> {
    let (made, output) = match command {
        KeyCommand::Generate {
            version,
            purpose,
            output,
        } => (with_version!(version, generate(purpose)), Some(output)),
        KeyCommand::Public { key } => {
            let key = KeyFile::subject(&key.file)?;
            (with_version!(key.version(), public(&key)), None)
        }
        KeyCommand::Id { key } => {
            let key = KeyFile::subject(&key.file)?;
            (with_version!(key.version(), id(&key)), None)
        }
        KeyCommand::Show { key } => {
            let key = KeyFile::subject(&key.file)?;
            show::print(&with_version!(key.version(), describe(&key))?, format)?;
            return Ok(());
        }
        KeyCommand::Wrap { with, key } => {
            let (with, key) = pair(&with, &key.file)?;
            (with_version!(key.version(), wrap(&key, &with)), None)
        }
        KeyCommand::Unwrap {
            with,
            wrapped,
            output,
        } => {
            let (with, wrapped) = pair(&with, &wrapped.file)?;
            let made = with_version!(wrapped.version(), unwrap(&wrapped, &with));
            (made, Some(output))
        }
        KeyCommand::Protect { password_file, key } => {
            let (password, key) = under_password(&password_file, &key.file)?;
            (with_version!(key.version(), protect(&key, &password)), None)
        }
        KeyCommand::Unlock {
            password_file,
            wrapped,
            output,
        } => {
            let (password, wrapped) = under_password(&password_file, &wrapped.file)?;
            let made = with_version!(wrapped.version(), unlock(&wrapped, &password));
            (made, Some(output))
        }
        KeyCommand::Seal { to, key } => {
            let (to, key) = pair(&to, &key.file)?;
            (with_version!(key.version(), seal(&key, &to)), None)
        }
        KeyCommand::Unseal {
            with,
            wrapped,
            output,
        } => {
            let (with, sealed) = pair(&with, &wrapped.file)?;
            let made = with_version!(sealed.version(), unseal(&sealed, &with));
            (made, Some(output))
        }
    };
    deliver(&made?, output, format)
}

/// A PASERK that a verb made.
type Made = Result<Zeroizing<String>, Failure>;

fn generate<V: Offered>(purpose: KeyPurpose) -> Made {
    let made = match purpose {
        KeyPurpose::Local => Key::<V, Local>::generate(&SystemRandom).map(|key| key.to_paserk()),
        KeyPurpose::Public => Key::<V, Secret>::generate(&SystemRandom).map(|key| key.to_paserk()),
        KeyPurpose::Seal => Key::<V, V::With>::generate(&SystemRandom).map(|key| key.to_paserk()),
    };
    Ok(made.map_err(NoRandomness)?)
}

/// The public half, or a public key as PASERK.
fn public<V: Offered>(key: &KeyFile) -> Made {
    let public = match key.kind() {
        Kind::Public => either(
            || key.key::<V, Public>().map(|key| key.to_paserk()),
            || key.key::<V, V::To>().map(|key| key.to_paserk()),
        ),
        _ => either(
            || key.key::<V, Secret>().map(|key| key.public().to_paserk()),
            || {
                key.key::<V, V::With>()
                    .map(|key| key.recipient().to_paserk())
            },
        ),
    };
    Ok(public?)
}

fn id<V: Offered>(key: &KeyFile) -> Made {
    let id = match key.kind() {
        Kind::Local => key.key::<V, Local>().map(|key| key.id()),
        Kind::Public => either(
            || key.key::<V, Public>().map(|key| key.id()),
            || key.key::<V, V::To>().map(|key| key.id()),
        ),
        Kind::Secret => either(
            || key.key::<V, Secret>().map(|key| key.id()),
            || key.key::<V, V::With>().map(|key| key.id()),
        ),
        _ => Err(key.not("a plain key")),
    };
    Ok(Zeroizing::new(id?.to_string()))
}

fn wrap<V: Offered>(key: &KeyFile, with: &KeyFile) -> Made {
    let with = with.key::<V, Local>()?;
    let wrapped = match key.kind() {
        Kind::Local => key.key::<V, Local>()?.wrap(&with, &SystemRandom),
        Kind::Secret => either(
            || {
                key.key::<V, Secret>()
                    .map(|key| key.wrap(&with, &SystemRandom))
            },
            || {
                key.key::<V, V::With>()
                    .map(|key| key.wrap(&with, &SystemRandom))
            },
        )?,
        _ => return Err(key.not("a local or a secret key").into()),
    };
    let wrapped = wrapped.map_err(NoRandomness)?;
    Ok(Zeroizing::new(wrapped))
}

fn unwrap<V: Offered>(wrapped: &KeyFile, with: &KeyFile) -> Made {
    let with = with.key::<V, Local>()?;
    let text = wrapped.paserk();
    let key = match wrapped.kind() {
        Kind::LocalWrapped => plain(Key::<V, Local>::unwrap(text, &with)),
        Kind::SecretWrapped => either(
            || plain(Key::<V, Secret>::unwrap(text, &with)),
            || plain(Key::<V, V::With>::unwrap(text, &with)),
        ),
        _ => return Err(wrapped.not("a wrapped key").into()),
    };
    Ok(key.map_err(|error| wrapped.refused(error))?)
}

fn protect<V: Offered>(key: &KeyFile, password: &Input) -> Made {
    let work = V::Work::default();
    let password = password.line();
    let protected = match key.kind() {
        Kind::Local => key
            .key::<V, Local>()?
            .protect(password, work, &SystemRandom),
        Kind::Secret => either(
            || {
                key.key::<V, Secret>()
                    .map(|key| key.protect(password, work, &SystemRandom))
            },
            || {
                key.key::<V, V::With>()
                    .map(|key| key.protect(password, work, &SystemRandom))
            },
        )?,
        _ => return Err(key.not("a local or a secret key").into()),
    };
    let protected = protected.map_err(|error| key.refused(error))?;
    Ok(Zeroizing::new(protected))
}

fn unlock<V: Offered>(protected: &KeyFile, password: &Input) -> Made {
    let key = match protected.kind() {
        Kind::LocalProtected => plain(unlocked::<V, Local>(protected, password)),
        Kind::SecretProtected => either(
            || plain(unlocked::<V, Secret>(protected, password)),
            || plain(unlocked::<V, V::With>(protected, password)),
        ),
        _ => return Err(protected.not("a key under a password").into()),
    };
    Ok(key.map_err(|error| protected.refused(error))?)
}

fn unlocked<V: Offered + Holds<K>, K: Confidential>(
    protected: &KeyFile,
    password: &Input,
) -> Result<Key<V, K>, PaserkError> {
    ProtectedKey::<V, K>::parse(protected.paserk())?.unlock(password.line(), &WorkLimits::default())
}

fn seal<V: Offered>(key: &KeyFile, to: &KeyFile) -> Made {
    let recipient = to.key::<V, V::To>()?;
    let sealed = key.key::<V, Local>()?.seal(&recipient, &SystemRandom);
    Ok(Zeroizing::new(sealed.map_err(|error| to.refused(error))?))
}

fn unseal<V: Offered>(sealed: &KeyFile, with: &KeyFile) -> Made {
    if sealed.kind() != Kind::Sealed {
        return Err(sealed.not("a sealed key").into());
    }
    let key = Key::<V, Local>::unseal(sealed.paserk(), &with.key::<V, V::With>()?);
    Ok(plain(key).map_err(|error| sealed.refused(error))?)
}

fn plain<V: Holds<K>, K: countersign_paseto::Kind>(
    key: Result<Key<V, K>, PaserkError>,
) -> Result<Zeroizing<String>, PaserkError> {
    key.map(|key| key.to_paserk())
}

/// What comes of a key that signs or verifies, or else of one that seals or unseals: in versions 1, 5 and 6 the two have one
/// header, and their lengths tell them apart.
fn either<T, E: OfKey>(
    signs: impl FnOnce() -> Result<T, E>,
    seals: impl FnOnce() -> Result<T, E>,
) -> Result<T, E> {
    match signs() {
        Err(error) if error.is_of_length() => seals().map_err(|_| error),
        made => made,
    }
}

/// An error that may say that a key has another's length.
trait OfKey {
    fn is_of_length(&self) -> bool;
}

impl OfKey for PaserkError {
    fn is_of_length(&self) -> bool {
        matches!(self, Self::Key(InvalidKey::Length { .. }))
    }
}

impl OfKey for KeyFileError {
    fn is_of_length(&self) -> bool {
        self.reason().is_some_and(OfKey::is_of_length)
    }
}

/// What a file holds, without its secret.
#[derive(Serialize)]
struct Description {
    version: String,
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public: Option<String>,
}

fn describe<V: Offered>(key: &KeyFile) -> Result<Description, Failure> {
    let public = match key.kind() {
        Kind::Public | Kind::Secret => Some(public::<V>(key)?.to_string()),
        _ => None,
    };
    let text = key.paserk();
    let id = match key.kind() {
        Kind::Local | Kind::Public | Kind::Secret => Some(id::<V>(key)?.to_string()),
        Kind::LocalId | Kind::PublicId | Kind::SecretId => {
            let id = text.parse::<KeyId>().map_err(|error| key.refused(error))?;
            Some(id.to_string())
        }
        _ => None,
    };
    Ok(Description {
        version: key.version().to_string(),
        kind: key.kind().to_string(),
        id,
        public,
    })
}

impl Show for Description {
    fn result(&self) -> String {
        let rows = [
            ("version", Some(&self.version)),
            ("kind", Some(&self.kind)),
            ("id", self.id.as_ref()),
            ("public", self.public.as_ref()),
        ];
        let shown = rows
            .iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name:8} {value}\n")));
        shown.collect()
    }
}

/// The key that a command works with, and the one that it is about.
fn pair(tool: &Path, subject: &Path) -> Result<(KeyFile, KeyFile), Failure> {
    check_stdin([tool, subject])?;
    Ok((KeyFile::tool(tool)?, KeyFile::subject(subject)?))
}

fn under_password(password: &Path, key: &Path) -> Result<(Input, KeyFile), Failure> {
    check_stdin([password, key])?;
    let read = Input::read(password, MAX_PASSWORD_LEN)?;
    read.check_private()?;
    if read.line().is_empty() {
        return Err(NoPassword(read.name().to_owned()).into());
    }
    Ok((read, KeyFile::subject(key)?))
}

/// What goes to standard output.
#[derive(Serialize)]
struct Paserk<'a> {
    paserk: &'a str,
}

impl Show for Paserk<'_> {
    fn result(&self) -> String {
        format!("{}\n", self.paserk)
    }
}

fn deliver(paserk: &str, output: Option<SecretOutput>, format: Format) -> Result<(), Failure> {
    match output.and_then(|output| output.output) {
        Some(file) => SecretFile::create(&file)?.write(paserk)?,
        None => show::print(&Paserk { paserk }, format)?,
    }
    Ok(())
}

/// The system gave no randomness.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct NoRandomness(RandomnessUnavailable);

impl Report for NoRandomness {}

/// A password of no bytes protects nothing.
#[derive(Debug, thiserror::Error)]
#[error("the password in `{0}` is empty")]
struct NoPassword(String);

impl Report for NoPassword {}

/// Longer than people's and machines' passwords are.
const MAX_PASSWORD_LEN: usize = 4096;
