//! Countersign beside direct TCP, Envoy and HAProxy, in one run on one machine. `bench/run` builds and starts it.

#![expect(clippy::print_stdout, reason = "the result")]

mod certificates;
mod client;
mod figures;
mod machine;
mod measure;
mod peer;
mod process;
mod report;
mod service;

use std::error::Error;
use std::path::{Path, PathBuf};

use figures::Figures;
use measure::{attestation, bulk, handshake, http, memory, start, stream};
use peer::{Bed, Programs};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The trust domain.
const DOMAIN: &str = "bench.test";
/// What the servers are called by clients without an agent: the way to streams, and to HTTP.
const SERVERS: [&str; 2] = [STREAMS, WEB];
const STREAMS: &str = "streams.bench.test";
const WEB: &str = "web.bench.test";

fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", streams, http] => service::serve(streams.parse()?, http.parse()?),
        ["measure", page, rounds, kinds @ ..] => measure(Path::new(page), rounds.parse()?, kinds),
        _ => Err("it is started by bench/run".into()),
    }
}

/// Measures, prints, and writes the page where everything was measured.
fn measure(page: &Path, rounds: usize, kinds: &[&str]) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let path = |name| std::env::var_os(name).map(PathBuf::from);
    let programs = Programs {
        countersign: path("COUNTERSIGN").ok_or("COUNTERSIGN is not set")?,
        envoy: path("ENVOY"),
        haproxy: path("HAPROXY"),
    };
    let mut bed = Bed::make(&programs, folder.path())?;
    let mut figures = Figures::default();
    let measured = run(&mut bed, folder.path(), rounds, kinds, &mut figures);
    let text = report::write(&figures, &bed.missing, rounds);
    println!("{text}");
    measured?;
    if kinds.is_empty() {
        report::replace(page, &text)?;
    }
    Ok(())
}

fn run(
    bed: &mut Bed,
    folder: &Path,
    rounds: usize,
    kinds: &[&str],
    figures: &mut Figures,
) -> Outcome<()> {
    let wanted = |kind| kinds.is_empty() || kinds.contains(&kind);
    for _ in 0..rounds {
        if wanted("handshakes") {
            handshake::measure(bed, figures)?;
        }
        if wanted("bulk") {
            bulk::measure(bed, figures)?;
        }
        if wanted("streams") {
            stream::measure(bed, figures)?;
        }
        if wanted("http") && bed.has_http_tools {
            http::measure(bed, folder, figures)?;
        }
        if wanted("attestation")
            && let Some(site) = &bed.site
        {
            attestation::measure(site, figures)?;
        }
    }
    // Each of these starts the servers anew, for every value.
    for _ in 0..rounds.div_ceil(2) {
        if wanted("memory") {
            memory::measure(bed, figures)?;
        }
        if wanted("start") {
            start::measure(bed, figures)?;
        }
    }
    Ok(())
}
