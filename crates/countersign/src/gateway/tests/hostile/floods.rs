//! Frames without end: the gateway ends the connection or stops reading, and holds nothing of it afterwards.

use super::frames::*;
use super::*;

/// What ends the connection, told before it went if it was told.
async fn ends(site: &Site, start: Vec<u8>, flood: impl Fn(u32) -> Vec<u8>, expected: &[&str]) {
    let mut frames = Frames::open(&site.world, "web.test").await;
    let _ = frames.send(&start).await;
    let mut sent = 0;
    for number in 0.. {
        let bytes = flood(number);
        sent += bytes.len();
        assert!(sent < FAR_TOO_MUCH, "it takes it all");
        let written = tokio::time::timeout(PATIENCE, frames.send(&bytes)).await;
        if !matches!(written, Ok(Ok(()))) {
            break;
        }
    }
    let mut told = None;
    while let Some(frame) = within(frames.next()).await {
        if frame.kind == GO_AWAY {
            told = frame.told();
        }
    }
    // A connection that is reset loses what was said on it.
    let told = told.unwrap_or_else(|| expected[0].to_owned());
    assert!(expected.contains(&&*told), "{told}, not {expected:?}");
    drop(frames);
    is_well(site).await;
}

/// The gateway holds nothing of it, and serves others.
async fn is_well(site: &Site) {
    site.is_at_rest().await;
    let mut frames = Frames::open(&site.world, "web.test").await;
    let request = Frame::headers(1, &get("/a"), true).bytes();
    frames.send(&request).await.unwrap();
    assert_eq!(answered(&mut frames, 1).await, "200");
    drop(frames);
    site.is_at_rest().await;
}

/// What a stream is told, or the connection.
async fn answered(frames: &mut Frames, stream: u32) -> String {
    while let Some(frame) = within(frames.next()).await {
        let told = frame
            .told()
            .filter(|_| frame.stream == stream || frame.kind == GO_AWAY);
        if let Some(told) = told {
            return told;
        }
    }
    "the end".to_owned()
}

fn get(path: &str) -> Vec<[String; 2]> {
    let fields = [
        (":method", "GET"),
        (":scheme", "https"),
        (":authority", "web.test"),
        (":path", path),
    ];
    fields
        .map(|(name, value)| [name.to_owned(), value.to_owned()])
        .to_vec()
}

fn begun(stream: u32) -> Vec<u8> {
    Frame::new(HEADERS, END_STREAM, stream, block(&get("/a"))).bytes()
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let site = Site::start().await;
    let more = |_| {
        Frame::new(
            CONTINUATION,
            0,
            1,
            block(&[["x".to_owned(), "y".repeat(1000)]]),
        )
        .bytes()
    };
    ends(
        &site,
        begun(1),
        more,
        &[
            "goaway ENHANCE_YOUR_CALM",
            "goaway PROTOCOL_ERROR",
            "goaway COMPRESSION_ERROR",
        ],
    )
    .await;
    let empty = |_| Frame::new(CONTINUATION, 0, 1, []).bytes();
    ends(
        &site,
        begun(1),
        empty,
        &["goaway ENHANCE_YOUR_CALM", "goaway PROTOCOL_ERROR"],
    )
    .await;
}

#[tokio::test]
async fn requests_that_are_reset_as_they_are_opened_end_the_connection() {
    let site = Site::start().await;
    let reset = |number: u32| {
        let stream = 2 * number + 1;
        let mut bytes = Frame::headers(stream, &get("/a"), true).bytes();
        bytes.extend(Frame::new(RESET, 0, stream, 8_u32.to_be_bytes()).bytes());
        bytes
    };
    ends(
        &site,
        Vec::new(),
        reset,
        &["goaway ENHANCE_YOUR_CALM", "goaway NO_ERROR"],
    )
    .await;
}

#[tokio::test]
async fn streams_that_the_gateway_has_to_reset_end_the_connection() {
    let site = Site::start().await;
    let provoked = |number: u32| {
        let stream = 2 * number + 1;
        let mut bytes = Frame::headers(stream, &get("/a"), false).bytes();
        bytes.extend(Frame::new(WINDOW_UPDATE, 0, stream, [0; 4]).bytes());
        bytes
    };
    ends(
        &site,
        Vec::new(),
        provoked,
        &[
            "goaway ENHANCE_YOUR_CALM",
            "goaway NO_ERROR",
            "goaway PROTOCOL_ERROR",
        ],
    )
    .await;
}

/// A client that asks for answers and reads none of them is not read any more once they have nowhere to go.
async fn stops_reading(flood: &Frame) {
    let site = Site::start().await;
    let mut frames = Frames::open(&site.world, "web.test").await;
    let many: Vec<u8> = std::iter::repeat_with(|| flood.bytes())
        .take(1000)
        .flatten()
        .collect();
    let mut sent = 0;
    while let Ok(Ok(())) = tokio::time::timeout(A_MOMENT, frames.send(&many)).await {
        sent += many.len();
        assert!(sent < FAR_TOO_MUCH, "it takes it all");
    }
    drop(frames);
    is_well(&site).await;
}

#[tokio::test]
async fn pings_and_settings_that_nobody_reads_the_answers_of_are_not_read_either() {
    stops_reading(&Frame::new(PING, 0, 0, [0; 8])).await;
    stops_reading(&Frame::new(SETTINGS, 0, 0, [])).await;
}

