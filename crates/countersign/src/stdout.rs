//! Results, on standard output.

use std::io::{self, ErrorKind, Write};

use crate::report::Report;

/// Standard output takes nothing more: its disk is full, for one.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
pub(crate) struct OutputError(#[from] io::Error);

impl Report for OutputError {}

/// Writes a result, as it is. Whoever closes the pipe early, as `head` does, has seen enough: that is no error.
///
/// # Errors
///
/// It cannot be written.
pub(crate) fn write(result: &[u8]) -> Result<(), OutputError> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(result).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
