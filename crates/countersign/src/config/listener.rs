//! `[[listener]]`: a port of the gateway, its stage and its profile.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use countersign_channel::{Rules, Stage};

use super::HostPort;
use super::error::ConfigError;
use super::key::key;
use super::kind::{ADDRESS, COUNT, FILE, FLAG, HOST_PORT, LABEL, PROFILE, SPAN, STAGE};
use super::reader::Table;

/// One port on which channels are accepted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ListenerConfig {
    /// Names the listener in records, exceptions and metrics.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The stage of the migration and the list of algorithms, which hold together.
    pub(crate) rules: Rules,
    /// The address that join strings carry, when it is not `address`.
    pub(crate) advertised_address: Option<HostPort>,
    /// Certificates for agentless clients, chosen by the names in them; the first is the default.
    pub(crate) classical_certificates: Vec<ClassicalCertificateConfig>,
    /// Whether agentless clients are served under `strict`.
    pub(crate) agentless_in_strict: bool,
    /// How many connections may be in their handshake at once.
    pub(crate) handshakes: usize,
    /// How long a handshake may take.
    pub(crate) handshake_timeout: Duration,
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClassicalCertificateConfig {
    /// The chain, leaf first.
    pub(crate) certificate: PathBuf,
    /// The leaf's private key.
    pub(crate) key: PathBuf,
}

/// Reads every `[[listener]]`; one with all its defaults when there is none.
pub(super) fn read(root: &mut Table<'_>) -> Result<Vec<ListenerConfig>, ConfigError> {
    let acme = root.has("acme");
    let mut tables = root.tables("listener")?;
    if tables.is_empty() {
        tables.push(root.nothing("[[listener]]"));
    }
    let mut listeners: Vec<ListenerConfig> = Vec::new();
    for mut table in tables {
        let listener = read_one(&mut table)?;
        check(&table, &listener, acme)?;
        check_unique(&table, &listener, &listeners)?;
        table.finish()?;
        listeners.push(listener);
    }
    Ok(listeners)
}

fn read_one(table: &mut Table<'_>) -> Result<ListenerConfig, ConfigError> {
    let name = key(
        "name",
        &LABEL,
        "names the listener in records, exceptions and metrics",
    );
    let address = key("address", &ADDRESS, "where channels are accepted");
    let advertised = key(
        "advertised_address",
        &HOST_PORT,
        "the address that join strings carry",
    );
    let agentless = key(
        "agentless_in_strict",
        &FLAG,
        "serve agentless clients under `strict` too",
    );
    let handshakes = key(
        "handshakes",
        &COUNT,
        "how many connections may be in their handshake at once; 4096 more may wait for their ClientHello",
    );
    let timeout = key("handshake_timeout", &SPAN, "how long a handshake may take");
    Ok(ListenerConfig {
        name: table.read(name.or("\"main\"").until_restart())?,
        address: table.read(address.or("\"127.0.0.1:8443\"").until_restart())?,
        rules: read_rules(table)?,
        advertised_address: table.find(advertised.absent("`address`"))?,
        agentless_in_strict: table.read(agentless.or("false"))?,
        handshakes: table.read(handshakes.or("512").until_restart())?,
        handshake_timeout: table.read(timeout.or("\"10s\"").until_restart())?,
        classical_certificates: read_certificates(table)?,
    })
}

fn read_certificates(
    table: &mut Table<'_>,
) -> Result<Vec<ClassicalCertificateConfig>, ConfigError> {
    let certificate = || {
        key(
            "certificate",
            &FILE,
            "a certificate chain for agentless clients, PEM, leaf first",
        )
    };
    let private = || key("key", &FILE, "the leaf's private key, PEM, of mode 0600");
    let tables = table.tables("classical_certificate")?;
    let read = |mut table: Table<'_>| {
        let pair = ClassicalCertificateConfig {
            certificate: table.read_path(certificate())?,
            key: table.read_path(private())?,
        };
        table.finish().map(|()| pair)
    };
    tables.into_iter().map(read).collect()
}

/// The stage and the profile, which some pairs of cannot both hold.
fn read_rules(table: &mut Table<'_>) -> Result<Rules, ConfigError> {
    let stage = key("stage", &STAGE, "how far the migration has come");
    let profile = key("profile", &PROFILE, "the algorithms that are allowed");
    let stage = table.read(stage.or("\"hybrid\""))?;
    let profile = table.read(profile.or("\"hybrid@1\""))?;
    Rules::new(stage, profile).map_err(|contradiction| {
        let remedy = "use stage `hybrid`, or a profile with ML-DSA such as `hybrid@1`";
        let key = if table.has("profile") {
            "profile"
        } else {
            "stage"
        };
        table.contradiction(key, contradiction.to_string(), remedy)
    })
}

/// Refuses settings for agentless clients that could never take effect.
fn check(table: &Table<'_>, listener: &ListenerConfig, acme: bool) -> Result<(), ConfigError> {
    let (stage, profile) = (listener.rules.stage(), listener.rules.profile());
    let mut schemes = profile.agentless_schemes().iter();
    if !listener.classical_certificates.is_empty() && schemes.all(|scheme| scheme.is_post_quantum())
    {
        return Err(table.contradiction(
            "classical_certificate",
            format!("profile `{profile}` has no classical certificates"),
            "remove [[listener.classical_certificate]], or use a profile that has them, such as `hybrid-high@1`",
        ));
    }
    if !listener.agentless_in_strict {
        return Ok(());
    }
    let message = match (stage, listener.classical_certificates.as_slice()) {
        (Stage::Strict, [_, ..]) => return Ok(()),
        (Stage::Strict, []) if acme => return Ok(()),
        (Stage::Strict, []) => "`agentless_in_strict` needs a classical certificate".to_owned(),
        (stage, _) => format!("`agentless_in_strict` means nothing under stage `{stage}`"),
    };
    let remedy = "add [[listener.classical_certificate]] or [acme] to a gateway whose listener's stage is `strict`, or remove the key";
    Err(table.contradiction("agentless_in_strict", message, remedy))
}

fn check_unique(
    table: &Table<'_>,
    listener: &ListenerConfig,
    others: &[ListenerConfig],
) -> Result<(), ConfigError> {
    if others.iter().any(|other| other.name == listener.name) {
        let message = format!("there are two listeners called `{}`", listener.name);
        return Err(table.contradiction("name", message, "give each listener a name of its own"));
    }
    let same =
        |other: &&ListenerConfig| other.address == listener.address && listener.address.port() != 0;
    if let Some(other) = others.iter().find(same) {
        let message = format!(
            "listener `{}` has the address `{}` already",
            other.name, other.address
        );
        return Err(table.contradiction(
            "address",
            message,
            "give each listener an address of its own",
        ));
    }
    Ok(())
}
