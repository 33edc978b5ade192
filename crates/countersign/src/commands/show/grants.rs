//! Grants, as people see them.

use super::{Show, moment};
use crate::commands::table::Table;
use crate::operator::{GrantChanged, Grants, Origin};
use crate::report::printable;

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
