//! Services and their upstreams, as people see them.

use super::Show;
use crate::commands::table::Table;
use crate::operator::{Condition, LastHop, Service, Services, Upstream};

impl Show for Services {
    fn result(&self) -> String {
        let columns = ["SERVICE", "UPSTREAM", "LAST HOP", "STREAMS", "NAMES"];
        let mut table = Table::new(&columns);
        for service in &self.services {
            table.row([
                format!("{}:{}", service.name, service.port),
                places(service),
                last_hop(service),
                service.streams.to_string(),
                service.sni.join(", "),
            ]);
        }
        table.or("the gateway's configuration has no [[service]]")
    }
}

/// Where it is, with those places that are not used: `a:80, b:80 (down)`.
fn places(service: &Service) -> String {
    let place = |upstream: &Upstream| match upstream.condition {
        Condition::Up => upstream.address.clone(),
        Condition::Ejected => format!("{} (fails)", upstream.address),
        Condition::Down => format!("{} (down)", upstream.address),
    };
    match service.upstreams.as_slice() {
        [] => service.upstream.clone(),
        upstreams => upstreams.iter().map(place).collect::<Vec<_>>().join(", "),
    }
}

/// What was settled on with it lately; what is configured, as long as nothing was.
fn last_hop(service: &Service) -> String {
    let seen = service
        .upstreams
        .iter()
        .filter_map(|upstream| upstream.last_hop.as_ref());
    let mut seen: Vec<_> = seen.map(ToString::to_string).collect();
    seen.sort_unstable();
    seen.dedup();
    if !seen.is_empty() {
        return seen.join("; ");
    }
    let configured = match service.last_hop {
        LastHop::Tls => "TLS",
        LastHop::Loopback => "plain TCP on this machine",
        LastHop::Plaintext => "plain TCP, unprotected",
    };
    configured.to_owned()
}
