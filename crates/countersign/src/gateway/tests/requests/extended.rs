//! WebSocket at a service that speaks HTTP/2 (RFC 8441): asked for without a key, carried and broken like any other.

use h2::RecvStream;
use h2::server::SendResponse;
use http::Response;
use tokio::task::AbortHandle;

use super::websocket::{ASK, extended};
use super::*;

/// A service that speaks HTTP/2, whose streams are in the test's own hands.
struct Streams {
    address: SocketAddr,
    asked: mpsc::UnboundedReceiver<Asked>,
}

/// A request that reached it.
struct Asked {
    request: Request<RecvStream>,
    answer: SendResponse<Bytes>,
    connection: AbortHandle,
}

/// The service's end of a WebSocket.
struct Socket {
    from: RecvStream,
    to: h2::SendStream<Bytes>,
    connection: AbortHandle,
}

impl Streams {
    async fn start(offers: bool) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, asked) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, offers, taken.clone()));
            }
        });
        Self { address, asked }
    }

    /// A gateway before it, and the service.
    async fn behind(more: &str) -> (World, Self) {
        let service = Self::start(true).await;
        (site_speaking("h2", service.address, more).await, service)
    }

    async fn asked(&mut self) -> Asked {
        within(self.asked.recv()).await.unwrap()
    }
}

async fn serve(tcp: TcpStream, offers: bool, taken: mpsc::UnboundedSender<Asked>) {
    let mut builder = h2::server::Builder::new();
    if offers {
        builder.enable_connect_protocol();
    }
    let mut connection = builder.handshake(tcp).await.unwrap();
    let (until, mut streams) = mpsc::unbounded_channel();
    let driver = tokio::spawn(async move {
        while let Some(Ok(stream)) = connection.accept().await {
            until.send(stream).unwrap();
        }
    });
    while let Some((request, answer)) = streams.recv().await {
        let connection = driver.abort_handle();
        let asked = Asked {
            request,
            answer,
            connection,
        };
        let _ = taken.send(asked);
    }
}

impl Asked {
    fn open(mut self) -> Socket {
        let head = Response::builder().header("sec-websocket-protocol", "chat");
        let to = self.answer.send_response(head.body(()).unwrap(), false);
        Socket {
            from: self.request.into_body(),
            to: to.unwrap(),
            connection: self.connection,
        }
    }

    fn forbid(mut self) {
        let head = Response::builder().status(403).body(()).unwrap();
        let mut body = self.answer.send_response(head, false).unwrap();
        body.send_data("not you".into(), true).unwrap();
    }
}

impl Socket {
    fn say(&mut self, words: &'static str) {
        self.to.send_data(words.into(), false).unwrap();
    }

    /// What comes next; none at a clean end. Empty frames say nothing.
    async fn hear(&mut self) -> Option<Result<Bytes, h2::Error>> {
        loop {
            match within(self.from.data()).await {
                Some(Ok(data)) if data.is_empty() => {}
                heard => return heard,
            }
        }
    }

    async fn hear_reset(mut self) {
        let error = self.hear().await.unwrap().unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
    }
}

type Client = Wire<TlsStream<TcpStream>>;

/// A WebSocket from an HTTP/1.1 client, from end to end.
async fn open(more: &str) -> (World, Client, Socket) {
    let (world, mut service) = Streams::behind(more).await;
    let (client, socket) = open_in(&world, &mut service).await;
    (world, client, socket)
}

async fn open_in(world: &World, service: &mut Streams) -> (Client, Socket) {
    let mut client = http1_wire(world).await;
    client.say(ASK).await;
    let socket = service.asked().await.open();
    let answer = client.until("\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 101 Switching Protocols\r\n"),
        "{answer}"
    );
    let told = [
        "connection",
        "upgrade",
        "sec-websocket-accept",
        "sec-websocket-protocol",
    ];
    assert_eq!(
        told.map(|name| field(&answer, name)),
        [
            "upgrade",
            "websocket",
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "chat"
        ]
    );
    (client, socket)
}

/// One from an HTTP/2 client.
async fn open_http2() -> (World, RecvStream, h2::SendStream<Bytes>, Socket) {
    let (world, mut service) = Streams::behind(ANONYMOUS_SITE).await;
    let (answer, send) = extended(&world, "/chat").await;
    let socket = service.asked().await.open();
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers().contains_key("sec-websocket-accept"));
    assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
    (world, answer.into_body(), send, socket)
}

/// The request as it reached the service.
fn check_request(request: &Request<RecvStream>) {
    let protocol = request.extensions().get::<h2::ext::Protocol>().unwrap();
    assert_eq!(
        (request.method().as_str(), protocol.as_str()),
        ("CONNECT", "websocket")
    );
    assert_eq!(request.uri(), "http://web.test/chat");
    let fields = request.headers();
    assert_eq!(fields["sec-websocket-version"], "13");
    let identity = fields["countersign-identity"].to_str().unwrap();
    assert!(identity.starts_with("v4.public."), "{identity}");
    for name in ["sec-websocket-key", "host", "connection", "upgrade"] {
        assert!(!fields.contains_key(name), "{fields:?}");
    }
    assert!(!format!("{fields:?}").contains("forged"), "{fields:?}");
}

