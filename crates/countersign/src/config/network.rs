//! Names and addresses as configuration, command line and join strings spell them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// `host:port`; a host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct HostPort {
    /// The host, without brackets.
    pub(crate) host: String,
    /// The port, never 0.
    pub(crate) port: u16,
}

impl HostPort {
    /// Whether the host is certainly this machine: `localhost` or a loopback address.
    pub(crate) fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    }
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || "a host and a port, such as `gate.example.org:8443`".to_owned();
        let (host, port) = text.rsplit_once(':').ok_or_else(allowed)?;
        let port = port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(allowed)?;
        let host = match host.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or_else(allowed)?;
                inner.parse::<std::net::Ipv6Addr>().map_err(|_| allowed())?;
                inner
            }
            None if is_host_name(host) => host,
            None => return Err(allowed()),
        };
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// A service as an agent's listener names it: `name`, or `name:port` when the name alone does not say which.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServiceName {
    /// The service's name, a DNS label.
    pub(crate) name: String,
    /// Its port; the one the gateway declares when absent.
    pub(crate) port: Option<u16>,
}

impl FromStr for ServiceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = || "a service's name, such as `postgres` or `postgres:5432`".to_owned();
        let (name, port) = match text.split_once(':') {
            None => (text, None),
            Some((name, port)) => {
                let port = port
                    .parse()
                    .ok()
                    .filter(|port| *port != 0)
                    .ok_or_else(allowed)?;
                (name, Some(port))
            }
        };
        match is_label(name) {
            true => Ok(Self {
                name: name.to_owned(),
                port,
            }),
            false => Err(allowed()),
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

/// Whether the text is a DNS label in lower case, RFC 1123 section 2.1: letters, digits and hyphens within, at most 63.
pub(crate) fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// Whether the text is a DNS name in lower case, RFC 1123 section 2.1: labels with dots between, at most 253 bytes.
pub(crate) fn is_domain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

/// As [`is_domain`], in either case and with the underscores that container networks use.
fn is_host_name(text: &str) -> bool {
    is_domain(&text.to_ascii_lowercase().replace('_', "a"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_port_reads_back_as_it_was_written() {
        for text in [
            "localhost:1",
            "a_b.c:65535",
            "192.0.2.1:80",
            "[2001:db8::1]:443",
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in [
            "", "a", "a:0", "a:65536", ":80", "a b:80", "[::1:80", "::1:80", "a/b:80",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (text, expected) in [
            ("localhost:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("localhost.example.org:1", false),
            ("192.0.2.1:1", false),
        ] {
            assert_eq!(
                text.parse::<HostPort>().unwrap().is_loopback(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn a_service_is_a_label_with_or_without_a_port() {
        for text in ["postgres", "postgres:5432", "a-1"] {
            assert_eq!(text.parse::<ServiceName>().unwrap().to_string(), text);
        }
        for text in ["", "-a", "a-", "A", "a.b", "a:", "a:0", "a:b", "a:1:2"] {
            assert!(text.parse::<ServiceName>().is_err(), "{text}");
        }
    }
}
