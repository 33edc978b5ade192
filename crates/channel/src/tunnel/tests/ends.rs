use std::io::ErrorKind;

use h2::Reason;
use http::Response;

use super::*;

#[derive(Clone, Copy, Debug)]
enum From {
    Client,
    Server,
}

const BOTH: [From; 2] = [From::Client, From::Server];

/// A new tunnel: the end that acts, the end that watches.
async fn open(tunnels: &mut Tunnels, from: From) -> (Tunnel, Tunnel) {
    let (client, server) = tunnels.open().await;
    match from {
        From::Client => (client, server),
        From::Server => (server, client),
    }
}

#[tokio::test]
async fn a_half_close_leaves_the_other_direction_open() {
    for from in BOTH {
        let mut tunnels = Tunnels::new(&Limits::default()).await;
        let (mut ending, mut other) = open(&mut tunnels, from).await;
        ending.write_all(b"request").await.unwrap();
        ending.shutdown().await.unwrap();
        let mut request = String::new();
        other.read_to_string(&mut request).await.unwrap();
        assert_eq!(request, "request");

        other.write_all(b"answer").await.unwrap();
        other.shutdown().await.unwrap();
        let mut answer = String::new();
        ending.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "answer");
    }
}

/// Whatever happens to one end while bytes are on the way, the other reads `ConnectionReset`.
async fn check_reset<F: Future<Output = ()> + Send + 'static>(act: impl Fn(Tunnel) -> F) {
    for from in BOTH {
        for in_flight in [0, 1, 5_000, 200_000] {
            let mut tunnels = Tunnels::new(&Limits::default()).await;
            let (mut acting, watching) = open(&mut tunnels, from).await;
            acting.write_all(&vec![7; in_flight]).await.unwrap();
            let _ = tokio::spawn(act(acting)).await;
            let kind = failure(watching).await;
            assert_eq!(kind, ErrorKind::ConnectionReset, "{from:?}, {in_flight}");
        }
    }
}

#[tokio::test]
async fn a_dropped_tunnel_is_a_reset() {
    check_reset(|tunnel| async { drop(tunnel) }).await;
}

#[tokio::test]
async fn an_abort_is_a_reset() {
    check_reset(|tunnel| async { tunnel.abort() }).await;
}

#[tokio::test]
async fn a_panic_is_a_reset() {
    check_reset(|tunnel| async {
        let _held = tunnel;
        panic!("the task that holds a tunnel panics, as this test wants");
    })
    .await;
}

#[tokio::test]
async fn a_dropped_writer_half_is_a_reset() {
    check_reset(|tunnel| async {
        let (reader, writer) = tunnel.into_split();
        drop(writer);
        drop(reader);
    })
    .await;
}

