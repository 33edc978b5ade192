//! A key in a file: what it says it is, before it is one.

use std::fmt;
use std::path::Path;

use countersign_paseto::paserk::MAX_PASERK_LEN;
use countersign_paseto::{Holds, InvalidKey, Key, PaserkError};
use zeroize::Zeroizing;

use super::pem::{self, PemError};
use crate::cli::PasetoVersion;
use crate::commands::input::{Input, InputError};
use crate::report::{Report, Verdict};

/// A key's text, with the version and kind that it names.
pub(in crate::commands) struct KeyFile {
    name: String,
    role: Role,
    version: PasetoVersion,
    kind: Kind,
    content: Content,
}

/// What a PASERK is, plain or inside something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Kind {
    Local,
    Public,
    Secret,
    LocalWrapped,
    SecretWrapped,
    LocalProtected,
    SecretProtected,
    Sealed,
    LocalId,
    PublicId,
    SecretId,
}

enum Content {
    Paserk(Zeroizing<String>),
    Bytes(Zeroizing<Vec<u8>>),
}

/// What a command is about, or what it works with: a key that is wrong is the answer in one case, and leaves no answer in the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Subject,
    Tool,
}

impl KeyFile {
    /// Reads the key that the command is about.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub(in crate::commands) fn subject(path: &Path) -> Result<Self, KeyFileError> {
        Self::read(path, Role::Subject)
    }

    /// Reads a key that the command works with.
    ///
    /// # Errors
    ///
    /// [`KeyFileError`].
    pub(in crate::commands) fn tool(path: &Path) -> Result<Self, KeyFileError> {
        Self::read(path, Role::Tool)
    }

    fn read(path: &Path, role: Role) -> Result<Self, KeyFileError> {
        // Base64 in lines is longer than base64url by less than a tenth, and PEM may carry words.
        let input = Input::read(path, 2 * MAX_PASERK_LEN).map_err(|error| KeyFileError {
            name: path.display().to_string(),
            role,
            fault: Fault::Input(error),
        })?;
        let parsed = parse(input.line()).map_err(|fault| KeyFileError {
            name: input.name().to_owned(),
            role,
            fault,
        });
        let (version, kind, content) = parsed?;
        if matches!(kind, Kind::Local | Kind::Secret) {
            input.check_private().map_err(|error| KeyFileError {
                name: input.name().to_owned(),
                role,
                fault: Fault::Input(error),
            })?;
        }
        Ok(Self {
            name: input.name().to_owned(),
            role,
            version,
            kind,
            content,
        })
    }

    /// The version that it names.
    pub(in crate::commands) fn version(&self) -> PasetoVersion {
        self.version
    }

    /// The kind that it names.
    pub(in crate::commands) fn kind(&self) -> Kind {
        self.kind
    }

    /// The key itself, if it is one of this version and kind.
    ///
    /// # Errors
    ///
    /// It is another, or none.
    pub(in crate::commands) fn key<V, K>(&self) -> Result<Key<V, K>, KeyFileError>
    where
        V: Holds<K>,
        K: countersign_paseto::Kind,
    {
        let named = format!("k{}.{}", self.version.number(), self.kind);
        let needed = format!("{}.{}", V::PASERK, K::PLAIN);
        if named != needed {
            return Err(self.not(&format!("`{needed}`")));
        }
        let key = match &self.content {
            Content::Paserk(text) => Key::from_paserk(text),
            Content::Bytes(bytes) => Key::from_bytes(bytes).map_err(PaserkError::from),
        };
        key.map_err(|error| self.refused(error))
    }

    /// The text, for the kinds that hold a key inside.
    pub(super) fn paserk(&self) -> &str {
        match &self.content {
            Content::Paserk(text) => text,
            Content::Bytes(_) => "",
        }
    }

    /// It is not what is needed.
    pub(super) fn not(&self, needed: &str) -> KeyFileError {
        self.fails(Fault::Other {
            found: format!("k{}.{}", self.version.number(), self.kind),
            kind: self.kind,
            needed: needed.to_owned(),
        })
    }

    /// It is no key, or does not open.
    pub(super) fn refused(&self, error: PaserkError) -> KeyFileError {
        self.fails(Fault::Refused(error))
    }

    fn fails(&self, fault: Fault) -> KeyFileError {
        KeyFileError {
            name: self.name.clone(),
            role: self.role,
            fault,
        }
    }
}

