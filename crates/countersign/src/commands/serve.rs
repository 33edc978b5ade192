//! The commands that stay: a gateway or an agent, until it is told to stop.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::check_config;
use crate::cli::{AgentOptions, Format, GatewayOptions};
use crate::config::AgentConfig;
use crate::report::{Failure, Report};
use crate::{agent, gateway, log};

/// Signals cannot be waited for.
#[derive(Debug, thiserror::Error)]
#[error("signals cannot be waited for: {0}")]
struct NoSignals(#[source] std::io::Error);

impl Report for NoSignals {}

/// `countersign gateway`.
///
/// # Errors
///
/// It does not start.
pub(crate) async fn gateway(options: &GatewayOptions, format: Format) -> Result<(), Failure> {
    if options.check_config {
        return check_config::gateway(&options.config, format);
    }
    Ok(gateway::run(&options.config).await?)
}

/// `countersign agent`.
///
/// # Errors
///
/// It does not start, or does not get in.
pub(crate) async fn agent(options: &AgentOptions, format: Format) -> Result<(), Failure> {
    if options.check_config {
        return check_config::agent(&options.config, format);
    }
    let mut config = AgentConfig::read(&options.config)?;
    config.join_string_file = options.join.clone().or(config.join_string_file);
    log::start(&config.log);
    for weakening in config.weakenings() {
        tracing::warn!(weakening, "the configuration weakens the agent");
    }
    let shutdown = CancellationToken::new();
    let signalled = shutdown.clone();
    let mut terminate = signal(SignalKind::terminate()).map_err(NoSignals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(NoSignals)?;
    let hurried = async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            signalled.cancel();
        }
    };
    tokio::select! {
        ended = agent::run(config, shutdown) => ended,
        () = hurried => {
            tracing::warn!("stopping at once: open streams are cut");
            Ok(())
        }
    }
}
