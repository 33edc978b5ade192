//! nginx, fetched by curl through the agent's HTTP CONNECT and SOCKS5 proxies; over TLS and with PROXY protocol behind the
//! gateway.

use std::process::Command;

use tempfile::TempDir;

use crate::support::{
    ClassicalAuthority, GatewaySetup, Process, Tunnel, free_port, installed, random_bytes, run,
    wait_for_port,
};

/// A server with one file, `/file`.
pub(crate) struct Nginx {
    _server: Process,
    /// Plain TCP.
    pub(crate) port: u16,
    /// TLS as `nginx.test`, for clients with a certificate of its own authority.
    tls: u16,
    /// Plain TCP after a PROXY protocol header; each page is who the header says is calling.
    proxied: u16,
    home: TempDir,
}

impl Nginx {
    pub(crate) fn start() -> Option<Self> {
        let program = installed("nginx")?;
        let home = tempfile::tempdir().expect("a folder");
        let (port, tls, proxied) = (free_port(), free_port(), free_port());
        ClassicalAuthority::new(home.path(), &["nginx.test".to_owned()]);
        std::fs::create_dir(home.path().join("tree")).expect("our own folder");
        std::fs::write(home.path().join("tree/file"), random_bytes(4 << 20))
            .expect("our own folder");
        std::fs::write(
            home.path().join("config"),
            configuration(port, tls, proxied),
        )
        .expect("our own folder");
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
            tls,
            proxied,
            home,
        })
    }

    /// The keys of a `[[service]]` that is reached by TLS under this name.
    fn tls_keys(&self, name: &str) -> String {
        let home = self.home.path().display();
        format!(
            "[service.tls]\nca = \"{home}/authority.pem\"\nname = \"{name}\"\n\
             certificate = \"{home}/service.pem\"\nkey = \"{home}/service.key\""
        )
    }

    /// The file's bytes.
    pub(crate) fn file(&self) -> Vec<u8> {
        std::fs::read(self.home.path().join("tree/file")).expect("our own file")
    }
}

/// The file, as programs name it that go through the gateway.
const WEB: &str = "http://web:7000/file";

fn configuration(port: u16, tls: u16, proxied: u16) -> String {
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
         server {{ listen 127.0.0.1:{proxied} proxy_protocol; return 200 $proxy_protocol_addr; }}\n\
         server {{ listen 127.0.0.1:{tls} ssl; root tree;\n\
         ssl_protocols TLSv1.3; ssl_certificate service.pem; ssl_certificate_key service.key;\n\
         ssl_client_certificate authority.pem; ssl_verify_client on; }}\n\
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
    let http = format!("http://127.0.0.1:{}", tunnel.agent.http);
    let socks = format!("socks5h://127.0.0.1:{}", tunnel.agent.socks);
    for proxy in [
        ["--proxytunnel", "--proxy", &http].as_slice(),
        &["--proxy", &socks],
    ] {
        let fetched = fetch(proxy, WEB);
        assert!(
            fetched.is_none_or(|bytes| bytes == nginx.file()),
            "{proxy:?}"
        );
    }
}

#[test]
fn a_service_behind_mutual_tls_is_reached_only_by_its_name() {
    let Some(nginx) = Nginx::start() else {
        return;
    };
    let setup = GatewaySetup::new()
        .service("web", nginx.tls, &nginx.tls_keys("nginx.test"))
        .service("other", nginx.tls, &nginx.tls_keys("other.test"));
    let tunnel = Tunnel::through(setup, "web");
    let proxy = format!("http://127.0.0.1:{}", tunnel.agent.http);
    let fetched = fetch(&["--proxytunnel", "--proxy", &proxy], WEB);
    if let Some(bytes) = fetched {
        assert!(bytes == nginx.file());
        // Debian's OpenSSL has no hybrid group: the last hop is the weak one, and the operator can see it.
        let metrics = tunnel.gateway.metrics();
        let hop =
            r#"countersign_upstream_connections_total{service="web",protection="classical-tls"} 1"#;
        assert!(metrics.contains(hop), "{metrics}");
    }

    tunnel.gateway.grant("laptop", "other");
    let (status, body) = tunnel.connect_by_proxy("other");
    assert_eq!(status, 502, "{body}");
}

#[test]
fn a_service_is_told_who_calls_by_proxy_protocol() {
    let Some(nginx) = Nginx::start() else {
        return;
    };
    let setup = GatewaySetup::new().service("web", nginx.proxied, "proxy_protocol = true");
    let tunnel = Tunnel::through(setup, "web");
    let proxy = format!("socks5h://127.0.0.1:{}", tunnel.agent.socks);
    let page = fetch(&["--proxy", &proxy], WEB);
    assert!(page.is_none_or(|page| page == b"127.0.0.1"));
}
