//! A bundle while its files are read: everything wrong with them is collected.

use std::num::NonZeroUsize;

use regorus::{Engine, PolicyLengthConfig};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Bundle, Limits};
use crate::fault::{BundleError, Fault};

/// A bundle while it is read.
#[derive(Default)]
pub(super) struct Draft {
    manifest: Manifest,
    modules: Vec<(String, String)>,
    data: Map<String, Value>,
    faults: Vec<Fault>,
}

impl Draft {
    pub(super) fn read_all<'a>(
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

    pub(super) fn compile(mut self, limits: &Limits) -> Result<Bundle, BundleError> {
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
