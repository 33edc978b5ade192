//! OpenSSH: a command, and a file copied both ways.

use std::path::Path;
use std::process::Command;

use rustix::process::getuid;
use tempfile::TempDir;

use crate::support::{
    Process, Ran, Tunnel, free_port, installed, random_bytes, run, wait_for_port,
};

#[test]
fn ssh_and_scp_work_through_the_tunnel() {
    let Some(server) = Sshd::start() else {
        return;
    };
    let tunnel = Tunnel::to("ssh", server.port);
    let port = tunnel.port();
    let home = server.home.path();
    let (sent, stored, returned) = (
        home.join("sent"),
        home.join("stored"),
        home.join("returned"),
    );
    std::fs::write(&sent, random_bytes(8 << 20)).unwrap();

    let remote = |path: &Path| format!("{}@127.0.0.1:{}", server.user, path.display());
    server
        .client("scp", "-P", port, &[path(&sent), remote(&stored)])
        .succeeded();
    server
        .client("scp", "-P", port, &[remote(&stored), path(&returned)])
        .succeeded();
    let digest = server
        .client(
            "ssh",
            "-p",
            port,
            &[
                format!("{}@127.0.0.1", server.user),
                format!("sha256sum < {}", stored.display()),
            ],
        )
        .succeeded();

    let expected = run(
        &mut Command::new("sha256sum"),
        std::fs::read(&sent).unwrap(),
    )
    .succeeded();
    assert_eq!(digest, expected);
    assert_eq!(
        std::fs::read(&sent).unwrap(),
        std::fs::read(&returned).unwrap()
    );
}

/// A server for one user and one key.
struct Sshd {
    _server: Process,
    port: u16,
    user: String,
    home: TempDir,
}

impl Sshd {
    fn start() -> Option<Self> {
        let [sshd, keygen, _, _] = ["sshd", "ssh-keygen", "ssh", "scp"].map(installed);
        let (sshd, keygen) = (sshd?, keygen?);
        let home = tempfile::tempdir().expect("a folder");
        if getuid().is_root() {
            // What Debian's service unit makes before it starts the server.
            std::fs::create_dir_all("/run/sshd").expect("root may");
        }
        for name in ["host", "client"] {
            let key = home.path().join(name);
            run(
                Command::new(&keygen)
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(key),
                "",
            )
            .succeeded();
        }
        let port = free_port();
        let config = home.path().join("config");
        std::fs::write(&config, configuration(home.path(), port)).expect("our own folder");
        let server = Process::start(
            Command::new(sshd).args(["-D", "-e", "-f"]).arg(&config),
            &home.path().join("log"),
        );
        wait_for_port(port);
        let user = run(Command::new("id").arg("-un"), "").succeeded();
        Some(Self {
            _server: server,
            port,
            user: user.trim().to_owned(),
            home,
        })
    }

    fn client(&self, program: &str, port_option: &str, port: u16, arguments: &[String]) -> Ran {
        let known = self.home.path().join("known_hosts");
        run(
            Command::new(program)
                .args([
                    "-F",
                    "none",
                    "-o",
                    "BatchMode=yes",
                    "-o",
                    "StrictHostKeyChecking=accept-new",
                ])
                .arg("-o")
                .arg(format!("UserKnownHostsFile={}", known.display()))
                .arg("-i")
                .arg(self.home.path().join("client"))
                .args([port_option, &port.to_string()])
                .args(arguments),
            "",
        )
    }
}

fn configuration(home: &Path, port: u16) -> String {
    let home = home.display();
    format!(
        "ListenAddress 127.0.0.1:{port}\n\
         HostKey {home}/host\n\
         AuthorizedKeysFile {home}/client.pub\n\
         PidFile none\n\
         StrictModes no\n\
         UsePAM no\n\
         PasswordAuthentication no\n\
         PermitRootLogin prohibit-password\n\
         Subsystem sftp internal-sftp\n"
    )
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
