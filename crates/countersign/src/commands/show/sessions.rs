//! Open channels and those that were refused, as people see them.

use countersign_channel::ChannelRecord;

use super::{Show, moment};
use crate::commands::table::Table;
use crate::hop::Protection;
use crate::operator::{Refused, Session, SessionClosed, Sessions, Stream};
use crate::report::printable;

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
