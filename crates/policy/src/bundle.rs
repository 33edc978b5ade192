//! Bundles: Rego modules and data in OPA's layout, compiled.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use regorus::Engine;
use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::Value;

use crate::fault::{BundleError, Fault};

mod draft;

use draft::Draft;

/// What a bundle, an input and an evaluation may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All files of a bundle together: room for people's rules, and for lists of some ten thousand names as data.
    pub bundle_bytes: usize,
    /// Files in a bundle.
    pub bundle_files: usize,
    /// Facts and request as JSON. Honest ones stay near 1 KiB; a SPIFFE ID may have 2 KiB, and stands there once for
    /// each segment of its path.
    pub input_bytes: usize,
    /// One evaluation, by the wall clock. Far above the microseconds that a decision takes, since a busy machine may
    /// suspend the thread meanwhile: it stops a policy that runs away, not a slow one. A single built-in call is not
    /// interrupted.
    pub evaluation_time: Duration,
    /// Decisions that are remembered. Each keeps its facts alive, a few KiB.
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
        engine.set_execution_timer_config(ExecutionTimerConfig {
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

/// Steps of the interpreter between two looks at the clock: few enough to stop a loop at once, enough that an ordinary
/// decision looks once or twice.
const TIME_CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(64).expect("64 is not zero");
