//! Bundles: Rego modules and data in OPA's layout, compiled.

use std::fmt;
use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::time::Duration;

use regorus::{Engine, PolicyLengthConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

/// What a bundle, an input and an evaluation may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All files of a bundle together. Policies are written by people: 4 MiB is a hundred times the largest seen.
    pub bundle_bytes: usize,
    /// Files in a bundle.
    pub bundle_files: usize,
    /// Facts and request as JSON. Names in a handshake are at most 64 KiB each; honest ones stay under one.
    pub input_bytes: usize,
    /// One evaluation, by the wall clock. Far above the microseconds that a decision takes, since a busy machine may
    /// suspend the thread meanwhile: it stops a policy that runs away, not a slow one. A single built-in call is not
    /// interrupted.
    pub evaluation_time: Duration,
    /// Decisions that are remembered. Each keeps its facts alive, about 4 KiB.
    pub cached_decisions: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bundle_bytes: 4 << 20,
            bundle_files: 1024,
            input_bytes: 64 << 10,
            evaluation_time: Duration::from_millis(100),
            cached_decisions: 4096,
        }
    }
}

/// One thing wrong with a policy, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, by its path in the bundle; empty where no one file is to blame.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<u32>,
    /// The column, from 1, where it is known.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
}

impl Fault {
    fn new(file: &str, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            column: None,
            message: message.into(),
        }
    }

    /// Reads the interpreter's message, whose first location is `--> file:line:column` and whose last line says what is wrong.
    pub(crate) fn from_interpreter(file: &str, text: &str) -> Self {
        let last = text.lines().last().unwrap_or_default();
        let mut fault = Self::new(file, last.strip_prefix("error: ").unwrap_or(last));
        let location = text
            .lines()
            .find_map(|line| line.strip_prefix("--> "))
            .unwrap_or_default();
        let mut parts = location.rsplitn(3, ':');
        let column = parts.next().and_then(|column| column.parse().ok());
        let line = parts.next().and_then(|line| line.parse().ok());
        if let (Some(file), Some(_), Some(_)) = (parts.next(), line, column) {
            (fault.file, fault.line, fault.column) = (file.to_owned(), line, column);
        }
        fault
    }

    fn from_json(file: &str, error: &serde_json::Error) -> Self {
        let position = |at: usize| u32::try_from(at).ok().filter(|at| *at > 0);
        Self {
            line: position(error.line()),
            column: position(error.column()),
            ..Self::new(file, error.to_string())
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line, self.column) {
            ("", ..) => f.write_str(&self.message),
            (file, Some(line), Some(column)) => {
                write!(f, "{file}:{line}:{column}: {}", self.message)
            }
            (file, ..) => write!(f, "{file}: {}", self.message),
        }
    }
}

/// A bundle that cannot be used: every fault that was found, at least one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Faults(faults))]
pub struct BundleError {
    /// What is wrong, in the order of the files.
    pub faults: Vec<Fault>,
}

struct Faults<'a>(&'a [Fault]);

impl fmt::Display for Faults<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("the bundle cannot be used"),
            [fault] => fault.fmt(f),
            [fault, rest @ ..] => write!(f, "{fault} (and {} more)", rest.len()),
        }
    }
}

/// A compiled bundle. Cheap to clone.
#[derive(Clone)]
pub struct Bundle {
    engine: Engine,
    revision: Arc<str>,
}

impl Bundle {
    /// The bundle that comes with Countersign: deny, unless a grant lets this principal reach this service.
    pub fn built_in() -> Self {
        Self::load(
            BUILT_IN.map(|(path, text)| (path, text.as_bytes())),
            &Limits::default(),
        )
        .expect("a test loads it")
    }

    /// The files of [`Bundle::built_in`], to start an own one from.
    pub fn built_in_files() -> impl Iterator<Item = (&'static str, &'static str)> {
        BUILT_IN.into_iter()
    }

    /// Compiles the files of a bundle, given as their paths from its root and their contents.
    ///
    /// Read are `.manifest`, every `*.rego` and every `data.json`, which lands under the path of its folder; other files
    /// are ignored as OPA does, except those that would change what the bundle means. The package
    /// `countersign.access` must define `decision`.
    ///
    /// # Errors
    ///
    /// Every fault that can be found at once, each with file and line.
    pub fn load<'a>(
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        limits: &Limits,
    ) -> Result<Self, BundleError> {
        let mut draft = Draft::default();
        draft.read_all(files, limits);
        draft.compile(limits)
    }

    /// The revision that the manifest gives, or nothing.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    pub(crate) fn shared_revision(&self) -> Arc<str> {
        self.revision.clone()
    }

    /// An interpreter of its own, with `data.grants` beside the bundle's data.
    pub(crate) fn engine(&self, grants: Value, limits: &Limits) -> Result<Engine, BundleError> {
        let mut engine = self.engine.clone();
        engine.set_execution_timer_config(regorus::utils::limits::ExecutionTimerConfig {
            limit: limits.evaluation_time,
            check_interval: TIME_CHECK_INTERVAL,
        });
        engine
            .add_data(Value::Object([("grants".to_owned(), grants)].into_iter().collect()).into())
            .and_then(|()| engine.compile_with_entrypoint(&ENTRY_POINT.into()))
            .map_err(|error| BundleError {
                faults: vec![compile_fault(&error.to_string())],
            })?;
        Ok(engine)
    }
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bundle({})", self.revision)
    }
}

