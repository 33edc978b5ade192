//! Bulk: bytes for each second of the gateway's CPU, and of the clock.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::Outcome;
use crate::figures::Figures;
use crate::peer::{Bed, Way};
use crate::process::Process;
use crate::service::{BLOCK, DOWN, UP, drain};

/// Megabytes for each second of CPU of the end beside the service.
pub(crate) const PER_CPU: &str = "bulk, MB for each second of gateway CPU";
/// The same of the end beside the program.
pub(crate) const PER_CLIENT_CPU: &str = "bulk, MB for each second of CPU beside the program";
/// Megabytes for each second of the clock.
pub(crate) const PER_SECOND: &str = "bulk, MB for each second of the clock";

/// One round.
pub(crate) fn measure(bed: &Bed, figures: &mut Figures) -> Outcome<()> {
    for (row, streams, direction) in ROWS {
        for way in bed.ways() {
            one(&way, row, streams, direction, figures)?;
        }
    }
    Ok(())
}

/// Which way the bytes go.
#[derive(Clone, Copy)]
pub(crate) enum Direction {
    /// To the service.
    Up,
    /// From the service.
    Down,
}

/// The rows: streams at once, and which way.
pub(crate) const ROWS: [(&str, u64, Direction); 4] = [
    ("1 stream, down", 1, Direction::Down),
    ("1 stream, up", 1, Direction::Up),
    ("8 streams, down", 8, Direction::Down),
    ("8 streams, up", 8, Direction::Up),
];

fn one(
    way: &Way<'_>,
    row: &str,
    streams: u64,
    direction: Direction,
    figures: &mut Figures,
) -> Outcome<()> {
    let gateway = Meter::start(way.gateway)?;
    let client = Meter::start(way.client)?;
    let since = Instant::now();
    let entry = way.bulk;
    let share = BYTES / streams;
    let carriers: Vec<_> = (0..streams)
        .map(|_| thread::spawn(move || carry(entry, share, direction).map_err(|e| e.to_string())))
        .collect();
    for carrier in carriers {
        carrier
            .join()
            .map_err(|_| "a stream's thread ended early")?
            .map_err(|error| format!("{}, {row}: {error}", way.name))?;
    }
    let elapsed = since.elapsed();
    let megabytes = |time: Duration| MEGABYTES / time.as_secs_f64();
    figures.add(PER_SECOND, row, way.name, megabytes(elapsed));
    if let Some(cpu) = gateway.spent()? {
        figures.add(PER_CPU, row, way.name, megabytes(cpu));
    }
    if let Some(cpu) = client.spent()? {
        figures.add(PER_CLIENT_CPU, row, way.name, megabytes(cpu));
    }
    Ok(())
}

fn carry(entry: SocketAddr, bytes: u64, direction: Direction) -> Outcome<()> {
    let mut stream = TcpStream::connect(entry)?;
    match direction {
        Direction::Down => {
            ask_down(&mut stream, bytes)?;
            let came = drain(&mut stream)?;
            stream.shutdown(Shutdown::Write)?;
            (came == bytes)
                .then_some(())
                .ok_or_else(|| format!("{came} of {bytes} bytes came").into())
        }
        Direction::Up => {
            stream.write_all(&[UP])?;
            let block = vec![7; BLOCK];
            for _ in 0..bytes / u64::try_from(BLOCK)? {
                stream.write_all(&block)?;
            }
            stream.shutdown(Shutdown::Write)?;
            Ok(stream.read_exact(&mut [0])?)
        }
    }
}

/// Asks the service for so many bytes.
pub(super) fn ask_down(stream: &mut TcpStream, bytes: u64) -> Outcome<()> {
    let mut wish = [DOWN; 9];
    if let Some(count) = wish.last_chunk_mut() {
        *count = bytes.to_be_bytes();
    }
    Ok(stream.write_all(&wish)?)
}

/// CPU time of a process from a moment on.
struct Meter<'a>(Option<(&'a Process, Duration)>);

impl<'a> Meter<'a> {
    fn start(process: Option<&'a Process>) -> Outcome<Self> {
        let started =
            process.map(|process| Ok::<_, Box<dyn std::error::Error>>((process, process.cpu()?)));
        Ok(Self(started.transpose()?))
    }

    fn spent(&self) -> Outcome<Option<Duration>> {
        let spent =
            |(process, before): &(&Process, Duration)| Ok(process.cpu()?.saturating_sub(*before));
        self.0.as_ref().map(spent).transpose()
    }
}

/// Of one measurement, over all its streams: half a second of CPU at least, which `/proc` tells to 10 ms.
const BYTES: u64 = 768 << 20;
const MEGABYTES: f64 = 805.306_368;
