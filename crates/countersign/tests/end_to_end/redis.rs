//! Redis, under a pipelining `redis-benchmark`.

use std::process::Command;

use tempfile::TempDir;

use crate::support::{Process, Tunnel, free_port, installed, run, wait_for_port};

#[test]
fn pipelined_redis_commands_work_through_the_tunnel() {
    let (Some(benchmark), Some(redis)) = (installed("redis-benchmark"), Redis::start()) else {
        return;
    };
    let tunnel = Tunnel::to("redis", redis.port);
    let port = tunnel.port();
    let report = run(
        Command::new(benchmark)
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "--csv"])
            .args([
                "-t",
                "set,get,lrange_100",
                "-n",
                "20000",
                "-c",
                "20",
                "-P",
                "16",
                "-d",
                "512",
            ]),
        "",
    )
    .succeeded();
    for command in ["\"SET\"", "\"GET\"", "\"LRANGE_100 (first 100 elements)\""] {
        assert!(report.contains(command), "{report}");
    }
}

/// A server that keeps nothing.
pub(crate) struct Redis {
    _server: Process,
    pub(crate) port: u16,
    _home: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Option<Self> {
        let program = installed("redis-server")?;
        let home = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let server = Process::start(
            Command::new(program)
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
                .args(["--save", "", "--appendonly", "no", "--dir"])
                .arg(home.path()),
            &home.path().join("log"),
        );
        wait_for_port(port);
        Some(Self {
            _server: server,
            port,
            _home: home,
        })
    }
}
