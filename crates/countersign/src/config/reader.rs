//! Reads a TOML file key by key, so that every mistake is told with its line, and every key is described where it is read.
//!
//! Each read names the key, its kind, its default and what it means. A key that no read asked for is unknown. What was asked
//! for is kept: docs/configuration.md is made from it, so the page and the code cannot differ.

use std::cell::RefCell;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Problem};
use super::key::{Described, Key};
use crate::report::printable;

/// A file that is being read.
pub(super) struct Document {
    file: PathBuf,
    text: String,
    described: RefCell<Vec<Described>>,
}

/// A table of the file.
pub(super) struct Table<'d> {
    document: &'d Document,
    header: String,
    line: usize,
    entries: Vec<Entry<'d>>,
    asked: Vec<&'static str>,
}

struct Entry<'d> {
    key: String,
    span: Range<usize>,
    value: Spanned<DeValue<'d>>,
    read: bool,
}

impl Document {
    pub(super) fn new(file: &Path, text: String) -> Self {
        Self {
            file: file.to_owned(),
            text,
            described: RefCell::default(),
        }
    }

    /// The table that is the whole file.
    pub(super) fn root(&self) -> Result<Table<'_>, ConfigError> {
        match DeTable::parse(&self.text) {
            Ok(table) => Ok(Table::new(self, String::new(), 1, table.into_inner())),
            Err(error) => {
                let message = error.message().replace('\n', ", ");
                let at = error.span().map_or(0, |span| span.start);
                Err(self.error(self.line_at(at), Problem::Syntax { message }))
            }
        }
    }

    /// Every key that was asked for, in the order of asking.
    #[cfg(test)]
    pub(super) fn described(&self) -> Vec<Described> {
        self.described.borrow().clone()
    }

    fn line_at(&self, offset: usize) -> usize {
        1 + self
            .text
            .bytes()
            .take(offset)
            .filter(|byte| *byte == b'\n')
            .count()
    }

    fn error(&self, line: usize, problem: Problem) -> ConfigError {
        ConfigError::line(&self.file, line, problem)
    }

    fn describe(&self, key: Described) {
        let mut described = self.described.borrow_mut();
        if !described.contains(&key) {
            described.push(key);
        }
    }
}

impl<'d> Table<'d> {
    fn new(document: &'d Document, header: String, line: usize, table: DeTable<'d>) -> Self {
        let entry = |(key, value): (Spanned<std::borrow::Cow<'d, str>>, _)| Entry {
            span: key.span(),
            key: key.into_inner().into_owned(),
            value,
            read: false,
        };
        Self {
            document,
            header,
            line,
            entries: table.into_iter().map(entry).collect(),
            asked: Vec::new(),
        }
    }

    /// The key's value or its default; without either, the file is refused.
    pub(super) fn read<T>(&mut self, key: Key<T>) -> Result<T, ConfigError> {
        self.document.describe(key.described(&self.header, true));
        if let Some(value) = self.value(&key)? {
            return Ok(value);
        }
        let default = key.default.ok_or_else(|| self.missing(&key))?;
        let value = DeValue::parse(default).map_err(|error| error.message().to_owned());
        value
            .and_then(|value| (key.kind.parse)(value.get_ref()))
            .map_err(|allowed| self.wrong_value(self.line, key.name, default, allowed))
    }

    /// The key's value, when it is there.
    pub(super) fn find<T>(&mut self, key: Key<T>) -> Result<Option<T>, ConfigError> {
        self.document.describe(key.described(&self.header, false));
        self.value(&key)
    }

    /// As [`read`](Self::read), with the file's own folder before a relative path.
    pub(super) fn read_path(&mut self, key: Key<PathBuf>) -> Result<PathBuf, ConfigError> {
        self.read(key).map(|path| self.beside(path))
    }

    /// As [`find`](Self::find), with the file's own folder before a relative path.
    pub(super) fn find_path(&mut self, key: Key<PathBuf>) -> Result<Option<PathBuf>, ConfigError> {
        self.find(key)
            .map(|path| path.map(|path| self.beside(path)))
    }

    /// The table under a key, when it is there.
    pub(super) fn find_table(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Table<'d>>, ConfigError> {
        let header = self.nested_header(name, "[", "]");
        let Some((line, span, value)) = self.take(name) else {
            return Ok(None);
        };
        match value {
            DeValue::Table(table) => Ok(Some(Table::new(self.document, header, line, table))),
            _ => Err(self.wrong_value(
                line,
                name,
                &self.source(span),
                format!("a table, `{header}`"),
            )),
        }
    }

