use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::ReadBuf;
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

/// An application and a service with two relays and a tunnel between them.
struct Path {
    app: TcpStream,
    service: TcpStream,
    near: JoinHandle<RelayEnd>,
    far: JoinHandle<RelayEnd>,
    near_cut: Cut,
    counters: Arc<Counters>,
    _tunnels: Tunnels,
}

impl Path {
    async fn new() -> Self {
        let mut tunnels = Tunnels::new(&Limits::default()).await;
        let (near_tunnel, far_tunnel) = tunnels.open().await;
        let (app, near_socket) = tcp().await;
        let (service, far_socket) = tcp().await;
        let near_cut = Cut::new();
        let counters = Arc::new(Counters::default());
        Self {
            app,
            service,
            near: spawn_relay(near_socket, near_tunnel, counters.clone(), near_cut.clone()),
            far: spawn_relay(far_socket, far_tunnel, Arc::default(), Cut::new()),
            near_cut,
            counters,
            _tunnels: tunnels,
        }
    }
}

fn spawn_relay(
    local: impl IntoEnd<End: Send> + Send + 'static,
    remote: impl IntoEnd<End: Send> + Send + 'static,
    counters: Arc<Counters>,
    cut: Cut,
) -> JoinHandle<RelayEnd> {
    tokio::spawn(async move { relay(local, remote, RelayLimits::default(), &counters, &cut).await })
}

