//! `[[service]]`: what the gateway stands in front of.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::key::{Key, key};
use super::kind::{DOMAIN, DOMAINS, FILE, FLAG, HOST_PORTS, LABEL, LABELS, PORT, SPAN};
use super::reader::Table;
use super::{ClassicalCertificateConfig, ClientAuthorityConfig, HostPort};

mod http;

pub(crate) use http::{HealthConfig, HttpProtocol, HttpServiceConfig};

/// One service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceConfig {
    /// The name in `CONNECT name:port`, a DNS label.
    pub(crate) name: String,
    /// The port in `CONNECT name:port`.
    pub(crate) port: u16,
    /// Where the service is; never empty. Each place gives the same.
    pub(crate) upstreams: Vec<HostPort>,
    /// Whether the last hop may be plain TCP off loopback.
    pub(crate) plaintext: bool,
    /// TLS on the last hop; plain TCP when absent.
    pub(crate) tls: Option<ServiceTlsConfig>,
    /// How it is spoken to when it is an HTTP service; its bytes are carried as they are when absent.
    pub(crate) http: Option<HttpServiceConfig>,
    /// Whether PROXY protocol v2 is sent before the first byte.
    pub(crate) proxy_protocol: bool,
    /// Names by which agentless clients reach the service.
    pub(crate) sni: Vec<String>,
    /// The authorities whose certificates agentless clients may show under these names; none is asked for when empty.
    pub(crate) client_certificates: Vec<String>,
    /// Whether an agentless client has to show one.
    pub(crate) require_client_certificate: bool,
    /// How long connecting upstream may take, its TLS included.
    pub(crate) connect_timeout: Duration,
    /// How long a stream may carry nothing.
    pub(crate) idle_timeout: Duration,
    /// How old a stream may grow; without end when absent.
    pub(crate) max_stream_age: Option<Duration>,
}

/// TLS on the way to a service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceTlsConfig {
    /// The authorities that may vouch for the service, a PEM file.
    pub(crate) ca: PathBuf,
    /// The name its certificate must have, when it is not the upstream's host.
    pub(crate) name: Option<String>,
    /// The gateway's own certificate for it, when it asks for one.
    pub(crate) identity: Option<ClassicalCertificateConfig>,
}

/// Reads every `[[service]]`.
pub(super) fn read(
    root: &mut Table<'_>,
    gateway_sni: &str,
    authorities: &[ClientAuthorityConfig],
) -> Result<Vec<ServiceConfig>, ConfigError> {
    let mut services: Vec<ServiceConfig> = Vec::new();
    for mut table in root.tables("service")? {
        let service = read_one(&mut table)?;
        check_last_hop(&table, &service)?;
        check_http(&table, &service)?;
        check_names(&table, &service, &services, gateway_sni)?;
        check_client_certificates(&table, &service, authorities)?;
        table.finish()?;
        services.push(service);
    }
    Ok(services)
}

fn read_one(table: &mut Table<'_>) -> Result<ServiceConfig, ConfigError> {
    let name = key(
        "name",
        &LABEL,
        "the name in `CONNECT name:port`, in grants and records",
    );
    let port = key("port", &PORT, "the port in `CONNECT name:port`");
    let upstream = key(
        "upstream",
        &HOST_PORTS,
        "where the service is; of several places the one with the least to do is taken",
    );
    let plaintext = key(
        "plaintext",
        &FLAG,
        "speak plain TCP to an upstream off loopback",
    );
    let proxy = key(
        "proxy_protocol",
        &FLAG,
        "tell the upstream who calls, by PROXY protocol v2",
    );
    let connect = key(
        "connect_timeout",
        &SPAN,
        "how long connecting upstream may take, its TLS included",
    );
    let idle = key(
        "idle_timeout",
        &SPAN,
        "how long a stream may carry nothing before it is cut",
    );
    let age = key(
        "max_stream_age",
        &SPAN,
        "how old a stream may grow before it is cut",
    );
    let (name, port) = (table.read(name)?, table.read(port)?);
    let upstreams = read_upstreams(table, upstream)?;
    let plaintext = table.read(plaintext.or("false"))?;
    let proxy_protocol = table.read(proxy.or("false"))?;
    let (sni, client_certificates, require_client_certificate) = read_agentless(table)?;
    Ok(ServiceConfig {
        name,
        port,
        upstreams,
        plaintext,
        proxy_protocol,
        sni,
        client_certificates,
        require_client_certificate,
        connect_timeout: table.read(connect.or("\"10s\""))?,
        idle_timeout: table.read(idle.or("\"1h\""))?,
        max_stream_age: table.find(age.absent("without end"))?,
        tls: table.find_table("tls")?.map(read_tls).transpose()?,
        http: table.find_table("http")?.map(http::read).transpose()?,
    })
}

/// How agentless clients reach it: by which names, with certificates of which authorities, and whether they must.
fn read_agentless(table: &mut Table<'_>) -> Result<(Vec<String>, Vec<String>, bool), ConfigError> {
    let sni = key(
        "sni",
        &DOMAINS,
        "names by which agentless clients reach the service",
    );
    let clients = key(
        "client_certificates",
        &LABELS,
        "the `[[client_authority]]` names whose certificates agentless clients may show; without one none is asked for",
    );
    let required = key(
        "require_client_certificate",
        &FLAG,
        "let in no agentless client without a certificate of these authorities",
    );
    Ok((
        table.read(sni.or("[]"))?,
        table.read(clients.or("[]"))?,
        table.read(required.or("false"))?,
    ))
}

