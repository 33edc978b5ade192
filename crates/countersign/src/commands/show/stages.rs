//! What each listener stands at, as people see it.

use super::{Show, moment};
use crate::operator::{ExceptionInForce, ListenerStage, Stages};
use crate::report::printable;

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
