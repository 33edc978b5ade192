//! Tables of text: columns two spaces apart, as wide as their widest cell.

use crate::report::printable;

/// A table that is being filled.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub(super) fn new(columns: &[&str]) -> Self {
        Self {
            rows: vec![columns.iter().map(ToString::to_string).collect()],
        }
    }

    /// Adds a row. What clients wrote stands in cells, so control characters are shown in escapes.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let shown = |cell: String| match cell.as_str() {
            "" => "-".to_owned(),
            cell => printable(cell),
        };
        self.rows.push(cells.into_iter().map(shown).collect());
    }

    /// The table, or `nothing` when it has no rows.
    pub(super) fn or(self, nothing: &str) -> String {
        match self.rows.len() {
            1 => format!("{nothing}\n"),
            _ => self.rows.iter().map(|row| self.line(row)).collect(),
        }
    }

    fn line(&self, row: &[String]) -> String {
        let cell = |(column, cell): (usize, &String)| {
            format!(
                "{cell}{:1$}",
                "",
                self.width(column).saturating_sub(width(cell)) + 2
            )
        };
        let line: String = row.iter().enumerate().map(cell).collect();
        format!("{}\n", line.trim_end())
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| width(cell)).max().unwrap_or_default()
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "PORT"]);
        table.row(["postgres".to_owned(), "5432".to_owned()]);
        table.row(["é".to_owned(), String::new()]);
        assert_eq!(
            table.or(""),
            "NAME      PORT\npostgres  5432\né         -\n"
        );
    }

    #[test]
    fn an_empty_table_is_a_sentence() {
        assert_eq!(
            Table::new(&["NAME"]).or("there are none"),
            "there are none\n"
        );
    }

    #[test]
    fn a_cell_cannot_give_orders_to_the_terminal() {
        let mut table = Table::new(&["SNI"]);
        table.row(["a\u{1b}[2Jb\nc".to_owned()]);
        assert_eq!(table.or(""), "SNI\na\\u{1b}[2Jb\\nc\n");
    }
}
