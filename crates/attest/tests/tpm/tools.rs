//! Files, and a software TPM with Debian's `tpm2-tools`.

#![expect(
    clippy::disallowed_methods,
    reason = "vectors are files, and a TPM is another process"
)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use countersign_swtpm::{Swtpm, installed};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

/// `COUNTERSIGN_VECTORS`, or the folder beside the repository; `None` when there is no such folder.
pub(crate) fn vectors() -> Option<PathBuf> {
    let folder = std::env::var_os("COUNTERSIGN_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        eprintln!("skipped: no vectors in {}", folder.display());
        return None;
    }
    Some(folder)
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// A software TPM with endorsement certificates, worked by Debian's `tpm2-tools`.
pub(crate) struct Machine(Swtpm);

impl Machine {
    /// `None` where not all of it is installed.
    pub(crate) fn manufacture() -> Option<Self> {
        Self::of(Swtpm::manufacture)
    }

    /// The same with an RSA-3072 endorsement key in the place of the RSA-2048 one.
    pub(crate) fn manufacture_rsa_3072() -> Option<Self> {
        Self::of(Swtpm::manufacture_rsa_3072)
    }

    fn of(make: impl FnOnce() -> std::io::Result<Option<Swtpm>>) -> Option<Self> {
        if !installed("tpm2") {
            return None;
        }
        let machine = Self(make().unwrap()?);
        machine.tpm2("startup -c");
        Some(machine)
    }

    /// Runs a program of `tpm2-tools` in the machine's folder. Nothing stays loaded: there is no resource manager.
    pub(crate) fn tpm2(&self, line: &str) -> String {
        let said = run(self.command().args(line.split(' ')));
        run(self.command().args(["flushcontext", "-t"]));
        said
    }

    /// The same, and what is loaded stays.
    pub(crate) fn tpm2_keeping(&self, line: &str) -> String {
        run(self.command().args(line.split(' ')))
    }

    pub(crate) fn file(&self, name: &str) -> Vec<u8> {
        read(&self.0.folder().join(name))
    }

    /// The certificates of the authority that signed the endorsement certificates, and of the one above it.
    pub(crate) fn authorities(&self) -> [CertificateDer<'static>; 2] {
        let read = |path| CertificateDer::from_pem_slice(&read(path)).unwrap();
        [read(&self.0.issuer()), read(&self.0.root())]
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.0.folder().join(name), content).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tpm2");
        command.current_dir(self.0.folder());
        command.env("TPM2TOOLS_TCTI", self.0.tcti());
        command
    }
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complained}");
    said
}
