//! Exceptions: who may still use classical key exchange on a `classical-canary` listener, by whose word and until when.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A permission to use classical key exchange. It matches what is known before the handshake, so at least one of
/// `network` and `sni` is there; where both are, both must match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// Its name in records and audit.
    pub id: String,
    /// Who answers for it.
    pub owner: String,
    /// Why it is there.
    pub reason: String,
    /// When it ends; from then on it matches nothing.
    pub ends: Timestamp,
    /// The source network it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<Network>,
    /// The server name it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<String>,
}

/// A network in CIDR notation, such as `10.1.0.0/16`, or a single address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

/// A text that is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidNetwork {
    /// It is not an address with a prefix length.
    #[error("`{text}` is no network: write it like 10.1.0.0/16 or 2001:db8::/32")]
    Malformed {
        /// The text that was given.
        text: String,
    },
    /// Bits beyond the prefix are set, so it is not clear what was meant.
    #[error("`{text}` has bits set beyond its prefix")]
    HostBits {
        /// The text that was given.
        text: String,
    },
}

impl Exception {
    /// Whether it covers a client from this address that asks for this server name at this time.
    pub fn covers(&self, source: IpAddr, sni: Option<&str>, now: Timestamp) -> bool {
        let network = self.network.is_none_or(|network| network.contains(source));
        let name = self
            .sni
            .as_deref()
            .is_none_or(|name| sni.is_some_and(|sni| name.eq_ignore_ascii_case(sni)));
        now < self.ends && self.matches_something() && network && name
    }

    pub(super) const fn matches_something(&self) -> bool {
        self.network.is_some() || self.sni.is_some()
    }

    pub(super) fn is_accounted_for(&self) -> bool {
        [&self.id, &self.owner, &self.reason]
            .into_iter()
            .all(|text| !text.trim().is_empty())
    }
}

impl Network {
    /// Whether an address lies in it. An IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                shifted(network.to_bits().into(), 32, self.prefix)
                    == shifted(address.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                shifted(network.to_bits(), 128, self.prefix)
                    == shifted(address.to_bits(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = InvalidNetwork;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || InvalidNetwork::Malformed {
            text: text.to_owned(),
        };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let (bits, width) = match address {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => (address.to_bits(), 128),
        };
        let prefix = prefix
            .map_or(Ok(width), str::parse)
            .map_err(|_| malformed())?;
        if prefix > width {
            return Err(malformed());
        }
        let network = shifted(bits, width, prefix).checked_shl(u32::from(width - prefix));
        if network.unwrap_or(0) != bits {
            return Err(InvalidNetwork::HostBits {
                text: text.to_owned(),
            });
        }
        Ok(Self { address, prefix })
    }
}

impl TryFrom<String> for Network {
    type Error = InvalidNetwork;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

/// The bits of the network alone. A shift by the whole width, for a prefix of 0, leaves nothing.
fn shifted(bits: u128, width: u8, prefix: u8) -> u128 {
    bits.checked_shr(u32::from(width - prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(network: &str, address: &str, inside: bool) {
        let network: Network = network.parse().unwrap();
        assert_eq!(
            network.contains(address.parse().unwrap()),
            inside,
            "{network} {address}"
        );
    }

    #[test]
    fn a_network_holds_its_addresses_and_no_others() {
        check("10.1.0.0/16", "10.1.255.255", true);
        check("10.1.0.0/16", "10.2.0.0", false);
        check("10.1.0.0/16", "::ffff:10.1.2.3", true);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("::/0", "2001:db8::1", true);
        check("2001:db8::/33", "2001:db8:8000::1", false);
        check("127.0.0.1", "127.0.0.1", true);
        check("127.0.0.1", "127.0.0.2", false);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "10.1",
            "10.1.0.0/33",
            "10.1.0.0/-1",
            "::/129",
            "10.1.0.0/a",
        ] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let error = "10.1.2.3/16".parse::<Network>().unwrap_err();
        assert_eq!(
            error.to_string(),
            "`10.1.2.3/16` has bits set beyond its prefix"
        );
    }

    fn exception(network: Option<&str>, sni: Option<&str>) -> Exception {
        Exception {
            id: "EX-1".to_owned(),
            owner: "ops@example.org".to_owned(),
            reason: "a printer".to_owned(),
            ends: "2026-12-31T00:00:00Z".parse().unwrap(),
            network: network.map(|network| network.parse().unwrap()),
            sni: sni.map(str::to_owned),
        }
    }

    fn covers(exception: &Exception, sni: Option<&str>, now: &str) -> bool {
        exception.covers("10.0.0.7".parse().unwrap(), sni, now.parse().unwrap())
    }

    #[test]
    fn an_exception_ends_when_it_says() {
        let exception = exception(Some("10.0.0.0/8"), None);
        assert!(covers(&exception, None, "2026-12-30T23:59:59Z"));
        assert!(!covers(&exception, None, "2026-12-31T00:00:00Z"));
    }

    #[test]
    fn an_exception_with_network_and_name_needs_both() {
        let now = "2026-11-01T00:00:00Z";
        let both = exception(Some("10.0.0.0/8"), Some("printer.example.org"));
        assert!(covers(&both, Some("Printer.example.org"), now));
        assert!(!covers(&both, Some("other.example.org"), now));
        assert!(!covers(&both, None, now));
        let elsewhere = exception(Some("192.0.2.0/24"), Some("printer.example.org"));
        assert!(!covers(&elsewhere, Some("printer.example.org"), now));
    }

    #[test]
    fn an_exception_for_nothing_in_particular_covers_nothing() {
        assert!(!covers(
            &exception(None, None),
            Some("a"),
            "2026-11-01T00:00:00Z"
        ));
    }

    proptest! {
        #[test]
        fn a_network_reads_back_and_holds_its_own_address(bits: u32, prefix in 0_u8..=32) {
            let bits = u32::try_from(shifted(bits.into(), 32, prefix)).unwrap().checked_shl(u32::from(32 - prefix)).unwrap_or(0);
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(bits));
            let network: Network = format!("{address}/{prefix}").parse().unwrap();
            prop_assert!(network.contains(address));
            prop_assert_eq!(network.to_string().parse::<Network>().unwrap(), network);
        }
    }
}
