//! Exceptions for classical clients, as people see them.

use super::{Show, moment};
use crate::commands::table::Table;
use crate::operator::{Exception, ExceptionEnded, Exceptions, Origin};
use crate::report::printable;

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
