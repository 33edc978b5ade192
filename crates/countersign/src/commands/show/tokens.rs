//! Bearer tokens, as people see them.

use super::{Show, moment};
use crate::commands::table::Table;
use crate::operator::{Token, TokenIssued, TokenRevoked, Tokens};
use crate::report::printable;

impl Show for TokenIssued {
    fn result(&self) -> String {
        format!("{}\n", printable(&self.token))
    }

    fn remark(&self) -> Option<String> {
        let [id, subject, service] =
            [&self.id, &self.subject, &self.service].map(|text| printable(text));
        let end = moment(self.expires_at);
        Some(format!(
            "it lets whoever holds it reach `{service}` as `bearer:{subject}` until {end}, and is not shown again: keep it secret\n\
             to take it back: `countersign tokens revoke {id} --reason WHY`"
        ))
    }
}

impl Show for Tokens {
    fn result(&self) -> String {
        let columns = [
            "ID", "SUBJECT", "SERVICE", "ISSUED", "BY", "STREAMS", "STATUS",
        ];
        let mut table = Table::new(&columns);
        for token in &self.tokens {
            table.row([
                token.id.clone(),
                token.subject.clone(),
                token.service.clone(),
                moment(token.issued_at),
                token.issued_by.to_string(),
                token.streams.to_string(),
                status(token),
            ]);
        }
        table.or("no bearer token was issued: `countersign tokens issue --service S --subject NAME` issues one")
    }
}

fn status(token: &Token) -> String {
    match &token.revoked {
        Some(revoked) => format!("revoked {}: {}", moment(revoked.at), revoked.reason),
        None => format!("until {}", moment(token.expires_at)),
    }
}

impl Show for TokenRevoked {
    fn result(&self) -> String {
        format!(
            "token `{}` of `{}` is revoked; streams closed: {}\n",
            printable(&self.id),
            printable(&self.subject),
            self.streams_closed
        )
    }
}
