//! What people see of each answer.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::table::Table;
use crate::cli::Format;
use crate::identity::PublishedKeys;
use crate::operator::BackupDone;
use crate::report::printable;
use crate::stdout::{self, OutputError};

mod agents;
mod attestation;
mod certificates;
mod exceptions;
mod grants;
mod services;
mod sessions;
mod stages;
mod tokens;

/// An answer in text.
pub(super) trait Show {
    /// What goes to standard output, newlines included.
    fn result(&self) -> String;

    /// What is said beside it, on standard error, so that the result can be piped.
    fn remark(&self) -> Option<String> {
        None
    }
}

/// Prints an answer for people.
///
/// # Errors
///
/// Standard output takes nothing more.
pub(super) fn text(answer: &impl Show) -> Result<(), OutputError> {
    stdout::write(answer.result().as_bytes())?;
    remark(answer);
    Ok(())
}

/// Says what is said beside an answer whose result went elsewhere.
#[expect(
    clippy::print_stderr,
    reason = "remarks are for the person who typed the command"
)]
pub(super) fn remark(answer: &impl Show) {
    if let Some(remark) = answer.remark() {
        eprintln!("{remark}");
    }
}

/// Prints a result of our own.
///
/// # Errors
///
/// Standard output takes nothing more.
pub(super) fn print(result: &(impl Show + Serialize), format: Format) -> Result<(), OutputError> {
    match format {
        Format::Text => text(result),
        Format::Json => json(&serde_json::to_value(result).expect("our own results are JSON")),
    }
}

/// Prints an answer for machines, with the fields that this version does not know.
///
/// # Errors
///
/// Standard output takes nothing more.
pub(super) fn json(answer: &Value) -> Result<(), OutputError> {
    stdout::write(format!("{answer:#}\n").as_bytes())
}

impl Show for PublishedKeys {
    fn result(&self) -> String {
        let mut table = Table::new(&["KEY ID", "SIGNS FROM", "GOOD UNTIL"]);
        for key in &self.keys {
            let window = [moment(key.not_before), moment(key.not_after)];
            table.row([key.kid.clone()].into_iter().chain(window));
        }
        table.or("there are no keys")
    }

    fn remark(&self) -> Option<String> {
        Some("`--format json` prints the keys themselves, as verifiers read them".to_owned())
    }
}

impl Show for BackupDone {
    fn result(&self) -> String {
        let file = printable(&self.file.display().to_string());
        format!(
            "{file}: {} at revision {}\n",
            printable(&self.trust_domain),
            self.revision
        )
    }
}

/// To the second, in UTC.
fn moment(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}