#[tokio::test]
async fn a_half_close_is_carried_each_way_and_all_is_counted() {
    let mut path = Path::new().await;
    path.app.write_all(b"question").await.unwrap();
    path.app.shutdown().await.unwrap();
    let mut question = String::new();
    path.service.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "question");
    path.service.write_all(b"the answer").await.unwrap();
    path.service.shutdown().await.unwrap();
    let mut answer = String::new();
    path.app.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "the answer");

    for (relay, to_remote, to_local) in [(path.near, 8, 10), (path.far, 10, 8)] {
        let end = relay.await.unwrap();
        assert!(matches!(end.ending, Ending::Finished), "{end:?}");
        assert_eq!((end.to_remote, end.to_local), (to_remote, to_local));
    }
    assert_eq!(path.counters.to_remote.load(Ordering::Relaxed), 8);
    assert_eq!(path.counters.to_local.load(Ordering::Relaxed), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_arrive_whole_both_ways() {
    const SIZE: usize = 64 << 20;
    let path = Path::new().await;
    let mut ends = Vec::new();
    for end in [path.app, path.service] {
        let (reader, writer) = end.into_split();
        ends.push((
            tokio::spawn(send(writer, SIZE)),
            tokio::spawn(receive(reader)),
        ));
    }
    for (sent, received) in ends {
        let sent = sent.await.unwrap().unwrap();
        let (bytes, hash) = received.await.unwrap().unwrap();
        assert_eq!(bytes, SIZE);
        assert_eq!(hash.as_ref(), sent.as_ref());
    }
    for relay in [path.near, path.far] {
        let end = relay.await.unwrap();
        assert!(matches!(end.ending, Ending::Finished), "{end:?}");
    }
}

/// A failure at one end of the path is a reset at the other, with bytes on the way.
async fn check_failure(act: impl AsyncFnOnce(&mut Path), sees: fn(Path) -> TcpStream) {
    let mut path = Path::new().await;
    path.app.write_all(b"partial").await.unwrap();
    path.service.write_all(b"partial").await.unwrap();
    path.service.read_exact(&mut [0; 7]).await.unwrap();
    path.app.read_exact(&mut [0; 7]).await.unwrap();
    path.app.write_all(&[1; 50_000]).await.unwrap();
    path.service.write_all(&[1; 50_000]).await.unwrap();
    act(&mut path).await;
    assert_eq!(failure(sees(path)).await, ErrorKind::ConnectionReset);
}

async fn replace(socket: &mut TcpStream) -> TcpStream {
    std::mem::replace(socket, tcp().await.0)
}

#[tokio::test]
async fn an_application_that_resets_is_a_reset_for_the_service() {
    let act = async |path: &mut Path| {
        replace(&mut path.app).await.set_zero_linger().unwrap();
    };
    check_failure(act, |path| path.service).await;
}

#[tokio::test]
async fn a_service_that_resets_is_a_reset_for_the_application() {
    let act = async |path: &mut Path| {
        replace(&mut path.service).await.set_zero_linger().unwrap();
    };
    check_failure(act, |path| path.app).await;
}

/// What is read before a failure, and the failure.
async fn last_words(mut end: TcpStream) -> (Vec<u8>, ErrorKind) {
    let mut read = Vec::new();
    let error = end.read_to_end(&mut read).await.unwrap_err();
    (read, error.kind())
}

#[tokio::test]
async fn what_was_said_before_a_reset_arrives_before_the_reset() {
    for from_service in [true, false] {
        let mut path = Path::new().await;
        let ends = (&mut path.service, &mut path.app);
        let speaker = if from_service { ends.0 } else { ends.1 };
        let mut speaker = replace(speaker).await;
        speaker.write_all(&[7; 40_000]).await.unwrap();
        speaker.set_zero_linger().unwrap();
        drop(speaker);
        let listener = if from_service { path.app } else { path.service };
        let (read, error) = last_words(listener).await;
        assert_eq!((read.len(), error), (40_000, ErrorKind::ConnectionReset));
    }
}

#[tokio::test]
async fn what_was_said_before_a_reset_arrives_while_the_other_end_speaks() {
    let mut path = Path::new().await;
    let mut service = replace(&mut path.service).await;
    service.write_all(b"the answer").await.unwrap();
    path.app.write_all(&[1; 50_000]).await.unwrap();
    service.set_zero_linger().unwrap();
    drop(service);
    let (read, error) = last_words(path.app).await;
    assert_eq!(
        (&*read, error),
        (&b"the answer"[..], ErrorKind::ConnectionReset)
    );
}

#[tokio::test]
async fn an_aborted_relay_is_a_reset_for_both() {
    check_failure(async |path| path.near.abort(), |path| path.app).await;
    check_failure(async |path| path.near.abort(), |path| path.service).await;
    check_failure(async |path| path.far.abort(), |path| path.app).await;
    check_failure(async |path| path.far.abort(), |path| path.service).await;
}

#[tokio::test]
async fn a_cut_is_a_reset_for_both() {
    check_failure(async |path| path.near_cut.cut("revoked"), |path| path.app).await;
    check_failure(
        async |path| path.near_cut.cut("revoked"),
        |path| path.service,
    )
    .await;
}

#[tokio::test]
async fn a_cut_relay_says_why() {
    let path = Path::new().await;
    path.near_cut.cut("revoked");
    path.near_cut.cut("too late");
    let end = path.near.await.unwrap();
    assert!(
        matches!(&end.ending, Ending::Cut(reason) if &**reason == "revoked"),
        "{end:?}"
    );
    let end = path.far.await.unwrap();
    assert!(matches!(&end.ending, Ending::RemoteFailed(_)), "{end:?}");
}

#[tokio::test]
async fn a_cut_reaches_the_children_and_a_child_is_cut_alone() {
    let channel = Cut::new();
    let (first, second) = (channel.child(), channel.child());
    first.cut("closed by the operator");
    assert_eq!(&*first.wait().await, "closed by the operator");
    assert_eq!(channel.reason(), None);
    channel.cut("revoked");
    assert_eq!(&*second.wait().await, "revoked");
    assert_eq!(&*first.wait().await, "closed by the operator");
}

/// A relay between pipes, so that virtual time can pass.
async fn piped(limits: RelayLimits) -> (DuplexStream, Tunnel, JoinHandle<RelayEnd>, Tunnels) {
    let quiet = Limits {
        keepalive: None,
        ..Limits::default()
    };
    let mut tunnels = Tunnels::new(&quiet).await;
    let (near, far) = tunnels.open().await;
    let (app, local) = duplex(64 << 10);
    let relay =
        tokio::spawn(
            async move { relay(local, near, limits, &Counters::default(), &Cut::new()).await },
        );
    (app, far, relay, tunnels)
}

#[tokio::test(start_paused = true)]
async fn a_relay_without_bytes_ends_at_the_idle_limit() {
    let limits = RelayLimits {
        idle: Some(Duration::from_secs(60)),
    };
    let (mut app, mut far, relay, _tunnels) = piped(limits).await;
    let start = Instant::now();
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_secs(50)).await;
        app.write_all(b"x").await.unwrap();
        far.read_exact(&mut [0]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(50)).await;
        far.write_all(b"x").await.unwrap();
        app.read_exact(&mut [0]).await.unwrap();
    }
    let end = relay.await.unwrap();
    assert!(matches!(end.ending, Ending::IdleTimeout), "{end:?}");
    assert_eq!(start.elapsed().as_secs(), 360);
    assert_eq!(failure(far).await, ErrorKind::ConnectionReset);
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_heard_while_the_application_does_not_read() {
    let (_app, mut far, relay, _tunnels) = piped(RelayLimits::default()).await;
    far.write_all(&[1; 500_000]).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!relay.is_finished());
    far.abort();
    let end = relay.await.unwrap();
    assert!(matches!(end.ending, Ending::RemoteFailed(_)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reset_is_heard_after_the_remote_end_has_finished_sending() {
    let (mut app, mut far, relay, _tunnels) = piped(RelayLimits::default()).await;
    far.shutdown().await.unwrap();
    app.read_to_end(&mut Vec::new()).await.unwrap();
    far.abort();
    let end = relay.await.unwrap();
    assert!(matches!(end.ending, Ending::RemoteFailed(_)), "{end:?}");
}

#[tokio::test(start_paused = true)]
async fn back_pressure_reaches_the_application() {
    let (mut app, far, _relay, _tunnels) = piped(RelayLimits::default()).await;
    let block = [1; 10_000];
    let mut taken = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), app.write(&block)).await {
        taken += written.unwrap();
    }
    let limits = Limits::default();
    let window = usize::try_from(limits.stream_window).unwrap();
    let pipe = 64 << 10;
    let queue = 128 << 10;
    assert!(taken >= window, "{taken}");
    assert!(
        taken <= window + limits.send_buffer + pipe + queue,
        "{taken}"
    );
    drop(far);
}

