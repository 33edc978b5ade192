//! The log: lines on standard error, for people or for machines.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use crate::config::{LogConfig, LogFormat};

/// Changes what is logged while the program runs.
#[derive(Clone)]
pub(crate) struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// Starts the log. Lines before it go nowhere; a second start changes nothing.
pub(crate) fn start(config: &LogConfig) -> LogFilter {
    let (filter, handle) = reload::Layer::new(EnvFilter::new(&config.filter));
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = match config.format {
        LogFormat::Human => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    if started.is_err() {
        tracing::debug!("the log was started before");
    }
    LogFilter(handle)
}

impl LogFilter {
    /// Takes the filter of a configuration that was read again.
    pub(crate) fn change(&self, config: &LogConfig) {
        if self.0.reload(EnvFilter::new(&config.filter)).is_err() {
            tracing::warn!("the log's filter cannot be changed any more");
        }
    }
}
