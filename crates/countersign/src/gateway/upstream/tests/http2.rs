//! HTTP/2 behind the gateway, and TLS.

use std::sync::atomic::{AtomicUsize, Ordering};

use h2::server::SendResponse;
use http::{HeaderMap, Response};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::hop::Protection;

/// An HTTP/2 service that answers each request with its number among all of them, and trailers.
#[derive(Clone, Default)]
struct Numbers {
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    heads: Arc<Mutex<Vec<http::request::Parts>>>,
    /// The first so many requests are refused unprocessed.
    refuses: usize,
    /// A connection takes one request and then says that it goes.
    goes: bool,
    /// It takes extended CONNECT (RFC 8441).
    extended: bool,
}

impl Numbers {
    async fn start(self) -> SocketAddr {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(self.clone().serve(tcp));
            }
        });
        address
    }

    async fn serve(self, io: impl AsyncRead + AsyncWrite + Unpin) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let mut builder = h2::server::Builder::new();
        if self.extended {
            builder.enable_connect_protocol();
        }
        let mut connection = builder.handshake(io).await.unwrap();
        while let Some(Ok((request, answer))) = connection.accept().await {
            let number = 1 + self.requests.fetch_add(1, Ordering::Relaxed);
            self.heads.lock().unwrap().push(request.into_parts().0);
            if self.goes {
                connection.graceful_shutdown();
            }
            if number <= self.refuses {
                let mut answer = answer;
                answer.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                answered(answer, number);
            }
        }
    }
}

fn answered(mut answer: SendResponse<Bytes>, number: usize) {
    let mut body = answer.send_response(Response::new(()), false).unwrap();
    body.send_data(number.to_string().into(), false).unwrap();
    let trailers = HeaderMap::from_iter([("grpc-status".parse().unwrap(), 0.into())]);
    body.send_trailers(trailers).unwrap();
}

#[tokio::test]
async fn requests_share_a_connection_and_keep_their_trailers() {
    let numbers = Numbers::default();
    let address = numbers.clone().start().await;
    let service = service(&[address], "protocol = \"h2\"");
    let mut all = JoinSet::new();
    for _ in 0..8 {
        let service = Arc::clone(&service);
        all.spawn(async move {
            let answer = send(&service, post("x")).await.unwrap();
            answer.response.into_body().collect().await.unwrap()
        });
    }
    for body in all.join_all().await {
        assert_eq!(body.trailers().unwrap()["grpc-status"], "0");
    }
    assert_eq!(numbers.connections.load(Ordering::Relaxed), 1);
    let heads = numbers.heads.lock().unwrap();
    assert_eq!(heads[0].uri, "http://web.example.org/post");
    assert_eq!(heads[0].headers["te"], "trailers");
    assert!(!heads[0].headers.contains_key("host"));
}

