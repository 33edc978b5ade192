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
        let mut connection = h2::server::handshake(io).await.unwrap();
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

#[tokio::test]
async fn http2_changes_to_no_other_protocol() {
    let service = service(&[nowhere().await], "protocol = \"h2\"");
    let mut request = get("/");
    let headers = request.headers_mut();
    headers.insert("upgrade", "websocket".parse().unwrap());
    let told = text(&service, request).await;
    assert!(told.starts_with("501 no_upgrade"), "{told}");
}

/// A TLS service that speaks HTTP/2 if it may, and HTTP/1.1 otherwise.
async fn tls_service(folder: &TempDir, alpn: &[&[u8]]) -> SocketAddr {
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
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let mut tls = acceptor.accept(tcp).await.unwrap();
                match tls.get_ref().1.alpn_protocol() {
                    Some(b"h2") => Numbers::default().serve(tls).await,
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

/// What a TLS service with this list answers to a gateway with this protocol.
async fn check_tls(alpn: &[&[u8]], protocol: &str, expected: &str) {
    let folder = TempDir::new().unwrap();
    let address = tls_service(&folder, alpn).await;
    let ca = folder.path().join("ca.pem");
    let services = configured(
        &format!(
            "upstream = \"{address}\"\ntls.name = \"web.test\"\ntls.ca = \"{}\"\nhttp.protocol = \"{protocol}\"",
            ca.display()
        ),
        None,
    );
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
