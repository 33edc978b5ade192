//! Where a TPM is, as text.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a TPM is. Parsed from `/dev/tpmrm0`, `swtpm:tcp:HOST:PORT` or `swtpm:unix:PATH`.
///
/// ```
/// use countersign_tpm::Address;
///
/// let address: Address = "swtpm:tcp:127.0.0.1:2321".parse()?;
/// assert_eq!(address.to_string(), "swtpm:tcp:127.0.0.1:2321");
/// # Ok::<(), countersign_tpm::InvalidAddress>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    /// A character device of the kernel. `/dev/tpmrm0` has a resource manager and is the one to use; `/dev/tpm0` is one program's alone.
    Device(PathBuf),
    /// The data socket of `swtpm socket --server type=tcp,…`, as `HOST:PORT`.
    SwtpmTcp(String),
    /// The data socket of `swtpm socket --server type=unixio,path=…`.
    SwtpmUnix(PathBuf),
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidAddress(text.to_owned());
        if let Some(authority) = text.strip_prefix("swtpm:tcp:") {
            let (host, port) = authority.rsplit_once(':').ok_or_else(invalid)?;
            let is_port = port.parse().is_ok_and(|port: u16| port != 0);
            return match !host.is_empty() && is_port {
                true => Ok(Self::SwtpmTcp(authority.to_owned())),
                false => Err(invalid()),
            };
        }
        let (make, path): (fn(PathBuf) -> Self, _) = match text.strip_prefix("swtpm:unix:") {
            Some(path) => (Self::SwtpmUnix, path),
            None => (Self::Device, text),
        };
        match path.starts_with('/') {
            true => Ok(make(path.into())),
            false => Err(invalid()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "{}", path.display()),
            Self::SwtpmTcp(authority) => write!(f, "swtpm:tcp:{authority}"),
            Self::SwtpmUnix(path) => write!(f, "swtpm:unix:{}", path.display()),
        }
    }
}

/// The text names no TPM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no address of a TPM: expected `/dev/tpmrm0`, `swtpm:tcp:HOST:PORT` or `swtpm:unix:PATH`"
)]
pub struct InvalidAddress(String);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<Address>) {
        let parsed: Option<Address> = text.parse().ok();
        assert_eq!(parsed, expected, "{text}");
        if let Some(address) = parsed {
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn a_device_is_its_path() {
        check("/dev/tpmrm0", Some(Address::Device("/dev/tpmrm0".into())));
    }

    #[test]
    fn a_simulator_is_named_with_its_kind_of_socket() {
        check(
            "swtpm:tcp:[::1]:2321",
            Some(Address::SwtpmTcp("[::1]:2321".into())),
        );
        check(
            "swtpm:unix:/run/tpm",
            Some(Address::SwtpmUnix("/run/tpm".into())),
        );
    }

    #[test]
    fn what_leaves_something_open_is_refused() {
        for text in [
            "",
            "tpmrm0",
            "swtpm:tcp:",
            "swtpm:tcp:localhost",
            "swtpm:tcp::2321",
            "swtpm:tcp:h:0",
            "swtpm:tcp:h:70000",
            "swtpm:unix:tpm",
            "swtpm:/run/tpm",
            "device:/dev/tpmrm0",
        ] {
            check(text, None);
        }
    }
}
