//! A key of a table: what it is called, what kind of value it takes, and what holds without it.

use super::kind::Kind;

/// A key as the documentation shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) header: String,
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) default: String,
    pub(super) reloads: bool,
    pub(super) about: &'static str,
}

/// A key, before it is read.
pub(super) struct Key<T: 'static> {
    pub(super) name: &'static str,
    pub(super) kind: &'static Kind<T>,
    about: &'static str,
    pub(super) default: Option<&'static str>,
    absent: &'static str,
    reloads: bool,
}

/// A key of the kind `kind`, taken by a reload.
pub(super) const fn key<T>(
    name: &'static str,
    kind: &'static Kind<T>,
    about: &'static str,
) -> Key<T> {
    Key {
        name,
        kind,
        about,
        default: None,
        absent: "",
        reloads: true,
    }
}

impl<T> Key<T> {
    /// The value, in TOML, that is read when the key is not there.
    pub(super) const fn or(mut self, toml: &'static str) -> Self {
        self.default = Some(toml);
        self
    }

    /// What it means when an optional key is not there, in words.
    pub(super) const fn absent(mut self, meaning: &'static str) -> Self {
        self.absent = meaning;
        self
    }

    /// A reload that changes the key is refused.
    pub(super) const fn until_restart(mut self) -> Self {
        self.reloads = false;
        self
    }

    /// The key for the documentation.
    pub(super) fn described(&self, header: &str, required: bool) -> Described {
        let default = match (self.default, required) {
            (Some(toml), _) => format!("`{toml}`"),
            (None, true) => "required".to_owned(),
            (None, false) => self.absent.to_owned(),
        };
        Described {
            header: header.to_owned(),
            name: self.name,
            kind: self.kind.name,
            default,
            reloads: self.reloads,
            about: self.about,
        }
    }
}
