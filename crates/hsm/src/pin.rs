//! The PIN: read from its file when it is needed, and never tried twice once a token has refused it.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use cryptoki::types::AuthPin;
use zeroize::Zeroizing;

use crate::HsmError;

/// A token's PIN. Wiped when it is dropped; prints nothing of itself.
#[derive(PartialEq, Eq)]
pub(crate) struct Pin(Zeroizing<String>);

impl Pin {
    /// Reads a PIN from a file that only its owner can read; one newline at its end is none of the PIN.
    pub(crate) fn read(file: &Path) -> Result<Self, HsmError> {
        let failed = |why: String| HsmError::PinFile {
            file: file.to_owned(),
            why,
        };
        let unreadable = |error: std::io::Error| failed(error.to_string());
        let mut open = File::open(file).map_err(unreadable)?;
        let metadata = open.metadata().map_err(unreadable)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(failed(format!(
                "its mode is {mode:04o}, which lets others at the PIN; it must be 0600"
            )));
        }
        if metadata.len() > LONGEST {
            return Err(failed(format!("it is longer than {LONGEST} bytes")));
        }
        // As long as it may become: growing would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(CAPACITY));
        let mut bounded = open.by_ref().take(LONGEST);
        bounded.read_to_string(&mut text).map_err(unreadable)?;
        while text.ends_with(['\n', '\r']) {
            text.pop();
        }
        match text.is_empty() {
            true => Err(failed("it is empty".to_owned())),
            false => Ok(Self(text)),
        }
    }

    /// The PIN as a module takes it; that copy too is wiped.
    pub(crate) fn expose_secret(&self) -> AuthPin {
        AuthPin::from(self.0.as_str())
    }
}

/// No token takes as much.
const LONGEST: u64 = 1024;
const CAPACITY: usize = 1024;

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn check(content: &str, mode: u32, expected: Result<&str, &str>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pin");
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        let read = Pin::read(&file).map(|pin| pin.0.to_string());
        let read = read.map_err(|error| {
            let name = file.display().to_string();
            error.to_string().replace(&name, "FILE")
        });
        assert_eq!(read, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn a_pin_is_the_line_in_a_private_file() {
        check("1234", 0o600, Ok("1234"));
        check("1234\n", 0o400, Ok("1234"));
        check(" 12 34\r\n", 0o600, Ok(" 12 34"));
    }

    #[test]
    fn a_file_that_others_can_read_or_that_holds_none_is_refused() {
        check(
            "1234",
            0o640,
            Err(
                "cannot take the PIN from `FILE`: its mode is 0640, which lets others at the PIN; it must be 0600",
            ),
        );
        check(
            "\n",
            0o600,
            Err("cannot take the PIN from `FILE`: it is empty"),
        );
        let long = "1".repeat(1025);
        check(
            &long,
            0o600,
            Err("cannot take the PIN from `FILE`: it is longer than 1024 bytes"),
        );
    }
}
