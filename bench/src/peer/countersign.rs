//! Countersign: a gateway, and an agent with a listener that shares its channel and one that does not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use countersign_channel::identity::{PrivateKey, SignedTrustBundle, Svid};
use rustls::pki_types::CertificateDer;
use serde_json::Value;

use super::{Peer, Ports, Programs, Way, free_port, loopback, wait_for_port};
use crate::certificates::Certificates;
use crate::client::{Client, Kind, Known};
use crate::process::{Core, Process, output, wait_until};
use crate::{DOMAIN, Outcome, STREAMS, WEB};

/// A gateway and its agent.
pub(crate) struct Countersign {
    program: PathBuf,
    folder: PathBuf,
    gateway: Option<Process>,
    agent: Option<Process>,
    address: SocketAddr,
    telemetry: u16,
    shared: u16,
    own: u16,
    web: u16,
    root: CertificateDer<'static>,
    post_quantum: Option<(CertificateDer<'static>, Svid)>,
}

impl Countersign {
    /// Starts both, and lets the agent join.
    pub(crate) fn start(
        programs: &Programs,
        folder: &Path,
        certificates: &Certificates,
        service: Ports,
    ) -> Outcome<Self> {
        let (port, telemetry) = (free_port()?, free_port()?);
        let mut countersign = Self {
            program: programs.countersign.clone(),
            folder: folder.to_owned(),
            gateway: None,
            agent: None,
            address: loopback(port),
            telemetry,
            shared: free_port()?,
            own: free_port()?,
            web: free_port()?,
            root: certificates.p256.root.clone(),
            post_quantum: None,
        };
        countersign.configure_gateway(certificates, service)?;
        countersign.restart()?;
        let join = countersign.join_string()?;
        std::fs::write(folder.join("join"), &join)?;
        output(Command::new("chmod").arg("600").arg(folder.join("join")))?;
        countersign.start_agent()?;
        countersign.post_quantum = Some(countersign.read_agent()?);
        Ok(countersign)
    }

    fn configure_gateway(&self, certificates: &Certificates, service: Ports) -> Outcome<()> {
        let Self {
            address, telemetry, ..
        } = self;
        let (chain, key) = (
            certificates.p256.chain.display(),
            certificates.p256.key.display(),
        );
        let text = format!(
            "trust_domain = \"{DOMAIN}\"\nstate_dir = \"gateway\"\n\
             [operate]\nsocket = \"gateway.sock\"\n\
             [telemetry]\naddress = \"127.0.0.1:{telemetry}\"\n\
             [log]\nfilter = \"warn\"\n\
             [[listener]]\naddress = \"{address}\"\nstage = \"classical-canary\"\n\
             [[listener.classical_certificate]]\ncertificate = \"{chain}\"\nkey = \"{key}\"\n\
             [[service]]\nname = \"streams\"\nport = 7000\nupstream = \"127.0.0.1:{}\"\nsni = [\"{STREAMS}\"]\n\
             [[service]]\nname = \"web\"\nport = 80\nupstream = \"127.0.0.1:{}\"\nsni = [\"{WEB}\"]\n[service.http]\n\
             [[exception]]\nid = \"bench\"\nsource = \"127.0.0.0/8\"\n\
             owner = \"bench\"\nreason = \"classical beside hybrid\"\nends = \"2099-01-01T00:00:00Z\"\n\
             [[grant]]\nprincipal = \"bench\"\nservice = \"streams\"\n\
             [[grant]]\nprincipal = \"bench\"\nservice = \"web\"\n\
             [[grant]]\nprincipal = \"anonymous\"\nservice = \"web\"\n",
            service.streams, service.http,
        );
        Ok(std::fs::write(self.folder.join("gateway.toml"), text)?)
    }

    fn join_string(&self) -> Outcome<String> {
        let socket = self.folder.join("gateway.sock");
        let mut command = Command::new(&self.program);
        command.args([
            "--format",
            "json",
            "join-string",
            "create",
            "--name",
            "bench",
        ]);
        let answer: Value = serde_json::from_str(&output(command.arg("--socket").arg(socket))?)?;
        let line = answer.get("join_string").and_then(Value::as_str);
        Ok(line.ok_or("no join string")?.to_owned())
    }

