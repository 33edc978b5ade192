//! `countersign dev`: everything on one machine, with nothing to configure.

mod check;
mod demo;
mod home;

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::demo::Demo;
use self::home::{HELLO_NAME, Home, Ports, TRUST_DOMAIN};
use crate::agent::{Agent, LinkState};
use crate::cli::DevOptions;
use crate::config::AgentConfig;
use crate::gateway;
use crate::report::{Failure, Report, Verdict};
use crate::stdout::{self, OutputError};

/// A dev run could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DevError {
    /// The home, or something in it, cannot be used.
    #[error("the home of the dev run cannot be used: {0}")]
    Home(#[source] io::Error),
    /// A demo service does not start.
    #[error("a demo service does not start: {0}")]
    Demo(#[source] io::Error),
    /// The join string cannot be made.
    #[error("the agent's join string cannot be made: {0}")]
    Join(String),
    /// Something was checked and does not hold.
    #[error("{failed} of {checked} checks failed")]
    Checks {
        /// How many failed.
        failed: usize,
        /// How many there are.
        checked: usize,
    },
}

impl Report for DevError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Home(_) => Some("give `--home` a folder that can be written to".to_owned()),
            Self::Demo(_) => Some(
                "another dev run may use the same home; stop it, or remove `ports.json` from the home"
                    .to_owned(),
            ),
            Self::Join(_) => None,
            Self::Checks { .. } => Some("each failed check says above what was seen".to_owned()),
        }
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::Checks { .. } => Verdict::No,
            _ => Verdict::Unknown,
        }
    }
}

/// A gateway, an agent that has joined it, and the demo services, in this process.
struct Dev {
    home: Home,
    ports: Ports,
    gateway: gateway::Handle,
    agent: RunningAgent,
    _demo: Demo,
}

/// The agent, in a task of its own.
struct RunningAgent {
    link: watch::Receiver<LinkState>,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

/// Runs until a signal, or until everything is checked.
///
/// # Errors
///
/// Something does not start, or a check fails.
pub(crate) async fn run(options: DevOptions) -> Result<(), Failure> {
    let mut stop = StopSignal::new().map_err(DevError::Home)?;
    // A signal stops it at any time: what was begun is dropped, and a temporary home with it.
    let dev = tokio::select! {
        dev = Dev::start(&options) => dev?,
        () = stop.received() => return Ok(()),
    };
    let outcome = tokio::select! {
        outcome = dev.serve(&options) => outcome,
        () = stop.received() => Ok(()),
    };
    dev.stop().await.map_err(DevError::Home)?;
    outcome
}

impl Dev {
    async fn start(options: &DevOptions) -> Result<Self, Failure> {
        let home = Home::open(options.home.as_deref()).map_err(DevError::Home)?;
        let ports = home.ports().map_err(DevError::Home)?;
        home.write_configurations(&ports).map_err(DevError::Home)?;
        home.write_certificate().map_err(DevError::Home)?;
        let demo = Demo::start(&ports).await.map_err(DevError::Demo)?;
        let gateway = gateway::start(&home.gateway_config()).await?;
        let agent_config = AgentConfig::read(&home.agent_config())?;
        // A run of long ago has left an agent whose certificate has ended and whose join string is forgotten.
        let join_string = gateway
            .create_join_string(home::AGENT)
            .await
            .map_err(|error| DevError::Join(error.to_string()))?;
        home::write_private(&home.join_string(), &join_string.expose_secret())
            .map_err(DevError::Home)?;
        let agent = RunningAgent::start(agent_config).await?;
        Ok(Self {
            home,
            ports,
            gateway,
            agent,
            _demo: demo,
        })
    }

    /// Checks everything, or serves without end.
    async fn serve(&self, options: &DevOptions) -> Result<(), Failure> {
        if options.check {
            return Ok(check::run(self).await?);
        }
        self.introduce()?;
        std::future::pending().await
    }

    async fn stop(self) -> io::Result<()> {
        self.agent.stop().await;
        self.gateway.stop().await;
        self.home.close()
    }

    /// Says where everything is and what to try.
    fn introduce(&self) -> Result<(), OutputError> {
        let Ports {
            gateway,
            telemetry,
            hello,
            echo,
            http_proxy,
            socks_proxy,
            ..
        } = self.ports;
        let program = std::env::current_exe().unwrap_or_else(|_| "countersign".into());
        let program = program.display();
        let config = self.home.gateway_config();
        let config = config.display();
        let certificate = self.home.certificate();
        let certificate = certificate.display();
        let kept = if self.home.is_temporary() {
            "temporary: it goes when this ends"
        } else {
            "kept: start with the same --home to find it again"
        };
        let text = format!(
            "\
countersign dev: NOT FOR PRODUCTION. Keys, gateway and agent live in one process, and everyone on this machine may use them.

  home           {home} ({kept})
  gateway        127.0.0.1:{gateway}   trust domain {TRUST_DOMAIN}, stage hybrid, profile hybrid@1
  health         http://127.0.0.1:{telemetry}/readyz and /metrics
  agent          hello on 127.0.0.1:{hello}, echo on 127.0.0.1:{echo}
                 HTTP CONNECT proxy on 127.0.0.1:{http_proxy}, SOCKS5 on 127.0.0.1:{socks_proxy}
  services       hello:80 (HTTP), echo:7 (TCP), cut:9 (fails half-way), secret:22 (no grant)

Reach a service through the agent and the quantum-safe channel; it is told who calls:

  curl http://127.0.0.1:{hello}/

Reach it without an agent, from a browser of today or any TLS 1.3 client with X25519MLKEM768. It is refused until you say so:

  https://{HELLO_NAME}:{gateway}/ (certificate: {certificate})
  {program} grants add --principal anonymous --service hello --config {config}

See how the channel was negotiated:

  {program} sessions list --config {config}

See a classical client being refused (on the wire it gets a handshake_failure alert; the reason is in the second command):

  openssl s_client -connect 127.0.0.1:{gateway} -groups X25519 -brief </dev/null
  {program} sessions --refused --config {config}

Ctrl-C stops it.
",
            home = self.home.path().display(),
        );
        stdout::write(text.as_bytes())
    }
}

impl RunningAgent {
    async fn start(config: AgentConfig) -> Result<Self, Failure> {
        let agent = Agent::start(config).await?;
        let (link, shutdown) = (agent.link(), CancellationToken::new());
        let task = tokio::spawn(agent.run(shutdown.clone()));
        Ok(Self {
            link,
            shutdown,
            task,
        })
    }

    /// Waits until it has a channel.
    async fn connected(&self) {
        let connected = |state: &LinkState| matches!(state, LinkState::Connected { .. });
        // The link ends with the agent, which is stopped after the last check.
        let _ = self.link.clone().wait_for(connected).await;
    }

    async fn stop(self) {
        self.shutdown.cancel();
        let _ = self.task.await;
    }
}

/// SIGINT or SIGTERM.
struct StopSignal {
    interrupt: Signal,
    terminate: Signal,
}

impl StopSignal {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
