//! What people see of each answer.

use countersign_channel::ChannelRecord;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::table::Table;
use crate::cli::Format;
use crate::hop::Protection;
use crate::identity::PublishedKeys;
use crate::operator::{
    Agent, AgentRevoked, Agents, BackupDone, CertificateProblem, CertificateRenewal,
    CertificateSource, Certificates, Condition, Exception, ExceptionEnded, ExceptionInForce,
    Exceptions, GrantChanged, Grants, JoinStringCreated, LastHop, ListenerStage, Origin, Refused,
    Service, Services, Session, SessionClosed, Sessions, Stages, Stream, Upstream,
};
use crate::report::printable;
use crate::stdout::{self, OutputError};

mod attestation;
mod tokens;

/// An answer in text.
pub(super) trait Show {
    /// What goes to standard output, newlines included.
    fn result(&self) -> String;

    /// What is said beside it, on standard error, so that the result can be piped.
    fn remark(&self) -> Option<String> {
        None
    }
}

/// Prints an answer for people.
///
/// # Errors
///
/// Standard output takes nothing more.
pub(super) fn text(answer: &impl Show) -> Result<(), OutputError> {
    stdout::write(answer.result().as_bytes())?;
    remark(answer);
    Ok(())
}

/// Says what is said beside an answer whose result went elsewhere.
#[expect(
    clippy::print_stderr,
    reason = "remarks are for the person who typed the command"
)]
pub(super) fn remark(answer: &impl Show) {
    if let Some(remark) = answer.remark() {
        eprintln!("{remark}");
    }
}

/// Prints a result of our own.
///
/// # Errors
///
/// Standard output takes nothing more.
pub(super) fn print(result: &(impl Show + Serialize), format: Format) -> Result<(), OutputError> {
    match format {
        Format::Text => text(result),
        Format::Json => json(&serde_json::to_value(result).expect("our own results are JSON")),
    }
}

/// Prints an answer for machines, with the fields that this version does not know.
///
/// # Errors
///
/// Standard output takes nothing more.
pub(super) fn json(answer: &Value) -> Result<(), OutputError> {
    stdout::write(format!("{answer:#}\n").as_bytes())
}

impl Show for JoinStringCreated {
    fn result(&self) -> String {
        format!("{}\n", printable(&self.join_string))
    }

    fn remark(&self) -> Option<String> {
        let (name, end) = (printable(&self.name), moment(self.expires_at));
        Some(format!(
            "it lets one machine in as `{name}`, once, until {end}: keep it secret"
        ))
    }
}

impl Show for Agents {
    fn result(&self) -> String {
        let mut table = Table::new(&["NAME", "JOINED", "LAST SEEN", "CHANNELS", "BY", "STATUS"]);
        for agent in &self.agents {
            table.row([
                agent.name.clone(),
                moment(agent.enrolled_at),
                agent.last_seen.map(moment).unwrap_or_default(),
                agent.channels.to_string(),
                agent.technology.clone(),
                status(agent),
            ]);
        }
        table.or("no agent has joined: `countersign join-string create --name NAME` lets one in")
    }
}

fn status(agent: &Agent) -> String {
    match &agent.revoked {
        Some(revoked) => format!("revoked {}: {}", moment(revoked.at), revoked.reason),
        None => format!("certificate until {}", moment(agent.certificate_expires_at)),
    }
}

impl Show for AgentRevoked {
    fn result(&self) -> String {
        let name = printable(&self.name);
        format!(
            "agent `{name}` is revoked; channels closed: {}\n",
            self.channels_closed
        )
    }
}

impl Show for Grants {
    fn result(&self) -> String {
        let mut table = Table::new(&["PRINCIPAL", "SERVICE", "FROM", "SINCE"]);
        for grant in &self.grants {
            let origin = match grant.origin {
                Origin::Store => "grants add",
                Origin::Config => "configuration",
            };
            let since = grant.added_at.map(moment).unwrap_or_default();
            table.row([
                grant.principal.clone(),
                grant.service.clone(),
                origin.to_owned(),
                since,
            ]);
        }
        table.or("there are no grants: nobody may reach anything")
    }
}

impl Show for GrantChanged {
    fn result(&self) -> String {
        let (principal, service) = (printable(&self.principal), printable(&self.service));
        match self.changed {
            true => format!("done: {principal}, {service}\n"),
            false => format!("nothing to do: {principal}, {service}\n"),
        }
    }

    fn remark(&self) -> Option<String> {
        let service = printable(&self.service);
        (!self.service_known).then(|| {
            format!(
                "no service `{service}` is configured: `countersign services list` shows every service"
            )
        })
    }
}

