//! The kinds of values that keys take: what each is called, and what it is parsed into.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use countersign_attest::Technology;
use countersign_channel::identity::TrustDomain;
use countersign_channel::server::Network;
use countersign_channel::{Profile, Stage};
use countersign_hsm::Pkcs11Uri;
use http::Uri;
use http::uri::PathAndQuery;
use jiff::{SignedDuration, Timestamp};
use toml::de::DeValue;

use super::identity::IdentityVersion;
use super::keys::RootProtection;
use super::network::{HostPort, ServiceName, is_domain, is_label};
use super::operation::LogFormat;
use super::service::HttpProtocol;

/// A kind of value.
pub(super) struct Kind<T> {
    /// What it is, with an article and an example.
    pub(super) name: &'static str,
    /// Parses it, or says what would be allowed.
    pub(super) parse: fn(&DeValue<'_>) -> Result<T, String>,
}

pub(super) static FLAG: Kind<bool> = Kind {
    name: "`true` or `false`",
    parse: |value| value.as_bool().ok_or_else(|| FLAG.name.to_owned()),
};

pub(super) static TEXT: Kind<String> = Kind {
    name: "a text that is not empty",
    parse: |value| {
        string(value, &TEXT, |text| {
            (!text.trim().is_empty()).then(|| text.to_owned())
        })
    },
};

pub(super) static LABEL: Kind<String> = Kind {
    name: "a name of lower-case letters, digits and hyphens, at most 63",
    parse: |value| {
        string(value, &LABEL, |text| {
            is_label(text).then(|| text.to_owned())
        })
    },
};

pub(super) static TRUST_DOMAIN: Kind<TrustDomain> = Kind {
    name: "a domain name in lower case, such as `example.org`",
    parse: |value| {
        let domain = |text: &str| TrustDomain::parse(text).ok().filter(|_| is_domain(text));
        string(value, &TRUST_DOMAIN, domain)
    },
};

pub(super) static DOMAIN: Kind<String> = Kind {
    name: "a domain name in lower case, such as `example.org`",
    parse: |value| {
        string(value, &DOMAIN, |text| {
            is_domain(text).then(|| text.to_owned())
        })
    },
};

pub(super) static DOMAINS: Kind<Vec<String>> = Kind {
    name: "a list of domain names in lower case, such as `[\"db.example.org\"]`",
    parse: |value| list(value, &DOMAINS, |element| (DOMAIN.parse)(element).ok()),
};

pub(super) static HTTPS_URL: Kind<String> = Kind {
    name: "an https URL, such as `https://acme.example.org/directory`",
    parse: |value| {
        string(value, &HTTPS_URL, |text| {
            let url: Uri = text.parse().ok()?;
            let https = url.scheme_str() == Some("https") && url.host().is_some();
            https.then(|| text.to_owned())
        })
    },
};

static EMAIL: Kind<String> = Kind {
    name: "an e-mail address",
    parse: |value| {
        string(value, &EMAIL, |text| {
            let (name, domain) = text.rsplit_once('@')?;
            let usual = |letter: char| letter.is_ascii_graphic() && !"@,;?:".contains(letter);
            let holds = !name.is_empty() && name.chars().all(usual) && is_domain(domain);
            holds.then(|| text.to_owned())
        })
    },
};

pub(super) static EMAILS: Kind<Vec<String>> = Kind {
    name: "a list of e-mail addresses, such as `[\"ops@example.org\"]`",
    parse: |value| list(value, &EMAILS, |element| (EMAIL.parse)(element).ok()),
};

pub(super) static LABELS: Kind<Vec<String>> = Kind {
    name: "a list of names of lower-case letters, digits and hyphens, such as `[\"partners\"]`",
    parse: |value| list(value, &LABELS, |element| (LABEL.parse)(element).ok()),
};

static PCR: Kind<u8> = Kind {
    name: "a PCR, 0 to 23",
    parse: |value| integer(value, &PCR, |number| *number < 24),
};

/// TPM 2.0 has 24 PCRs on a PC (TCG PC Client Platform TPM Profile, section 4.6); those from 16 on can be reset by software.
pub(super) static PCRS: Kind<Vec<u8>> = Kind {
    name: "a list of PCRs from 0 to 23 in rising order, such as `[0, 2, 4, 7]`",
    parse: |value| {
        let pcrs = list(value, &PCRS, |element| (PCR.parse)(element).ok())?;
        let rising = pcrs.is_sorted_by(|one, next| one < next);
        let holds = rising && !pcrs.is_empty();
        holds.then_some(pcrs).ok_or_else(|| PCRS.name.to_owned())
    },
};

/// As [`PCRS`], or none.
pub(super) static PCRS_OR_NONE: Kind<Vec<u8>> = Kind {
    name: "a list of PCRs from 0 to 23 in rising order, such as `[7]`, or `[]`",
    parse: |value| match value.as_array() {
        Some(array) if array.is_empty() => Ok(Vec::new()),
        _ => (PCRS.parse)(value).map_err(|_| PCRS_OR_NONE.name.to_owned()),
    },
};

pub(super) static TPM: Kind<countersign_tpm::Address> = Kind {
    name: "a TPM's device, such as `/dev/tpmrm0`, or a simulator's socket",
    parse: |value| string(value, &TPM, parsed),
};

/// The technologies whose evidence a root certificate vouches for, but for the TPM's, which have many makers.
pub(super) static GUEST_TECHNOLOGY: Kind<Technology> = Kind {
    name: "`sev-snp`, `tdx`, `sgx` or `nitro`",
    parse: |value| {
        string(value, &GUEST_TECHNOLOGY, |text| {
            let all = [
                Technology::SevSnp,
                Technology::Tdx,
                Technology::Sgx,
                Technology::Nitro,
            ];
            all.into_iter().find(|technology| technology.name() == text)
        })
    },
};

pub(super) static SHA256: Kind<[u8; 32]> = Kind {
    name: "a SHA-256 in 64 hexadecimal digits, with colons between the bytes or without",
    parse: |value| {
        string(value, &SHA256, |text| {
            let digits = text.replace(':', "");
            let (pairs, []) = digits.as_bytes().as_chunks::<2>() else {
                return None;
            };
            let byte = |pair: &[u8; 2]| {
                let digits = pair.iter().all(u8::is_ascii_hexdigit);
                let text = std::str::from_utf8(pair).ok().filter(|_| digits)?;
                u8::from_str_radix(text, 16).ok()
            };
            let bytes: Option<Vec<_>> = pairs.iter().map(byte).collect();
            bytes?.try_into().ok()
        })
    },
};

/// A program and its arguments: no shell reads them.
pub(super) static COMMAND: Kind<Vec<String>> = Kind {
    name: "a list of a program and its arguments, such as `[\"/usr/local/bin/report\", \"--raw\"]`",
    parse: |value| {
        let words = list(value, &COMMAND, |word| word.as_str().map(str::to_owned))?;
        let named = words.first().is_some_and(|program| !program.is_empty());
        named
            .then_some(words)
            .ok_or_else(|| COMMAND.name.to_owned())
    },
};

pub(super) static FILE: Kind<PathBuf> = Kind {
    name: "a path",
    parse: |value| {
        string(value, &FILE, |text| {
            (!text.is_empty()).then(|| PathBuf::from(text))
        })
    },
};

pub(super) static ADDRESS: Kind<SocketAddr> = Kind {
    name: "an IP address and a port, such as `127.0.0.1:8443`",
    parse: |value| string(value, &ADDRESS, |text| text.parse().ok()),
};

/// An address, or `off`.
pub(super) static ADDRESS_OR_OFF: Kind<Option<SocketAddr>> = Kind {
    name: "an IP address and a port, such as `127.0.0.1:9464`, or `off`",
    parse: |value| {
        string(value, &ADDRESS_OR_OFF, |text| match text {
            "off" => Some(None),
            address => address.parse().ok().map(Some),
        })
    },
};

pub(super) static HOST_PORT: Kind<HostPort> = Kind {
    name: "a host and a port, such as `gate.example.org:8443`",
    parse: |value| string(value, &HOST_PORT, parsed),
};

/// One address, or several: what was one place may become many without another key.
pub(super) static HOST_PORTS: Kind<Vec<HostPort>> = Kind {
    name: "a host and a port, such as `app.internal:8080`, or a list of them",
    parse: |value| match value.as_array() {
        None => string(value, &HOST_PORTS, |text| Some(vec![parsed(text)?])),
        Some(array) if array.is_empty() => Err(HOST_PORTS.name.to_owned()),
        Some(_) => list(value, &HOST_PORTS, |element| {
            (HOST_PORT.parse)(element).ok()
        }),
    },
};

pub(super) static NETWORK: Kind<Network> = Kind {
    name: "a network without bits beyond its prefix, such as `10.1.0.0/16` or `2001:db8::/32`",
    parse: |value| string(value, &NETWORK, parsed),
};

pub(super) static SERVICE: Kind<ServiceName> = Kind {
    name: "a service's name, such as `postgres` or `postgres:5432`",
    parse: |value| string(value, &SERVICE, parsed),
};

pub(super) static BIND: Kind<BindTo> = Kind {
    name: "an IP address and a port, such as `127.0.0.1:5432`, or `unix:` and a path",
    parse: |value| {
        string(value, &BIND, |text| match text.strip_prefix("unix:") {
            Some("") => None,
            Some(path) => Some(BindTo::Unix(PathBuf::from(path))),
            None => text.parse().ok().map(BindTo::Tcp),
        })
    },
};

/// The value of a `bind` key.
pub(super) enum BindTo {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// A path.
    Unix(PathBuf),
}

pub(super) static SPAN: Kind<Duration> = Kind {
    name: "a span of time, such as `10s`, `15m` or `1h 30m`",
    parse: |value| {
        string(value, &SPAN, |text| {
            let span = text.parse::<SignedDuration>().ok()?;
            Duration::try_from(span).ok().filter(|span| !span.is_zero())
        })
    },
};

pub(super) static MOMENT: Kind<Timestamp> = Kind {
    name: "a date and time with its offset (RFC 3339), such as `2027-01-01T00:00:00Z`",
    parse: |value| {
        let text = match value {
            DeValue::Datetime(moment) => moment.to_string(),
            value => value.as_str().unwrap_or_default().to_owned(),
        };
        text.parse().map_err(|_| MOMENT.name.to_owned())
    },
};

pub(super) static PORT: Kind<u16> = Kind {
    name: "a port, 1 to 65535",
    parse: |value| integer(value, &PORT, |number| *number != 0),
};

pub(super) static COUNT: Kind<usize> = Kind {
    name: "a number from 1 to 1000000",
    parse: |value| integer(value, &COUNT, |number| (1..=1_000_000).contains(number)),
};

pub(super) static STREAMS: Kind<u32> = Kind {
    name: "a number from 1 to 65535",
    parse: |value| integer(value, &STREAMS, |number| (1..=65_535).contains(number)),
};

pub(super) static HEADER_BYTES: Kind<u32> = Kind {
    name: "a number of bytes from 4096 to 1048576",
    parse: |value| {
        integer(value, &HEADER_BYTES, |number| {
            (4096..=1_048_576).contains(number)
        })
    },
};

pub(super) static BYTES: Kind<u64> = Kind {
    name: "a number of bytes, at least 1",
    parse: |value| integer(value, &BYTES, |number| *number != 0),
};

pub(super) static FEW: Kind<u32> = Kind {
    name: "a number from 0 to 10",
    parse: |value| integer(value, &FEW, |number| *number <= 10),
};

/// RFC 9110, section 4.1: what stands after the authority.
pub(super) static URL_PATH: Kind<PathAndQuery> = Kind {
    name: "a path that begins with `/`, such as `/healthz`",
    parse: |value| {
        string(value, &URL_PATH, |text| {
            text.starts_with('/').then(|| parsed(text)).flatten()
        })
    },
};

pub(super) static HTTP_PROTOCOL: Kind<HttpProtocol> = Kind {
    name: "`http/1.1`, `h2` or `auto`",
    parse: |value| {
        string(value, &HTTP_PROTOCOL, |text| match text {
            "http/1.1" => Some(HttpProtocol::Http1),
            "h2" => Some(HttpProtocol::Http2),
            "auto" => Some(HttpProtocol::Auto),
            _ => None,
        })
    },
};

/// Octal is demanded, since `600` in decimal is another mode than the one that is meant.
pub(super) static MODE: Kind<u32> = Kind {
    name: "a file mode in octal, such as `0o600`",
    parse: |value| {
        let octal = value.as_integer().filter(|number| number.radix() == 8);
        let mode = octal.and_then(|number| u32::from_str_radix(number.as_str(), 8).ok());
        mode.filter(|mode| *mode <= 0o777)
            .ok_or_else(|| MODE.name.to_owned())
    },
};

pub(super) static UIDS: Kind<Vec<u32>> = Kind {
    name: "a list of user ids, such as `[1000, 1001]`",
    parse: |value| {
        list(value, &UIDS, |element| {
            integer(element, &UID, |_| true).ok()
        })
    },
};

static UID: Kind<u32> = Kind {
    name: "a user id",
    parse: |value| integer(value, &UID, |_| true),
};

pub(super) static LOG_FORMAT: Kind<LogFormat> = Kind {
    name: "`human` or `json`",
    parse: |value| {
        string(value, &LOG_FORMAT, |text| match text {
            "human" => Some(LogFormat::Human),
            "json" => Some(LogFormat::Json),
            _ => None,
        })
    },
};

pub(super) static PKCS11: Kind<Pkcs11Uri> = Kind {
    name: "a `pkcs11:` URI (RFC 7512), such as `pkcs11:token=gateway;object=identity?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/countersign/pin`",
    parse: |value| {
        let text = value.as_str().ok_or_else(|| PKCS11.name.to_owned())?;
        let read = text.parse::<Pkcs11Uri>();
        read.map_err(|error| format!("a `pkcs11:` URI (RFC 7512; {error})"))
    },
};

/// One key, or several: the next one beside the one before.
pub(super) static PKCS11S: Kind<Vec<Pkcs11Uri>> = Kind {
    name: "a `pkcs11:` URI (RFC 7512), or a list of them",
    parse: |value| match value.as_array() {
        None => (PKCS11.parse)(value).map(|uri| vec![uri]),
        Some(array) if array.is_empty() => Err(PKCS11S.name.to_owned()),
        Some(array) => {
            let uris = array
                .iter()
                .map(|element| (PKCS11.parse)(element.get_ref()));
            uris.collect()
        }
    },
};

pub(super) static ROOT_PROTECTION: Kind<RootProtection> = Kind {
    name: "a `pkcs11:` URI (RFC 7512), `password:` and the absolute path of a file with a password, or `tpm:` and a TPM's device",
    parse: |value| {
        let text = value.as_str().unwrap_or_default();
        if let Some(device) = text.strip_prefix("tpm:") {
            let device = device.parse().map(RootProtection::Tpm);
            return device.map_err(|_| ROOT_PROTECTION.name.to_owned());
        }
        match text.strip_prefix("password:").map(PathBuf::from) {
            Some(file) if file.is_absolute() => Ok(RootProtection::Password(file)),
            None if text.starts_with("pkcs11:") => {
                (PKCS11.parse)(value).map(|uri| RootProtection::Token(Box::new(uri)))
            }
            _ => Err(ROOT_PROTECTION.name.to_owned()),
        }
    },
};

pub(super) static IDENTITY_VERSION: Kind<IdentityVersion> = Kind {
    name: "`v4` or `v5`",
    parse: |value| {
        string(value, &IDENTITY_VERSION, |text| match text {
            "v4" => Some(IdentityVersion::V4),
            "v5" => Some(IdentityVersion::V5),
            _ => None,
        })
    },
};

pub(super) static LOG_FILTER: Kind<String> = Kind {
    name: "a level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as `info,countersign=debug`",
    parse: |value| {
        string(value, &LOG_FILTER, |text| {
            let filter = tracing_subscriber::EnvFilter::try_new(text);
            filter
                .ok()
                .filter(|_| !text.is_empty())
                .map(|_| text.to_owned())
        })
    },
};

pub(super) static STAGE: Kind<Stage> = Kind {
    name: "`strict`, `hybrid` or `classical-canary`",
    parse: |value| string(value, &STAGE, parsed),
};

pub(super) static PROFILE: Kind<Profile> = Kind {
    name: "`cnsa2@1`, `hybrid-high@1`, `hybrid@1` or `fips-hybrid@1`",
    parse: |value| string(value, &PROFILE, parsed),
};

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

fn string<T>(
    value: &DeValue<'_>,
    kind: &Kind<T>,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, String> {
    value
        .as_str()
        .and_then(parse)
        .ok_or_else(|| kind.name.to_owned())
}

fn integer<T: FromStr>(
    value: &DeValue<'_>,
    kind: &Kind<T>,
    allowed: impl FnOnce(&T) -> bool,
) -> Result<T, String> {
    let decimal = value.as_integer().filter(|number| number.radix() == 10);
    let number = decimal.and_then(|number| number.as_str().parse().ok());
    number.filter(allowed).ok_or_else(|| kind.name.to_owned())
}

fn list<T>(
    value: &DeValue<'_>,
    kind: &Kind<Vec<T>>,
    element: impl Fn(&DeValue<'_>) -> Option<T>,
) -> Result<Vec<T>, String> {
    let elements = value
        .as_array()
        .and_then(|array| array.iter().map(|e| element(e.get_ref())).collect());
    elements.ok_or_else(|| kind.name.to_owned())
}
