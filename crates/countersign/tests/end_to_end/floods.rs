//! What strangers can make the gateway hold: floods on the built binary, with the peak of its memory held against the
//! limits that it has for them. That each of them is ended or no longer read is shown where it is made, in
//! `gateway/tests/hostile`.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use crate::support::{Dialer, Gateway, GatewaySetup, loopback, upstream};

/// What each of some clients sends: first `start`, and then what `again` gives for one number after the other, for as
/// long as it gives anything and the gateway takes it.
#[derive(Clone, Copy)]
struct Flood {
    clients: usize,
    way: Way,
    start: fn() -> Vec<u8>,
    again: fn(u32) -> Vec<u8>,
}

/// How far a client has come before it floods.
#[derive(Clone, Copy)]
enum Way {
    /// It has connected.
    Tcp,
    /// Its handshake is done, with this protocol.
    Tls(&'static [u8]),
}

/// Floods a gateway whose service is at `service`, where each client may make it hold as much as `most`.
fn check(service: u16, flood: Flood, most: u64) {
    let keys = "[service.http]\nprotocol = \"http/1.1\"";
    let mut gateway = GatewaySetup::new().service("web", service, keys).start();
    gateway.grant("anonymous", "web");
    let runtime = Runtime::new().expect("threads");
    let well = Dialer::new(&gateway, "web", b"http/1.1");
    // What the first client costs is there once.
    runtime.block_on(well.dial()).expect("it is let in");

    let before = forget_peak(&gateway);
    let clients = (0..flood.clients).map(|_| runtime.spawn(flood.run(&gateway)));
    let clients: Vec<_> = clients.collect();
    // All of them hold on to their connections until the last has sent what it could, and others are served all the same.
    let held = clients.into_iter().map(|one| runtime.block_on(one));
    let held: Vec<_> = held.map(|one| one.expect("it does not panic")).collect();
    runtime.block_on(well.dial()).expect("it is let in");
    let grown = peak(&gateway).saturating_sub(before);

    let sent: usize = held.iter().map(|(sent, _)| sent).sum();
    let most = most * u64::try_from(flood.clients).expect("a small number") + BESIDE;
    assert!(
        grown < most,
        "{sent} bytes made it hold {grown}, and may make it hold {most}"
    );
    // An upload that its service does not read would be waited for.
    gateway.kill();
}

type Connection = Box<dyn AsyncWrite + Send + Unpin>;

impl Flood {
    /// One client: how many bytes were taken of it, and its connection.
    fn run(self, gateway: &Gateway) -> impl Future<Output = (usize, Connection)> + use<> {
        let address = loopback(gateway.port);
        let dialer = match self.way {
            Way::Tcp => None,
            Way::Tls(alpn) => Some(Dialer::new(gateway, "web", alpn)),
        };
        async move {
            let io: Connection = match dialer {
                None => Box::new(TcpStream::connect(address).await.expect("it listens")),
                Some(dialer) => Box::new(dialer.dial().await.expect("it is let in")),
            };
            self.sent(io).await
        }
    }