impl Show for Sessions {
    fn result(&self) -> String {
        let columns = [
            "ID",
            "PRINCIPAL",
            "FROM",
            "LISTENER",
            "GROUP",
            "SIGNATURES",
            "SINCE",
            "STREAMS",
        ];
        let mut table = Table::new(&columns);
        for session in &self.sessions {
            let record = &session.record;
            table.row([
                session.id.clone(),
                session.principal.clone(),
                record.peer_address.to_string(),
                record.listener.clone(),
                group(record),
                signatures(record),
                moment(record.at),
                streams(session),
            ]);
        }
        table.or("no channel is open")
    }
}

/// The group, with the exception under which a classical one was let in.
fn group(record: &ChannelRecord) -> String {
    let group = record
        .negotiated
        .as_ref()
        .map(|negotiated| negotiated.group.to_string());
    match (group, &record.exception) {
        (Some(group), Some(exception)) => format!("{group} (exception {exception})"),
        (group, _) => group.unwrap_or_default(),
    }
}

/// The gateway's scheme, then the client's.
fn signatures(record: &ChannelRecord) -> String {
    let gateway = record
        .negotiated
        .as_ref()
        .map(|negotiated| negotiated.scheme.to_string());
    let client = record.peer.as_ref().map(|peer| peer.scheme.to_string());
    match (gateway, client) {
        (Some(gateway), Some(client)) => format!("{gateway}/{client}"),
        (gateway, _) => gateway.unwrap_or_default(),
    }
}

fn streams(session: &Session) -> String {
    let services: Vec<_> = session.streams.iter().map(in_words).collect();
    let services: Vec<_> = services.iter().map(String::as_str).collect();
    match services.as_slice() {
        [] => "0".to_owned(),
        services => format!("{} ({})", services.len(), counted(services)),
    }
}

/// The service, and what to know of the hop behind the gateway if it is not as well protected as the channel.
fn in_words(stream: &Stream) -> String {
    let service = &stream.service;
    match stream.last_hop.as_ref().map(|hop| hop.protection) {
        Some(Protection::ClassicalTls) => format!("{service} by classical TLS"),
        Some(Protection::Plain) => format!("{service} unprotected"),
        _ => service.clone(),
    }
}

/// `echo, postgres ×2`.
fn counted(names: &[&str]) -> String {
    let mut sorted = names.to_vec();
    sorted.sort_unstable();
    let same = sorted.chunk_by(|a, b| a == b);
    let counted = same.filter_map(|names| match names {
        [name] => Some(name.to_string()),
        [name, ..] => Some(format!("{name} ×{}", names.len())),
        [] => None,
    });
    counted.collect::<Vec<_>>().join(", ")
}

impl Show for Refused {
    fn result(&self) -> String {
        let mut table = Table::new(&["AT", "FROM", "LISTENER", "ASKED FOR", "OFFERED", "REASON"]);
        for record in &self.refused {
            table.row([
                moment(record.at),
                record.peer_address.to_string(),
                record.listener.clone(),
                record.offered.sni.clone().unwrap_or_default(),
                offered(record),
                record
                    .refusal()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
            ]);
        }
        table.or("no channel was refused since the gateway started")
    }
}

/// The first groups that the client named: enough to see what it is.
fn offered(record: &ChannelRecord) -> String {
    let names: Vec<_> = record
        .offered
        .groups
        .iter()
        .take(4)
        .map(|group| group.name())
        .collect();
    let more = if record.offered.groups.len() > names.len() {
        ", …"
    } else {
        ""
    };
    format!("{}{more}", names.join(", "))
}

impl Show for SessionClosed {
    fn result(&self) -> String {
        format!("session `{}` is closed\n", printable(&self.id))
    }
}

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

impl Show for Certificates {
    fn result(&self) -> String {
        let mut table = Table::new(&["LISTENER", "NAMES", "FROM", "UNTIL", "RENEWAL", "PROBLEM"]);
        for certificate in &self.certificates {
            let from = match (certificate.source, &certificate.file) {
                (CertificateSource::Files, Some(file)) => file.display().to_string(),
                (CertificateSource::Files, None) => "files".to_owned(),
                (CertificateSource::Acme, _) => "ACME".to_owned(),
            };
            table.row([
                certificate.listener.clone(),
                certificate.names.join(", "),
                from,
                certificate.not_after.map(moment).unwrap_or_default(),
                certificate.renewal.map(moment).unwrap_or_default(),
                certificate
                    .problem
                    .as_ref()
                    .map(trouble)
                    .unwrap_or_default(),
            ]);
        }
        table.or("no listener has a certificate for agentless clients: docs/certificates.md")
    }
}

impl Show for CertificateRenewal {
    fn result(&self) -> String {
        let name = printable(&self.name);
        format!(
            "a new certificate for `{name}` is asked for: `countersign certificates list` shows what comes of it\n"
        )
    }
}