/// The interpreter has its own words for an entry point that is not there.
fn compile_fault(text: &str) -> Fault {
    match text {
        "not a valid rule path" => Fault::new("", format!("no rule defines `{ENTRY_POINT}`")),
        _ => Fault::from_interpreter("", text),
    }
}

/// The rule that every bundle defines.
pub(crate) const ENTRY_POINT: &str = "data.countersign.access.decision";

const BUILT_IN: [(&str, &str); 2] = [
    (".manifest", include_str!("../bundle/.manifest")),
    (
        "countersign/access/policy.rego",
        include_str!("../bundle/countersign/access/policy.rego"),
    ),
];

/// Steps of the interpreter between two looks at the clock: a step takes about 100 ns, a look about 30.
const TIME_CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(64).expect("64 is not zero");

/// <https://www.openpolicyagent.org/docs/management-bundles#bundle-file-format>
#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    revision: String,
    #[serde(default = "everywhere")]
    roots: Vec<String>,
    #[serde(default = "rego_v1")]
    rego_version: u8,
    #[serde(default)]
    wasm: Vec<serde::de::IgnoredAny>,
}

fn everywhere() -> Vec<String> {
    vec![String::new()]
}

fn rego_v1() -> u8 {
    1
}

impl Default for Manifest {
    fn default() -> Self {
        Self {
            revision: String::new(),
            roots: everywhere(),
            rego_version: rego_v1(),
            wasm: Vec::new(),
        }
    }
}

impl Manifest {
    /// Whether a path lies in one of the roots.
    fn owns(&self, path: &[&str]) -> bool {
        self.roots().any(|root| path.starts_with(&root))
    }

    /// Whether a root lies below a path.
    fn leads_to_root(&self, path: &[&str]) -> bool {
        self.roots().any(|root| root.starts_with(path))
    }

    fn roots(&self) -> impl Iterator<Item = Vec<&str>> {
        self.roots.iter().map(|root| components(root).collect())
    }
}

fn components(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|component| !component.is_empty())
}

/// A bundle while it is read.
#[derive(Default)]
struct Draft {
    manifest: Manifest,
    modules: Vec<(String, String)>,
    data: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Draft {
    fn read_all<'a>(
        &mut self,
        files: impl IntoIterator<Item = (&'a str, &'a [u8])>,
        limits: &Limits,
    ) {
        let mut bytes = 0_usize;
        for (count, (path, content)) in files.into_iter().enumerate() {
            bytes = bytes.saturating_add(content.len());
            if bytes > limits.bundle_bytes {
                return self.fault(
                    "",
                    format!("the bundle has more than {} bytes", limits.bundle_bytes),
                );
            }
            if count >= limits.bundle_files {
                return self.fault(
                    "",
                    format!("the bundle has more than {} files", limits.bundle_files),
                );
            }
            self.read(
                path.trim_start_matches("./").trim_start_matches('/'),
                content,
            );
        }
    }

