use std::time::Duration;

/// What one HTTP/2 connection may cost, and how long it may take.
///
/// The same type serves both ends; each doc line says which end reads it.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Both: bytes that one stream may have on the way before its reader takes them.
    ///
    /// A stream carries at most this much for each round trip: 1 MiB is 20 MB/s at 50 ms.
    pub stream_window: u32,
    /// Both: bytes that all streams together may have on the way.
    ///
    /// Streams whose reader stands still keep their share of it: 32 of them, each with a full
    /// window, stop all others until the idle limit of a relay ends them. It is also how much a
    /// hostile peer can make this end hold, twice, since frames of one byte have their own cost.
    pub connection_window: u32,
    /// Both: bytes of one stream that wait to be written to the connection.
    pub send_buffer: usize,
    /// Both: payload of the largest frame that this end takes, from 16 KiB on. It is held whole before it is handed on.
    pub frame: u32,
    /// Both: decoded size of a header block, in bytes. It bounds CONTINUATION frames too.
    pub header_list: u32,
    /// Server: streams that the client may have open at once.
    pub streams: u32,
    /// Server: streams that the client may open and reset before they are seen (CVE-2023-44487,
    /// "rapid reset"); one more ends the connection.
    pub pending_resets: usize,
    /// Server: offer extended CONNECT (RFC 8441). Client: open no stream before the server has said whether it does.
    pub extended_connect: bool,
    /// Both: time for the peer's preface.
    pub handshake: Duration,
    /// Client: time for the answer to a request, its body included.
    pub response: Duration,
    /// Client: bytes of a response's body.
    pub response_body: usize,
    /// Both: how to notice that the peer is gone.
    pub keepalive: Option<Keepalive>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stream_window: 1 << 20,
            connection_window: 32 << 20,
            send_buffer: 256 << 10,
            frame: LARGEST_FRAME.into(),
            header_list: 16 << 10,
            streams: 1024,
            pending_resets: 20,
            extended_connect: false,
            handshake: Duration::from_secs(10),
            response: Duration::from_secs(30),
            response_body: 1 << 20,
            keepalive: Some(Keepalive::default()),
        }
    }
}

impl Limits {
    /// What unread frames below 256 bytes may cost beside their bytes, before h2 ends the
    /// connection: as much as the window itself. h2's own half of it would let a few stalled
    /// streams of small messages end a channel.
    pub(super) fn frame_budget(&self) -> usize {
        usize::try_from(self.connection_window).unwrap_or(usize::MAX)
    }
}

/// The payload of the largest DATA frame: with its header and in four TLS records it fills the largest segment of a loopback device,
/// 65,483 bytes, and leaves TLS's buffer of 64 KiB room for a few small frames before it.
///
/// It leaves in one system call and wakes the peer once; 141 bytes more would leave in a second segment, and wake it twice.
/// A small stream waits for one such frame of a bulk one: 0.5 ms at 1 Gbit/s.
pub const LARGEST_FRAME: u16 = 65_483 - 4 * RECORD_OVERHEAD - FRAME_HEADER;

/// Header, content type and tag of a TLS 1.3 record (RFC 8446, section 5.2).
const RECORD_OVERHEAD: u16 = 5 + 1 + 16;
/// RFC 9113, section 4.1.
const FRAME_HEADER: u16 = 9;

/// When to send PING (RFC 9113, section 6.7) and how long to wait for its answer.
#[derive(Clone, Copy, Debug)]
pub struct Keepalive {
    /// Time between an answer and the next PING.
    pub every: Duration,
    /// Time for the answer; past it the connection counts as lost.
    pub timeout: Duration,
}

impl Default for Keepalive {
    /// Below the shortest time that NAT gateways in the field keep an idle mapping (60 s).
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            timeout: Duration::from_secs(15),
        }
    }
}

/// What a relay may cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct RelayLimits {
    /// Time in which no byte is handed on in either direction, after which both ends are reset.
    pub idle: Option<Duration>,
}
