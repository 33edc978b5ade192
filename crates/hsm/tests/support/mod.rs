//! A SoftHSM of a test's own. The module reads its configuration from the environment and keeps its state for the whole
//! process, so each test runs once more as a process of its own, with that environment.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use countersign_hsm::Pkcs11Uri;

/// A folder with tokens, and the PIN in a file.
pub(crate) struct SoftHsm {
    folder: PathBuf,
}

/// Runs `test` in a process with a SoftHSM that has one token, `gateway`.
pub(crate) fn with_softhsm<T: FnOnce(SoftHsm)>(test: T) {
    let Some(module) = module() else {
        eprintln!("skipped: SoftHSM is not installed (Debian: softhsm2)");
        return;
    };
    if let Some(folder) = std::env::var_os(FOLDER) {
        assert!(module.exists());
        return test(SoftHsm {
            folder: folder.into(),
        });
    }
    let folder = tempfile::tempdir().unwrap();
    let softhsm = SoftHsm {
        folder: folder.path().to_owned(),
    };
    softhsm.begin();
    // The closure's type is named after the function that it stands in.
    let name = std::any::type_name::<T>();
    let name = name
        .trim_end_matches("::{{closure}}")
        .rsplit("::")
        .next()
        .unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([name, "--exact", "--nocapture"]);
    again
        .env(FOLDER, folder.path())
        .env("SOFTHSM2_CONF", softhsm.configuration());
    let ran = again.output().unwrap();
    let (told, erred) = (
        String::from_utf8_lossy(&ran.stdout),
        String::from_utf8_lossy(&ran.stderr),
    );
    let passed = ran.status.success() && told.contains("1 passed");
    assert!(passed, "{name}:\n{told}\n{erred}");
}

impl SoftHsm {
    /// A URI in the token `gateway`.
    pub(crate) fn uri(&self, path: &str) -> Pkcs11Uri {
        self.uri_in("token=gateway", path)
    }

    /// A URI in another token.
    pub(crate) fn uri_in(&self, token: &str, path: &str) -> Pkcs11Uri {
        let (module, pin) = (module().unwrap(), self.pin_file());
        let query = format!(
            "module-path={}&pin-source={}",
            module.display(),
            pin.display()
        );
        format!("pkcs11:{token};{path}?{query}").parse().unwrap()
    }

    /// Where the PIN is.
    pub(crate) fn pin_file(&self) -> PathBuf {
        self.folder.join("pin")
    }

    /// Writes a PIN.
    pub(crate) fn set_pin(&self, pin: &str) {
        fs::write(self.pin_file(), pin).unwrap();
        fs::set_permissions(self.pin_file(), Permissions::from_mode(0o600)).unwrap();
    }

    /// Makes a token.
    pub(crate) fn add_token(&self, label: &str) {
        let mut util = Command::new("softhsm2-util");
        util.args(["--init-token", "--free", "--label", label, "--pin", PIN]);
        util.args(["--so-pin", "87654321"])
            .env("SOFTHSM2_CONF", self.configuration());
        let ran = util.output().unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
    }

    /// Runs OpenSC's `pkcs11-tool` on the tokens and gives what it wrote.
    pub(crate) fn pkcs11_tool(&self, arguments: &[&str]) -> Vec<u8> {
        let mut tool = Command::new("pkcs11-tool");
        tool.arg("--module").arg(module().unwrap()).args(arguments);
        let ran = tool
            .env("SOFTHSM2_CONF", self.configuration())
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}",
            String::from_utf8_lossy(&ran.stderr)
        );
        ran.stdout
    }

    /// Writes a file and gives its name.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> String {
        let file = self.folder.join(name);
        fs::write(&file, content).unwrap();
        file.display().to_string()
    }

    /// Takes every token away.
    pub(crate) fn take_away(&self) {
        fs::rename(self.tokens(), self.folder.join("gone")).unwrap();
        fs::create_dir(self.tokens()).unwrap();
    }

    /// Puts them back.
    pub(crate) fn put_back(&self) {
        fs::remove_dir(self.tokens()).unwrap();
        fs::rename(self.folder.join("gone"), self.tokens()).unwrap();
    }

    fn begin(&self) {
        fs::create_dir(self.tokens()).unwrap();
        let tokens = self.tokens();
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\n",
            tokens.display()
        );
        fs::write(self.configuration(), text).unwrap();
        self.set_pin(PIN);
        self.add_token("gateway");
    }

    fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("softhsm2.conf")
    }
}

/// Waits until `condition` gives something.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "waited {PATIENCE:?} until {what}"
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Where Debian and others put the module.
fn module() -> Option<PathBuf> {
    let places = [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ];
    let found = places.iter().map(Path::new).find(|place| place.exists());
    found.map(Path::to_owned)
}

pub(crate) const PIN: &str = "1234";
const FOLDER: &str = "COUNTERSIGN_TEST_SOFTHSM";
const PATIENCE: Duration = Duration::from_secs(60);