    /// Sends until the gateway ends the connection, reads nothing for a moment, or has taken far too much.
    async fn sent(self, mut io: Connection) -> (usize, Connection) {
        let (mut bytes, mut sent, mut numbers) = ((self.start)(), 0, 0..);
        while !bytes.is_empty() && sent < FAR_TOO_MUCH {
            let written = async {
                io.write_all(&bytes).await?;
                io.flush().await
            };
            match tokio::time::timeout(A_MOMENT, written).await {
                Ok(Ok(())) => sent += bytes.len(),
                _ => break,
            }
            let more = numbers.by_ref().take(AT_ONCE).map(self.again);
            bytes = more.collect::<Vec<_>>().concat();
        }
        (sent, io)
    }
}

/// Begins a new peak, and gives what is held now.
fn forget_peak(gateway: &Gateway) -> u64 {
    let file = format!("/proc/{}/clear_refs", gateway.process().id());
    std::fs::write(file, "5").expect("our own process");
    peak(gateway)
}

/// The most that the process held (`proc_pid_status(5)`), in bytes.
fn peak(gateway: &Gateway) -> u64 {
    let file = format!("/proc/{}/status", gateway.process().id());
    let status = std::fs::read_to_string(file).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kibibytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kibibytes: u64 = kibibytes
        .and_then(|text| text.parse().ok())
        .expect("a number");
    kibibytes << 10
}

/// Floods with frames of HTTP/2, after the preface and a beginning.
fn check_frames(service: u16, start: fn() -> Vec<u8>, again: fn(u32) -> Vec<u8>, most: u64) {
    let flood = Flood {
        clients: 4,
        way: Way::Tls(b"h2"),
        start,
        again,
    };
    check(service, flood, most);
}

/// Sends the begin of something on HTTP/1.1, and not its end.
fn check_unfinished(service: u16, start: fn() -> Vec<u8>) {
    let flood = Flood {
        clients: 200,
        way: Way::Tls(b"http/1.1"),
        start,
        again: |_| Vec::new(),
    };
    check(service, flood, HTTP1);
}

/// Uploads ten gigabytes on HTTP/1.1, as far as they are taken.
fn check_upload(service: u16) {
    let flood = Flood {
        clients: 4,
        way: Way::Tls(b"http/1.1"),
        start: upload,
        again: |_| vec![b'x'; 256],
    };
    check(service, flood, HTTP1);
}

#[test]
fn requests_that_are_reset_as_they_are_opened() {
    let reset = |number| {
        let stream = 2 * number + 1;
        [
            request(stream, true),
            frame(RESET, 0, stream, &CANCEL.to_be_bytes()),
        ]
        .concat()
    };
    check_frames(upstream::deaf(), preface, reset, HTTP2);
}

#[test]
fn a_head_that_never_ends() {
    let begun = || [preface(), frame(HEADERS, 0, 1, &head())].concat();
    let more = |_| frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(100)));
    check_frames(upstream::deaf(), begun, more, HTTP2);
}

#[test]
fn heads_that_are_small_until_they_are_unpacked() {
    // A field of 4,000 bytes for the table, its length as RFC 7541, section 5.1, has it; then a byte for each time that it
    // is meant again.
    let table = || {
        let long = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
        [
            preface(),
            frame(HEADERS, WHOLE, 1, &[head(), long].concat()),
        ]
        .concat()
    };
    let unpacked = |number| {
        let head = [head(), vec![0xbe; 9]].concat();
        frame(HEADERS, WHOLE, 2 * number + 3, &head)
    };
    check_frames(upstream::deaf(), table, unpacked, HTTP2);
}

#[test]
fn pings_whose_answers_nobody_reads() {
    let ping = |_| frame(PING, 0, 0, &[0; 8]);
    check_frames(upstream::deaf(), preface, ping, HTTP2);
}

#[test]
fn settings_whose_answers_nobody_reads() {
    let settings = |_| frame(SETTINGS, 0, 0, &[]);
    check_frames(upstream::deaf(), preface, settings, HTTP2);
}

#[test]
fn answers_without_end_for_a_window_of_nothing() {
    let asked = || {
        let closed = frame(SETTINGS, 0, 0, &[0, INITIAL_WINDOW, 0, 0, 0, 0]);
        [preface(), closed, requests(true)].concat()
    };
    let wider = |_| frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    check_frames(upstream::endless(), asked, wider, ANSWERS);
}

#[test]
fn uploads_byte_by_byte_to_a_service_that_does_not_read() {
    let begun = || [preface(), requests(false)].concat();
    let byte = |number| frame(DATA, 0, 2 * (number % STREAMS) + 1, b"x");
    check_frames(upstream::deaf(), begun, byte, HTTP2);
}

#[test]
fn ten_gigabytes_for_a_service_that_is_down() {
    check_upload(upstream::refusing());
}

#[test]
fn ten_gigabytes_for_a_service_that_does_not_read() {
    check_upload(upstream::deaf());
}

