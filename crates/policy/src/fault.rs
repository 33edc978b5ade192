//! What is wrong with a policy, and where.

use std::fmt;

/// One thing wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, by its path in the bundle; empty where no one file is to blame.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<u32>,
    /// The column, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            message: message.into(),
        }
    }

    /// Reads the interpreter's message: its first location is `--> file:line:column`, its last line says what is wrong,
    /// for some faults with the interpreter's insides in brackets.
    pub(crate) fn from_interpreter(file: &str, text: &str) -> Self {
        let last = text.lines().last().unwrap_or_default();
        let last = last.strip_prefix("error: ").unwrap_or(last);
        let last = last.strip_prefix("depends on: ").unwrap_or(last);
        let mut fault = Self::new(file, last.split(" (path [").next().unwrap_or(last));
        let location = text
            .lines()
            .find_map(|line| line.strip_prefix("--> "))
            .unwrap_or_default();
        let mut parts = location.rsplitn(3, ':');
        let column = parts.next().and_then(|column| column.parse().ok());
        let line = parts.next().and_then(|line| line.parse().ok());
        if let (Some(file), Some(_), Some(_)) = (parts.next(), line, column) {
            (fault.file, fault.line, fault.column) = (file.to_owned(), line, column);
        }
        fault
    }

    pub(crate) fn from_json(file: &str, error: &serde_json::Error) -> Self {
        let position = |at: usize| u32::try_from(at).ok().filter(|at| *at > 0);
        Self {
            line: position(error.line()),
            column: position(error.column()),
            ..Self::new(file, error.to_string())
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line, self.column) {
            ("", ..) => f.write_str(&self.message),
            (file, Some(line), Some(column)) => {
                write!(f, "{file}:{line}:{column}: {}", self.message)
            }
            (file, ..) => write!(f, "{file}: {}", self.message),
        }
    }
}

/// A bundle that cannot be used: every fault that was found, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Faults(faults))]
pub struct BundleError {
    /// What is wrong, in the order of the files.
    pub faults: Vec<Fault>,
}

struct Faults<'a>(&'a [Fault]);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("the bundle cannot be used"),
            [fault] => fault.fmt(f),
            [fault, rest @ ..] => write!(f, "{fault} (and {} more)", rest.len()),
        }
    }
}