#[tokio::test]
async fn both_kinds_of_client_ask_in_the_same_words() {
    let (world, mut service) = Streams::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client.say(ASK).await;
    check_request(&service.asked().await.request);
    let _asking = extended(&world, "/chat").await;
    check_request(&service.asked().await.request);
}

#[tokio::test]
async fn bytes_pass_both_ways_and_a_clean_end_is_one() {
    let (world, mut client, mut socket) = open(ANONYMOUS_SITE).await;
    client.say("ping").await;
    assert_eq!(socket.hear().await.unwrap().unwrap(), "ping");
    socket.say("pong!");
    client.until("pong!").await;
    client.io.shutdown().await.unwrap();
    let heard = socket.hear().await;
    assert!(heard.is_none(), "no clean end: {heard:?}");
    socket.to.send_data(Bytes::new(), true).unwrap();
    let (_, clean) = client.rest().await;
    assert!(clean, "no clean end");
    let end = json!({ "service": "site", "end": "finished", "sent": 4, "received": 5 });
    world.event("stream-closed", end).await;
}

#[tokio::test]
async fn a_service_that_resets_the_stream_is_no_clean_end() {
    let (_world, client, mut socket) = open(ANONYMOUS_SITE).await;
    socket.to.send_reset(h2::Reason::CANCEL);
    let (_, clean) = client.rest().await;
    assert!(!clean, "a clean end");
}

#[tokio::test]
async fn a_service_whose_connection_ends_is_no_clean_end() {
    let (_world, client, socket) = open(ANONYMOUS_SITE).await;
    socket.connection.abort();
    let (_, clean) = client.rest().await;
    assert!(!clean, "a clean end");
}

#[tokio::test]
async fn a_client_that_breaks_off_is_a_reset() {
    let (_world, client, socket) = open(ANONYMOUS_SITE).await;
    socket2::SockRef::from(client.io.get_ref().0)
        .set_linger(Some(Duration::ZERO))
        .unwrap();
    drop(client);
    socket.hear_reset().await;
}

#[tokio::test]
async fn what_ends_a_grant_resets_both_ends() {
    let (world, mut service) = Streams::behind("").await;
    world.grant("anonymous", "site").await;
    let (client, socket) = open_in(&world, &mut service).await;
    let path = "/grants?principal=anonymous&service=site";
    world.operate("DELETE", path, &Value::Null).await;
    let (_, clean) = client.rest().await;
    assert!(!clean, "a clean end");
    socket.hear_reset().await;
}

#[tokio::test]
async fn http_2_clients_are_carried_and_broken_alike() {
    let (_world, mut body, mut send, mut socket) = open_http2().await;
    send.send_data("ping".into(), false).unwrap();
    assert_eq!(socket.hear().await.unwrap().unwrap(), "ping");
    socket.say("pong");
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "pong");
    socket.to.send_reset(h2::Reason::CANCEL);
    let reset = within(body.data()).await.unwrap().unwrap_err();
    assert!(reset.is_reset(), "{reset}");
    let (_world, _body, mut send, socket) = open_http2().await;
    send.send_reset(h2::Reason::CANCEL);
    socket.hear_reset().await;
}

#[tokio::test]
async fn a_service_that_does_not_offer_it_is_not_asked_and_the_client_told() {
    let service = Streams::start(false).await;
    let world = site_speaking("h2", service.address, ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client.say(ASK).await;
    let head = client.until("\r\n\r\n").await;
    let body = client.until("}").await;
    assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
    let told = problem(&format!("{head}{body}"));
    assert!(
        told.contains("does not offer WebSocket over HTTP/2 (RFC 8441)"),
        "{told}"
    );
    let (answer, _send) = extended(&world, "/chat").await;
    assert_eq!(within(answer).await.unwrap().status(), 501);
    assert!(service.asked.is_empty());
}

#[tokio::test]
async fn a_service_may_answer_no() {
    let (world, mut service) = Streams::behind(ANONYMOUS_SITE).await;
    let mut client = http1_wire(&world).await;
    client.say(ASK).await;
    service.asked().await.forbid();
    let answer = client.until("not you").await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    let (answer, _send) = extended(&world, "/chat").await;
    service.asked().await.forbid();
    let answer = within(answer).await.unwrap();
    assert_eq!(answer.status(), 403);
    let mut body = answer.into_body();
    assert_eq!(within(body.data()).await.unwrap().unwrap(), "not you");
    assert!(within(body.data()).await.is_none());
}
