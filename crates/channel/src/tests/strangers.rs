//! What comes to an open port: classical clients, old ones, other protocols, halves of a ClientHello, and crowds.

use std::time::Duration;

use proptest::prelude::*;
use rustls::ClientConnection;
use rustls::crypto::aws_lc_rs::kx_group;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::*;

/// What a client sends first.
fn client_hello(world: &World, groups: &[&'static dyn SupportedKxGroup]) -> Vec<u8> {
    let config = Agentless::new(world, groups).connector.config().clone();
    let mut connection =
        ClientConnection::new(config, ServerName::try_from(SERVICE).unwrap()).unwrap();
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).unwrap();
    bytes
}

/// Sends these bytes, ends, and reads what comes back.
async fn exchange(acceptor: &Acceptor, bytes: &[u8]) -> (Refusal, Vec<u8>) {
    let (mut near, far) = duplex(64 * 1024);
    let client = async {
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let mut answer = Vec::new();
        near.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let (accepted, answer) = tokio::join!(acceptor.accept(far, peer()), client);
    (refusal(accepted), answer)
}

fn hybrid() -> (World, Acceptor) {
    let world = World::new(Profile::HybridV1);
    let acceptor = world.acceptor(world.listener(Stage::Hybrid));
    (world, acceptor)
}

/// A fatal alert in a record of its own (RFC 8446 section 6).
fn alert(description: u8) -> Vec<u8> {
    vec![0x15, 3, 3, 0, 2, 2, description]
}

const HANDSHAKE_FAILURE: u8 = 40;
const PROTOCOL_VERSION: u8 = 70;

#[tokio::test]
async fn a_classical_client_reads_handshake_failure_on_the_wire() {
    for stage in Stage::ALL {
        let world = World::new(Profile::HybridV1);
        let acceptor = world.acceptor(world.listener(stage));
        let hello = client_hello(&world, &[kx_group::X25519]);
        let (refusal, answer) = exchange(&acceptor, &hello).await;
        assert_eq!(refusal, Refusal::ClassicalKeyExchange);
        assert_eq!(answer, alert(HANDSHAKE_FAILURE), "{stage}");
    }
}

#[tokio::test]
async fn a_client_of_tls_1_2_reads_protocol_version_on_the_wire() {
    for stage in Stage::ALL {
        for group in [kx_group::X25519, kx_group::X25519MLKEM768] {
            let world = World::new(Profile::HybridV1);
            let acceptor = world.acceptor(world.listener(stage));
            let mut hello = client_hello(&world, &[group]);
            // supported_versions, whose absence makes a ClientHello one of TLS 1.2, becomes an extension nobody knows.
            let extension = [0x00, 0x2b, 0x00, 0x03, 0x02, 0x03, 0x04];
            let at = hello
                .windows(7)
                .position(|window| window == extension)
                .unwrap();
            hello[at] = 0xfe;
            let (refusal, answer) = exchange(&acceptor, &hello).await;
            assert_eq!(refusal, Refusal::TlsVersion, "{stage}");
            assert_eq!(answer, alert(PROTOCOL_VERSION), "{stage}");
        }
    }
}

#[tokio::test]
async fn plain_http_is_told_in_http_that_this_is_tls() {
    let (_, acceptor) = hybrid();
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT db:5432 HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\n",
    ] {
        let (refusal, answer) = exchange(&acceptor, request.as_bytes()).await;
        let answer = String::from_utf8(answer).unwrap();
        assert_eq!(refusal, Refusal::PlainHttp);
        assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"));
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(body.contains("TLS 1.3"));
    }
}

#[tokio::test]
async fn garbage_reads_an_alert() {
    let (_, acceptor) = hybrid();
    for garbage in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"\0\0\0\0\0\0\0\0\0\0",
        b"\xff\xfe\xfd\xfc\xfb\xfa",
        b"\x80\x2e\x01\x03\x01",
    ] {
        let (refusal, answer) = exchange(&acceptor, garbage).await;
        assert_eq!(refusal, Refusal::NotTls, "{}", garbage.escape_ascii());
        assert_eq!(answer[..2], [0x15, 3], "{}", garbage.escape_ascii());
    }
}

#[tokio::test]
async fn a_client_hello_without_measure_is_refused_before_it_is_whole() {
    let (_, acceptor) = hybrid();
    // It says that it has 60,000 bytes (RFC 8446, section 4), and sends a third of them.
    let mut hello = vec![1, 0, 0xea, 0x60, 3, 3];
    hello.resize(20_000, 0);
    let record = |part: &[u8]| {
        let length = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[0x16, 3, 1][..], &length, part].concat()
    };
    let records: Vec<u8> = hello.chunks(10_000).flat_map(record).collect();
    let (refusal, answer) = exchange(&acceptor, &records).await;
    let told = "the ClientHello has more than 16384 bytes";
    assert_eq!(refusal, Refusal::Protocol(told.to_owned()));
    assert_eq!(answer, alert(HANDSHAKE_FAILURE));
}

