//! Starts a software TPM with endorsement certificates, for tests.
//!
//! Each has a folder, a maker's authority and sockets of its own. It ends when it is dropped.

use std::fs;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A software TPM.
#[derive(Debug)]
pub struct Swtpm {
    folder: TempDir,
    process: Option<Child>,
}

impl Swtpm {
    /// Makes a TPM with an RSA-2048 and an ECC P-384 endorsement key and certificates for both, and switches it on.
    ///
    /// Nothing where Debian's `swtpm` and `swtpm-tools` are not installed, which is told on standard error.
    ///
    /// # Errors
    ///
    /// When the programs fail.
    ///
    /// # Panics
    ///
    /// When one is missing and `COUNTERSIGN_REQUIRE_ALL` or `CI` says that none may be.
    pub fn manufacture() -> io::Result<Option<Self>> {
        Self::manufacture_with(&[])
    }

    /// The same with an RSA-3072 endorsement key in the place of the RSA-2048 one.
    ///
    /// # Errors
    ///
    /// When the programs fail.
    ///
    /// # Panics
    ///
    /// When one is missing and `COUNTERSIGN_REQUIRE_ALL` or `CI` says that none may be.
    pub fn manufacture_rsa_3072() -> io::Result<Option<Self>> {
        Self::manufacture_with(&["--rsa-keysize", "3072"])
    }

    fn manufacture_with(options: &[&str]) -> io::Result<Option<Self>> {
        if !(installed("swtpm") && installed("swtpm_setup")) {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("swtpm").tempdir()?;
        let mut tpm = Self {
            folder,
            process: None,
        };
        tpm.set_up(options)?;
        tpm.switch_on()?;
        Ok(Some(tpm))
    }

    /// Its address: `swtpm:unix:PATH`.
    pub fn address(&self) -> String {
        format!("swtpm:unix:{}", self.socket().display())
    }

    /// The same for programs that use the TCG's software stack, in `TPM2TOOLS_TCTI`.
    pub fn tcti(&self) -> String {
        format!("swtpm:path={}", self.socket().display())
    }

    /// The certificate of the authority that signed the endorsement certificates, in PEM.
    pub fn issuer(&self) -> PathBuf {
        self.path("issuercert.pem")
    }

    /// The certificate of the authority above that one, in PEM.
    pub fn root(&self) -> PathBuf {
        self.path("swtpm-localca-rootca-cert.pem")
    }

    /// A folder that is gone with the TPM.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Switches it on. It waits for `TPM2_Startup`.
    ///
    /// # Errors
    ///
    /// When `swtpm` does not start, or takes no connection within ten seconds.
    pub fn switch_on(&mut self) -> io::Result<()> {
        let socket = self.socket();
        let state = format!("dir={}", self.folder().display());
        let data = format!("type=unixio,path={}", socket.display());
        let control = format!("type=unixio,path={}.ctrl", socket.display());
        let child = Command::new("swtpm")
            .args(["socket", "--tpm2", "--flags", "not-need-init"])
            .args(["--tpmstate", &state, "--server", &data, "--ctrl", &control])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        self.process = Some(child);
        let patience = Instant::now() + Duration::from_secs(10);
        while let Err(error) = UnixStream::connect(&socket) {
            if Instant::now() > patience {
                return Err(error);
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Takes its power away at once.
    ///
    /// # Errors
    ///
    /// When the process cannot be ended.
    pub fn cut_power(&mut self) -> io::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.kill()?;
        process.wait()?;
        fs::remove_file(self.socket())
    }

    fn set_up(&self, extra: &[&str]) -> io::Result<()> {
        let (authority, options) = (self.path("authority.conf"), self.path("options"));
        let configuration = self.path("setup.conf");
        fs::write(
            &authority,
            format!(
                "statedir = {}\nsigningkey = {}\nissuercert = {}\ncertserial = {}\n",
                self.folder().display(),
                self.path("signkey.pem").display(),
                self.issuer().display(),
                self.path("certserial").display(),
            ),
        )?;
        fs::write(
            &options,
            "--platform-manufacturer Example\n--platform-version 1\n--platform-model Test\n",
        )?;
        fs::write(
            &configuration,
            format!(
                "create_certs_tool = {}\ncreate_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
                "/usr/bin/swtpm_localca",
                authority.display(),
                options.display(),
            ),
        )?;
        let output = Command::new("swtpm_setup")
            .args([
                "--tpm2",
                "--create-ek-cert",
                "--pcr-banks",
                "sha1,sha256,sha384",
            ])
            .args(extra)
            .arg("--tpmstate")
            .arg(self.folder())
            .arg("--config")
            .arg(&configuration)
            .stdin(Stdio::null())
            .output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(
                String::from_utf8_lossy(&output.stderr).into_owned(),
            )),
        }
    }

    fn socket(&self) -> PathBuf {
        self.path("socket")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        // Nobody could do anything about a process that does not end.
        let _ = self.cut_power();
    }
}

/// Whether a program is there. One that is not is named on standard error, or ends the test where none may be missing.
///
/// # Panics
///
/// When it is missing and `COUNTERSIGN_REQUIRE_ALL` or `CI` says that none may be.
pub fn installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    if std::env::split_paths(&folders).any(|folder| folder.join(program).is_file()) {
        return true;
    }
    let set = |name, value| std::env::var_os(name).is_some_and(|found| found == value);
    let required = set("CI", "true") || set("COUNTERSIGN_REQUIRE_ALL", "1");
    assert!(!required, "{program} is not installed");
    // Not `eprintln!`, which the test harness keeps to itself when a test passes.
    let _ = writeln!(io::stderr(), "skipped: {program} is not installed");
    false
}
