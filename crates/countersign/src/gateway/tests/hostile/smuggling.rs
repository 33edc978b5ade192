//! Requests that two readers may understand in two ways: refused, or made harmless before the service has them.

use super::frames::{Frame, Frames};
use super::service::{LAST, Message};
use super::*;

/// Bytes of HTTP/1.1, and what comes of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Http1Case {
    why: String,
    /// `{}` stands for each of `each`, `web.test` for the service's host.
    request: String,
    #[serde(default = "nothing")]
    each: Vec<String>,
    /// The statuses, in turn. The last request is answered as long as the connection is good for more.
    answers: Vec<String>,
    /// What the service hears whole, in short.
    #[serde(default)]
    heard: Vec<String>,
    /// Whether it is so inside a tunnel alone, or outside of one alone.
    tunnel: Option<bool>,
    /// Whether the client ends the connection after these bytes.
    #[serde(default)]
    cut: bool,
}

/// A request of HTTP/2, and what comes of it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Http2Case {
    why: String,
    /// All of its fields, where it is not a POST of `/a`.
    fields: Option<Vec<[String; 2]>>,
    /// Further fields, one set after the other.
    #[serde(default = "no_fields")]
    each: Vec<Vec<[String; 2]>>,
    #[serde(default = "content")]
    body: String,
    trailers: Option<Vec<[String; 2]>>,
    /// The status, or how the stream or the connection ends.
    answer: String,
    #[serde(default)]
    heard: Vec<String>,
}

fn nothing() -> Vec<String> {
    vec![String::new()]
}

fn no_fields() -> Vec<Vec<[String; 2]>> {
    vec![Vec::new()]
}

fn content() -> String {
    "abc".to_owned()
}

/// Compares what came with what should, and looks at every message for what could deceive.
async fn check(
    way: Way<'_>,
    what: &str,
    told: (&[String], &[String]),
    heard: &[String],
) -> Option<String> {
    let messages = way.service.heard(heard.len()).await;
    let found: Vec<String> = messages.iter().map(Message::in_short).collect();
    let deceived = messages
        .iter()
        .find_map(|message| message.deceives(way.host));
    let is_good = told.0 == told.1 && found == heard && deceived.is_none();
    (!is_good).then(|| {
        let name = way.name;
        format!("{what}\n  {name}: answered {:?}, heard {found:?}, deceived by {deceived:?}\n  should: {:?}, {heard:?}\n  {messages:?}", told.0, told.1)
    })
}

/// The statuses of the answers on one connection, to its end. With `tunnel`, inside a CONNECT for that target.
async fn statuses(
    site: &Site,
    way: Way<'_>,
    request: &[u8],
    tunnel: bool,
    cut: bool,
) -> Vec<String> {
    let mut stream = dial(&site.world, way.host, "http/1.1", false)
        .await
        .unwrap();
    if tunnel {
        let target = format!("{}:80", way.name);
        let connect = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n");
        stream.write_all(connect.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(within(stream.read_u8()).await.unwrap());
        }
    }
    stream.write_all(request).await.unwrap();
    if cut {
        stream.shutdown().await.unwrap();
    }
    let mut answers = Vec::new();
    // The gateway may end without close_notify: what came before counts.
    let _ = within(stream.read_to_end(&mut answers)).await;
    let answers = String::from_utf8_lossy(&answers);
    let statuses = answers.split("HTTP/1.1 ").skip(1);
    statuses.map(|answer| answer[..3].to_owned()).collect()
}

async fn http1_corpus(tunnel: bool) {
    let (site, mut otherwise) = (Site::start().await, Vec::new());
    for case in cases::<Http1Case>("http1.toml") {
        if case.tunnel.is_some_and(|only| only != tunnel) {
            continue;
        }
        for variant in &case.each {
            for way in site.ways() {
                let mut request = case
                    .request
                    .replace("{}", variant)
                    .replace("web.test", way.host);
                if !case.cut {
                    request.push_str(&format!(
                        "GET {LAST} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
                        way.host
                    ));
                }
                let answers = statuses(&site, way, request.as_bytes(), tunnel, case.cut).await;
                let what = format!("{} {variant:?}", case.why);
                let told = (&*answers, &*case.answers);
                otherwise.extend(check(way, &what, told, &case.heard).await);
            }
        }
    }
    site.is_at_rest().await;
    all_as_expected(&otherwise);
}

#[tokio::test]
async fn http_1_1_says_one_thing_or_is_refused() {
    http1_corpus(false).await;
}

#[tokio::test]
async fn so_it_does_inside_a_tunnel() {
    http1_corpus(true).await;
}

#[tokio::test]
async fn http_2_says_one_thing_or_is_refused() {
    let (site, mut otherwise) = (Site::start().await, Vec::new());
    for case in cases::<Http2Case>("http2.toml") {
        for variant in &case.each {
            for way in site.ways() {
                let answer = answer(&site, way, &case, variant).await;
                let what = format!("{} {variant:?}", case.why);
                let told = (&[answer][..], &[case.answer.clone()][..]);
                otherwise.extend(check(way, &what, told, &case.heard).await);
            }
        }
    }
    site.is_at_rest().await;
    all_as_expected(&otherwise);
}

/// What comes of the request of a case, with another after it.
async fn answer(site: &Site, way: Way<'_>, case: &Http2Case, variant: &[[String; 2]]) -> String {
    let mut frames = Frames::open(&site.world, way.host).await;
    let fields = case.fields.clone().unwrap_or_else(|| fields("POST", "/a"));
    let fields: Vec<_> = fields
        .into_iter()
        .chain(variant.to_vec())
        .map(|field| for_host(field, way.host))
        .collect();
    let ends = case.body.is_empty() && case.trailers.is_none();
    let mut bytes = Frame::headers(1, &fields, ends).bytes();
    if !case.body.is_empty() {
        let flags = if case.trailers.is_none() {
            frames::END_STREAM
        } else {
            0
        };
        bytes.extend(Frame::new(frames::DATA, flags, 1, case.body.as_bytes()).bytes());
    }
    if let Some(trailers) = &case.trailers {
        bytes.extend(Frame::headers(1, trailers, true).bytes());
    }
    let last: Vec<_> = self::fields("GET", LAST)
        .into_iter()
        .map(|field| for_host(field, way.host))
        .collect();
    bytes.extend(Frame::headers(3, &last, true).bytes());
    // The gateway may have ended the connection by the first of them.
    let _ = frames.send(&bytes).await;
    let (mut first, mut last) = (None, None);
    while first.is_none() || last.is_none() {
        let Some(frame) = within(frames.next()).await else {
            return first.unwrap_or_else(|| "the end".to_owned());
        };
        match frame.stream {
            3 => last = last.or(frame.told()),
            _ => first = first.or(frame.told()),
        }
    }
    assert_eq!(last.as_deref(), Some("200"), "{}", case.why);
    first.unwrap()
}

fn fields(method: &str, path: &str) -> Vec<[String; 2]> {
    let field = |name: &str, value: &str| [name.to_owned(), value.to_owned()];
    vec![
        field(":method", method),
        field(":scheme", "https"),
        field(":authority", "web.test"),
        field(":path", path),
    ]
}

fn for_host([name, value]: [String; 2], host: &str) -> [String; 2] {
    [name, value.replace("web.test", host)]
}