    fn fault(&mut self, file: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(file, message));
    }

    fn read(&mut self, path: &str, content: &[u8]) {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        match name {
            ".manifest" if folder.is_empty() => self.read_manifest(path, content),
            "data.json" => self.read_data(path, folder, content),
            _ if name.ends_with(".rego") => self.read_module(path, content),
            "data.yaml" | "data.yml" => self.fault(path, "data is read from `data.json` only"),
            ".signatures.json" => self.fault(
                path,
                "signatures of bundles cannot be verified yet: a signed bundle is refused",
            ),
            _ if name.ends_with(".wasm") => {
                self.fault(path, "WebAssembly is not evaluated: ship the Rego modules")
            }
            _ => {}
        }
    }

    fn read_manifest(&mut self, path: &str, content: &[u8]) {
        match serde_json::from_slice::<Manifest>(content) {
            Ok(manifest) if manifest.rego_version != 1 => {
                self.fault(
                    path,
                    format!(
                        "`rego_version` is `{}`, only Rego v1 is evaluated",
                        manifest.rego_version
                    ),
                );
            }
            Ok(manifest) if !manifest.wasm.is_empty() => {
                self.fault(path, "`wasm` is not evaluated: ship the Rego modules");
            }
            Ok(manifest) => self.manifest = manifest,
            Err(error) => self.faults.push(Fault::from_json(path, &error)),
        }
    }

    fn read_module(&mut self, path: &str, content: &[u8]) {
        match std::str::from_utf8(content) {
            Ok(text) => self.modules.push((path.to_owned(), text.to_owned())),
            Err(error) => self.fault(path, format!("byte {} is not UTF-8", error.valid_up_to())),
        }
    }

    fn read_data(&mut self, path: &str, folder: &str, content: &[u8]) {
        let data = match serde_json::from_slice::<Map<String, Value>>(content) {
            Ok(data) => Value::Object(data),
            Err(error) => return self.faults.push(Fault::from_json(path, &error)),
        };
        let folders: Vec<_> = components(folder).collect();
        let rooted = folders.iter().rev().fold(data, |inner, folder| {
            Value::Object([((*folder).to_owned(), inner)].into_iter().collect())
        });
        let Value::Object(rooted) = rooted else {
            return;
        };
        if let Err(at) = merge(&mut self.data, rooted) {
            self.fault(
                path,
                format!("`{at}` is already defined by another `data.json`"),
            );
        }
    }

    fn compile(mut self, limits: &Limits) -> Result<Bundle, BundleError> {
        let engine = self.parse(limits);
        self.check_roots(&engine);
        if !self.faults.is_empty() {
            return Err(BundleError {
                faults: self.faults,
            });
        }
        let bundle = Bundle {
            engine,
            revision: self.manifest.revision.as_str().into(),
        };
        bundle.engine(Value::Object(Map::new()), limits)?;
        Ok(bundle)
    }

    fn parse(&mut self, limits: &Limits) -> Engine {
        let mut engine = Engine::new();
        engine.set_gather_prints(true);
        engine.set_policy_length_config(PolicyLengthConfig {
            max_file_bytes: NonZeroUsize::new(limits.bundle_bytes).unwrap_or(NonZeroUsize::MIN),
            ..PolicyLengthConfig::default()
        });
        for (path, text) in &self.modules {
            if let Err(error) = engine.add_policy(path.clone(), text.clone()) {
                self.faults
                    .push(Fault::from_interpreter(path, &error.to_string()));
            }
        }
        if let Err(error) = engine.add_data(Value::Object(self.data.clone()).into()) {
            self.faults
                .push(Fault::from_interpreter("data.json", &error.to_string()));
        }
        engine
    }

    /// Packages and data lie in the manifest's roots, and leave `data.grants` to the operator.
    fn check_roots(&mut self, engine: &Engine) {
        let mut faults = Vec::new();
        for package in engine.get_policy_package_components().unwrap_or_default() {
            let path: Vec<_> = package.components.iter().map(String::as_str).collect();
            faults.extend(
                self.misplaced(&path)
                    .map(|message| Fault::new(&package.source_file, message)),
            );
        }
        for (name, value) in &self.data {
            self.check_data(&mut vec![name], value, &mut faults);
        }
        self.faults.append(&mut faults);
    }

    fn check_data<'a>(
        &'a self,
        path: &mut Vec<&'a str>,
        value: &'a Value,
        faults: &mut Vec<Fault>,
    ) {
        let Some(message) = self.misplaced(path) else {
            return;
        };
        match value {
            Value::Object(fields) if self.manifest.leads_to_root(path) => {
                for (name, value) in fields {
                    path.push(name);
                    self.check_data(path, value, faults);
                    path.pop();
                }
            }
            _ => faults.push(Fault::new("data.json", message)),
        }
    }

    fn misplaced(&self, path: &[&str]) -> Option<String> {
        let dotted = || path.join(".");
        if path.first() == Some(&"grants") {
            return Some(format!(
                "`data.{}` is the operator's: a bundle cannot define grants",
                dotted()
            ));
        }
        (!self.manifest.owns(path))
            .then(|| format!("`data.{}` lies outside the manifest's roots", dotted()))
    }
}

/// Merges objects deeply; at a path that both define otherwise, says which.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>) -> Result<(), String> {
    for (key, value) in from {
        match (into.get_mut(&key), value) {
            (Some(Value::Object(old)), Value::Object(new)) => {
                merge(old, new).map_err(|at| format!("{key}/{at}"))?;
            }
            (Some(_), _) => return Err(key),
            (None, value) => {
                into.insert(key, value);
            }
        }
    }
    Ok(())
}
