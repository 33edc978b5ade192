//! Where a dev run keeps what it makes: ports that stay the same, and the two configuration files.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

/// The folder of a dev run; a temporary one goes with it.
pub(super) struct Home {
    path: PathBuf,
    temporary: Option<TempDir>,
}

/// Every port of a dev run, all on 127.0.0.1. Kept in the home, so that it is found where it was.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Ports {
    pub(super) gateway: u16,
    pub(super) telemetry: u16,
    pub(super) hello: u16,
    pub(super) echo: u16,
    pub(super) cut: u16,
    pub(super) http_proxy: u16,
    pub(super) socks_proxy: u16,
    pub(super) demo_hello: u16,
    pub(super) demo_echo: u16,
    pub(super) demo_cut: u16,
}

impl Home {
    /// `dir`, made when missing, or a temporary folder.
    pub(super) fn open(dir: Option<&Path>) -> io::Result<Self> {
        let Some(dir) = dir else {
            let private = Permissions::from_mode(0o700);
            let temporary = tempfile::Builder::new()
                .prefix("countersign-dev-")
                .permissions(private)
                .tempdir()?;
            return Ok(Self {
                path: temporary.path().to_owned(),
                temporary: Some(temporary),
            });
        };
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700).create(dir)?;
        Ok(Self {
            path: dir.canonicalize()?,
            temporary: None,
        })
    }

    /// The folder.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes when the run ends.
    pub(super) fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Ends the use of the folder; a temporary one is removed.
    pub(super) fn close(self) -> io::Result<()> {
        self.temporary.map_or(Ok(()), TempDir::close)
    }

    /// The gateway's configuration file.
    pub(super) fn gateway_config(&self) -> PathBuf {
        self.path.join("gateway.toml")
    }

    /// The agent's configuration file.
    pub(super) fn agent_config(&self) -> PathBuf {
        self.path.join("agent.toml")
    }

    /// The file that lets the agent in, once.
    pub(super) fn join_string(&self) -> PathBuf {
        self.path.join("join.txt")
    }

    /// The certificate that a client without an agent sees; clients that trust it need no other.
    pub(super) fn certificate(&self) -> PathBuf {
        self.path.join("hello.pem")
    }

    /// The gateway's operator socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.path.join("gateway.sock")
    }

    /// Makes the certificate for clients without an agent, signed by itself.
    pub(super) fn write_certificate(&self) -> io::Result<()> {
        let certified = rcgen::generate_simple_self_signed([HELLO_NAME.to_owned()]);
        let certified = certified.map_err(io::Error::other)?;
        std::fs::write(self.certificate(), certified.cert.pem())?;
        let key = certified.signing_key.serialize_pem();
        write_private(&self.path.join("hello.key"), &key)
    }

    /// The ports of the run before, or free ones.
    pub(super) fn ports(&self) -> io::Result<Ports> {
        let file = self.path.join("ports.json");
        match std::fs::read(&file) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                io::Error::other(format!("`{}` cannot be read: {error}", file.display()))
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let ports = Ports::free()?;
                std::fs::write(&file, serde_json::to_vec_pretty(&ports)?)?;
                Ok(ports)
            }
            Err(error) => Err(error),
        }
    }

    /// Writes both configuration files.
    pub(super) fn write_configurations(&self, ports: &Ports) -> io::Result<()> {
        std::fs::write(self.gateway_config(), gateway_toml(ports))?;
        std::fs::write(self.agent_config(), agent_toml(ports))
    }
}

impl Ports {
    /// Ports that nobody listens on, held together so that no two are the same.
    fn free() -> io::Result<Self> {
        let held = (0..10)
            .map(|_| TcpListener::bind(("127.0.0.1", 0)))
            .collect::<io::Result<Vec<_>>>()?;
        let mut ports = held
            .iter()
            .map(|listener| listener.local_addr().map(|a| a.port()));
        let mut next = || {
            ports
                .next()
                .unwrap_or_else(|| Err(io::ErrorKind::AddrInUse.into()))
        };
        Ok(Self {
            gateway: next()?,
            telemetry: next()?,
            hello: next()?,
            echo: next()?,
            cut: next()?,
            http_proxy: next()?,
            socks_proxy: next()?,
            demo_hello: next()?,
            demo_echo: next()?,
            demo_cut: next()?,
        })
    }
}

fn gateway_toml(ports: &Ports) -> String {
    let Ports {
        gateway,
        telemetry,
        demo_hello,
        demo_echo,
        demo_cut,
        ..
    } = ports;
    format!(
        r#"# Written by `countersign dev` at each start. Not for production.
trust_domain = "{TRUST_DOMAIN}"
state_dir = "gateway"

[[listener]]
address = "127.0.0.1:{gateway}"
stage = "hybrid"
profile = "hybrid@1"

# For clients without an agent.
[[listener.classical_certificate]]
certificate = "hello.pem"
key = "hello.key"

[[service]]
name = "hello"
port = 80
upstream = "127.0.0.1:{demo_hello}"
sni = ["{HELLO_NAME}"]
http.protocol = "http/1.1"

[[service]]
name = "echo"
port = 7
upstream = "127.0.0.1:{demo_echo}"

[[service]]
name = "cut"
port = 9
upstream = "127.0.0.1:{demo_cut}"

# No grant names this one: it shows what a refusal looks like.
[[service]]
name = "secret"
port = 22
upstream = "127.0.0.1:{demo_echo}"

[[grant]]
principal = "spiffe://{TRUST_DOMAIN}/agent/{AGENT}"
service = "hello"

[[grant]]
principal = "spiffe://{TRUST_DOMAIN}/agent/{AGENT}"
service = "echo"

[[grant]]
principal = "spiffe://{TRUST_DOMAIN}/agent/{AGENT}"
service = "cut"

[operate]
socket = "gateway.sock"

[telemetry]
address = "127.0.0.1:{telemetry}"

[log]
filter = "warn"
"#
    )
}

fn agent_toml(ports: &Ports) -> String {
    let Ports {
        gateway,
        hello,
        echo,
        cut,
        http_proxy,
        socks_proxy,
        ..
    } = ports;
    format!(
        r#"# Written by `countersign dev` at each start. Not for production.
gateway = "127.0.0.1:{gateway}"
state_dir = "agent"
join_string_file = "join.txt"

[[listener]]
service = "hello:80"
bind = "127.0.0.1:{hello}"

[[listener]]
service = "echo:7"
bind = "127.0.0.1:{echo}"

[[listener]]
service = "cut:9"
bind = "127.0.0.1:{cut}"

[proxy]
http = "127.0.0.1:{http_proxy}"
socks = "127.0.0.1:{socks_proxy}"

[log]
filter = "warn"
"#
    )
}

/// Writes a file for this user alone.
pub(super) fn write_private(file: &Path, text: &str) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(file)?.write_all(text.as_bytes())
}

/// The name by which clients without an agent reach the HTTP service.
pub(super) const HELLO_NAME: &str = "hello.localhost";

/// The trust domain of every dev run.
pub(super) const TRUST_DOMAIN: &str = "dev.countersign";

/// The agent's name.
pub(super) const AGENT: &str = "dev";
