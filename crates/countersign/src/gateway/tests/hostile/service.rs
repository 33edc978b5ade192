//! A service that trusts what reaches it, and keeps it.

use std::sync::Mutex;

use tokio::io::{AsyncBufReadExt, BufReader};

use super::*;

/// A service that answers each request with `ok`.
pub(super) struct Service {
    pub(super) address: SocketAddr,
    heard: Heard,
}

type Heard = Arc<Mutex<Vec<Message>>>;

/// A request as the service understood it.
#[derive(Clone, Debug, Default)]
pub(super) struct Message {
    line: String,
    fields: Vec<(String, String)>,
    body: String,
    trailers: Vec<(String, String)>,
    whole: bool,
}

impl Service {
    /// One of HTTP/1.1 that reads by hand and repairs nothing.
    pub(super) async fn http1() -> Self {
        Self::serving(|tcp, heard| async move {
            let mut reader = BufReader::new(tcp);
            while let Some(message) = read(&mut reader).await {
                let whole = message.whole;
                heard.lock().unwrap().push(message);
                if !whole {
                    return;
                }
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                let _ = reader.write_all(answer).await;
            }
        })
        .await
    }

    /// One of HTTP/2 with prior knowledge.
    pub(super) async fn http2() -> Self {
        Self::serving(|tcp, heard| async move {
            let mut connection = h2::server::handshake(tcp).await.unwrap();
            while let Some(Ok((request, mut answer))) = connection.accept().await {
                let heard = Arc::clone(&heard);
                tokio::spawn(async move {
                    let message = understood(request).await;
                    heard.lock().unwrap().push(message);
                    let response = http::Response::new(());
                    if let Ok(mut body) = answer.send_response(response, false) {
                        let _ = body.send_data("ok".into(), true);
                    }
                });
            }
        })
        .await
    }

    async fn serving<F>(serve: impl Fn(TcpStream, Heard) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Heard::default();
        let keeps = Arc::clone(&heard);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, Arc::clone(&keeps)));
            }
        });
        Self { address, heard }
    }

    /// The requests that reached it whole since it was asked last, once there are as many as `expected`, but for those for
    /// [`LAST`].
    pub(super) async fn heard(&self, expected: usize) -> Vec<Message> {
        let last = format!("GET {LAST}");
        let is_asked_for = |message: &&Message| message.whole && message.line != last;
        let count = || {
            let heard = self.heard.lock().unwrap();
            heard.iter().filter(is_asked_for).count()
        };
        let _ = tokio::time::timeout(PATIENCE / 4, until(|| count() >= expected)).await;
        let heard = std::mem::take(&mut *self.heard.lock().unwrap());
        heard.iter().filter(is_asked_for).cloned().collect()
    }
}

/// Reads a request as a reader does that believes its first length.
async fn read(reader: &mut BufReader<TcpStream>) -> Option<Message> {
    let first = line(reader).await?;
    let mut message = Message {
        line: first.strip_suffix(" HTTP/1.1").unwrap_or(&first).to_owned(),
        fields: fields(reader).await?,
        ..Message::default()
    };
    message.whole = match (
        message.field("transfer-encoding"),
        message.field("content-length"),
    ) {
        (Some(_), _) => chunks(reader, &mut message).await.is_some(),
        (None, Some(length)) => {
            let length = length.parse().unwrap();
            exactly(reader, length, &mut message.body).await.is_some()
        }
        (None, None) => true,
    };
    Some(message)
}

async fn line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut bytes = Vec::new();
    reader.read_until(b'\n', &mut bytes).await.ok()?;
    let line = String::from_utf8_lossy(&bytes).into_owned();
    line.strip_suffix("\r\n").map(str::to_owned)
}

async fn fields(reader: &mut BufReader<TcpStream>) -> Option<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(reader).await?;
        if line.is_empty() {
            return Some(fields);
        }
        let (name, value) = line.split_once(':').unwrap_or((&line, "no colon"));
        fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
}

async fn chunks(reader: &mut BufReader<TcpStream>, message: &mut Message) -> Option<()> {
    loop {
        let length = line(reader).await?;
        let length = usize::from_str_radix(&length, 16).expect("a length and nothing else");
        if length == 0 {
            message.trailers = fields(reader).await?;
            return Some(());
        }
        exactly(reader, length, &mut message.body).await?;
        line(reader).await?;
    }
}

async fn exactly(
    reader: &mut BufReader<TcpStream>,
    length: usize,
    body: &mut String,
) -> Option<()> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).await.ok()?;
    body.push_str(&String::from_utf8_lossy(&bytes));
    Some(())
}

async fn understood(request: http::Request<h2::RecvStream>) -> Message {
    let (parts, mut stream) = request.into_parts();
    let mut fields = pairs(&parts.headers);
    if let Some(authority) = parts.uri.authority() {
        fields.push(("host".to_owned(), authority.to_string()));
    }
    let target = parts.uri.path_and_query().map_or("", |path| path.as_str());
    let mut message = Message {
        line: format!("{} {target}", parts.method),
        fields,
        whole: true,
        ..Message::default()
    };
    while let Some(data) = stream.data().await {
        let Ok(data) = data else {
            message.whole = false;
            return message;
        };
        message.body.push_str(&String::from_utf8_lossy(&data));
    }
    match stream.trailers().await {
        Ok(trailers) => message.trailers = pairs(&trailers.unwrap_or_default()),
        Err(_) => message.whole = false,
    }
    message
}

fn pairs(fields: &HeaderMap) -> Vec<(String, String)> {
    let pair = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes());
        (name.as_str().to_owned(), value.into_owned())
    };
    fields.iter().map(pair).collect()
}

impl Message {
    /// Method, target and content, as the cases have them.
    pub(super) fn in_short(&self) -> String {
        let mut text = self.line.clone();
        if !self.body.is_empty() {
            text.push_str(&format!(" {}", self.body));
        }
        for (name, value) in &self.trailers {
            text.push_str(&format!(" [{name}: {value}]"));
        }
        text
    }

    /// What about it could deceive the service of `host`, if anything.
    pub(super) fn deceives(&self, host: &str) -> Option<&'static str> {
        let everything = || self.fields.iter().chain(&self.trailers);
        let one = |name| {
            self.fields
                .iter()
                .filter(|(found, _)| found == name)
                .count()
                == 1
        };
        let framings = ["content-length", "transfer-encoding"];
        let framings = self
            .fields
            .iter()
            .filter(|(name, _)| framings.contains(&&**name));
        let identity = self.field("countersign-identity").unwrap_or_default();
        let is_token = |name: &str| {
            let mut marks = name.bytes();
            !name.is_empty()
                && marks.all(|mark| mark.is_ascii_alphanumeric() || b"-_.!~'".contains(&mark))
        };
        let faults = [
            (self.field("host") != Some(host) || !one("host"), "its host"),
            (
                !identity.starts_with("v4.public.") || !one("countersign-identity"),
                "its identity",
            ),
            (
                self.field("x-forwarded-for") != Some("127.0.0.1") || !one("x-forwarded-for"),
                "its origin",
            ),
            (framings.count() > 1, "two framings"),
            (
                !everything().all(|(name, _)| is_token(name)),
                "a name that is none",
            ),
            (
                everything().any(|(_, value)| value.contains("forged")),
                "a field of a forger's",
            ),
        ];
        faults
            .into_iter()
            .find_map(|(is_so, fault)| is_so.then_some(fault))
    }

    fn field(&self, name: &str) -> Option<&str> {
        let found = self.fields.iter().find(|(found, _)| found == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// What is asked for after each case, to see where the connection stands.
pub(super) const LAST: &str = "/last";