#[tokio::test]
async fn half_a_client_hello_is_recorded_as_such() {
    let (world, acceptor) = hybrid();
    let hello = client_hello(&world, &[kx_group::X25519MLKEM768]);
    for length in [0, 1, 5, hello.len() / 2, hello.len() - 1] {
        let (refusal, answer) = exchange(&acceptor, &hello[..length]).await;
        assert_eq!(refusal, Refusal::IncompleteClientHello, "{length}");
        assert!(answer.is_empty(), "{length}");
    }
}

#[tokio::test]
async fn a_whole_client_hello_and_no_more_is_a_connection_lost() {
    let (world, acceptor) = hybrid();
    let hello = client_hello(&world, &[kx_group::X25519MLKEM768]);
    let (refusal, answer) = exchange(&acceptor, &hello).await;
    assert_eq!(refusal, Refusal::ConnectionLost);
    assert_eq!(answer[0], 0x16);
}

#[tokio::test(start_paused = true)]
async fn one_who_sends_nothing_is_let_go_in_time() {
    let (_, acceptor) = hybrid();
    let (_near, far) = duplex(1024);
    assert_eq!(
        refusal(acceptor.accept(far, peer()).await),
        Refusal::HandshakeTimeout
    );
}

#[tokio::test(start_paused = true)]
async fn one_who_stops_after_the_client_hello_is_let_go_in_time() {
    let (world, acceptor) = hybrid();
    let (mut near, far) = duplex(64 * 1024);
    near.write_all(&client_hello(&world, &[kx_group::X25519MLKEM768]))
        .await
        .unwrap();
    assert_eq!(
        refusal(acceptor.accept(far, peer()).await),
        Refusal::HandshakeTimeout
    );
}

#[tokio::test]
async fn a_thousand_who_never_finish_do_not_stop_an_honest_client() {
    let world = World::new(Profile::HybridV1);
    let limits = Limits {
        waiting: 64,
        unfinished: 32,
        ..Limits::default()
    };
    let acceptor =
        Acceptor::new(world.listener(Stage::Hybrid), world.credentials(), limits).unwrap();
    let acceptor = Arc::new(acceptor);
    let hello = client_hello(&world, &[kx_group::X25519MLKEM768]);
    let (mut open, mut handshakes) = (Vec::new(), JoinSet::new());
    for stranger in 0..1000 {
        let (mut near, far) = duplex(64 * 1024);
        let sent = match stranger % 3 {
            0 => 0,
            1 => hello.len() / 2,
            _ => hello.len(),
        };
        near.write_all(&hello[..sent]).await.unwrap();
        open.push(near);
        let acceptor = acceptor.clone();
        handshakes.spawn(async move { refusal(acceptor.accept(far, peer()).await) });
    }
    // All have come when all but those who hold a place have been sent away.
    for _ in 0..1000 - 64 - 32 {
        let refusal = timeout(Duration::from_secs(30), handshakes.join_next())
            .await
            .unwrap();
        assert_eq!(refusal.unwrap().unwrap(), Refusal::Crowded);
    }
    let (accepted, _) = agent_handshake(&acceptor, &world.connector(&world.agent())).await;
    accepted.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_client_hello_works_in_any_two_pieces(cut in 1_usize..1400, seed in 0_u8..4) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (world, acceptor) = hybrid();
            let hello = client_hello(&world, &[kx_group::X25519MLKEM768, kx_group::X25519][..1 + usize::from(seed % 2)]);
            let (mut near, mut far) = duplex(64 * 1024);
            let (first, second) = hello.split_at(cut.min(hello.len() - 1));
            near.write_all(first).await.unwrap();
            let reading = crate::server::opening::read(&mut far);
            let writing = async {
                tokio::task::yield_now().await;
                near.write_all(second).await.unwrap();
            };
            let (opening, ()) = tokio::join!(reading, writing);
            assert!(matches!(opening, crate::server::opening::Opening::ClientHello(_)));
            drop(acceptor);
        });
    }

    #[test]
    fn whatever_comes_first_is_answered_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut near, mut far) = duplex(64 * 1024);
            near.write_all(&bytes).await.unwrap();
            near.shutdown().await.unwrap();
            let opening = crate::server::opening::read(&mut far).await;
            assert!(matches!(opening, crate::server::opening::Opening::Refused(..)));
        });
    }
}

/// Over real sockets a connection that is closed over unread bytes is reset, and the reset overtakes what was answered.
#[tokio::test]
async fn an_answer_arrives_though_the_client_was_still_talking() {
    let (world, acceptor) = hybrid();
    let classical = [client_hello(&world, &[kx_group::X25519]), vec![0; 12_000]].concat();
    let http = [&b"POST / HTTP/1.1\r\n\r\n"[..], &[b'x'; 12_000]].concat();
    for (sent, answered) in [
        (classical, alert(HANDSHAKE_FAILURE)),
        (http, b"HTTP/1.1 400 ".to_vec()),
    ] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut near = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (far, peer) = listener.accept().await.unwrap();
        near.write_all(&sent).await.unwrap();
        let client = async {
            let mut answer = Vec::new();
            near.read_to_end(&mut answer).await.unwrap();
            near.shutdown().await.unwrap();
            answer
        };
        let (accepted, answer) = tokio::join!(acceptor.accept(far, peer), client);
        assert!(accepted.is_err());
        assert!(answer.starts_with(&answered), "{}", answer.escape_ascii());
    }
}
