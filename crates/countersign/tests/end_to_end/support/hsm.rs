//! A PKCS#11 module of a test's own, with one token.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::gateway::countersign;
use super::{GatewaySetup, Ran, cached, installed, run, write_private};

/// A token that can be taken away.
pub(crate) struct Hsm {
    maker: Maker,
    module: PathBuf,
    folder: TempDir,
}

#[derive(Clone, Copy)]
enum Maker {
    /// Has no ML-DSA. Its tokens are folders.
    SoftHsm,
    /// Has ML-DSA. Its token is a file.
    Kryoptic,
}

impl Hsm {
    /// SoftHSM with a token; `None` where it is not installed.
    #[track_caller]
    pub(crate) fn soft() -> Option<Self> {
        let program = installed("softhsm2-util")?;
        let hsm = Self::new(Maker::SoftHsm, Path::new(SOFTHSM).to_owned());
        std::fs::create_dir(hsm.tokens()).expect("our own folder");
        let text = format!("directories.tokendir = {}\n", hsm.tokens().display());
        std::fs::write(hsm.configuration(), text).expect("our own folder");
        let mut util = Command::new(program);
        util.args(["--init-token", "--free", "--label", "gateway"]);
        util.args(["--pin", PIN, "--so-pin", OFFICERS_PIN]);
        let (variable, file) = hsm.environment();
        run(util.env(variable, file), "").succeeded();
        Some(hsm)
    }

    /// kryoptic with a token; `None` where it was not built.
    #[track_caller]
    pub(crate) fn with_ml_dsa() -> Option<Self> {
        let (program, module) = (installed("pkcs11-tool")?, cached(KRYOPTIC)?);
        let hsm = Self::new(Maker::Kryoptic, module);
        let text = format!(
            "[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
            hsm.tokens().display()
        );
        std::fs::write(hsm.configuration(), text).expect("our own folder");
        for arguments in [
            &["--init-token", "--slot", "1", "--label", "gateway"][..],
            &["--init-pin", "--login", "--login-type", "so", "--pin", PIN],
        ] {
            let mut tool = Command::new(&program);
            tool.arg("--module").arg(&hsm.module).args(arguments);
            tool.args(["--so-pin", OFFICERS_PIN]);
            let (variable, file) = hsm.environment();
            run(tool.env(variable, file), "").succeeded();
        }
        Some(hsm)
    }

    fn new(maker: Maker, module: PathBuf) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let hsm = Self {
            maker,
            module,
            folder,
        };
        write_private(&hsm.pin(), format!("{PIN}\n"));
        hsm
    }

    /// The URI of a key.
    pub(crate) fn uri(&self, key: &str) -> String {
        let (module, pin) = (self.module.display(), self.pin());
        format!(
            "pkcs11:token=gateway;object={key}?module-path={module}&pin-source=file:{}",
            pin.display()
        )
    }

    /// Makes a key and gives what was said.
    #[track_caller]
    pub(crate) fn generate(&self, key: &str, algorithm: &str) -> String {
        let uri = self.uri(key);
        let made = self.run(&["generate", "--algorithm", algorithm, &uri]);
        made.succeeded()
    }

    /// Runs `countersign hsm …`.
    pub(crate) fn run(&self, arguments: &[&str]) -> Ran {
        let mut command = countersign();
        command.arg("hsm").args(arguments);
        let (variable, file) = self.environment();
        run(command.env(variable, file), "")
    }

    /// What the module finds its configuration by.
    pub(crate) fn environment(&self) -> (&'static str, PathBuf) {
        let variable = match self.maker {
            Maker::SoftHsm => "SOFTHSM2_CONF",
            Maker::Kryoptic => "KRYOPTIC_CONF",
        };
        (variable, self.configuration())
    }

    /// The file with the PIN.
    pub(crate) fn pin(&self) -> PathBuf {
        self.folder.path().join("pin")
    }

    /// Takes the token away.
    pub(crate) fn take_away(&self) {
        let (tokens, gone) = (self.tokens(), self.gone());
        match self.maker {
            Maker::SoftHsm => {
                std::fs::rename(&tokens, gone).expect("our own folder");
                std::fs::create_dir(tokens).expect("our own folder");
            }
            // The file is open: it has to lose its content.
            Maker::Kryoptic => {
                std::fs::copy(&tokens, gone).expect("our own folder");
                std::fs::write(tokens, "").expect("our own folder");
            }
        }
    }

    /// Puts it back.
    pub(crate) fn put_back(&self) {
        let (tokens, gone) = (self.tokens(), self.gone());
        match self.maker {
            Maker::SoftHsm => {
                std::fs::remove_dir(&tokens).expect("nothing was put there");
                std::fs::rename(gone, tokens).expect("our own folder");
            }
            Maker::Kryoptic => {
                let content = std::fs::read(gone).expect("our own folder");
                std::fs::write(tokens, content).expect("our own folder");
            }
        }
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("configuration")
    }

    fn tokens(&self) -> PathBuf {
        self.folder.path().join("tokens")
    }

    fn gone(&self) -> PathBuf {
        self.folder.path().join("gone")
    }
}

impl GatewaySetup {
    /// With these keys in a token, each called as in `[keys]`.
    pub(crate) fn keys_in(self, hsm: &Hsm, keys: &[&str]) -> Self {
        let lines = keys
            .iter()
            .map(|key| format!("{key} = \"{}\"\n", hsm.uri(key)));
        let (variable, file) = hsm.environment();
        self.tables(&format!("[keys]\n{}", lines.collect::<String>()))
            .environment(variable, file)
    }
}

const SOFTHSM: &str = "/usr/lib/softhsm/libsofthsm2.so";
const KRYOPTIC: &str = "kryoptic/libkryoptic.so";
/// kryoptic wants eight characters.
const PIN: &str = "12345678";
const OFFICERS_PIN: &str = "87654321";
