//! What a configuration weakens, for the log at the start and at each reload.

use std::net::SocketAddr;

use countersign_channel::Stage;

use super::{AgentConfig, Bind, GatewayConfig};

impl GatewayConfig {
    /// Each weakening, in words.
    pub(crate) fn weakenings(&self) -> Vec<String> {
        let mut weakenings = Vec::new();
        for listener in self
            .listeners
            .iter()
            .filter(|l| l.rules.stage() == Stage::ClassicalCanary)
        {
            weakenings.push(format!(
                "listener `{}` heeds exceptions for classical key exchange",
                listener.name
            ));
        }
        for listener in self.listeners.iter().filter(|l| l.agentless_in_strict) {
            weakenings.push(format!(
                "listener `{}` serves agentless clients though it is strict",
                listener.name
            ));
        }
        for service in self.services.iter().filter(|service| service.plaintext) {
            let name = &service.name;
            let plain = service.off_loopback().map(|upstream| {
                format!("service `{name}` is reached at `{upstream}` over plain TCP")
            });
            weakenings.extend(plain);
        }
        if self.attestation.dangerous_accept_unmeasured {
            weakenings.push("machines are let in of which nothing is expected".to_owned());
        }
        for name in &self.attestation.software_in_strict {
            weakenings.push(format!(
                "strict listeners let agent `{name}` in though no hardware vouches for it"
            ));
        }
        if self.audit.dangerous_allow_unaudited {
            weakenings.push("streams open although the audit file cannot be written".to_owned());
        }
        weakenings.extend(open_to_others("telemetry", self.telemetry.address));
        weakenings
    }
}

impl AgentConfig {
    /// Each weakening, in words.
    pub(crate) fn weakenings(&self) -> Vec<String> {
        let listeners = self
            .listeners
            .iter()
            .filter_map(|listener| match listener.bind {
                Bind::Tcp(address) => {
                    open_to_others(&format!("service `{}`", listener.service), Some(address))
                }
                Bind::Unix { .. } => None,
            });
        let others = [
            ("the HTTP proxy", self.proxy.http),
            ("the SOCKS proxy", self.proxy.socks),
            ("telemetry", self.telemetry.address),
        ];
        let others = others
            .into_iter()
            .filter_map(|(what, address)| open_to_others(what, address));
        listeners.chain(others).collect()
    }
}

fn open_to_others(what: &str, address: Option<SocketAddr>) -> Option<String> {
    let address = address.filter(|address| !address.ip().is_loopback())?;
    Some(format!("{what} is open to other machines at `{address}`"))
}
