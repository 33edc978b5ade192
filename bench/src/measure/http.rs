//! Requests through the HTTP proxy: as many as there can be (`wrk`), and their latency at a load that is the same for all
//! (`h2load`).

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::figures::{Figures, quantile};
use crate::peer::{Bed, COUNTERSIGN, MULTIPLEXED, Way};
use crate::process::{Process, output};
use crate::{Outcome, WEB};

/// Requests for each second of the gateway's CPU.
pub(crate) const PER_CPU: &str = "requests for each second of gateway CPU";
/// Requests for each second of the clock.
pub(crate) const PER_SECOND: &str = "requests for each second of the clock";
/// At equal load.
pub(crate) const LATENCY: &str = "a request at equal load, µs";

const PLAIN: &str = "HTTP/1.1 from the program, 32 connections";
const TLS: &str = "HTTP/2 on X25519 from a client without an agent, 8 × 8";

/// One round.
pub(crate) fn measure(bed: &Bed, folder: &Path, figures: &mut Figures) -> Outcome<()> {
    let ways = bed.ways();
    let ways = || {
        ways.iter()
            .filter_map(|way| Some((way, name(way), way.requests?)))
    };
    for (way, name, address) in ways() {
        count(PLAIN, name, || most(address), way.gateway, figures)
            .map_err(|error| format!("{name}: {error}"))?;
    }
    for (_, name, address) in ways() {
        let (median, p99) = latency(address, &folder.join("requests.log"))?;
        figures.add(LATENCY, "median", name, median);
        figures.add(LATENCY, "p99", name, p99);
    }
    for peer in &bed.peers {
        count(
            TLS,
            peer.name(),
            || most_on_tls(peer.web()),
            Some(peer.gateway()),
            figures,
        )?;
    }
    Ok(())
}

/// A request knows no channel of its own.
fn name(way: &Way<'_>) -> &'static str {
    match way.name {
        MULTIPLEXED => COUNTERSIGN,
        name => name,
    }
}

fn count(
    row: &str,
    column: &str,
    load: impl FnOnce() -> Outcome<(f64, f64)>,
    gateway: Option<&Process>,
    figures: &mut Figures,
) -> Outcome<()> {
    let before = gateway.map(Process::cpu).transpose()?;
    let (requests, per_second) = load()?;
    figures.add(PER_SECOND, row, column, per_second);
    if let (Some(gateway), Some(before)) = (gateway, before) {
        let spent = gateway.cpu()?.saturating_sub(before);
        figures.add(PER_CPU, row, column, requests / spent.as_secs_f64());
    }
    Ok(())
}

/// As many requests as 32 connections can send: how many there were, and how many in a second.
fn most(address: SocketAddr) -> Outcome<(f64, f64)> {
    let mut wrk = Command::new("wrk");
    wrk.args([
        "--threads",
        "1",
        "--connections",
        "32",
        "--duration",
        SECONDS,
    ]);
    let told = output(
        wrk.arg(format!("http://{address}/"))
            .arg("--header")
            .arg(format!("Host: {WEB}")),
    )?;
    if told.contains("Non-2xx") {
        return Err(format!("not every answer was a good one: {told}").into());
    }
    Ok((
        before(&told, "requests in")?,
        after(&told, "Requests/sec:")?,
    ))
}

/// The same over HTTP/2 on TLS. Debian's OpenSSL knows no hybrid group: the key exchange is classical, the suite the same.
fn most_on_tls(address: SocketAddr) -> Outcome<(f64, f64)> {
    let mut h2load = Command::new("h2load");
    h2load.args([
        "--clients",
        "8",
        "--max-concurrent-streams",
        "8",
        "--requests",
        REQUESTS,
    ]);
    h2load.arg("--connect-to").arg(address.to_string());
    let told = output(h2load.arg(format!("https://{WEB}/")))?;
    if !told.contains(" 0 4xx, 0 5xx") {
        return Err(format!("not every answer was a good one: {told}").into());
    }
    Ok((before(&told, "2xx")?, before(&told, "req/s")?))
}

/// The median and the 99th percentile at [`LOAD`], in microseconds.
fn latency(address: SocketAddr, log: &Path) -> Outcome<(f64, f64)> {
    let _ = std::fs::remove_file(log);
    let mut h2load = Command::new("h2load");
    h2load.args([
        "--h1",
        "--clients",
        "16",
        "--rps",
        LOAD,
        "--requests",
        AT_LOAD,
    ]);
    h2load.arg("--connect-to").arg(address.to_string());
    h2load.arg("--log-file").arg(log);
    output(h2load.arg(format!("http://{WEB}/")))?;
    // Start, status and time of each request, of which the last two are told here.
    let text = std::fs::read_to_string(log)?;
    let mut times = Vec::new();
    for line in text.lines() {
        let (rest, time) = line.rsplit_once('\t').ok_or("a line of h2load's log")?;
        if !rest.ends_with("\t200") {
            return Err(format!("not every answer was a good one: {line}").into());
        }
        times.push(time.trim().parse::<f64>()?);
    }
    times.sort_by(f64::total_cmp);
    let of = |share| quantile(&times, share).ok_or("h2load made no requests");
    Ok((of(0.5)?, of(0.99)?))
}

/// The number that stands before some words.
fn before(text: &str, words: &str) -> Outcome<f64> {
    let (head, _) = text
        .split_once(words)
        .ok_or_else(|| format!("no `{words}` in {text}"))?;
    let number = head
        .split_ascii_whitespace()
        .next_back()
        .ok_or("no number")?;
    Ok(number.parse()?)
}

/// The number that stands after some words.
fn after(text: &str, words: &str) -> Outcome<f64> {
    let (_, tail) = text
        .split_once(words)
        .ok_or_else(|| format!("no `{words}` in {text}"))?;
    let number = tail.split_ascii_whitespace().next().ok_or("no number")?;
    Ok(number.parse()?)
}

const SECONDS: &str = "2";
/// On TLS, by all clients.
const REQUESTS: &str = "20000";
/// Requests a second of each of 16 clients: 2,000 together, which every way carries with ease.
const LOAD: &str = "125";
/// Two seconds of that.
const AT_LOAD: &str = "4000";
