//! Small streams: how long a new one takes, and how long an open one waits beside bulk.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::bulk::ask_down;
use super::microseconds;
use crate::Outcome;
use crate::figures::Figures;
use crate::peer::{Bed, ENVOY_AES_256};
use crate::service::{BLOCK, ECHO, UP};

/// From connect to the service's first byte.
pub(crate) const NEW: &str = "new stream, µs to the service's first byte";
/// A byte there and back.
pub(crate) const BESIDE: &str = "a byte there and back, µs";

/// One round.
pub(crate) fn measure(bed: &Bed, figures: &mut Figures) -> Outcome<()> {
    // Its way differs in nothing but bulk.
    let ways: Vec<_> = bed
        .ways()
        .into_iter()
        .filter(|way| way.name != ENVOY_AES_256)
        .collect();
    for way in &ways {
        let times = timed(NEW_STREAMS, || open(way.entry).map(drop))
            .map_err(|error| format!("{}: {error}", way.name))?;
        add(figures, NEW, ["median", "p99"], way.name, &times);
    }
    for way in &ways {
        add(
            figures,
            BESIDE,
            ["alone, median", "alone, p99"],
            way.name,
            &round_trips(way.entry)?,
        );
    }
    for way in &ways {
        let bulk = Bulk::start(way.bulk, Bulk::down)?;
        let times = round_trips(way.entry)?;
        bulk.end();
        add(
            figures,
            BESIDE,
            ["beside bulk down, median", "beside bulk down, p99"],
            way.name,
            &times,
        );
        let bulk = Bulk::start(way.bulk, Bulk::up)?;
        let times = round_trips(way.entry)?;
        bulk.end();
        add(
            figures,
            BESIDE,
            ["beside bulk up, median", "beside bulk up, p99"],
            way.name,
            &times,
        );
    }
    Ok(())
}

fn add(figures: &mut Figures, table: &'static str, rows: [&str; 2], way: &str, times: &[Duration]) {
    if let Some((median, p99)) = microseconds(times) {
        let [first, second] = rows;
        figures.add(table, first, way, median);
        figures.add(table, second, way, p99);
    }
}

fn round_trips(entry: SocketAddr) -> Outcome<Vec<Duration>> {
    let mut stream = open(entry)?;
    timed(ROUND_TRIPS, || ping(&mut stream))
}

fn open(entry: SocketAddr) -> Outcome<TcpStream> {
    let mut stream = TcpStream::connect(entry)?;
    stream.set_nodelay(true)?;
    stream.write_all(&[ECHO, 1])?;
    stream.read_exact(&mut [0])?;
    Ok(stream)
}

fn ping(stream: &mut TcpStream) -> Outcome<()> {
    stream.write_all(&[1])?;
    Ok(stream.read_exact(&mut [0])?)
}

fn timed(times: usize, mut work: impl FnMut() -> Outcome<()>) -> Outcome<Vec<Duration>> {
    (0..times)
        .map(|_| {
            let since = Instant::now();
            work().map(|()| since.elapsed())
        })
        .collect()
}

/// A stream that carries as much as it can until it is ended.
struct Bulk(TcpStream);

impl Bulk {
    fn start(entry: SocketAddr, carry: fn(TcpStream)) -> Outcome<Self> {
        let stream = TcpStream::connect(entry)?;
        let other = stream.try_clone()?;
        thread::spawn(move || carry(other));
        thread::sleep(UNDER_WAY);
        Ok(Self(stream))
    }

    fn down(mut stream: TcpStream) {
        let mut block = vec![0; BLOCK];
        if ask_down(&mut stream, u64::MAX).is_ok() {
            while stream.read(&mut block).is_ok_and(|read| read > 0) {}
        }
    }

    fn up(mut stream: TcpStream) {
        let block = vec![7; BLOCK];
        if stream.write_all(&[UP]).is_ok() {
            while stream.write_all(&block).is_ok() {}
        }
    }

    fn end(self) {
        // It may have ended by itself.
        let _ = self.0.shutdown(Shutdown::Both);
        thread::sleep(UNDER_WAY);
    }
}

const NEW_STREAMS: usize = 300;
const ROUND_TRIPS: usize = 300;
/// Until windows and buffers are full, or empty again.
const UNDER_WAY: Duration = Duration::from_millis(150);