/// The peer gets its clean end, but what it still sends has nowhere to go.
#[tokio::test]
async fn a_reader_dropped_before_its_end_fails_the_peers_writes() {
    for reader_first in [true, false] {
        let mut tunnels = Tunnels::new(&Limits::default()).await;
        let (near, mut far) = tunnels.open().await;
        let (reader, mut writer) = near.into_split();
        writer.shutdown().await.unwrap();
        if reader_first {
            drop(reader);
            drop(writer);
        } else {
            drop(writer);
            drop(reader);
        }
        let error = endless_write(&mut far).await;
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// As a server that closes after its answer does.
#[tokio::test]
async fn a_server_that_drops_after_its_end_loses_nothing() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let (near, far) = tunnels.open().await;
    let (sent, received) = tokio::join!(send(far, 1_200_000), receive(near));
    assert_eq!(received.unwrap().0, 1_200_000);
    sent.unwrap();
}

#[tokio::test]
async fn an_abort_after_both_ends_loses_nothing() {
    for from in BOTH {
        let mut tunnels = Tunnels::new(&Limits::default()).await;
        let (mut acting, mut watching) = open(&mut tunnels, from).await;
        watching.shutdown().await.unwrap();
        acting.read_to_end(&mut Vec::new()).await.unwrap();
        acting.write_all(&[1; 200_000]).await.unwrap();
        acting.shutdown().await.unwrap();
        acting.abort();
        let mut all = Vec::new();
        assert_eq!(watching.read_to_end(&mut all).await.unwrap(), 200_000);
    }
}

#[tokio::test]
async fn an_abort_after_one_end_is_a_reset() {
    for from in BOTH {
        let mut tunnels = Tunnels::new(&Limits::default()).await;
        let (mut acting, mut watching) = open(&mut tunnels, from).await;
        acting.shutdown().await.unwrap();
        watching.read_to_end(&mut Vec::new()).await.unwrap();
        acting.abort();
        let error = endless_write(&mut watching).await;
        assert_eq!(
            error.to_string(),
            "the peer reset the stream (CONNECT_ERROR)"
        );
    }
}

async fn endless_write(tunnel: &mut Tunnel) -> io::Error {
    let block = vec![0; 1 << 20];
    loop {
        if let Err(error) = tunnel.write_all(&block).await {
            return error;
        }
    }
}

#[tokio::test]
async fn a_tunnel_dropped_after_both_ends_loses_nothing() {
    for from in BOTH {
        let mut tunnels = Tunnels::new(&Limits::default()).await;
        let (mut acting, mut watching) = open(&mut tunnels, from).await;
        watching.shutdown().await.unwrap();
        let mut nothing = Vec::new();
        acting.read_to_end(&mut nothing).await.unwrap();
        let (sent, received) = tokio::join!(send(acting, 300_000), receive(watching));
        assert_eq!(received.unwrap().0, 300_000);
        sent.unwrap();
    }
}

/// No reset code reads as an end: hyper takes CANCEL and NO_ERROR for one.
#[tokio::test]
async fn every_reset_code_is_an_error() {
    for reason in [
        Reason::NO_ERROR,
        Reason::CANCEL,
        Reason::CONNECT_ERROR,
        Reason::INTERNAL_ERROR,
    ] {
        let (mux, mut requests, _handle) = channel(&Limits::default()).await;
        let (signal, signalled) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut raw = requests.next().await.unwrap().unwrap().into_raw();
            let mut send = raw.respond.send_response(Response::new(()), false).unwrap();
            send.send_data("partial".into(), false).unwrap();
            tokio::spawn(async move {
                signalled.await.unwrap();
                send.send_reset(reason);
            });
            requests.next().await.map(Result::unwrap)
        });
        let mut tunnel = mux.connect(authority(), HeaderMap::new()).await.unwrap();
        tunnel.read_exact(&mut [0; 7]).await.unwrap();
        signal.send(()).unwrap();
        assert_eq!(
            failure(tunnel).await,
            ErrorKind::ConnectionReset,
            "{reason:?}"
        );
    }
}

#[tokio::test]
async fn a_lost_connection_is_an_error_at_both_ends() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let (mut near, far) = tunnels.open().await;
    near.write_all(b"partial").await.unwrap();
    tunnels.server.abort();
    assert_eq!(failure(near).await, ErrorKind::ConnectionAborted);
    assert_eq!(failure(far).await, ErrorKind::ConnectionAborted);
    assert!(tunnels.mux.closed().await.is_some());
    assert!(tunnels.mux.is_draining());
}

#[tokio::test]
async fn a_closed_server_fails_its_streams() {
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let (near, far) = tunnels.open().await;
    tunnels.handle.close();
    assert_eq!(failure(near).await, ErrorKind::ConnectionAborted);
    assert_eq!(failure(far).await, ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_waiting_handler_hears_that_the_client_gave_up() {
    let (mux, mut requests, handle) = channel(&Limits::default()).await;
    let connecting = tokio::spawn(async move { mux.connect(authority(), HeaderMap::new()).await });
    let mut incoming = requests.next().await.unwrap().unwrap();
    assert_eq!(handle.open_streams(), 1);
    let serving = tokio::spawn(async move { requests.next().await.is_none() });
    connecting.abort();
    let error = incoming.abandoned().await;
    assert_eq!(error.to_string(), "the peer reset the stream (CANCEL)");
    drop(incoming);
    assert_eq!(handle.open_streams(), 0);
    assert!(serving.await.unwrap());
}
