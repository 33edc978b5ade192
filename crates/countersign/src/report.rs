//! How the program speaks to people when something goes wrong: `error:` says what happened, `hint:` what to do.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// An error that knows its remedy.
///
/// The message is what `Display` writes: lower case, one line, no full stop, user input in backticks. The sources' messages
/// are appended when the report is printed, so a `Display` does not repeat them.
pub(crate) trait Report: Error + Send + Sync + 'static {
    /// What to do about it, with the exact command where there is one.
    fn hint(&self) -> Option<String> {
        None
    }

    /// What the program's exit status says.
    fn verdict(&self) -> Verdict {
        Verdict::Unknown
    }
}

/// The program's exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// 0: done, or yes.
    Yes,
    /// 1: no; denied, refused, invalid.
    No,
    /// 2: it could not be told; unreachable, unreadable.
    Unknown,
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Yes => ExitCode::from(0),
            Verdict::No => ExitCode::from(1),
            Verdict::Unknown => ExitCode::from(2),
        }
    }
}

/// Any [`Report`], for the way up to `main`.
pub(crate) struct Failure(Box<dyn Report>);

impl<E: Report> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Failure {
    /// The message, with those of its sources behind it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_sources(self.0.as_ref()))
    }
}

/// An error's message, with those of its sources behind it, each once.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut written = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let message = error.to_string();
        if !written.ends_with(&message) {
            written = format!("{written}: {message}");
        }
        source = error.source();
    }
    written
}

impl Failure {
    /// What to do about it.
    pub(crate) fn hint(&self) -> Option<String> {
        self.0.hint()
    }

    /// What the exit status says.
    pub(crate) fn verdict(&self) -> Verdict {
        self.0.verdict()
    }

    /// Prints the error and its hint on standard error.
    #[expect(
        clippy::print_stderr,
        reason = "this is the one place that speaks to people"
    )]
    pub(crate) fn print(&self) {
        eprintln!("error: {}", printable(&self.to_string()));
        if let Some(hint) = self.hint() {
            eprintln!("hint: {}", printable(&hint));
        }
    }
}

/// The text on one line, with control characters in escapes: what a peer wrote gives no orders to the terminal.
pub(crate) fn printable(text: &str) -> String {
    let escape = |character: char| match character.is_control() {
        true => character.escape_default().collect::<String>(),
        false => character.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read `{0}`")]
    struct Unreadable(&'static str, #[source] std::io::Error);

    impl Report for Unreadable {
        fn verdict(&self) -> Verdict {
            Verdict::No
        }
    }

    #[derive(Debug, thiserror::Error)]
    #[error("the outer holds: {0}")]
    struct Repeating(#[source] std::io::Error);

    impl Report for Repeating {}

    fn denied() -> std::io::Error {
        std::io::Error::other("the disk is gone")
    }

    #[test]
    fn a_failure_names_its_sources_once() {
        let failure = Failure::from(Unreadable("a.toml", denied()));
        assert_eq!(
            failure.to_string(),
            "cannot read `a.toml`: the disk is gone"
        );
        assert_eq!(failure.verdict(), Verdict::No);
        let failure = Failure::from(Repeating(denied()));
        assert_eq!(failure.to_string(), "the outer holds: the disk is gone");
        assert_eq!(
            (failure.hint(), failure.verdict()),
            (None, Verdict::Unknown)
        );
    }
}
