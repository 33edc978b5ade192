//! PostgreSQL, under `pgbench`.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Signal, getuid};
use tempfile::TempDir;

use crate::support::{Process, Ran, Tunnel, free_port, installed, run, wait_until};

/// A server with a fresh database.
struct Postgres {
    _server: Process,
    port: u16,
    bench: PathBuf,
    _home: TempDir,
}

impl Postgres {
    fn start() -> Option<Self> {
        let [initdb, postgres, bench] = ["initdb", "postgres", "pgbench"].map(installed);
        let (initdb, postgres, bench) = (initdb?, postgres?, bench?);
        let home = tempfile::tempdir().expect("a folder");
        let data = home.path().join("data");
        if getuid().is_root() {
            chown(home.path(), Some(NOBODY), Some(NOBODY)).expect("root may");
        }
        run(
            unprivileged(Command::new(initdb).current_dir(home.path()))
                .args(["--auth=trust", "--no-sync", "--username=bench", "--pgdata"])
                .arg(&data),
            "",
        )
        .succeeded();
        let port = free_port();
        let server = Process::start(
            unprivileged(Command::new(postgres).current_dir(home.path()))
                .arg("-D")
                .arg(&data)
                .arg("-p")
                .arg(port.to_string())
                .args(["-h", "127.0.0.1", "-k", ""])
                .args(["-F", "-c", "max_connections=30"]),
            &home.path().join("log"),
        )
        // An immediate shutdown: it waits for no client.
        .ended_by(Signal::QUIT);
        wait_until("postgres is ready", || {
            server
                .log()
                .contains("ready to accept connections")
                .then_some(())
        });
        Some(Self {
            _server: server,
            port,
            bench,
            _home: home,
        })
    }

    fn bench(&self, port: u16, options: &[&str]) -> Ran {
        run(
            Command::new(&self.bench)
                .args(["-h", "127.0.0.1", "-U", "bench", "-p"])
                .arg(port.to_string())
                .args(options)
                .arg("postgres"),
            "",
        )
    }
}

/// `initdb` and `postgres` refuse to be root.
fn unprivileged(command: &mut Command) -> &mut Command {
    match getuid().is_root() {
        true => command.uid(NOBODY).gid(NOBODY),
        false => command,
    }
}

const NOBODY: u32 = 65534;

#[test]
fn ten_clients_of_pgbench_work_through_the_tunnel() {
    let Some(postgres) = Postgres::start() else {
        return;
    };
    let tunnel = Tunnel::to("postgres", postgres.port);
    let port = tunnel.port();
    postgres
        .bench(port, &["--initialize", "--quiet"])
        .succeeded();
    let report = postgres
        .bench(port, &["--client=10", "--jobs=2", "--transactions=50"])
        .succeeded();
    assert!(
        report.contains("transactions actually processed: 500/500"),
        "{report}"
    );
    assert!(report.contains("failed transactions: 0 "), "{report}");
}
