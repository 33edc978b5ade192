//! `--check-config`: read a file, say what it weakens, start nothing.

use std::path::Path;

use serde::Serialize;

use super::show::{self, Show};
use crate::cli::Format;
use crate::config::{AgentConfig, ConfigError, GatewayConfig};
use crate::report::printable;

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
pub(super) fn gateway(config: &Path, format: Format) -> Result<(), ConfigError> {
    let weakenings = GatewayConfig::read(config)?.weakenings();
    show::print(&Checked { config, weakenings }, format);
    Ok(())
}

/// `countersign agent --check-config`.
pub(super) fn agent(config: &Path, format: Format) -> Result<(), ConfigError> {
    let weakenings = AgentConfig::read(config)?.weakenings();
    show::print(&Checked { config, weakenings }, format);
    Ok(())
}
