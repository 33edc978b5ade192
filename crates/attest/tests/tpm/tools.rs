//! Files, and a software TPM with Debian's `tpm2-tools`.

#![expect(
    clippy::disallowed_methods,
    reason = "vectors are files, and a TPM is another process"
)]

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

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

/// A software TPM with endorsement certificates. It ends, by its process, when it is dropped.
pub(crate) struct Machine {
    folder: TempDir,
    swtpm: Child,
}

impl Machine {
    /// `None` where Debian's `swtpm`, `swtpm-tools` and `tpm2-tools` are not all installed.
    pub(crate) fn manufacture() -> Option<Self> {
        for program in ["swtpm", "swtpm_setup", "tpm2"] {
            if !installed(program) {
                return None;
            }
        }
        let folder = TempDir::new().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let authority = format!(
            "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
            path(""),
            path("signkey.pem"),
            path("issuer.pem"),
            path("serial"),
        );
        let tool = "create_certs_tool = /usr/bin/swtpm_localca";
        let setup = format!(
            "{tool}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = /etc/swtpm-localca.options\n",
            path("authority.conf"),
        );
        std::fs::write(path("authority.conf"), authority).unwrap();
        std::fs::write(path("setup.conf"), setup).unwrap();
        let (state, config) = (path(""), path("setup.conf"));
        let manufacture = ["--tpm2", "--create-ek-cert", "--pcr-banks", "sha256,sha384"];
        let files = ["--tpmstate", &state, "--config", &config];
        run(Command::new("swtpm_setup").args(manufacture).args(files));
        let swtpm = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
            .args(["--tpmstate", &format!("dir={state}")])
            .args(["--server", &format!("type=unixio,path={}", path("socket"))])
            .args([
                "--ctrl",
                &format!("type=unixio,path={}", path("socket.ctrl")),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let machine = Self { folder, swtpm };
        let patience = Instant::now() + Duration::from_secs(20);
        while UnixStream::connect(machine.folder.path().join("socket")).is_err() {
            assert!(Instant::now() < patience, "swtpm does not start");
            std::thread::yield_now();
        }
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
        read(&self.folder.path().join(name))
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn command(&self) -> Command {
        let mut command = Command::new("tpm2");
        let socket = self.folder.path().join("socket");
        command
            .current_dir(self.folder.path())
            .env("TPM2TOOLS_TCTI", format!("swtpm:path={}", socket.display()));
        command
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Nobody could do anything about a process that does not end.
        let _ = self.swtpm.kill();
        let _ = self.swtpm.wait();
    }
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{complained}");
    said
}

fn installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let there = std::env::split_paths(&folders).any(|folder| folder.join(program).is_file());
    if !there {
        let set = |name, value: &str| std::env::var(name).is_ok_and(|found| found == value);
        let required = set("CI", "true") || set("COUNTERSIGN_REQUIRE_ALL", "1");
        assert!(!required, "{program} is not installed");
        eprintln!("skipped: {program} is not installed");
    }
    there
}