#[tokio::test]
async fn bytes_read_before_the_relay_come_first() {
    let (mut app, local) = duplex(1000);
    let (mut service, remote) = UnixStream::pair().unwrap();
    let local = Socket::preceded_by("CONNECT and ".into(), local);
    spawn_relay(local, remote, Arc::default(), Cut::new());
    app.write_all(b"more").await.unwrap();
    app.shutdown().await.unwrap();
    let mut all = String::new();
    service.read_to_string(&mut all).await.unwrap();
    assert_eq!(all, "CONNECT and more");
}

/// A TLS connection from an application to the local end of a relay, and the relay's remote end.
async fn tls() -> (impl AsyncRead + AsyncWrite + Unpin, Tunnel, Tunnels) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();

    let (app, local) = tcp().await;
    let (app, local) = tokio::join!(
        TlsConnector::from(Arc::new(client)).connect("localhost".try_into().unwrap(), app),
        TlsAcceptor::from(Arc::new(server)).accept(local),
    );
    let mut tunnels = Tunnels::new(&Limits::default()).await;
    let (near, far) = tunnels.open().await;
    spawn_relay(local.unwrap(), near, Arc::default(), Cut::new());
    (app.unwrap(), far, tunnels)
}

#[tokio::test]
async fn a_clean_end_is_close_notify_and_a_half_close_on_tls() {
    let (mut app, mut far, _tunnels) = tls().await;
    far.write_all(b"hello").await.unwrap();
    far.shutdown().await.unwrap();
    let mut hello = String::new();
    app.read_to_string(&mut hello).await.unwrap();
    assert_eq!(hello, "hello");
    app.write_all(b"and bye").await.unwrap();
    app.shutdown().await.unwrap();
    let mut bye = String::new();
    far.read_to_string(&mut bye).await.unwrap();
    assert_eq!(bye, "and bye");
}

#[tokio::test]
async fn a_failure_is_no_close_notify_and_a_reset_on_tls() {
    let (mut app, mut far, _tunnels) = tls().await;
    far.write_all(b"partial").await.unwrap();
    app.read_exact(&mut [0; 7]).await.unwrap();
    far.abort();
    assert_eq!(failure(app).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_tls_peer_that_ends_without_close_notify_is_a_failure() {
    let (mut app, far, _tunnels) = tls().await;
    app.write_all(b"partial").await.unwrap();
    app.flush().await.unwrap();
    drop(app);
    assert_eq!(failure(far).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn what_a_tls_peer_said_before_it_ended_without_close_notify_arrives() {
    let (mut app, mut far, _tunnels) = tls().await;
    app.write_all(&[7; 40_000]).await.unwrap();
    app.flush().await.unwrap();
    drop(app);
    let mut read = Vec::new();
    let error = far.read_to_end(&mut read).await.unwrap_err();
    assert_eq!(
        (read.len(), error.kind()),
        (40_000, ErrorKind::ConnectionReset)
    );
}

/// A socket that its peer has reset, as the kernel tells of it: once, to whoever asks first.
struct WasReset;

impl Reset for WasReset {
    fn reset(&mut self) {}

    fn settle(&mut self) {}
}

impl AsyncRead for WasReset {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for WasReset {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(ErrorKind::ConnectionReset.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_reset_that_a_write_finds_first_is_no_end() {
    let (mut app, socket) = tcp().await;
    app.write_all(b"on its way").await.unwrap();
    let end = spawn_relay(socket, WasReset, Arc::default(), Cut::new()).await;
    assert!(matches!(end.unwrap().ending, Ending::RemoteFailed(_)));
    let seen = app.read(&mut [0]).await;
    assert_eq!(seen.unwrap_err().kind(), ErrorKind::ConnectionReset);
}