#[test]
fn ten_gigabytes_for_a_service_that_reads_and_says_nothing() {
    check_upload(upstream::hanging());
}

#[test]
fn heads_that_stand_still() {
    let begun = || {
        [
            &b"GET / HTTP/1.1\r\nHost: web.example.org\r\nX: "[..],
            &[b'y'; 14_000],
        ]
        .concat()
    };
    check_unfinished(upstream::deaf(), begun);
}

#[test]
fn bodies_that_stand_still() {
    check_unfinished(upstream::deaf(), || [upload(), vec![b'x'; 14_000]].concat());
}

#[test]
fn handshakes_that_stay_half_open() {
    // A record with as much of a ClientHello as is taken, which says that it has more (RFC 8446, sections 4 and 5.1).
    let begun = || {
        let mut hello = vec![CLIENT_HELLO, 0, 0xff, 0xf0, 3, 3];
        hello.resize(16_000, 0);
        let length = u16::try_from(hello.len()).expect("a record's length");
        [&[0x16, 3, 1][..], &length.to_be_bytes(), &hello].concat()
    };
    let flood = Flood {
        clients: 400,
        way: Way::Tcp,
        start: begun,
        again: |_| Vec::new(),
    };
    check(upstream::refusing(), flood, HANDSHAKE);
}

fn upload() -> Vec<u8> {
    b"POST / HTTP/1.1\r\nHost: web.example.org\r\nContent-Length: 10737418240\r\n\r\n".to_vec()
}

fn preface() -> Vec<u8> {
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
    ]
    .concat()
}

/// As many requests as a stranger may have open.
fn requests(end: bool) -> Vec<u8> {
    let requests = (0..STREAMS).map(|number| request(2 * number + 1, end));
    requests.collect::<Vec<_>>().concat()
}

fn request(stream: u32, ends: bool) -> Vec<u8> {
    let flags = if ends { WHOLE } else { END_HEADERS };
    frame(HEADERS, flags, stream, &head())
}

/// The head of a request without compression (RFC 7541, section 6.2.2).
fn head() -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "web.example.org"),
        (":path", "/"),
    ];
    fields.map(|(name, value)| field(name, value)).concat()
}

fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        bytes.push(u8::try_from(text.len()).expect("below 127"));
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// RFC 9113, section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a small frame")
        .to_be_bytes();
    let [_, length @ ..] = length;
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const END_HEADERS: u8 = 4;
/// With its end, and that of the request.
const WHOLE: u8 = 5;
const CANCEL: u32 = 8;
/// SETTINGS_INITIAL_WINDOW_SIZE.
const INITIAL_WINDOW: u8 = 4;
const CLIENT_HELLO: u8 = 1;

/// Streams that a stranger may have open on HTTP/2.
const STREAMS: u32 = 100;

/// What a stranger may make the gateway hold on HTTP/2: its window of 2 MiB, twice, since small frames have a cost of their
/// own; and for each stream a head of `2 * header_bytes + uri_bytes`.
const HTTP2: u64 = (4 << 20) + 100 * (40 << 10);

/// For each stream, 64 KiB that wait to be written to the client, and 128 KiB that are read from the service.
const ANSWERS: u64 = 100 * (192 << 10);

/// An idle channel's 70 KiB (docs/benchmarks.md), and 64 KiB that are read ahead on the way to the service, in two places.
const HTTP1: u64 = 200 << 10;

/// What the buffers that a ClientHello of 16 KiB passes through have grown to, and the connection.
const HANDSHAKE: u64 = 64 << 10;

/// What grows beside: the log, the audit trail, the allocator's own.
const BESIDE: u64 = 8 << 20;

/// Long enough for a gateway that means to read.
const A_MOMENT: Duration = Duration::from_secs(1);

/// For each client. All together it is far more than they may make the gateway hold.
const FAR_TOO_MUCH: usize = 16 << 20;

/// How much of a flood leaves in one piece.
const AT_ONCE: usize = 2000;
