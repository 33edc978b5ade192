//! Debian's Chromium: a page, a WebSocket, and the page of a refusal.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{
    Gateway, GatewaySetup, Process, free_port, installed, node, run, wait_for_port,
};

/// A browser with a new profile for each visit.
struct Chromium {
    program: PathBuf,
    folder: tempfile::TempDir,
}

impl Chromium {
    fn find() -> Option<Self> {
        Some(Self {
            program: installed("chromium")?,
            folder: tempfile::tempdir().expect("a folder"),
        })
    }

    /// The document of the service's page once it has loaded; a picture of it goes to `picture`.
    #[track_caller]
    fn visit(&self, gateway: &Gateway, picture: &Path) -> String {
        let profile = tempfile::tempdir_in(&self.folder).expect("a folder");
        let name = gateway.service_name("web");
        let mut command = Command::new(&self.program);
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--no-first-run",
            ])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
            ])
            .args(["--disable-dev-shm-usage", "--window-size=900,600"])
            // The authority's certificate is in no store that a browser looks into: this one key is taken, and no other.
            .arg(format!(
                "--ignore-certificate-errors-spki-list={}",
                gateway.authority.pin
            ))
            .arg(format!("--host-resolver-rules=MAP {name} 127.0.0.1"))
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(format!("--screenshot={}", picture.display()))
            .arg("--dump-dom")
            .arg(format!("https://{name}:{}/", gateway.port));
        run(&mut command, "").succeeded()
    }
}

#[test]
fn a_browser_sees_why_it_is_refused_and_then_the_page_and_its_websocket() {
    let (Some(chromium), Some(mut site)) = (Chromium::find(), node("site.cjs")) else {
        return;
    };
    let port = free_port();
    let log = chromium.folder.path().join("site.log");
    let _site = Process::start(site.arg(port.to_string()), &log);
    wait_for_port(port);
    let keys = "[service.http]\nprotocol = \"http/1.1\"";
    let gateway = GatewaySetup::new().service("web", port, keys).start();
    let picture = chromium.folder.path().join("page.png");

    let refused = chromium.visit(&gateway, &picture);
    assert!(refused.contains("<h1>Forbidden</h1>"), "{refused}");
    let sentence = "<code>anonymous</code> may not reach <code>web</code>";
    assert!(refused.contains(sentence), "{refused}");
    let written = std::fs::read(&picture).expect("a picture");
    assert!(written.starts_with(b"\x89PNG"));

    gateway.grant("anonymous", "web");
    let page = chromium.visit(&gateway, &picture);
    assert!(page.contains("The page is here"), "{page}");
    assert!(page.contains("came back: hello from the browser"), "{page}");

    for event in gateway.audited("channel-opened") {
        assert_eq!(
            event["record"]["negotiated"]["group"]["name"], "X25519MLKEM768",
            "{event}"
        );
    }
}
