//! HAProxy as Debian ships it: TLS on both sides of a TCP proxy, one thread each; its OpenSSL has no hybrid group. Without TLS
//! it is the floor: what two processes cost that only pass bytes on.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustls::pki_types::CertificateDer;

use super::{Peer, Ports, Way, free_port, loopback, wait_for_port};
use crate::certificates::Certificates;
use crate::client::{Client, Kind, Known};
use crate::process::{Core, Process};
use crate::{Outcome, STREAMS, WEB};

/// Two HAProxies between a program and the service.
pub(crate) struct HaProxy {
    program: PathBuf,
    folder: PathBuf,
    server: Option<Process>,
    client: Process,
    entry: SocketAddr,
    bare: SocketAddr,
    plain: SocketAddr,
    requests: SocketAddr,
    root: CertificateDer<'static>,
}

impl HaProxy {
    /// Starts both.
    pub(crate) fn start(
        program: &Path,
        folder: &Path,
        certificates: &Certificates,
        service: Ports,
    ) -> Outcome<Self> {
        let (entry, streams) = (free_port()?, free_port()?);
        let (bare, relayed) = (free_port()?, free_port()?);
        let (plain, requests) = (free_port()?, free_port()?);
        let tls = certificates.p256.both.display();
        let server = format!(
            "{COMMON}\
             frontend streams\n mode tcp\n bind 127.0.0.1:{streams} ssl crt {tls}\n default_backend streams\n\
             frontend relayed\n mode tcp\n bind 127.0.0.1:{relayed}\n default_backend streams\n\
             backend streams\n mode tcp\n server service 127.0.0.1:{}\n\
             frontend requests\n mode http\n bind 127.0.0.1:{requests} ssl crt {tls} alpn h2,http/1.1\n default_backend requests\n\
             backend requests\n mode http\n server service 127.0.0.1:{}\n",
            service.streams, service.http,
        );
        let client = format!(
            "{COMMON}\
             frontend streams\n mode tcp\n bind 127.0.0.1:{entry}\n default_backend streams\n\
             frontend bare\n mode tcp\n bind 127.0.0.1:{bare}\n default_backend bare\n\
             backend bare\n mode tcp\n server gateway 127.0.0.1:{relayed}\n\
             frontend requests\n mode tcp\n bind 127.0.0.1:{plain}\n default_backend requests\n\
             backend streams\n mode tcp\n server gateway 127.0.0.1:{streams} {}\n\
             backend requests\n mode tcp\n server gateway 127.0.0.1:{requests} {}\n",
            verifying(certificates, STREAMS),
            verifying(certificates, WEB),
        );
        std::fs::write(folder.join("haproxy-server.cfg"), server)?;
        std::fs::write(folder.join("haproxy-client.cfg"), client)?;
        let client = launch(program, folder, "haproxy-client", Core::Others)?;
        let mut haproxy = Self {
            program: program.to_owned(),
            folder: folder.to_owned(),
            server: None,
            client,
            entry: loopback(entry),
            bare: loopback(bare),
            plain: loopback(plain),
            requests: loopback(requests),
            root: certificates.p256.root.clone(),
        };
        haproxy.restart()?;
        wait_for_port(entry)?;
        Ok(haproxy)
    }
}

impl Peer for HaProxy {
    fn name(&self) -> &'static str {
        "HAProxy"
    }

    fn gateway(&self) -> &Process {
        self.server.as_ref().expect("it is started")
    }

    fn ways(&self) -> Vec<Way<'_>> {
        let way = |name, entry, requests| Way {
            name,
            entry,
            bulk: entry,
            requests,
            gateway: Some(self.gateway()),
            client: Some(&self.client),
        };
        vec![
            way(NO_TLS, self.bare, None),
            way(self.name(), self.entry, Some(self.plain)),
        ]
    }

    fn tls(&self, kind: Kind) -> Outcome<Option<Client>> {
        let known = Known {
            root: &self.root,
            own: None,
        };
        match kind {
            Kind::Classical => Client::new(self.requests, kind, &known).map(Some),
            Kind::Hybrid | Kind::MlDsa => Ok(None),
        }
    }

    fn web(&self) -> SocketAddr {
        self.requests
    }

    fn restart(&mut self) -> Outcome<()> {
        self.server = None;
        self.server = Some(launch(
            &self.program,
            &self.folder,
            "haproxy-server",
            Core::Gateway,
        )?);
        wait_for_port(self.requests.port())
    }
}

fn verifying(certificates: &Certificates, name: &str) -> String {
    let ca = certificates.p256.ca.display();
    format!("ssl sni str({name}) verifyhost {name} ca-file {ca} no-ssl-reuse")
}

fn launch(program: &Path, folder: &Path, name: &str, core: Core) -> Outcome<Process> {
    let mut command = Command::new(program);
    command
        .arg("-db")
        .arg("-f")
        .arg(folder.join(format!("{name}.cfg")));
    Process::start(core, &mut command, &folder.join(format!("{name}.log")))
}

const COMMON: &str = "global\n nbthread 1\n maxconn 8000\n ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets\n \
    ssl-default-bind-ciphersuites TLS_AES_256_GCM_SHA384\n ssl-default-bind-curves X25519\n \
    ssl-default-server-ciphersuites TLS_AES_256_GCM_SHA384\n\
    defaults\n timeout connect 5s\n timeout client 1h\n timeout server 1h\n timeout http-keep-alive 1h\n";
/// The name of the way without TLS.
const NO_TLS: &str = "two hops, no TLS";
