//! What a run comes to: the machine, the targets of DESIGN.md as ratios, and every table.

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::figures::{Cell, Figures, Spread};
use crate::measure::{bulk, handshake, memory, start, stream};
use crate::peer::{COUNTERSIGN, DIRECT, ENVOY_AES_256, MULTIPLEXED, OWN};

/// The text between the page's marks.
pub(crate) fn write(figures: &Figures, missing: &[String], rounds: usize) -> String {
    let mut text = format!("{}; {rounds} rounds.\n\n", machine());
    for missing in missing {
        text += &format!("Not measured: {missing}.\n\n");
    }
    text += "| what | target | measured | |\n|---|---|---|---|\n";
    for target in targets() {
        let Some(spread) = target.spread(figures) else {
            continue;
        };
        let verdict = if target.is_met(spread) {
            "met"
        } else {
            "missed"
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "| {} | {} | {spread} | {verdict} |",
            target.what,
            target.says()
        );
    }
    for table in figures.tables() {
        text += "\n";
        text += &table.markdown();
    }
    text
}

/// Puts the text between the marks of a page.
pub(crate) fn replace(page: &Path, text: &str) -> Outcome<()> {
    let old = std::fs::read_to_string(page)?;
    let (head, rest) = old
        .split_once(BEGIN)
        .ok_or("the page has no mark for figures")?;
    let (_, tail) = rest
        .split_once(END)
        .ok_or("the page has no mark for the end of figures")?;
    Ok(std::fs::write(
        page,
        format!("{head}{BEGIN}\n\n{text}\n{END}{tail}"),
    )?)
}

/// What DESIGN.md wants of a figure, or of two.
struct Target {
    what: String,
    of: Cell<'static>,
    against: Against,
    limit: Limit,
}

enum Against {
    Nothing,
    Ratio(Cell<'static>),
    Difference(Cell<'static>),
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

fn targets() -> Vec<Target> {
    let cell = |table, row, column| Cell { table, row, column };
    let [(classical, _), (hybrid, _), _] = handshake::KINDS;
    let [_, (mutual, _)] = memory::KINDS;
    let mut targets = vec![Target {
        what: "hybrid handshake ÷ classical, latency".to_owned(),
        of: cell(handshake::LATENCY, hybrid, COUNTERSIGN),
        against: Against::Ratio(cell(handshake::LATENCY, classical, COUNTERSIGN)),
        limit: Limit::AtMost(1.2),
    }];
    for (way, least) in [(MULTIPLEXED, 1.0), (OWN, 1.2)] {
        targets.extend(bulk::ROWS.map(|(row, ..)| Target {
            what: format!("bulk, {way} ÷ Envoy, both AES-256-GCM: {row}"),
            of: cell(bulk::PER_CPU, row, way),
            against: Against::Ratio(cell(bulk::PER_CPU, row, ENVOY_AES_256)),
            limit: Limit::AtLeast(least),
        }));
    }
    targets.extend([
        Target {
            what: "new stream − direct, µs median".to_owned(),
            of: cell(stream::NEW, "median", MULTIPLEXED),
            against: Against::Difference(cell(stream::NEW, "median", DIRECT)),
            limit: Limit::AtMost(150.0),
        },
        Target {
            what: "idle channel of an agent, KiB".to_owned(),
            of: cell(memory::MEMORY, mutual, COUNTERSIGN),
            against: Against::Nothing,
            limit: Limit::AtMost(40.0),
        },
        Target {
            what: "start, ms".to_owned(),
            of: cell(start::START, start::ROW, COUNTERSIGN),
            against: Against::Nothing,
            limit: Limit::AtMost(150.0),
        },
    ]);
    targets
}

impl Target {
    fn spread(&self, figures: &Figures) -> Option<Spread> {
        match self.against {
            Against::Nothing => figures.spread(self.of),
            Against::Ratio(to) => figures.ratio(self.of, to),
            Against::Difference(to) => figures.difference(self.of, to),
        }
    }

    fn is_met(&self, measured: Spread) -> bool {
        match self.limit {
            Limit::AtLeast(least) => measured.median >= least,
            Limit::AtMost(most) => measured.median <= most,
        }
    }

    fn says(&self) -> String {
        match self.limit {
            Limit::AtLeast(least) => format!("≥ {least}"),
            Limit::AtMost(most) => format!("≤ {most}"),
        }
    }
}

/// The machine and what runs on it, in words.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("a processor", |line| {
        line.trim_start_matches([' ', '\t', ':'])
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let haproxy = std::env::var_os("HAPROXY").and_then(|program| {
        let told = Command::new(program).arg("-v").output().ok()?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        told.split_ascii_whitespace().nth(2).map(str::to_owned)
    });
    let haproxy = haproxy.map_or_else(String::new, |version| format!(", HAProxy {version}"));
    format!("{cores} cores of {model}, Linux {}{haproxy}", kernel.trim())
}

const BEGIN: &str = "<!-- figures -->";
const END: &str = "<!-- end -->";
