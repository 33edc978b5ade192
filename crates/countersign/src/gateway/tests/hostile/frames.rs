//! HTTP/2 by hand (RFC 9113): whatever frames a client likes to send.

use super::*;

/// A connection of HTTP/2 on which nothing is checked.
pub(super) struct Frames {
    io: tokio_rustls::client::TlsStream<TcpStream>,
    read: Vec<u8>,
}

/// One frame.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Frame {
    pub(super) fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            kind,
            flags,
            stream,
            payload: payload.into(),
        }
    }

    /// The head of a request, whole in one frame.
    pub(super) fn headers(stream: u32, fields: &[[String; 2]], ends: bool) -> Self {
        let flags = END_HEADERS | if ends { END_STREAM } else { 0 };
        Self::new(HEADERS, flags, stream, block(fields))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let mut bytes = length[1..].to_vec();
        bytes.extend([self.kind, self.flags]);
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }

    /// What it tells of a stream or of the connection, as the cases have it.
    pub(super) fn told(&self) -> Option<String> {
        let word = |at: usize| u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap());
        match self.kind {
            HEADERS => Some(status(&self.payload)),
            RESET => Some(format!("reset {}", reason(word(0)))),
            GO_AWAY => Some(format!("goaway {}", reason(word(4)))),
            _ => None,
        }
    }
}

impl Frames {
    /// A connection after its preface and its first settings.
    pub(super) async fn open(world: &World, sni: &str) -> Self {
        let io = dial(world, sni, "h2", false).await.unwrap();
        let mut frames = Self {
            io,
            read: Vec::new(),
        };
        let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        preface.extend(Frame::new(SETTINGS, 0, 0, []).bytes());
        frames.send(&preface).await.unwrap();
        frames
    }

    /// Sends bytes, as far as the gateway takes them.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.io.write_all(bytes).await?;
        self.io.flush().await
    }

    /// The next frame; none at the end, however it comes.
    pub(super) async fn next(&mut self) -> Option<Frame> {
        while self.read.len() < 9 {
            self.more().await?;
        }
        let length = u32::from_be_bytes([0, self.read[0], self.read[1], self.read[2]]);
        let end = 9 + usize::try_from(length).unwrap();
        while self.read.len() < end {
            self.more().await?;
        }
        let bytes: Vec<u8> = self.read.drain(..end).collect();
        let stream = u32::from_be_bytes(bytes[5..9].try_into().unwrap());
        Some(Frame::new(bytes[3], bytes[4], stream, &bytes[9..]))
    }

    async fn more(&mut self) -> Option<()> {
        let read = self.io.read_buf(&mut self.read).await;
        read.is_ok_and(|read| read > 0).then_some(())
    }
}

/// A header block without compression (RFC 7541, section 6.2.2): any bytes can be a name or a value.
pub(super) fn block(fields: &[[String; 2]]) -> Vec<u8> {
    let mut block = Vec::new();
    for [name, value] in fields {
        block.push(0);
        for text in [name, value] {
            integer(text.len(), 7, &mut block);
            block.extend(text.as_bytes());
        }
    }
    block
}

/// RFC 7541, section 5.1, with the bits before the prefix zero.
fn integer(mut number: usize, prefix: u32, into: &mut Vec<u8>) {
    let most = (1 << prefix) - 1;
    if number < most {
        return into.push(u8::try_from(number).unwrap());
    }
    into.push(u8::try_from(most).unwrap());
    number -= most;
    while number >= 128 {
        into.push(u8::try_from(number % 128).unwrap() | 128);
        number /= 128;
    }
    into.push(u8::try_from(number).unwrap());
}

/// The status of an answer, from the begin of its header block: of the static table, or three digits in Huffman's code.
fn status(block: &[u8]) -> String {
    match block[0] {
        indexed @ 0x88..=0x8e => {
            let known = ["200", "204", "206", "304", "400", "404", "500"];
            known[usize::from(indexed - 0x88)].to_owned()
        }
        _ => digits(&block[2..]),
    }
}

/// Three digits (RFC 7541, appendix B).
fn digits(code: &[u8]) -> String {
    let bits: String = code
        .iter()
        .take(3)
        .map(|byte| format!("{byte:08b}"))
        .collect();
    let (mut text, mut rest) = (String::new(), bits.as_str());
    while text.len() < 3 {
        let (digit, length) = match &rest[..5] {
            "00000" => (0, 5),
            "00001" => (1, 5),
            "00010" => (2, 5),
            _ => (u8::from_str_radix(&rest[..6], 2).unwrap() - 25 + 3, 6),
        };
        text.push_str(&digit.to_string());
        rest = &rest[length..];
    }
    text
}

/// RFC 9113, section 7.
fn reason(code: u32) -> String {
    let names = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
    ];
    let name = usize::try_from(code).ok().and_then(|code| names.get(code));
    name.map_or_else(|| code.to_string(), |name| (*name).to_owned())
}

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RESET: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GO_AWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
