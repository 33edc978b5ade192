//! A module of a test's own. It reads its configuration from the environment and keeps its state for the whole process, so
//! each test runs once more as a process of its own, with that environment.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ED25519, ML_DSA_65, ML_DSA_87, UnparsedPublicKey,
    VerificationAlgorithm,
};
use countersign_hsm::{HsmError, KeyAlgorithm, Pkcs11Uri, SigningKey, Token, TokenState};

/// A module with tokens in a folder, and the PIN in a file.
pub(crate) struct Hsm {
    maker: Maker,
    folder: PathBuf,
}

/// Whose module it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Maker {
    /// Has no ML-DSA. Its tokens are folders.
    SoftHsm,
    /// Has ML-DSA. Its tokens are files. `./test` builds it from `tests/kryoptic`.
    Kryoptic,
}

/// Runs `test` in a process with a module that has one token, `gateway`.
pub(crate) fn with<T: FnOnce(Hsm)>(maker: Maker, test: T) {
    if let Err(missing) = maker.module() {
        return skip(&missing);
    }
    if let Some(folder) = std::env::var_os(FOLDER) {
        let folder = folder.into();
        return test(Hsm { maker, folder });
    }
    let folder = tempfile::tempdir().unwrap();
    let hsm = Hsm {
        maker,
        folder: folder.path().to_owned(),
    };
    hsm.begin();
    // The closure's type is named after the function that it stands in.
    let name = std::any::type_name::<T>();
    let (_, name) = name
        .trim_end_matches("::{{closure}}")
        .split_once("::")
        .unwrap();
    let mut again = Command::new(std::env::current_exe().unwrap());
    again.args([name, "--exact", "--nocapture"]);
    let told = hsm.run(again.env(FOLDER, folder.path())).stdout;
    let told = String::from_utf8_lossy(&told);
    assert!(told.contains("1 passed"), "{name}:\n{told}");
}

fn skip(missing: &str) {
    let set = |name, value| std::env::var_os(name).is_some_and(|found| found == value);
    let required = set("CI", "true") || set("COUNTERSIGN_REQUIRE_ALL", "1");
    assert!(!required, "{missing}");
    eprintln!("skipped: {missing}");
}

impl Maker {
    /// The library, or what is missing.
    fn module(self) -> Result<PathBuf, String> {
        let kryoptic = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../.cache/kryoptic/libkryoptic.so"
        );
        let (places, missing): (&[&str], _) = match self {
            // Where Debian and others put it.
            Self::SoftHsm => (
                &[
                    "/usr/lib/softhsm/libsofthsm2.so",
                    "/usr/lib64/softhsm/libsofthsm2.so",
                    "/usr/local/lib/softhsm/libsofthsm2.so",
                ],
                "SoftHSM is not installed (Debian: softhsm2)",
            ),
            Self::Kryoptic => (&[kryoptic], "tests/kryoptic was not built (./test does it)"),
        };
        let found = places.iter().map(Path::new).find(|place| place.exists());
        found.map(Path::to_owned).ok_or(missing.to_owned())
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::SoftHsm => "SOFTHSM2_CONF",
            Self::Kryoptic => "KRYOPTIC_CONF",
        }
    }
}

impl Hsm {
    /// A URI in the token `gateway`.
    pub(crate) fn uri(&self, path: &str) -> Pkcs11Uri {
        self.uri_in("token=gateway", path)
    }

    /// A URI in another token.
    pub(crate) fn uri_in(&self, token: &str, path: &str) -> Pkcs11Uri {
        let (module, pin) = (self.maker.module().unwrap(), self.pin_file());
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
        match self.maker {
            Maker::SoftHsm => {
                let mut util = Command::new("softhsm2-util");
                util.args(["--init-token", "--free", "--label", label, "--pin", PIN]);
                self.run(util.args(["--so-pin", OFFICERS_PIN]));
            }
            Maker::Kryoptic => {
                let officer = ["--so-pin", OFFICERS_PIN];
                let begin = ["--init-token", "--slot", "1", "--label", label];
                self.pkcs11_tool(&[&begin[..], &officer].concat());
                let set = ["--init-pin", "--pin", PIN, "--login", "--login-type", "so"];
                self.pkcs11_tool(&[&set[..], &officer].concat());
            }
        }
    }

    /// Runs OpenSC's `pkcs11-tool` on the tokens and gives what it wrote.
    pub(crate) fn pkcs11_tool(&self, arguments: &[&str]) -> Vec<u8> {
        let mut tool = Command::new("pkcs11-tool");
        tool.arg("--module").arg(self.maker.module().unwrap());
        self.run(tool.args(arguments)).stdout
    }

    /// Writes a file and gives its name.
    pub(crate) fn write(&self, name: &str, content: &[u8]) -> String {
        let file = self.folder.join(name);
        fs::write(&file, content).unwrap();
        file.display().to_string()
    }

