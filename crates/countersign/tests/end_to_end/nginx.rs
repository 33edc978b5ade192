//! nginx, fetched by curl through the agent's HTTP CONNECT and SOCKS5 proxies.

use std::process::Command;

use tempfile::TempDir;

use crate::support::{
    Process, SERVICE_PORT, Tunnel, free_port, installed, random_bytes, run, wait_for_port,
};

/// A server with one file, `/file`.
pub(crate) struct Nginx {
    _server: Process,
    pub(crate) port: u16,
    home: TempDir,
}

impl Nginx {
    pub(crate) fn start() -> Option<Self> {
        let program = installed("nginx")?;
        let home = tempfile::tempdir().expect("a folder");
        let port = free_port();
        std::fs::create_dir(home.path().join("tree")).expect("our own folder");
        std::fs::write(home.path().join("tree/file"), random_bytes(4 << 20))
            .expect("our own folder");
        std::fs::write(home.path().join("config"), configuration(port)).expect("our own folder");
        let server = Process::start(
            Command::new(program)
                .arg("-p")
                .arg(home.path())
                .args(["-e", "stderr", "-c", "config"]),
            &home.path().join("log"),
        );
        wait_for_port(port);
        Some(Self {
            _server: server,
            port,
            home,
        })
    }

    /// The file's bytes.
    pub(crate) fn file(&self) -> Vec<u8> {
        std::fs::read(self.home.path().join("tree/file")).expect("our own file")
    }
}

fn configuration(port: u16) -> String {
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {kind};\n"))
        .concat();
    format!(
        "daemon off;\n\
         master_process off;\n\
         pid pid;\n\
         events {{}}\n\
         http {{\n\
         access_log off;\n\
         {scratch}\
         server {{ listen 127.0.0.1:{port}; root tree; }}\n\
         }}\n"
    )
}

/// Fetches a URL with curl into memory, through a proxy.
pub(crate) fn fetch(proxy: &[&str], url: &str) -> Option<Vec<u8>> {
    let curl = installed("curl")?;
    let home = tempfile::tempdir().expect("a folder");
    let file = home.path().join("fetched");
    run(
        Command::new(curl)
            .args([
                "--silent",
                "--show-error",
                "--fail",
                "--noproxy",
                "",
                "--output",
            ])
            .arg(&file)
            .args(proxy)
            .arg(url),
        "",
    )
    .succeeded();
    Some(std::fs::read(file).expect("curl wrote it"))
}

#[test]
fn curl_fetches_a_file_through_both_proxies() {
    let Some(nginx) = Nginx::start() else {
        return;
    };
    let tunnel = Tunnel::to("web", nginx.port);
    let url = format!("http://web:{SERVICE_PORT}/file");
    let http = format!("http://127.0.0.1:{}", tunnel.agent.http);
    let socks = format!("socks5h://127.0.0.1:{}", tunnel.agent.socks);
    for proxy in [
        ["--proxytunnel", "--proxy", &http].as_slice(),
        &["--proxy", &socks],
    ] {
        let fetched = fetch(proxy, &url);
        assert!(
            fetched.is_none_or(|bytes| bytes == nginx.file()),
            "{proxy:?}"
        );
    }
}