fn parse(line: &[u8]) -> Result<(PasetoVersion, Kind, Content), Fault> {
    let text = std::str::from_utf8(line).map_err(|_| Fault::NoKey)?;
    if pem::is_pem(text) {
        let key = pem::read(text).map_err(Fault::Pem)?;
        return Ok((key.version, key.kind, Content::Bytes(key.bytes)));
    }
    let (version, rest) = text.split_once('.').ok_or(Fault::NoKey)?;
    let version = PasetoVersion::named(version, 'k').ok_or(Fault::NoKey)?;
    let kind = NAMES
        .iter()
        .find(|(name, _)| {
            rest.strip_prefix(name)
                .is_some_and(|data| data.starts_with('.'))
        })
        .map(|(_, kind)| *kind)
        .ok_or(Fault::NoKey)?;
    let text = Zeroizing::new(text.to_owned());
    Ok((version, kind, Content::Paserk(text)))
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(_, kind)| kind == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// PASERK § Types.
const NAMES: [(&str, Kind); 11] = [
    ("local", Kind::Local),
    ("public", Kind::Public),
    ("secret", Kind::Secret),
    ("local-wrap.pie", Kind::LocalWrapped),
    ("secret-wrap.pie", Kind::SecretWrapped),
    ("local-pw", Kind::LocalProtected),
    ("secret-pw", Kind::SecretProtected),
    ("seal", Kind::Sealed),
    ("lid", Kind::LocalId),
    ("pid", Kind::PublicId),
    ("sid", Kind::SecretId),
];

/// A file gives no key.
#[derive(Debug)]
pub(crate) struct KeyFileError {
    name: String,
    role: Role,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    Input(InputError),
    NoKey,
    Pem(PemError),
    Other {
        found: String,
        kind: Kind,
        needed: String,
    },
    Refused(PaserkError),
}

impl KeyFileError {
    /// Why the text gives no key, where it is the text's fault.
    pub(super) fn reason(&self) -> Option<&PaserkError> {
        match &self.fault {
            Fault::Refused(error) => Some(error),
            _ => None,
        }
    }
}

impl fmt::Display for KeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.fault {
            Fault::Input(error) => error.fmt(f),
            Fault::NoKey => write!(f, "`{name}` holds no key: it is neither PASERK nor PEM"),
            Fault::Pem(error) => write!(f, "`{name}` holds no key: {error}"),
            Fault::Other { found, needed, .. } => {
                write!(f, "`{name}` holds `{found}`, and {needed} is needed")
            }
            Fault::Refused(error) => write!(f, "`{name}` gives no key: {error}"),
        }
    }
}

impl std::error::Error for KeyFileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            Fault::Input(error) => std::error::Error::source(error),
            _ => None,
        }
    }
}

impl Report for KeyFileError {
    fn hint(&self) -> Option<String> {
        let name = &self.name;
        match &self.fault {
            Fault::Input(error) => error.hint(),
            Fault::Pem(PemError::Ed25519) => {
                Some("key files of v2 and v4 hold PASERK, such as `k4.secret.…`".to_owned())
            }
            Fault::Other { kind, .. } => opening(*kind, name),
            Fault::Refused(PaserkError::NotAuthentic) => Some(
                "it opens with the key or the password that it was made with, unaltered".to_owned(),
            ),
            Fault::Refused(PaserkError::Key(InvalidKey::Length { .. })) => {
                Some("was all of the key copied?".to_owned())
            }
            _ => None,
        }
    }

    fn verdict(&self) -> Verdict {
        match (self.role, &self.fault) {
            (Role::Tool, _) | (_, Fault::Input(_) | Fault::Other { .. }) => Verdict::Unknown,
            (_, Fault::Refused(PaserkError::TooCostly { .. } | PaserkError::Randomness(_))) => {
                Verdict::Unknown
            }
            (Role::Subject, _) => Verdict::No,
        }
    }
}

/// The command that takes a key out of what it is in.
fn opening(kind: Kind, name: &str) -> Option<String> {
    let command = match kind {
        Kind::LocalWrapped | Kind::SecretWrapped => "unwrap --with FILE",
        Kind::LocalProtected | Kind::SecretProtected => "unlock --password-file FILE",
        Kind::Sealed => "unseal --with SECRET",
        _ => return None,
    };
    Some(format!(
        "take the key out with `countersign key {command} {name}`"
    ))
}