fn read_upstreams(
    table: &mut Table<'_>,
    upstream: Key<Vec<HostPort>>,
) -> Result<Vec<HostPort>, ConfigError> {
    let upstreams = table.read(upstream)?;
    let mut seen = HashSet::new();
    match upstreams.iter().find(|upstream| !seen.insert(*upstream)) {
        None => Ok(upstreams),
        Some(twice) => Err(table.contradiction(
            "upstream",
            format!("the upstream `{twice}` is there twice"),
            "name each upstream once",
        )),
    }
}

fn read_tls(mut table: Table<'_>) -> Result<ServiceTlsConfig, ConfigError> {
    let ca = key(
        "ca",
        &FILE,
        "the authorities that may vouch for the service, PEM",
    );
    let name = key(
        "name",
        &DOMAIN,
        "the name that the service's certificate must have",
    );
    let certificate = key(
        "certificate",
        &FILE,
        "the gateway's own certificate for the service, PEM",
    );
    let private = key(
        "key",
        &FILE,
        "that certificate's private key, PEM, of mode 0600",
    );
    let tls = ServiceTlsConfig {
        ca: table.read_path(ca)?,
        name: table.find(name.absent("the upstream's host"))?,
        identity: match (
            table.find_path(certificate.absent("none is shown"))?,
            table.find_path(private.absent("none"))?,
        ) {
            (Some(certificate), Some(key)) => Some(ClassicalCertificateConfig { certificate, key }),
            (None, None) => None,
            (Some(_), None) => return Err(half_an_identity(&table, "certificate", "key")),
            (None, Some(_)) => return Err(half_an_identity(&table, "key", "certificate")),
        },
    };
    table.finish().map(|()| tls)
}

fn half_an_identity(table: &Table<'_>, present: &str, absent: &str) -> ConfigError {
    let message = format!("`{present}` is there without `{absent}`");
    table.contradiction(
        present,
        message,
        "set both `certificate` and `key`, or neither",
    )
}

/// Off loopback the last hop is TLS, or somebody has said that it is not.
fn check_last_hop(table: &Table<'_>, service: &ServiceConfig) -> Result<(), ConfigError> {
    let name = &service.name;
    match (&service.tls, service.plaintext) {
        (Some(_), true) => Err(table.contradiction(
            "plaintext",
            format!("service `{name}` has both `plaintext` and [service.tls]"),
            "remove one of them",
        )),
        (None, false) => match service.off_loopback().next() {
            None => Ok(()),
            Some(upstream) => Err(table.contradiction(
                "upstream",
                format!("service `{name}` would be reached at `{upstream}` over plain TCP"),
                "add [service.tls] with `ca`, or say `plaintext = true` to leave that hop unprotected",
            )),
        },
        _ => Ok(()),
    }
}

/// What an HTTP service cannot have with the keys beside its table.
fn check_http(table: &Table<'_>, service: &ServiceConfig) -> Result<(), ConfigError> {
    let Some(http) = &service.http else {
        return Ok(());
    };
    let name = &service.name;
    if service.proxy_protocol {
        // One connection carries the requests of many clients, and PROXY protocol names one for all of them.
        return Err(table.contradiction(
            "proxy_protocol",
            format!("service `{name}` has both `proxy_protocol` and [service.http]"),
            "remove `proxy_protocol`: an HTTP service is told who calls with each request",
        ));
    }
    if http.protocol == HttpProtocol::Auto && service.tls.is_none() {
        return Err(table.contradiction(
            "http",
            format!("service `{name}` has `http.protocol = \"auto\"`, which only TLS can settle"),
            "say `http/1.1` or `h2`, or add [service.tls]",
        ));
    }
    Ok(())
}

impl ServiceConfig {
    /// The places that are not certainly on this machine.
    pub(crate) fn off_loopback(&self) -> impl Iterator<Item = &HostPort> {
        self.upstreams
            .iter()
            .filter(|upstream| !upstream.is_loopback())
    }
}

fn check_names(
    table: &Table<'_>,
    service: &ServiceConfig,
    others: &[ServiceConfig],
    gateway_sni: &str,
) -> Result<(), ConfigError> {
    if others.iter().any(|other| other.name == service.name) {
        let message = format!("there are two services called `{}`", service.name);
        return Err(table.contradiction("name", message, "give each service a name of its own"));
    }
    for sni in &service.sni {
        let owner = match others.iter().find(|other| other.sni.contains(sni)) {
            Some(other) => format!("service `{}`", other.name),
            None if sni == gateway_sni => "the gateway itself".to_owned(),
            None => continue,
        };
        let message = format!("the name `{sni}` leads to {owner} already");
        return Err(table.contradiction("sni", message, "give each service names of its own"));
    }
    Ok(())
}

/// Refuses what would ask nobody, or ask for what there is not.
fn check_client_certificates(
    table: &Table<'_>,
    service: &ServiceConfig,
    authorities: &[ClientAuthorityConfig],
) -> Result<(), ConfigError> {
    let (name, asked) = (&service.name, &service.client_certificates);
    let known = |asked: &&String| authorities.iter().any(|one| one.name == **asked);
    if let Some(unknown) = asked.iter().find(|asked| !known(asked)) {
        return Err(table.contradiction(
            "client_certificates",
            format!("service `{name}` names a client authority `{unknown}` that there is not"),
            "add a [[client_authority]] of that name",
        ));
    }
    if service.require_client_certificate && asked.is_empty() {
        return Err(table.contradiction(
            "require_client_certificate",
            format!("service `{name}` requires a client certificate and names no authority"),
            "name the authorities in `client_certificates`",
        ));
    }
    if !asked.is_empty() && service.sni.is_empty() {
        return Err(table.contradiction(
            "client_certificates",
            format!("service `{name}` asks for client certificates and has no name to ask under"),
            "add the names by which agentless clients reach it as `sni`",
        ));
    }
    Ok(())
}
