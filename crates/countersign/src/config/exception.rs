//! `[[exception]]` and `[[grant]]`: who may do what, by name.

use countersign_channel::Stage;
use countersign_channel::identity::{SpiffeId, TrustDomain};
use countersign_channel::server::{Exception, Network};
use countersign_policy::Grant;
use jiff::Timestamp;

use super::error::ConfigError;
use super::key::key;
use super::kind::{DOMAIN, LABEL, MOMENT, NETWORK, TEXT};
use super::reader::Table;
use super::{ListenerConfig, ServiceConfig};

/// Someone who may still use classical key exchange, until a date.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExceptionConfig {
    /// Names the exception in records and metrics.
    pub(crate) id: String,
    /// The listener it holds for; every `classical-canary` one when absent.
    pub(crate) listener: Option<String>,
    /// The network the client comes from. This or `sni` is there.
    pub(crate) source: Option<Network>,
    /// The name the client asks for.
    pub(crate) sni: Option<String>,
    /// Who answers for it.
    pub(crate) owner: String,
    /// Why it is needed.
    pub(crate) reason: String,
    /// When it ends.
    pub(crate) ends: Timestamp,
}

/// A principal that may reach a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct GrantConfig {
    /// As a grant names it, never an agent's bare name.
    pub(crate) principal: String,
    /// The service's name.
    pub(crate) service: String,
}

impl ExceptionConfig {
    /// The exception as acceptors know it.
    pub(crate) fn exception(&self) -> Exception {
        Exception {
            id: self.id.clone(),
            owner: self.owner.clone(),
            reason: self.reason.clone(),
            ends: self.ends,
            network: self.source,
            sni: self.sni.clone(),
        }
    }
}

/// Reads every `[[exception]]`.
pub(super) fn read(
    root: &mut Table<'_>,
    listeners: &[ListenerConfig],
) -> Result<Vec<ExceptionConfig>, ConfigError> {
    let mut exceptions: Vec<ExceptionConfig> = Vec::new();
    for mut table in root.tables("exception")? {
        let exception = read_one(&mut table)?;
        check(&table, &exception, listeners)?;
        if exceptions.iter().any(|other| other.id == exception.id) {
            let message = format!("there are two exceptions with the id `{}`", exception.id);
            return Err(table.contradiction("id", message, "give each exception an id of its own"));
        }
        table.finish()?;
        exceptions.push(exception);
    }
    Ok(exceptions)
}

fn read_one(table: &mut Table<'_>) -> Result<ExceptionConfig, ConfigError> {
    let id = key("id", &LABEL, "names the exception in records and metrics");
    let listener = key("listener", &LABEL, "the listener it holds for");
    let source = key("source", &NETWORK, "the network the client comes from");
    let sni = key("sni", &DOMAIN, "the name the client asks for");
    let owner = key("owner", &TEXT, "who answers for it");
    let reason = key("reason", &TEXT, "why it is needed");
    let ends = key("ends", &MOMENT, "when it ends by itself");
    Ok(ExceptionConfig {
        id: table.read(id)?,
        listener: table.find(listener.absent("every `classical-canary` listener"))?,
        source: table.find(source.absent("any; `sni` has to be there"))?,
        sni: table.find(sni.absent("any; `source` has to be there"))?,
        owner: table.read(owner)?,
        reason: table.read(reason)?,
        ends: table.read(ends)?,
    })
}

fn check(
    table: &Table<'_>,
    exception: &ExceptionConfig,
    listeners: &[ListenerConfig],
) -> Result<(), ConfigError> {
    let id = &exception.id;
    if exception.source.is_none() && exception.sni.is_none() {
        let message = format!("exception `{id}` would let every client in");
        return Err(table.contradiction(
            "id",
            message,
            "narrow it by `source`, by `sni`, or by both",
        ));
    }
    let named = |listener: &&ListenerConfig| {
        exception
            .listener
            .as_ref()
            .is_none_or(|name| *name == listener.name)
    };
    let mut named = listeners.iter().filter(named).peekable();
    if let (None, Some(name)) = (named.peek(), &exception.listener) {
        let message = format!("exception `{id}` is for a listener `{name}` that there is not");
        return Err(table.contradiction(
            "listener",
            message,
            &names("listeners", listeners, |l| &l.name),
        ));
    }
    if named.any(|listener| listener.rules.stage() == Stage::ClassicalCanary) {
        return Ok(());
    }
    let message =
        format!("exception `{id}` has no effect: only stage `classical-canary` heeds exceptions");
    Err(table.contradiction(
        "listener",
        message,
        "remove it, or set its listener's stage to `classical-canary`",
    ))
}

/// Reads every `[[grant]]`.
pub(super) fn read_grants(
    root: &mut Table<'_>,
    trust_domain: &TrustDomain,
    services: &[ServiceConfig],
) -> Result<Vec<GrantConfig>, ConfigError> {
    let mut grants: Vec<GrantConfig> = Vec::new();
    for mut table in root.tables("grant")? {
        let principal = key(
            "principal",
            &TEXT,
            "an agent's name, a SPIFFE ID, `cert:AUTHORITY/NAME`, `bearer:NAME`, one of these ending in `/*`, or `anonymous`",
        );
        let service = key("service", &LABEL, "the service it may reach");
        let written = table.read(principal)?;
        let service = table.read(service)?;
        table.finish()?;
        let Some(principal) = principal_named(&written, trust_domain) else {
            let message = format!("`{written}` is no principal of `{trust_domain}`");
            let remedy = format!(
                "name an agent, `spiffe://{trust_domain}/agent/NAME`, `cert:AUTHORITY/NAME`, `bearer:NAME`, or `anonymous`"
            );
            return Err(table.contradiction("principal", message, &remedy));
        };
        if !services.iter().any(|known| known.name == service) {
            let message = format!("the grant is for a service `{service}` that there is not");
            return Err(table.contradiction(
                "service",
                message,
                &names("services", services, |s| &s.name),
            ));
        }
        grants.push(GrantConfig { principal, service });
    }
    Ok(grants)
}

/// The principal as policy sees it: an agent's name made whole, or what a grant can name as it stands, of this trust domain
/// alone.
pub(crate) fn principal_named(text: &str, trust_domain: &TrustDomain) -> Option<String> {
    let ours = format!("spiffe://{trust_domain}/");
    let foreign = text.starts_with("spiffe://") && !text.starts_with(&ours);
    let exact = SpiffeId::parse(text);
    if foreign || exact.is_ok_and(|id| id.agent_name().is_none()) {
        return None;
    }
    if Grant::new(text, "*").is_ok() {
        return Some(text.to_owned());
    }
    trust_domain.agent(text).ok().map(|id| id.to_string())
}

fn names<T>(what: &str, all: &[T], name: impl Fn(&T) -> &String) -> String {
    let names: Vec<_> = all.iter().map(|one| name(one).as_str()).collect();
    match names.as_slice() {
        [] => format!("there are no {what} in this file"),
        names => format!("the {what} are: {}", names.join(", ")),
    }
}
