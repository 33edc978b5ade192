//! What can be wrong with a configuration file.

use std::path::{Path, PathBuf};

use crate::report::{Report, Verdict};

/// What is wrong with a configuration file, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration `{}`", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line is at fault.
    #[error("{}, line {}: {problem}", .at.file.display(), .at.line)]
    Line {
        /// Where.
        at: Place,
        /// What is wrong.
        problem: Box<Problem>,
    },
    /// A key has changed that a reload does not take. Nothing of the new file holds.
    #[error("a reload cannot change `{key}`; the configuration before stays in force")]
    NeedsRestart {
        /// The key, with its table before it.
        key: &'static str,
    },
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The file.
    pub(crate) file: PathBuf,
    /// The line, from 1.
    pub(crate) line: usize,
}

/// What is wrong with a line.
#[derive(Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Problem {
    /// The file is not TOML.
    #[error("this is not TOML: {message}")]
    Syntax {
        /// The parser's words.
        message: String,
    },
    /// A key that means nothing here.
    #[error("unknown key `{key}` {table}")]
    UnknownKey {
        /// The key.
        key: String,
        /// The table, as `in [[listener]]`.
        table: String,
        /// The key that was probably meant.
        nearest: Option<String>,
        /// All keys of the table.
        known: Vec<&'static str>,
    },
    /// A value that its key cannot take.
    #[error("`{key}` has to be {allowed}, not `{value}`")]
    WrongValue {
        /// The key.
        key: String,
        /// The value as it was written.
        value: String,
        /// What it could be.
        allowed: String,
    },
    /// A secret where a path belongs. The message does not repeat it.
    #[error("`{key}` holds a secret itself")]
    Secret {
        /// The key.
        key: String,
    },
    /// A PIN where the file that holds it belongs. The message does not repeat it.
    #[error("`{key}` holds a PIN itself")]
    Pin {
        /// The key.
        key: String,
    },
    /// A key that has to be there.
    #[error("`{key}` is missing {table}")]
    Missing {
        /// The key.
        key: &'static str,
        /// The table, as `in [[listener]]`.
        table: String,
        /// What belongs there.
        allowed: &'static str,
    },
    /// Two things that cannot both hold.
    #[error("{message}")]
    Contradiction {
        /// What is wrong.
        message: String,
        /// What to do.
        remedy: String,
    },
}

impl ConfigError {
    /// A fault in the line `line` of `file`.
    pub(crate) fn line(file: &Path, line: usize, problem: Problem) -> Self {
        let at = Place {
            file: file.to_owned(),
            line,
        };
        let problem = Box::new(problem);
        Self::Line { at, problem }
    }
}

impl Problem {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Syntax { .. } | Self::WrongValue { .. } => return None,
            Self::UnknownKey {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::UnknownKey { known, .. } => format!("the keys there are: {}", known.join(", ")),
            Self::Secret { key } => format!(
                "write the secret to a file of mode 0600 and set `{key}` to its path; a secret that stood in a \
                 configuration is best made anew"
            ),
            Self::Pin { .. } => "write the PIN to a file of mode 0600 and name that by `pin-source=file:/…` instead of \
                 `pin-value`; a PIN that stood in a configuration is best changed"
                .to_owned(),
            Self::Missing { key, allowed, .. } => format!("set `{key}` to {allowed}"),
            Self::Contradiction { remedy, .. } => remedy.clone(),
        })
    }
}

impl Report for ConfigError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Unreadable { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some(
                    "name the file with `--config FILE`; commented examples are in deploy/"
                        .to_owned(),
                )
            }
            Self::Unreadable { .. } => None,
            Self::NeedsRestart { .. } => {
                Some("put the key back, or restart the gateway".to_owned())
            }
            Self::Line { problem, .. } => problem.hint(),
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Unreadable { .. } => Verdict::Unknown,
            Self::Line { .. } | Self::NeedsRestart { .. } => Verdict::No,
        }
    }
}
