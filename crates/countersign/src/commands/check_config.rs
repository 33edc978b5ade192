//! `--check-config`: read a file, say what it weakens, start nothing.

use std::path::Path;

use serde::Serialize;

use super::show::{self, Show};
use crate::cli::Format;
use crate::config::AgentConfig;
use crate::gateway;
use crate::report::{Failure, printable};

/// A configuration that can be used.
#[derive(Serialize)]
struct Checked<'a> {
    config: &'a Path,
    weakenings: Vec<String>,
}

impl Show for Checked<'_> {
    fn result(&self) -> String {
        let good = format!(
            "`{}` can be used\n",
            printable(&self.config.display().to_string())
        );
        let weakenings = self
            .weakenings
            .iter()
            .map(|weakening| format!("weakened: {}\n", printable(weakening)));
        std::iter::once(good).chain(weakenings).collect()
    }
}

/// `countersign gateway --check-config`.
///
/// # Errors
///
/// A gateway would not start with it.
pub(super) fn gateway(config: &Path, format: Format) -> Result<(), Failure> {
    let weakenings = gateway::check(config)?;
    Ok(show::print(&Checked { config, weakenings }, format)?)
}

/// `countersign agent --check-config`.
///
/// # Errors
///
/// It cannot be used.
pub(super) fn agent(config: &Path, format: Format) -> Result<(), Failure> {
    let weakenings = AgentConfig::read(config)?.weakenings();
    Ok(show::print(&Checked { config, weakenings }, format)?)
}
