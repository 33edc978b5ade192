//! What was measured, and the tables it makes.

use std::fmt::Write as _;

/// Every value, in the order in which its row and its column were first seen.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    tables: Vec<Table>,
}

/// Rows of one unit.
#[derive(Debug)]
pub(crate) struct Table {
    /// What its figures are.
    pub(crate) title: &'static str,
    columns: Vec<String>,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    name: String,
    /// By column.
    values: Vec<Vec<f64>>,
}

/// The median and the span of some values.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    /// The middle one.
    pub(crate) median: f64,
    /// The least.
    pub(crate) least: f64,
    /// The greatest.
    pub(crate) most: f64,
}

impl Figures {
    /// Adds one value.
    pub(crate) fn add(&mut self, title: &'static str, row: &str, column: &str, value: f64) {
        let at = position(
            &mut self.tables,
            |table| table.title == title,
            || Table {
                title,
                columns: Vec::new(),
                rows: Vec::new(),
            },
        );
        if let Some(table) = self.tables.get_mut(at) {
            table.add(row, column, value);
        }
    }

    /// The tables, in the order in which they were begun.
    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// The median of a cell, divided by that of another, round by round: the machine's mood falls out.
    pub(crate) fn ratio(&self, of: Cell<'_>, to: Cell<'_>) -> Option<Spread> {
        let (of, to) = (self.values(of)?, self.values(to)?);
        Spread::of(of.iter().zip(to).map(|(of, to)| of / to).collect())
    }

    /// As [`ratio`](Self::ratio), the difference.
    pub(crate) fn difference(&self, of: Cell<'_>, to: Cell<'_>) -> Option<Spread> {
        let (of, to) = (self.values(of)?, self.values(to)?);
        Spread::of(of.iter().zip(to).map(|(of, to)| of - to).collect())
    }

    /// The spread of a cell.
    pub(crate) fn spread(&self, cell: Cell<'_>) -> Option<Spread> {
        Spread::of(self.values(cell)?.to_vec())
    }

    fn values(&self, cell: Cell<'_>) -> Option<&[f64]> {
        let table = self.tables.iter().find(|table| table.title == cell.table)?;
        let row = table.rows.iter().find(|row| row.name == cell.row)?;
        let column = table.columns.iter().position(|name| name == cell.column)?;
        row.values.get(column).map(Vec::as_slice)
    }
}

/// Where a value stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell<'a> {
    /// The table's title.
    pub(crate) table: &'a str,
    /// The row.
    pub(crate) row: &'a str,
    /// The column.
    pub(crate) column: &'a str,
}

impl Table {
    fn add(&mut self, row: &str, column: &str, value: f64) {
        let column = position(
            &mut self.columns,
            |name| name == column,
            || column.to_owned(),
        );
        let row = position(
            &mut self.rows,
            |known| known.name == row,
            || Row {
                name: row.to_owned(),
                values: Vec::new(),
            },
        );
        let Some(row) = self.rows.get_mut(row) else {
            return;
        };
        if row.values.len() <= column {
            row.values.resize(column + 1, Vec::new());
        }
        if let Some(values) = row.values.get_mut(column) {
            values.push(value);
        }
    }

    /// As Markdown: each cell is a median and, in brackets, the least and the greatest.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("| {} | {} |\n|---|", self.title, self.columns.join(" | "));
        text += &"---|".repeat(self.columns.len());
        for row in &self.rows {
            let cells = (0..self.columns.len()).map(|column| {
                let values = row.values.get(column).cloned().unwrap_or_default();
                Spread::of(values).map_or_else(|| "–".to_owned(), |spread| spread.to_string())
            });
            let cells: Vec<_> = cells.collect();
            // Writing to a string does not fail.
            let _ = write!(text, "\n| {} | {} |", row.name, cells.join(" | "));
        }
        text + "\n"
    }
}

impl Spread {
    /// Of any values; none of no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&values, 0.5)?,
            least: *values.first()?,
            most: *values.last()?,
        })
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = match self.median.abs() {
            median if median >= 100.0 => 0,
            median if median >= 10.0 => 1,
            _ => 2,
        };
        let Self {
            median,
            least,
            most,
        } = self;
        write!(f, "{median:.digits$} [{least:.digits$}–{most:.digits$}]")
    }
}

/// The value below which a share of sorted values lies.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "between 0 and a length"
    )]
    let at = (last as f64 * share).round() as usize;
    sorted.get(at).copied()
}

/// Where an item is, which is made at the end where there is none.
fn position<T>(
    items: &mut Vec<T>,
    is_it: impl FnMut(&T) -> bool,
    make: impl FnOnce() -> T,
) -> usize {
    items.iter().position(is_it).unwrap_or_else(|| {
        items.push(make());
        items.len() - 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two_rounds() -> Figures {
        let mut figures = Figures::default();
        for (ours, theirs) in [(2.0, 1.0), (9.0, 3.0)] {
            figures.add("bulk", "down", "ours", ours);
            figures.add("bulk", "down", "theirs", theirs);
        }
        figures
    }

    fn cell(column: &str) -> Cell<'_> {
        let (table, row) = ("bulk", "down");
        Cell { table, row, column }
    }

    #[test]
    fn a_ratio_is_taken_within_a_round() {
        let ratio = two_rounds().ratio(cell("ours"), cell("theirs")).unwrap();
        assert_eq!((ratio.least, ratio.most), (2.0, 3.0));
    }

    #[test]
    fn a_table_shows_a_dash_where_nothing_was_measured() {
        let mut figures = two_rounds();
        figures.add("bulk", "up", "ours", 1.0);
        let table = figures.tables().first().unwrap().markdown();
        assert!(
            table.contains("| down | 9.00 [2.00–9.00] | 3.00 [1.00–3.00] |"),
            "{table}"
        );
        assert!(
            table.ends_with("| up | 1.00 [1.00–1.00] | – |\n"),
            "{table}"
        );
    }
}
