//! Measures every operation beside the other libraries and the bare primitives, and prints Markdown.
//!
//! `cargo bench -p countersign-paseto-peers -- FILTER…`: only rows whose name contains one of the filters.

#![expect(clippy::print_stdout, reason = "that is what it is for")]

use std::env;
use std::hint::black_box;

use countersign_paseto_peers::clock::race;
use countersign_paseto_peers::{Answer, Countersign, Foreign, Library, foreigners, linked};

use crate::floor::Floor;
use crate::rows::{Row, rows};

mod claims;
mod floor;
mod rows;
mod timing;

fn main() {
    let filters: Vec<String> = env::args()
        .skip(1)
        .filter(|given| !given.starts_with("--"))
        .collect();
    let wanted = |name: &str| {
        let found = filters.iter().any(|filter| name.contains(filter.as_str()));
        found || filters.is_empty()
    };
    operations(&wanted);
    claims::print(&wanted);
    timing::print(&wanted);
}

/// Ours, the floor, then the others, in µs; the last column is the best of the others in multiples of ours.
fn operations(wanted: &dyn Fn(&str) -> bool) {
    let others: Vec<_> = linked()
        .into_iter()
        .filter(|library| library.name() != Countersign.name())
        .collect();
    let foreign = foreigners();
    let names: Vec<_> = others.iter().map(|library| library.name()).collect();
    println!(
        "| operation | ours | bare primitives | ours / bare | {} | rusty_paseto | best other / ours |",
        names.join(" | ")
    );
    println!("|---|{}", "--:|".repeat(others.len() + 5));
    for row in rows().into_iter().filter(|row| wanted(&row.name)) {
        println!("{}", measured(&row, &others, &foreign));
    }
}

fn measured(row: &Row, others: &[Box<dyn Library>], foreign: &[Foreign]) -> String {
    let prepare = |library: &dyn Library| library.prepare(&row.question).ok();
    let mut answers = vec![prepare(&Countersign), prepare(&Floor)];
    answers.extend(others.iter().map(|library| prepare(&**library)));
    let times = timed(&answers);
    let (ours, bare, others) = match times.as_slice() {
        [Some(ours), bare, others @ ..] => (*ours, *bare, others),
        _ => return format!("| {} | – |", row.name),
    };
    let rusty = foreign
        .iter()
        .filter(|library| library.name().starts_with("rusty"));
    let rusty = rusty.filter_map(|library| library.measure(&row.question).ok());
    let rusty = rusty.reduce(f64::min);
    let others: Vec<_> = others.iter().copied().chain([rusty]).collect();
    let best = others.iter().copied().flatten().reduce(f64::min);
    let mut cells = vec![row.name.clone(), micros(Some(ours)), micros(bare)];
    cells.push(ratio(Some(ours), bare));
    cells.extend(others.iter().copied().map(micros));
    cells.push(ratio(best, Some(ours)));
    format!("| {} |", cells.join(" | "))
}

/// Nanoseconds of each answer that there is.
fn timed(answers: &[Option<Answer>]) -> Vec<Option<f64>> {
    let works = |answer: &&Answer| answer(&mut |_| ()).is_ok();
    let mut calls: Vec<Box<dyn FnMut()>> = Vec::new();
    for answer in answers.iter().flatten().filter(works) {
        calls.push(Box::new(move || {
            let answered = answer(&mut |bytes| {
                black_box(bytes);
            });
            black_box(answered.is_ok());
        }));
    }
    let mut borrowed: Vec<&mut dyn FnMut()> = Vec::new();
    for call in &mut calls {
        borrowed.push(call);
    }
    let mut times = race(&mut borrowed).into_iter();
    let time = |answer: &Option<Answer>| answer.as_ref().filter(works).and_then(|_| times.next());
    answers.iter().map(time).collect()
}

fn micros(nanoseconds: Option<f64>) -> String {
    nanoseconds.map_or("–".to_owned(), |time| match time / 1e3 {
        time if time < 10.0 => format!("{time:.2}"),
        time => format!("{time:.1}"),
    })
}

fn ratio(dividend: Option<f64>, divisor: Option<f64>) -> String {
    let ratio = dividend.zip(divisor).map(|(above, below)| above / below);
    ratio.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
}
