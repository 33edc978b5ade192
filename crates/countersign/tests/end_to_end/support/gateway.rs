//! A gateway: its configuration, its process, and its operator.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::agent::AgentSetup;
use super::certificate::ClassicalAuthority;
use super::http::is_ready;
use super::{Process, Ran, Variable, free_port, run, wait_until};

/// What a gateway is to be told.
pub(crate) struct GatewaySetup {
    trust_domain: String,
    profile: String,
    listener: String,
    rest: String,
    certificate_names: Vec<String>,
    certificate: &'static str,
    environment: Vec<Variable>,
    home: TempDir,
}

/// A gateway that runs.
pub(crate) struct Gateway {
    pub(crate) port: u16,
    pub(crate) trust_domain: String,
    /// Who signed its certificates for agentless clients.
    pub(crate) authority: ClassicalAuthority,
    profile: String,
    telemetry: u16,
    process: Option<Process>,
    environment: Vec<Variable>,
    home: TempDir,
}

impl GatewaySetup {
    pub(crate) fn new() -> Self {
        Self {
            trust_domain: TRUST_DOMAIN.to_owned(),
            profile: PROFILE.to_owned(),
            listener: String::new(),
            rest: String::new(),
            certificate_names: Vec::new(),
            certificate: CERTIFICATE,
            environment: Vec::new(),
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    pub(crate) fn trust_domain(mut self, name: &str) -> Self {
        name.clone_into(&mut self.trust_domain);
        self
    }

    pub(crate) fn stage(self, stage: &str) -> Self {
        self.listener_key(&format!("stage = \"{stage}\""))
    }

    /// The profile of the listener, and of the agents that come to it.
    pub(crate) fn profile(mut self, profile: &str) -> Self {
        profile.clone_into(&mut self.profile);
        self.listener_key(&format!("profile = \"{profile}\""))
    }

    /// Without a certificate for agentless clients in files.
    pub(crate) fn without_certificate(mut self) -> Self {
        self.certificate = "";
        self
    }

    /// A line in `[[listener]]`.
    pub(crate) fn listener_key(mut self, line: &str) -> Self {
        writeln!(self.listener, "{line}").expect("a string grows");
        self
    }

    /// A service on a loopback port, and further lines in its `[[service]]`. Its name leads agentless clients to it.
    pub(crate) fn service(mut self, name: &str, upstream: u16, keys: &str) -> Self {
        let sni = format!("{name}.{}", self.trust_domain);
        write!(
            self.rest,
            "[[service]]\nname = \"{name}\"\nport = {SERVICE_PORT}\nupstream = \"127.0.0.1:{upstream}\"\nsni = [\"{sni}\"]\n{keys}\n"
        )
        .expect("a string grows");
        self.certificate_names.push(sni);
        self
    }

    /// Further tables.
    pub(crate) fn tables(mut self, toml: &str) -> Self {
        writeln!(self.rest, "{toml}").expect("a string grows");
        self
    }

    /// A variable in the environment of the gateway.
    pub(crate) fn environment(mut self, name: &'static str, value: PathBuf) -> Self {
        self.environment.push((name, value));
        self
    }

    /// An exception that lets classical clients on loopback reach a service's name until a day.
    pub(crate) fn exception(self, service: &str, ends: &str) -> Self {
        let sni = format!("{service}.{}", self.trust_domain);
        self.tables(&format!(
            "[[exception]]\nid = \"old-{service}\"\nsource = \"127.0.0.0/8\"\nsni = \"{sni}\"\nowner = \"platform team\"\n\
             reason = \"the old client is replaced next quarter\"\nends = \"{ends}\""
        ))
    }

    /// Starts the gateway and waits until it says that it is ready.
    #[track_caller]
    pub(crate) fn start(self) -> Gateway {
        let mut gateway = self.configure();
        gateway.start();
        gateway
    }

    /// Writes the configuration without starting anything.
    pub(crate) fn configure(self) -> Gateway {
        let (port, telemetry) = (free_port(), free_port());
        let authority = ClassicalAuthority::new(self.home.path(), &self.certificate_names);
        let gateway = Gateway {
            port,
            trust_domain: self.trust_domain,
            authority,
            profile: self.profile,
            telemetry,
            process: None,
            environment: self.environment,
            home: self.home,
        };
        let certificate = match gateway.profile.starts_with("cnsa2") {
            true => "",
            false => self.certificate,
        };
        let (domain, listener, rest) = (&gateway.trust_domain, &self.listener, &self.rest);
        let config = format!(
            "trust_domain = \"{domain}\"\nstate_dir = \"state\"\n[operate]\nsocket = \"gateway.sock\"\n\
             [telemetry]\naddress = \"127.0.0.1:{telemetry}\"\n[log]\nfilter = \"debug,h2=info,sqlx=info\"\n\
             [[listener]]\naddress = \"127.0.0.1:{port}\"\n{listener}{certificate}{rest}"
        );
        std::fs::write(gateway.config(), config).expect("our own folder");
        gateway
    }
}

impl Gateway {
    /// Starts the process, again if need be.
    #[track_caller]
    pub(crate) fn start(&mut self) {
        let mut process = self.launch();
        wait_until("the gateway is ready", || {
            assert!(
                process.is_running(),
                "the gateway ended:\n{}",
                process.log()
            );
            is_ready(self.telemetry).then_some(())
        });
        self.process = Some(process);
    }

    /// Starts the process again, with more in its environment.
    #[track_caller]
    pub(crate) fn start_again(&mut self, environment: &[Variable]) {
        self.stop();
        self.environment.extend(environment.iter().cloned());
        self.start();
    }

    /// Starts a process with this configuration, and waits for nothing.
    pub(crate) fn launch(&self) -> Process {
        let mut command = countersign();
        command.arg("gateway").arg("--config").arg(self.config());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        Process::start(&mut command, &self.home.path().join("log"))
    }

    /// As a power cut would end it.
    pub(crate) fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Asks it to end, and waits.
    pub(crate) fn stop(&mut self) {
        drop(self.process.take());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process().signal(signal);
    }

    /// The process that runs.
    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    pub(crate) fn is_ready(&self) -> bool {
        is_ready(self.telemetry)
    }

    /// What `/metrics` shows.
    pub(crate) fn metrics(&self) -> String {
        super::http::get(self.telemetry, "/metrics").expect("the gateway serves it")
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).expect("it was started")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.path().join("gateway.toml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// The name that agents and hybrid clients ask for.
    pub(crate) fn name(&self) -> String {
        format!("gateway.{}", self.trust_domain)
    }

    /// The name by which agentless clients reach a service.
    pub(crate) fn service_name(&self, service: &str) -> String {
        format!("{service}.{}", self.trust_domain)
    }

    /// Runs an operator command.
    #[track_caller]
    pub(crate) fn operate(&self, arguments: &[&str]) -> Ran {
        let socket = self.home.path().join("gateway.sock");
        run(
            countersign().args(arguments).arg("--socket").arg(socket),
            "",
        )
    }

    /// What an operator command that must succeed says to machines.
    #[track_caller]
    pub(crate) fn ask(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--format", "json"]].concat();
        let text = self.operate(&arguments).succeeded();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    #[track_caller]
    pub(crate) fn grant(&self, principal: &str, service: &str) {
        self.operate(&[
            "grants",
            "add",
            "--principal",
            principal,
            "--service",
            service,
        ])
        .succeeded();
    }

    /// A join string, and further options to the command that makes it.
    #[track_caller]
    pub(crate) fn join_string(&self, name: &str, options: &[&str]) -> String {
        let create = [&["join-string", "create", "--name", name], options].concat();
        let answer = self.ask(&create);
        let line = answer.get("join_string").and_then(Value::as_str);
        line.unwrap_or_else(|| panic!("no join string in {answer}"))
            .to_owned()
    }

    /// An agent that has a join string under this name.
    #[track_caller]
    pub(crate) fn agent(&self, name: &str) -> AgentSetup {
        let profile = format!("profile = \"{}\"", self.profile);
        AgentSetup::new(&self.join_string(name, &[])).key(&profile)
    }

    /// The channels refused lately, as JSON text.
    #[track_caller]
    pub(crate) fn refused(&self) -> String {
        self.ask(&["sessions", "list", "--refused"]).to_string()
    }

    /// The audit events of one kind up to now. Most are written soon, not at once; the making of a join string waits until it
    /// is on disk, and so are those before it.
    #[track_caller]
    pub(crate) fn audited(&self, event: &str) -> Vec<Value> {
        self.join_string("witness", &[]);
        let text = std::fs::read_to_string(self.state().join("audit.jsonl")).unwrap_or_default();
        let events = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
        events.filter(|found| found["event"] == event).collect()
    }
}

/// The built program.
pub(crate) fn countersign() -> Command {
    Command::new(env!("CARGO_BIN_EXE_countersign"))
}

/// The port that every service declares.
pub(crate) const SERVICE_PORT: u16 = 7000;
const PROFILE: &str = "hybrid@1";
const TRUST_DOMAIN: &str = "example.org";
const CERTIFICATE: &str =
    "[[listener.classical_certificate]]\ncertificate = \"service.pem\"\nkey = \"service.key\"\n";
