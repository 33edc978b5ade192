//! Hostile clients: what they send stands in files, byte by byte, and what comes of it is looked at behind the gateway.

mod floods;
mod frames;
mod service;
mod smuggling;
mod uploads;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use self::service::Service;
use super::agentless::{certified_world, dial};
use super::*;

/// A gateway with an HTTP service of each version, both open to all: `one:80` for `web.test`, `two:80` for `gate.test`.
struct Site {
    world: World,
    http1: Service,
    http2: Service,
}

/// One of its services.
#[derive(Clone, Copy)]
struct Way<'a> {
    host: &'static str,
    name: &'static str,
    service: &'a Service,
}

impl Site {
    async fn start() -> Self {
        let (http1, http2) = (Service::http1().await, Service::http2().await);
        let service = |name: &str, host: &str, address: SocketAddr, protocol: &str| {
            format!(
                r#"
                [[service]]
                name = "{name}"
                port = 80
                upstream = "{address}"
                sni = ["{host}"]
                http.protocol = "{protocol}"
                [[grant]]
                principal = "anonymous"
                service = "{name}"
                "#
            )
        };
        let more = service("one", "web.test", http1.address, "http/1.1")
            + &service("two", "gate.test", http2.address, "h2");
        let world = certified_world("", &more).await;
        Self {
            world,
            http1,
            http2,
        }
    }

    /// The ways through it, by what the service speaks.
    fn ways(&self) -> [Way<'_>; 2] {
        let way = |host, name, service| Way {
            host,
            name,
            service,
        };
        [
            way("web.test", "one", &self.http1),
            way("gate.test", "two", &self.http2),
        ]
    }

    /// Waits until the gateway has no stream any more.
    async fn is_at_rest(&self) {
        let live = self.world.handle.live();
        until(|| live.channels().is_empty()).await;
    }
}

/// Reads the cases of a file beside this one.
fn cases<T: DeserializeOwned>(name: &str) -> Vec<T> {
    #[derive(Deserialize)]
    struct Cases<T> {
        case: Vec<T>,
    }
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/gateway/tests/hostile");
    let text = std::fs::read_to_string(format!("{folder}/{name}")).unwrap();
    let cases: Cases<T> = toml::from_str(&text).unwrap();
    cases.case
}

/// Fails with all that went otherwise than it should.
fn all_as_expected(otherwise: &[String]) {
    assert!(otherwise.is_empty(), "{}", otherwise.join("\n\n"));
}