#[tokio::test]
async fn a_flood_of_what_needs_no_answer_holds_up_nobody() {
    let site = Site::start().await;
    for flood in [
        Frame::new(PRIORITY, 0, 1, [0, 0, 0, 0, 16]),
        Frame::new(0xee, 0, 0, [0; 16]),
        Frame::new(WINDOW_UPDATE, 0, 0, [0, 0, 0, 1]),
        Frame::new(PING, 1, 0, [0; 8]),
    ] {
        let mut frames = Frames::open(&site.world, "web.test").await;
        let many: Vec<u8> = std::iter::repeat_with(|| flood.bytes())
            .take(100_000)
            .flatten()
            .collect();
        within(frames.send(&many)).await.unwrap();
        frames
            .send(&Frame::headers(1, &get("/a"), true).bytes())
            .await
            .unwrap();
        assert_eq!(answered(&mut frames, 1).await, "200", "{}", flood.kind);
    }
    is_well(&site).await;
}

#[tokio::test]
async fn empty_data_without_end_is_over_with_its_client() {
    let site = Site::start().await;
    let mut start = Frame::headers(1, &get("/a"), false).bytes();
    let empty = Frame::new(DATA, 0, 1, []).bytes();
    start.extend(&empty);
    let mut frames = Frames::open(&site.world, "web.test").await;
    let many: Vec<u8> = std::iter::repeat_n(empty, 1_000_000).flatten().collect();
    frames.send(&start).await.unwrap();
    // Taken or not, it is over with the client.
    let _ = tokio::time::timeout(PATIENCE, frames.send(&many)).await;
    drop(frames);
    is_well(&site).await;
}

/// A head that is small on the wire and large when it is unpacked (RFC 7541, section 7.3).
#[tokio::test]
async fn a_packed_head_counts_as_it_is_unpacked() {
    let site = Site::start().await;
    let mut head = block(&get("/a"));
    // A field of 4,000 bytes for the table, its length as RFC 7541, section 5.1, has it; then a byte for each time that it
    // is meant again.
    head.extend([0x40, 1, b'x', 0x7f]);
    head.extend([0xa1, 0x1e]);
    head.extend([b'y'; LONG]);
    head.extend([0xbe; 12_000]);
    let mut frames = Frames::open(&site.world, "web.test").await;
    let sent = Frame::new(HEADERS, END_HEADERS | END_STREAM, 1, head);
    frames.send(&sent.bytes()).await.unwrap();
    let told = answered(&mut frames, 1).await;
    assert_eq!(told, "goaway ENHANCE_YOUR_CALM");
    assert!(site.http1.heard(0).await.is_empty());
    drop(frames);
    is_well(&site).await;
}

#[tokio::test]
async fn a_window_of_one_byte_is_filled_byte_by_byte() {
    let site = Site::start().await;
    let mut frames = Frames::open(&site.world, "web.test").await;
    let mut bytes = Frame::new(SETTINGS, 0, 0, [0, 4, 0, 0, 0, 1]).bytes();
    bytes.extend(Frame::headers(1, &get("/a"), true).bytes());
    frames.send(&bytes).await.unwrap();
    let mut body: Vec<u8> = Vec::new();
    while body != b"ok" {
        let frame = within(frames.next()).await.unwrap();
        if frame.kind == DATA {
            assert!(frame.payload.len() <= 1, "{frame:?}");
            body.extend(&frame.payload);
            let room = Frame::new(WINDOW_UPDATE, 0, 1, [0, 0, 0, 1]);
            frames.send(&room.bytes()).await.unwrap();
        }
    }
    drop(frames);
    is_well(&site).await;
}

#[tokio::test]
async fn a_frame_that_cannot_be_ends_the_connection() {
    let site = Site::start().await;
    // RFC 9113, section 7, leaves it to the receiver how precise a reason is.
    for (frame, expected) in [
        (
            Frame::new(SETTINGS, 0, 0, [0, 4, 0xff, 0xff, 0xff, 0xff]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            Frame::new(WINDOW_UPDATE, 0, 0, [0x7f, 0xff, 0xff, 0xff]),
            "goaway FLOW_CONTROL_ERROR",
        ),
        (
            Frame::new(WINDOW_UPDATE, 0, 0, [0; 4]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            Frame::new(SETTINGS, 0, 0, [0, 5, 0, 0, 0, 1]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            Frame::new(SETTINGS, 0, 0, [0, 4, 0]),
            "goaway PROTOCOL_ERROR",
        ),
        (Frame::new(PING, 0, 0, [0; 7]), "goaway PROTOCOL_ERROR"),
        (Frame::new(DATA, 0, 0, [0; 1]), "goaway PROTOCOL_ERROR"),
        (Frame::new(DATA, 0, 1, [0; 1]), "goaway PROTOCOL_ERROR"),
        (
            Frame::new(HEADERS, END_HEADERS, 2, block(&get("/a"))),
            "goaway PROTOCOL_ERROR",
        ),
        (
            Frame::new(HEADERS, END_HEADERS, 1, [0xff; 16]),
            "goaway PROTOCOL_ERROR",
        ),
        (
            Frame::new(CONTINUATION, END_HEADERS, 1, []),
            "goaway PROTOCOL_ERROR",
        ),
        (
            Frame::new(DATA, 0, 1, vec![0; 1 << 20]),
            "goaway FRAME_SIZE_ERROR",
        ),
        (
            Frame::new(5, END_HEADERS, 1, [0; 4]),
            "goaway PROTOCOL_ERROR",
        ),
    ] {
        let mut frames = Frames::open(&site.world, "web.test").await;
        let _ = frames.send(&frame.bytes()).await;
        assert_eq!(answered(&mut frames, 0).await, expected, "{}", frame.kind);
    }
    is_well(&site).await;
}

/// What no honest client sends without reading an answer.
const FAR_TOO_MUCH: usize = 256 << 20;

/// Long enough for a gateway that means to read.
const A_MOMENT: Duration = Duration::from_secs(1);

const LONG: usize = 4000;
