//! Join strings and agents, as people see them.

use super::{Show, moment};
use crate::commands::table::Table;
use crate::operator::{Agent, AgentRevoked, Agents, JoinStringCreated};
use crate::report::printable;

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