    /// The table under a key; an empty one when it is not there.
    pub(super) fn table(&mut self, name: &'static str) -> Result<Table<'d>, ConfigError> {
        let header = self.nested_header(name, "[", "]");
        let nothing = self.nothing(&header);
        Ok(self.find_table(name)?.unwrap_or(nothing))
    }

    /// The tables under a key that may come again and again.
    pub(super) fn tables(&mut self, name: &'static str) -> Result<Vec<Table<'d>>, ConfigError> {
        let header = self.nested_header(name, "[[", "]]");
        let Some((line, span, value)) = self.take(name) else {
            return Ok(Vec::new());
        };
        let refused = |table: &Self| {
            let allowed = format!("tables that each begin with `{header}`");
            table.wrong_value(line, name, &table.source(span.clone()), allowed)
        };
        let DeValue::Array(array) = value else {
            return Err(refused(self));
        };
        let tables = array.into_iter().map(|element| {
            let line = self.document.line_at(element.span().start);
            match element.into_inner() {
                DeValue::Table(table) => Ok(Table::new(self.document, header.clone(), line, table)),
                _ => Err(refused(self)),
            }
        });
        tables.collect()
    }

    /// The table that stands for one that is not in the file at all.
    pub(super) fn nothing(&self, header: &str) -> Table<'d> {
        Table::new(self.document, header.to_owned(), self.line, DeTable::new())
    }

    /// Refuses what no read has asked for.
    pub(super) fn finish(&self) -> Result<(), ConfigError> {
        match self.entries.iter().find(|entry| !entry.read) {
            None => Ok(()),
            Some(entry) => Err(self.unknown(entry, &self.asked)),
        }
    }

    /// The error that the key, or the table when the key is not there, contradicts something else.
    pub(super) fn contradiction(&self, key: &str, message: String, remedy: &str) -> ConfigError {
        let problem = Problem::Contradiction {
            message,
            remedy: remedy.to_owned(),
        };
        self.document.error(self.line_of(key), problem)
    }

    /// The line of a key, or of the table when the key is not there.
    pub(super) fn line_of(&self, key: &str) -> usize {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.map_or(self.line, |entry| self.document.line_at(entry.span.start))
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == key)
    }

    fn value<T>(&mut self, key: &Key<T>) -> Result<Option<T>, ConfigError> {
        let Some((line, span, value)) = self.take(key.name) else {
            return Ok(None);
        };
        if value.as_str().is_some_and(holds_pin) {
            let key = key.name.to_owned();
            return Err(self.document.error(line, Problem::Pin { key }));
        }
        if value.as_str().is_some_and(is_secret) {
            return Err(self.document.error(
                line,
                Problem::Secret {
                    key: key.name.to_owned(),
                },
            ));
        }
        let wrong = |allowed| self.wrong_value(line, key.name, &self.source(span), allowed);
        (key.kind.parse)(&value).map(Some).map_err(wrong)
    }

    fn take(&mut self, name: &'static str) -> Option<(usize, Range<usize>, DeValue<'d>)> {
        self.asked.push(name);
        let entry = self.entries.iter_mut().find(|entry| entry.key == name)?;
        entry.read = true;
        let line = self.document.line_at(entry.span.start);
        Some((line, entry.value.span(), entry.value.get_ref().clone()))
    }

    fn source(&self, span: Range<usize>) -> String {
        self.document.text.get(span).unwrap_or_default().to_owned()
    }

    fn wrong_value(&self, line: usize, key: &str, written: &str, allowed: String) -> ConfigError {
        let value = one_line(written);
        self.document.error(
            line,
            Problem::WrongValue {
                key: key.to_owned(),
                value,
                allowed,
            },
        )
    }

    /// A key that is not there may be there misspelt; that is then what is told.
    fn missing<T>(&self, key: &Key<T>) -> ConfigError {
        let misspelt = |entry: &&Entry<'_>| !entry.read && is_near(&entry.key, key.name);
        if let Some(entry) = self.entries.iter().find(misspelt) {
            return self.unknown(entry, &[key.name]);
        }
        let (key, allowed) = (key.name, key.kind.name);
        let problem = Problem::Missing {
            key,
            table: self.inside(),
            allowed,
        };
        self.document.error(self.line, problem)
    }

    fn unknown(&self, entry: &Entry<'_>, known: &[&'static str]) -> ConfigError {
        let similarity = |name: &&&str| strsim::jaro_winkler(&entry.key, name);
        let nearest = known.iter().filter(|name| is_near(&entry.key, name));
        let nearest = nearest.max_by(|a, b| similarity(a).total_cmp(&similarity(b)));
        let problem = Problem::UnknownKey {
            key: one_line(&entry.key),
            table: self.inside(),
            nearest: nearest.map(ToString::to_string),
            known: known.to_vec(),
        };
        self.document
            .error(self.document.line_at(entry.span.start), problem)
    }

    fn inside(&self) -> String {
        match self.header.as_str() {
            "" => "at the top of the file".to_owned(),
            header => format!("in {header}"),
        }
    }

    fn nested_header(&self, name: &str, open: &str, close: &str) -> String {
        match self.header.trim_matches(['[', ']']) {
            "" => format!("{open}{name}{close}"),
            outer => format!("{open}{outer}.{name}{close}"),
        }
    }

    /// The path with the file's own folder before it, unless it is absolute.
    pub(super) fn beside(&self, path: PathBuf) -> PathBuf {
        self.document
            .file
            .parent()
            .map_or_else(|| path.clone(), |folder| folder.join(&path))
    }
}

fn is_near(written: &str, known: &str) -> bool {
    strsim::jaro_winkler(written, known) > 0.85 || strsim::levenshtein(written, known) <= 2
}

/// How secrets of ours and of others begin. A value that does is never repeated on the screen.
fn is_secret(text: &str) -> bool {
    let beginnings = [
        "countersign-join-",
        "-----BEGIN",
        "k3.",
        "k4.",
        "v3.local.",
        "v4.local.",
    ];
    beginnings
        .iter()
        .any(|beginning| text.trim_start().starts_with(beginning))
}

/// Whether a `pkcs11:` URI has the PIN in itself (RFC 7512 section 2.4).
fn holds_pin(text: &str) -> bool {
    text.contains("pin-value")
}

/// The text on one line, at most 80 characters of it, with nothing in it that a terminal would obey.
fn one_line(text: &str) -> String {
    let printable = printable(text);
    match printable.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", printable.get(..end).unwrap_or_default()),
        None => printable,
    }
}
