//! A SoftHSM of a test's own, with one token.

use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::gateway::countersign;
use super::{Ran, installed, run, write_private};

/// A token that can be taken away.
pub(crate) struct SoftHsm {
    folder: TempDir,
}

impl SoftHsm {
    /// Makes the token; `None` where SoftHSM is not installed.
    #[track_caller]
    pub(crate) fn new() -> Option<Self> {
        let program = installed("softhsm2-util")?;
        let softhsm = Self {
            folder: tempfile::tempdir().expect("a folder"),
        };
        let tokens = softhsm.tokens();
        std::fs::create_dir(&tokens).expect("our own folder");
        let text = format!("directories.tokendir = {}\n", tokens.display());
        std::fs::write(softhsm.configuration(), text).expect("our own folder");
        write_private(&softhsm.pin(), "1234\n");
        let mut util = Command::new(program);
        util.args(["--init-token", "--free", "--label", "gateway"]);
        util.args(["--pin", "1234", "--so-pin", "87654321"]);
        util.env(VARIABLE, softhsm.configuration());
        run(&mut util, "").succeeded();
        Some(softhsm)
    }

    /// The URI of a key.
    pub(crate) fn uri(&self, key: &str) -> String {
        let pin = self.pin();
        format!(
            "pkcs11:token=gateway;object={key}?module-path={MODULE}&pin-source=file:{}",
            pin.display()
        )
    }

    /// Makes a key and gives what was said.
    #[track_caller]
    pub(crate) fn generate(&self, key: &str, algorithm: &str) -> String {
        let uri = self.uri(key);
        let made = self.hsm(&["generate", "--algorithm", algorithm, &uri]);
        made.succeeded()
    }

    /// Runs `countersign hsm …`.
    pub(crate) fn hsm(&self, arguments: &[&str]) -> Ran {
        let mut command = countersign();
        command.arg("hsm").args(arguments);
        run(command.env(VARIABLE, self.configuration()), "")
    }

    /// What the module is configured by.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.folder.path().join("softhsm2.conf")
    }

    /// The file with the PIN.
    pub(crate) fn pin(&self) -> PathBuf {
        self.folder.path().join("pin")
    }

    /// Takes every token away.
    pub(crate) fn take_away(&self) {
        let gone = self.folder.path().join("gone");
        std::fs::rename(self.tokens(), gone).expect("our own folder");
        std::fs::create_dir(self.tokens()).expect("our own folder");
    }

    /// Puts them back.
    pub(crate) fn put_back(&self) {
        let gone = self.folder.path().join("gone");
        std::fs::remove_dir(self.tokens()).expect("nothing was put there");
        std::fs::rename(gone, self.tokens()).expect("our own folder");
    }

    fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }
}

const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
pub(crate) const VARIABLE: &str = "SOFTHSM2_CONF";
