//! What a reload takes: everything, or nothing.

use super::error::ConfigError;
use super::{GatewayConfig, ListenerConfig};

impl GatewayConfig {
    /// Whether a running gateway may change from this configuration to `next`.
    ///
    /// # Errors
    ///
    /// A key has changed that is read at the start only.
    pub(crate) fn check_reload(&self, next: &Self) -> Result<(), ConfigError> {
        let unchanged = [
            ("trust_domain", self.trust_domain == next.trust_domain),
            ("name", self.name == next.name),
            ("state_dir", self.state_dir == next.state_dir),
            ("root_key_file", self.root_key_file == next.root_key_file),
            ("keys.root", self.keys.root == next.keys.root),
            ("keys.authority", self.keys.authority == next.keys.authority),
            ("store.file", self.store_file == next.store_file),
            ("operate.socket", self.operate == next.operate),
            ("telemetry.address", self.telemetry == next.telemetry),
            ("audit.file", self.audit.file == next.audit.file),
            ("log.format", self.log.format == next.log.format),
            (
                "limits.channels",
                self.limits.channels == next.limits.channels,
            ),
            (
                "listener.name",
                fixed(self, |l| l.name.clone()) == fixed(next, |l| l.name.clone()),
            ),
            (
                "listener.address",
                fixed(self, |l| l.address) == fixed(next, |l| l.address),
            ),
            (
                "listener.handshakes",
                fixed(self, |l| l.handshakes) == fixed(next, |l| l.handshakes),
            ),
            (
                "listener.handshake_timeout",
                fixed(self, |l| l.handshake_timeout) == fixed(next, |l| l.handshake_timeout),
            ),
        ];
        match unchanged.into_iter().find(|(_, unchanged)| !unchanged) {
            None => Ok(()),
            Some((key, _)) => Err(ConfigError::NeedsRestart { key }),
        }
    }
}

fn fixed<T>(config: &GatewayConfig, of: impl Fn(&ListenerConfig) -> T) -> Vec<T> {
    config.listeners.iter().map(of).collect()
}