    fn start_agent(&mut self) -> Outcome<()> {
        let Self {
            shared, own, web, ..
        } = self;
        let telemetry = free_port()?;
        let text = format!(
            "state_dir = \"agent\"\njoin_string_file = \"join\"\n\
             [telemetry]\naddress = \"127.0.0.1:{telemetry}\"\n[log]\nfilter = \"warn\"\n\
             [[listener]]\nservice = \"streams\"\nbind = \"127.0.0.1:{shared}\"\n\
             [[listener]]\nservice = \"streams\"\nbind = \"127.0.0.1:{own}\"\nown_connection = true\n\
             [[listener]]\nservice = \"web\"\nbind = \"127.0.0.1:{web}\"\n"
        );
        let config = self.folder.join("agent.toml");
        std::fs::write(&config, text)?;
        let mut command = Command::new(&self.program);
        let command = command.arg("agent").arg("--config").arg(config);
        let log = self.folder.join("agent.log");
        self.agent = Some(Process::start(Core::Others, command, &log)?);
        wait_until("the agent is ready", || Ok(is_ready(telemetry)))
    }

    /// The anchor that the agent verifies the gateway to, and the agent's own certificate.
    fn read_agent(&self) -> Outcome<(CertificateDer<'static>, Svid)> {
        let state = self.folder.join("agent");
        let key = PrivateKey::from_pkcs8_pem(&std::fs::read_to_string(state.join("key.pem"))?)?;
        let chain = std::fs::read_to_string(state.join("svid.pem"))?;
        let kept: Value = serde_json::from_slice(&std::fs::read(state.join("bundle.json"))?)?;
        let pin = kept.get("pin").and_then(Value::as_str).ok_or("no pin")?;
        let bundle = kept.get("bundle").ok_or("no bundle")?.to_string();
        let bundle = SignedTrustBundle::from_json(bundle.as_bytes())?
            .verify(&pin.parse()?, &DOMAIN.parse()?)?;
        let anchor = bundle.anchors().first().ok_or("no anchor")?;
        let root = CertificateDer::from(anchor.der().to_vec());
        Ok((root, Svid::from_pem(&chain, Arc::new(key))?))
    }
}

impl Peer for Countersign {
    fn name(&self) -> &'static str {
        COUNTERSIGN
    }

    fn gateway(&self) -> &Process {
        self.gateway.as_ref().expect("it is started")
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let way = |name, bulk, requests| Way {
            name,
            entry: loopback(self.shared),
            bulk: loopback(bulk),
            requests,
            gateway: Some(self.gateway()),
            client: self.agent.as_ref(),
        };
        vec![
            way(MULTIPLEXED, self.shared, Some(loopback(self.web))),
            way(OWN, self.own, None),
        ]
    }

    fn tls(&self, kind: Kind) -> Outcome<Option<Client>> {
        let agent = self.post_quantum.as_ref();
        let (root, own) = match (kind, agent) {
            (Kind::MlDsa, Some((root, own))) => (root, Some(own)),
            _ => (&self.root, None),
        };
        Client::new(self.address, kind, &Known { root, own }).map(Some)
    }

    fn web(&self) -> SocketAddr {
        self.address
    }

    fn restart(&mut self) -> Outcome<()> {
        self.gateway = None;
        let mut command = Command::new(&self.program);
        let config = self.folder.join("gateway.toml");
        let command = command.arg("gateway").arg("--config").arg(config);
        let log = self.folder.join("gateway.log");
        self.gateway = Some(Process::start(Core::Gateway, command, &log)?);
        wait_for_port(self.address.port())?;
        wait_until("the gateway is ready", || Ok(is_ready(self.telemetry)))
    }
}

/// Its name where it is one.
pub(crate) const COUNTERSIGN: &str = "Countersign";
/// The way on the channel that all streams share.
pub(crate) const MULTIPLEXED: &str = "multiplexed";
/// The way on a connection that is made for the stream.
pub(crate) const OWN: &str = "own connection";

/// Whether `/readyz` says 200.
pub(crate) fn is_ready(port: u16) -> Option<()> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(loopback(port)).ok()?;
    stream.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer
        .get(8..)
        .is_some_and(|status| status.starts_with(" 200"))
        .then_some(())
}
