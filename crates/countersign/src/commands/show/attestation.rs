//! What machines show and what is expected of them, as people see it.

use super::{Show, moment};
use crate::commands::table::Table;
use crate::operator::{AllowedEk, AllowedEks, Attestation, EkForbidden, TpmJoinString};
use crate::report::printable;

impl Show for TpmJoinString {
    fn result(&self) -> String {
        format!("{}\n", printable(&self.join_string))
    }

    fn remark(&self) -> Option<String> {
        let remark =
            "it is no secret: it tells machines with a TPM where the gateway is and how to know it";
        Some(remark.to_owned())
    }
}

impl Show for AllowedEk {
    fn result(&self) -> String {
        let (hash, name) = (printable(&self.ek_hash), printable(&self.name));
        format!("the TPM with the endorsement key {hash} is let in as `{name}`\n")
    }
}

impl Show for AllowedEks {
    fn result(&self) -> String {
        let mut table = Table::new(&["NAME", "ENDORSEMENT KEY", "SINCE"]);
        for key in &self.eks {
            table.row([key.name.clone(), key.ek_hash.clone(), moment(key.added_at)]);
        }
        table.or("no endorsement key is listed: `countersign agents allow-ek HASH` lets one in")
    }
}

impl Show for EkForbidden {
    fn result(&self) -> String {
        let hash = printable(&self.ek_hash);
        format!("the endorsement key {hash} is let in no more\n")
    }
}

impl Show for Attestation {
    fn result(&self) -> String {
        let name = printable(&self.name);
        let maker = self
            .vendor
            .as_deref()
            .unwrap_or("a maker that is not known");
        let key = self.ek_hash.as_deref().map_or_else(String::new, |hash| {
            format!(", endorsement key {}", printable(hash))
        });
        let by = format!(
            "`{name}`: {}, by {}{key}\n",
            printable(&self.technology),
            printable(maker)
        );
        format!("{by}{}", self.standing())
    }
}

impl Attestation {
    fn standing(&self) -> String {
        let Some(shown) = self.shown_at.map(moment) else {
            return "it has shown nothing yet\n".to_owned();
        };
        let Some(since) = self.expected_since.map(moment) else {
            return format!("shown {shown}; nothing is expected of it yet\n");
        };
        match self.changes.as_slice() {
            [] => format!("shown {shown}: as expected since {since}\n"),
            changes => {
                let lines = changes
                    .iter()
                    .map(|change| format!("  {}\n", printable(change)));
                let lines: String = lines.collect();
                format!("shown {shown}: not as expected since {since}\n{lines}")
            }
        }
    }
}