#[tokio::test]
async fn what_was_refused_unprocessed_is_sent_again_whatever_it_is() {
    let numbers = Numbers {
        refuses: 1,
        ..Numbers::default()
    };
    let service = service(&[numbers.clone().start().await], "protocol = \"h2\"");
    assert_eq!(text(&service, get("/")).await, "200 2");
    assert_eq!(numbers.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_service_that_refuses_everything_is_believed_at_last() {
    let numbers = Numbers {
        refuses: 9,
        ..Numbers::default()
    };
    let service = service(
        &[numbers.clone().start().await],
        "protocol = \"h2\"\nretries = 2",
    );
    assert_eq!(
        text(&service, get("/")).await,
        "502 service_closed: service `web` reset the request: refused stream before processing any application logic"
    );
    assert_eq!(numbers.requests.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_connection_that_goes_is_followed_by_another() {
    let numbers = Numbers {
        goes: true,
        ..Numbers::default()
    };
    let service = service(&[numbers.clone().start().await], "protocol = \"h2\"");
    for number in 1..=4 {
        assert_eq!(text(&service, post("x")).await, format!("200 {number}"));
    }
    assert_eq!(numbers.connections.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn http1_where_http2_was_meant_is_told() {
    let refuses = Step::Say("HTTP/1.1 400 Bad Request\r\n\r\n");
    let upstream = Scripted::start(vec![vec![Step::Hear, refuses, Step::Hang]]).await;
    let service = service(&[upstream.address], "protocol = \"h2\"");
    let told = text(&service, get("/")).await;
    assert!(told.starts_with("502 service_not_http"), "{told}");
}

/// A request for WebSocket, as it is put to a service of either version of HTTP.
fn websocket() -> Request<Body> {
    let mut request = get("/chat");
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    for (name, value) in [("upgrade", "websocket"), ("sec-websocket-key", key)] {
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    request
}

#[tokio::test]
async fn websocket_is_for_those_that_offer_it() {
    let numbers = Numbers::default();
    let service = service(&[numbers.clone().start().await], "protocol = \"h2\"");
    let told = text(&service, websocket()).await;
    assert_eq!(
        told,
        "501 no_upgrade: service `web` does not offer WebSocket over HTTP/2 (RFC 8441); if it does over HTTP/1.1, its `[service.http]` needs `protocol = \"http/1.1\"`"
    );
    assert_eq!(numbers.requests.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_websocket_has_a_connection_of_its_own_and_is_asked_for_again_if_unprocessed() {
    let numbers = Numbers {
        refuses: 1,
        extended: true,
        ..Numbers::default()
    };
    let service = service(&[numbers.clone().start().await], "protocol = \"h2\"");
    let answer = send(&service, websocket()).await.unwrap();
    assert_eq!(answer.response.status(), 101);
    let proof = &answer.response.headers()["sec-websocket-accept"];
    assert_eq!(proof, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(text(&service, get("/")).await, "200 3");
    assert_eq!(numbers.connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn websocket_where_nothing_listens_or_http1_was_meant_is_told() {
    let refuses = Step::Say("HTTP/1.1 400 Bad Request\r\n\r\n");
    let upstream = Scripted::start(vec![vec![Step::Hear, refuses, Step::Hang]]).await;
    for (place, expected) in [
        (nowhere().await, "502 service_unreachable"),
        (upstream.address, "502 service_not_http"),
    ] {
        let service = service(&[place], "protocol = \"h2\"");
        let told = text(&service, websocket()).await;
        assert!(told.starts_with(expected), "{told}");
    }
}

#[tokio::test]
async fn a_service_that_never_says_whether_it_offers_websocket_is_given_up() {
    // The preface reads like a head; then it waits for the end.
    let upstream = Scripted::start(vec![vec![Step::Hear, Step::Hear]]).await;
    let services = configured(
        &format!(
            "connect_timeout = \"300ms\"\nupstream = \"{}\"\nhttp.protocol = \"h2\"",
            upstream.address
        ),
        None,
    );
    let told = text(services.find("web", 80).unwrap(), websocket()).await;
    assert!(told.starts_with("504 service_timeout"), "{told}");
    until(|| Arc::strong_count(&upstream.heard) == 1).await;
}

#[tokio::test]
async fn a_websocket_is_in_flight_until_it_is_over() {
    let numbers = Numbers {
        extended: true,
        ..Numbers::default()
    };
    let keys = "protocol = \"h2\"\nrequests = 1";
    let service = service(&[numbers.start().await], keys);
    let answer = send(&service, websocket()).await.unwrap();
    let switched = within(answer.upgraded()).await.unwrap();
    let told = text(&service, get("/")).await;
    assert!(told.starts_with("503 service_busy"), "{told}");
    drop(switched);
    assert_eq!(text(&service, get("/")).await, "200 2");
}

#[tokio::test]
async fn websocket_passes_tls() {
    let folder = TempDir::new().unwrap();
    let numbers = Numbers {
        extended: true,
        ..Numbers::default()
    };
    let address = tls_service(&folder, &[b"h2"], numbers.clone()).await;
    let services = behind_tls(&folder, address, "h2");
    let service = services.find("web", 80).unwrap();
    let answer = send(service, websocket()).await.unwrap();
    assert_eq!(answer.response.status(), 101);
    assert_eq!(answer.hop.protection, Protection::PostQuantumTls);
    let heads = numbers.heads.lock().unwrap();
    assert_eq!(heads[0].uri, "https://web.example.org/chat");
}

/// A TLS service that speaks HTTP/2 if it may, and HTTP/1.1 otherwise.
async fn tls_service(folder: &TempDir, alpn: &[&[u8]], numbers: Numbers) -> SocketAddr {
    let made = rcgen::generate_simple_self_signed(["web.test".to_owned()]).unwrap();
    std::fs::write(folder.path().join("ca.pem"), made.cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = countersign_channel::provider::upstream_provider();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::from(key))
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (acceptor, numbers) = (acceptor.clone(), numbers.clone());
            tokio::spawn(async move {
                let mut tls = acceptor.accept(tcp).await.unwrap();
                match tls.get_ref().1.alpn_protocol() {
                    Some(b"h2") => numbers.serve(tls).await,
                    _ => {
                        let mut head = [0; 1024];
                        let _ = tls.read(&mut head).await;
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                        let _ = tls.write_all(answer).await;
                        let _ = tls.read(&mut head).await;
                    }
                }
            });
        }
    });
    address
}

fn behind_tls(folder: &TempDir, address: SocketAddr, protocol: &str) -> Services {
    let ca = folder.path().join("ca.pem");
    configured(
        &format!(
            "upstream = \"{address}\"\ntls.name = \"web.test\"\ntls.ca = \"{}\"\nhttp.protocol = \"{protocol}\"",
            ca.display()
        ),
        None,
    )
}

/// What a TLS service with this list answers to a gateway with this protocol.
async fn check_tls(alpn: &[&[u8]], protocol: &str, expected: &str) {
    let folder = TempDir::new().unwrap();
    let address = tls_service(&folder, alpn, Numbers::default()).await;
    let services = behind_tls(&folder, address, protocol);
    let service = services.find("web", 80).unwrap();
    let answer = send(service, get("/")).await.unwrap();
    assert_eq!(answer.hop.protection, Protection::PostQuantumTls);
    let tls = answer.hop.tls.unwrap();
    assert_eq!(tls.group.name(), "X25519MLKEM768");
    assert_eq!(tls.scheme.name(), "ecdsa_secp256r1_sha256");
    let body = answer.response.into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), expected);
}

#[tokio::test]
async fn alpn_settles_on_what_both_speak_and_the_hop_is_on_record() {
    check_tls(&[b"h2", b"http/1.1"], "auto", "1").await;
    check_tls(&[b"http/1.1"], "auto", "ok").await;
    check_tls(&[], "auto", "ok").await;
    check_tls(&[b"h2", b"http/1.1"], "http/1.1", "ok").await;
    check_tls(&[b"h2"], "h2", "1").await;
}
