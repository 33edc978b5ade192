//! What the tests stand on: processes that end with their guard, programs that may be missing, waiting that is bounded.

mod agent;
mod certificate;
mod echo;
mod gateway;
pub(crate) mod hsm;
mod http;
mod process;
mod program;
mod tls;
mod tunnel;
pub(crate) mod upstream;

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

pub(crate) use agent::{Agent, AgentSetup};
pub(crate) use certificate::ClassicalAuthority;
pub(crate) use echo::{echoes, is_alive};
pub(crate) use gateway::{Gateway, GatewaySetup, SERVICE_PORT, countersign};
pub(crate) use http::exchange;
pub(crate) use process::{Process, Ran, run};
pub(crate) use program::{cached, example, installed, node, python};
pub(crate) use tls::Dialer;
pub(crate) use tunnel::Tunnel;

/// Waits until `condition` gives something; panics with `what` after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "waited {PATIENCE:?} until {what}"
        );
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Waits until something accepts TCP connections on a loopback port.
#[track_caller]
pub(crate) fn wait_for_port(port: u16) {
    wait_until(&format!("port {port} accepts connections"), || {
        TcpStream::connect(loopback(port)).ok()
    });
}

/// The loopback address of a port.
pub(crate) fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A loopback port that nothing listens on. It lies below the ephemeral ports, so that no outgoing connection takes it before the
/// program it is meant for does, and no other caller in this process gets it again.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 181).expect("below 181") * 100;
    wait_until("a port is free", || {
        let port = FIRST_PORT + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        TcpListener::bind(loopback(port)).ok().map(|_| port)
    })
}

/// How long a test waits for anything: far longer than it takes, so that a busy machine fails no test.
const PATIENCE: Duration = Duration::from_secs(120);
const FIRST_PORT: u16 = 12_000;
const PORTS: u16 = 20_000;

/// A variable of a program's environment.
pub(crate) type Variable = (&'static str, PathBuf);

/// What makes a program see another time. Not `faketime` itself around it, which a signal to it would outlive.
#[track_caller]
pub(crate) fn clock_off_by(offset: &str) -> Option<Vec<Variable>> {
    let faketime = installed("faketime")?;
    let all = run(Command::new(faketime).args(["-f", offset, "env"]), "").succeeded();
    let preloaded = all
        .lines()
        .find_map(|line| line.strip_prefix("LD_PRELOAD="));
    Some(vec![
        ("LD_PRELOAD", preloaded.expect("faketime sets it").into()),
        ("FAKETIME", offset.into()),
        // Waits are as long as ever.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
    ])
}

/// Writes a new file that nobody else may read.
pub(crate) fn write_private(file: &Path, content: impl AsRef<[u8]>) {
    let mut options = File::options();
    let file = options.write(true).create_new(true).mode(0o600).open(file);
    let written = file.and_then(|mut file| file.write_all(content.as_ref()));
    written.expect("our own folder");
}

/// Bytes that no compression or default explains.
pub(crate) fn random_bytes(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    bytes
}
