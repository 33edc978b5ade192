//! An agent: its configuration, its process, and the ways through it.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::gateway::countersign;
use super::http::is_ready;
use super::{Process, Variable, free_port, wait_until, write_private};

/// What an agent is to be told.
pub(crate) struct AgentSetup {
    keys: String,
    tables: String,
    listeners: Vec<(String, u16)>,
    home: TempDir,
}

/// An agent, once started.
pub(crate) struct Agent {
    /// The HTTP CONNECT proxy.
    pub(crate) http: u16,
    /// The SOCKS5 proxy.
    pub(crate) socks: u16,
    telemetry: u16,
    listeners: Vec<(String, u16)>,
    process: Option<Process>,
    home: TempDir,
}

impl AgentSetup {
    pub(crate) fn new(join_string: &str) -> Self {
        let home = tempfile::tempdir().expect("a folder");
        write_private(&home.path().join("join"), join_string);
        Self {
            keys: String::new(),
            tables: String::new(),
            listeners: Vec::new(),
            home,
        }
    }

    /// A line at the top of the configuration.
    pub(crate) fn key(mut self, line: &str) -> Self {
        writeln!(self.keys, "{line}").expect("a string grows");
        self
    }

    /// A local port that leads to a service.
    pub(crate) fn listener(mut self, service: &str) -> Self {
        self.listeners.push((service.to_owned(), free_port()));
        self
    }

    /// Further tables.
    pub(crate) fn tables(mut self, toml: &str) -> Self {
        writeln!(self.tables, "{toml}").expect("a string grows");
        self
    }

    /// Writes the configuration without starting anything.
    pub(crate) fn configure(self) -> Agent {
        let (http, socks, telemetry) = (free_port(), free_port(), free_port());
        let mut config = format!(
            "state_dir = \"state\"\njoin_string_file = \"join\"\n{}[proxy]\nhttp = \"127.0.0.1:{http}\"\n\
             socks = \"127.0.0.1:{socks}\"\n[backoff]\nfirst = \"50ms\"\nlongest = \"500ms\"\n\
             [telemetry]\naddress = \"127.0.0.1:{telemetry}\"\n[log]\nfilter = \"debug,h2=info\"\n",
            self.keys
        );
        config += &self.tables;
        for (service, port) in &self.listeners {
            write!(
                config,
                "[[listener]]\nservice = \"{service}\"\nbind = \"127.0.0.1:{port}\"\n"
            )
            .expect("a string grows");
        }
        std::fs::write(self.home.path().join("agent.toml"), config).expect("our own folder");
        Agent {
            http,
            socks,
            telemetry,
            listeners: self.listeners,
            process: None,
            home: self.home,
        }
    }

    /// Starts the agent and waits until it has joined and holds a channel.
    #[track_caller]
    pub(crate) fn start(self) -> Agent {
        let mut agent = self.configure();
        agent.start();
        agent
    }

    /// Starts an agent that must end by itself, and gives what it printed.
    #[track_caller]
    pub(crate) fn fails(self) -> String {
        let agent = self.configure();
        agent.launch().log_of_failure()
    }
}

impl Agent {
    /// Starts the process, again if need be, and waits until it holds a channel.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        let mut process = self.launch();
        wait_until("the agent is ready", || {
            assert!(process.is_running(), "the agent ended:\n{}", process.log());
            is_ready(self.telemetry).then_some(())
        });
        self.process = Some(process);
    }

    /// Starts a process with this configuration, and waits for nothing.
    pub(crate) fn launch(&self) -> Process {
        self.launched(&mut countersign())
    }

    /// As [`launch`](Self::launch), with more in its environment.
    pub(crate) fn launch_with(&self, environment: &[Variable]) -> Process {
        self.launched(countersign().envs(environment.iter().cloned()))
    }

    fn launched(&self, command: &mut Command) -> Process {
        let config = self.config();
        let command = command.arg("agent").arg("--config").arg(config);
        Process::start(command, &self.home.path().join("log"))
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(&mut self) {
        drop(self.process.take());
    }

    /// As a power cut would end it.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).expect("it was started")
    }

    pub(crate) fn is_ready(&self) -> bool {
        is_ready(self.telemetry)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("agent.toml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    /// The local port of a service.
    #[track_caller]
    pub(crate) fn port(&self, service: &str) -> u16 {
        let found = self.listeners.iter().find(|(name, _)| name == service);
        found.expect("a listener for it").1
    }
}