    /// Takes every token away.
    pub(crate) fn take_away(&self) {
        match self.maker {
            Maker::SoftHsm => {
                fs::rename(self.tokens(), self.gone()).unwrap();
                fs::create_dir(self.tokens()).unwrap();
            }
            // The file is open: it has to lose its content.
            Maker::Kryoptic => {
                fs::copy(self.tokens(), self.gone()).unwrap();
                fs::write(self.tokens(), "").unwrap();
            }
        }
    }

    /// Puts them back.
    pub(crate) fn put_back(&self) {
        match self.maker {
            Maker::SoftHsm => {
                fs::remove_dir(self.tokens()).unwrap();
                fs::rename(self.gone(), self.tokens()).unwrap();
            }
            Maker::Kryoptic => {
                let content = fs::read(self.gone()).unwrap();
                fs::write(self.tokens(), content).unwrap();
            }
        }
    }

    fn begin(&self) {
        let tokens = self.tokens();
        let tokens = tokens.display();
        let text = match self.maker {
            Maker::SoftHsm => {
                fs::create_dir(self.tokens()).unwrap();
                format!("directories.tokendir = {tokens}\nobjectstore.backend = file\n")
            }
            Maker::Kryoptic => {
                format!("[[slots]]\nslot = 1\ndbtype = \"sqlite\"\ndbargs = \"{tokens}\"\n")
            }
        };
        fs::write(self.configuration(), text).unwrap();
        self.set_pin(PIN);
        self.add_token("gateway");
    }

    /// Runs a program on the tokens.
    fn run(&self, command: &mut Command) -> Output {
        let variable = self.maker.variable();
        let ran = command.env(variable, self.configuration()).output();
        let ran = ran.unwrap();
        let (told, erred) = (
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr),
        );
        assert!(ran.status.success(), "{command:?}:\n{told}\n{erred}");
        ran
    }

    fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    fn gone(&self) -> PathBuf {
        self.folder.join("gone")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("configuration")
    }
}

/// Makes a key, finds it by both of its names, and signs.
pub(crate) fn signs(hsm: &Hsm, algorithm: KeyAlgorithm) {
    let uri = hsm.uri("object=key;id=%01%02");
    let token = Token::open(&uri).unwrap();
    token.generate(&uri, algorithm).unwrap();
    let by_label = token.signing_key(&hsm.uri("object=key")).unwrap();
    let by_id = token.signing_key(&hsm.uri("id=%01%02")).unwrap();
    assert_eq!(by_label.public_key(), by_id.public_key());
    assert_eq!(by_label.public_key().algorithm(), algorithm);
    verifies(&by_label);
    verifies(&by_id);
}

/// Takes the token away three times: each time it is missed, is found again by itself, and signs.
pub(crate) fn goes_and_comes_back(hsm: &Hsm, algorithm: KeyAlgorithm) {
    let uri = hsm.uri("object=key");
    let token = Token::open(&uri).unwrap();
    token.generate(&uri, algorithm).unwrap();
    let key = token.signing_key(&uri).unwrap();
    let mut state = token.state();
    for _ in 0..3 {
        hsm.take_away();
        let error = wait_until("the token is missed", || key.sign(b"message").err());
        assert!(matches!(error, HsmError::Lost { .. }), "{error}");
        assert!(matches!(
            &*state.borrow_and_update(),
            TokenState::Lost { .. }
        ));
        hsm.put_back();
        wait_until("the token is back", || {
            (*state.borrow_and_update() == TokenState::Reachable).then_some(())
        });
        verifies(&key);
    }
}

/// Signs, and has AWS-LC verify it.
#[track_caller]
pub(crate) fn verifies(key: &SigningKey) {
    let signature = key.sign(b"message").unwrap();
    let algorithm: &dyn VerificationAlgorithm = match key.public_key().algorithm() {
        KeyAlgorithm::Ed25519 => &ED25519,
        KeyAlgorithm::EcdsaP384 => &ECDSA_P384_SHA384_FIXED,
        KeyAlgorithm::MlDsa65 => &ML_DSA_65,
        KeyAlgorithm::MlDsa87 => &ML_DSA_87,
        KeyAlgorithm::Aes256 => panic!("it does not sign"),
    };
    for public in [key.public_key().raw(), &key.public_key().spki_der()] {
        let public = UnparsedPublicKey::new(algorithm, public);
        public.verify(b"message", &signature).unwrap();
        assert!(public.verify(b"another", &signature).is_err());
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

/// kryoptic wants eight characters.
pub(crate) const PIN: &str = "12345678";
const OFFICERS_PIN: &str = "87654321";
const FOLDER: &str = "COUNTERSIGN_TEST_HSM";
const PATIENCE: Duration = Duration::from_secs(60);
