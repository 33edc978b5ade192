//! The agent's machine: who may use a Unix socket, web pages that try a proxy, and `countersign dev`.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, getuid, kill_process};

use crate::nginx::Nginx;
use crate::support::{GatewaySetup, Ran, Tunnel, countersign, exchange, installed, run, upstream};

#[test]
fn only_listed_users_may_use_a_unix_socket() {
    let (Some(curl), Some(nginx)) = (installed("curl"), Nginx::start()) else {
        return;
    };
    if !getuid().is_root() {
        return;
    }
    let gateway = GatewaySetup::new().service("web", nginx.port, "").start();
    gateway.grant("laptop", "web");
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let socket = folder.path().join("web.sock");
    let listener = format!(
        "[[listener]]\nservice = \"web\"\nbind = \"unix:{}\"\nmode = 0o666\nallowed_uids = [{LISTED}]",
        socket.display()
    );
    let _agent = gateway.agent("laptop").tables(&listener).start();
    let fetch = |uid: u32| -> Ran {
        let mut command = Command::new(&curl);
        command.args([
            "--silent",
            "--show-error",
            "--output",
            "/dev/null",
            "--unix-socket",
        ]);
        run(
            command
                .arg(&socket)
                .arg("http://web/file")
                .uid(uid)
                .gid(uid),
            "",
        )
    };
    fetch(LISTED).succeeded();
    fetch(UNLISTED).failed();
}

#[test]
fn a_web_page_cannot_use_the_http_proxy() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    for header in ["Origin: https://evil.example", "Host: evil.example"] {
        let request = format!("CONNECT echo:7000 HTTP/1.1\r\n{header}\r\n\r\n");
        let (status, body) = exchange(tunnel.agent.http, &request).expect("an answer");
        assert!(
            [400, 403, 421].contains(&status),
            "{header}: {status} {body}"
        );
    }
}

#[test]
fn dev_checks_itself_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = countersign();
    dev.args(["dev", "--check"]).env("TMPDIR", folder.path());
    let checked = run(&mut dev, "").succeeded();
    for named in ["X25519MLKEM768", "mldsa65"] {
        assert!(checked.contains(named), "{checked}");
    }
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 0, "{}", folder.path().display());
}

#[test]
fn dev_that_is_told_to_stop_leaves_nothing() {
    for signal in [Signal::TERM, Signal::INT] {
        let folder = tempfile::tempdir().unwrap();
        let mut dev = countersign();
        dev.arg("dev").env("TMPDIR", folder.path());
        let mut dev = dev.stdout(Stdio::piped()).spawn().unwrap();
        let mut told = BufReader::new(dev.stdout.take().unwrap()).lines();
        assert!(told.any(|line| line.unwrap().contains("Ctrl-C stops it")));
        let home = std::fs::read_dir(folder.path()).unwrap().next().unwrap();
        let mode = home.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        kill_process(Pid::from_child(&dev), signal).unwrap();
        assert!(dev.wait().unwrap().success());
        let left = std::fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 0, "{signal:?}");
    }
}

#[test]
fn results_that_nobody_reads_to_the_end_are_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    std::fs::write(&file, "trust_domain = \"example.org\"").unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut check = countersign();
    check.args(["gateway", "--check-config", "--config"]);
    let ran = check.arg(&file).stdout(writer).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
}

#[test]
fn a_stream_on_a_connection_of_its_own_carries_bulk() {
    let gateway = GatewaySetup::new()
        .service("echo", upstream::echo(), "")
        .start();
    gateway.grant("laptop", "echo");
    let port = crate::support::free_port();
    let listener = format!(
        "[[listener]]\nservice = \"echo\"\nbind = \"127.0.0.1:{port}\"\nown_connection = true"
    );
    let _agent = gateway.agent("laptop").tables(&listener).start();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(b"x").unwrap();
    stream.read_exact(&mut [0; 1]).unwrap();
    let sessions = gateway.ask(&["sessions", "list"]);
    assert_eq!(
        sessions["sessions"].as_array().map(Vec::len),
        Some(2),
        "{sessions}"
    );
}

const LISTED: u32 = 65534;
const UNLISTED: u32 = 65533;