fn trouble(problem: &CertificateProblem) -> String {
    let hint = problem.hint.as_ref().map(|hint| format!(" ({hint})"));
    let (since, hint) = (moment(problem.since), hint.unwrap_or_default());
    format!("since {since}: {}{hint}", problem.detail)
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

impl Show for Exceptions {
    fn result(&self) -> String {
        let columns = [
            "ID",
            "FROM",
            "TO",
            "LISTENERS",
            "OWNER",
            "REASON",
            "STATUS",
            "USED",
            "MADE BY",
        ];
        let mut table = Table::new(&columns);
        for exception in &self.exceptions {
            let made_by = match exception.origin {
                Origin::Store => "exceptions add",
                Origin::Config => "configuration",
            };
            table.row([
                exception.id.clone(),
                exception.source.clone().unwrap_or_default(),
                exception.sni.clone().unwrap_or_default(),
                exception.heeded_by.join(", "),
                exception.owner.clone(),
                exception.reason.clone(),
                until(exception),
                used(exception),
                made_by.to_owned(),
            ]);
        }
        table.or("there are no exceptions: classical key exchange is refused")
    }
}

fn until(exception: &Exception) -> String {
    let ends = moment(exception.ends);
    match (exception.ended, exception.ended_by) {
        (false, _) => format!("until {ends}"),
        (true, None) => format!("ended {ends}"),
        (true, Some(uid)) => format!("ended {ends} by uid {uid}"),
    }
}

/// Since the gateway started.
fn used(exception: &Exception) -> String {
    match exception.last_used {
        None => "never".to_owned(),
        Some(last) => format!(
            "{}, last {}; open: {}",
            exception.used,
            moment(last),
            exception.channels
        ),
    }
}

impl Show for Exception {
    fn result(&self) -> String {
        format!("{}\n", printable(&self.id))
    }

    fn remark(&self) -> Option<String> {
        let end = moment(self.ends);
        Some(format!(
            "classical key exchange is let in until {end}; a client still needs a grant"
        ))
    }
}

impl Show for ExceptionEnded {
    fn result(&self) -> String {
        let id = printable(&self.id);
        format!(
            "exception `{id}` is over; channels closed: {}\n",
            self.channels_closed
        )
    }
}

impl Show for PublishedKeys {
    fn result(&self) -> String {
        let mut table = Table::new(&["KEY ID", "SIGNS FROM", "GOOD UNTIL"]);
        for key in &self.keys {
            let window = [moment(key.not_before), moment(key.not_after)];
            table.row([key.kid.clone()].into_iter().chain(window));
        }
        table.or("there are no keys")
    }

    fn remark(&self) -> Option<String> {
        Some("`--format json` prints the keys themselves, as verifiers read them".to_owned())
    }
}

impl Show for Stages {
    fn result(&self) -> String {
        let listeners: Vec<_> = self.listeners.iter().map(listener_in_words).collect();
        listeners.join("\n")
    }
}

fn listener_in_words(listener: &ListenerStage) -> String {
    let name = printable(&listener.listener);
    let mut text = format!("listener {name} on {}\n", printable(&listener.address));
    let agentless = if listener.agentless {
        "served"
    } else {
        "not served"
    };
    for (word, value) in [
        ("stage", listener.stage.to_string()),
        ("profile", listener.profile.to_string()),
        ("agentless clients", agentless.to_owned()),
        (
            "channels",
            format!(
                "{}, classical: {}",
                listener.channels, listener.classical_channels
            ),
        ),
    ] {
        text.push_str(&format!("  {word:18} {value}\n"));
    }
    let exceptions = listener.exceptions.iter().map(exception_in_words);
    let residues = listener
        .residues
        .iter()
        .map(|residue| format!("  stays classical    {}: {}\n", residue.what, residue.why));
    text.extend(exceptions.chain(residues));
    text
}

fn exception_in_words(exception: &ExceptionInForce) -> String {
    let narrowed = [("from", &exception.source), ("to", &exception.sni)];
    let narrowed = narrowed
        .iter()
        .filter_map(|(word, value)| Some(format!(" {word} {}", printable(value.as_ref()?))));
    let narrowed: String = narrowed.collect();
    let ends = if exception.ended { "ended" } else { "until" };
    format!(
        "  exception          {}:{narrowed}, {ends} {}; {}, {}\n",
        printable(&exception.id),
        moment(exception.ends),
        printable(&exception.owner),
        printable(&exception.reason),
    )
}

impl Show for BackupDone {
    fn result(&self) -> String {
        let file = printable(&self.file.display().to_string());
        format!(
            "{file}: {} at revision {}\n",
            printable(&self.trust_domain),
            self.revision
        )
    }
}

/// To the second, in UTC.
fn moment(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second())
        .unwrap_or(at)
        .to_string()
}
