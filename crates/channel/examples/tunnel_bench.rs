//! What a tunnel costs: bytes from an application to a service and back through two relays, with a
//! TLS connection of its own between them, then with a tunnel in a TLS connection, as a ratio in
//! one run. One relay between plain connections is the floor.
//!
//! `cargo run --release -p countersign-channel --example tunnel_bench [MiB]`

#![expect(clippy::print_stdout, reason = "the result")]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use countersign_channel::tunnel::{
    Counters, Cut, IntoEnd, Limits, Mux, RelayLimits, Requests, ServerHandle, relay, serve,
};
use http::HeaderMap;
use rustls::pki_types::PrivateKeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

type Outcome<T> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let size = std::env::args()
        .nth(1)
        .map_or(Ok(512), |size| size.parse())?
        << 20;
    let tls = &tls()?;
    let (mut plain, mut direct, mut tunnelled) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        plain.push(measure(plain_path, size).await?);
        direct.push(measure(|| tls_path(tls), size).await?);
        tunnelled.push(measure(|| tunnel_path(tls), size).await?);
    }
    println!("                  up MiB/s   down MiB/s   round trip µs");
    best("plain, one relay", &plain);
    let direct = best("TLS", &direct);
    let tunnelled = best("tunnel in TLS", &tunnelled);
    println!(
        "tunnel : TLS      {:8.2}   {:10.2}   {:13.2}",
        tunnelled.up / direct.up,
        tunnelled.down / direct.down,
        tunnelled.round_trip / direct.round_trip
    );
    Ok(())
}

struct Figures {
    up: f64,
    down: f64,
    round_trip: f64,
}

fn best(name: &str, runs: &[Figures]) -> Figures {
    let highest = |value: fn(&Figures) -> f64| runs.iter().map(value).fold(0.0, f64::max);
    let best = Figures {
        up: highest(|run| run.up),
        down: highest(|run| run.down),
        round_trip: runs
            .iter()
            .map(|run| run.round_trip)
            .fold(f64::MAX, f64::min),
    };
    println!(
        "{name:16}  {:8.0}   {:10.0}   {:13.0}",
        best.up, best.down, best.round_trip
    );
    best
}

async fn measure<P>(path: impl Fn() -> P, size: usize) -> Outcome<Figures>
where
    P: Future<Output = Outcome<(TcpStream, TcpStream)>>,
{
    let (app, service) = path().await?;
    let up = carry(app, service, size).await?;
    let (app, service) = path().await?;
    let down = carry(service, app, size).await?;
    let (app, service) = path().await?;
    let round_trip = ping_pong(app, service).await?;
    Ok(Figures {
        up,
        down,
        round_trip,
    })
}

/// Mebibytes in a second.
async fn carry(mut from: TcpStream, mut to: TcpStream, size: usize) -> Outcome<f64> {
    let start = Instant::now();
    let sender = tokio::spawn(async move {
        let block = vec![7; 256 << 10];
        for _ in 0..size / block.len() {
            from.write_all(&block).await?;
        }
        from.shutdown().await?;
        Ok::<_, std::io::Error>(from)
    });
    let mut block = vec![0; 256 << 10];
    while to.read(&mut block).await? > 0 {}
    sender.await??;
    let mebibytes = f64::from(u32::try_from(size >> 20)?);
    Ok(mebibytes / start.elapsed().as_secs_f64())
}

/// Microseconds for one byte there and back.
async fn ping_pong(mut app: TcpStream, mut service: TcpStream) -> Outcome<f64> {
    const TIMES: u32 = 2000;
    tokio::spawn(async move {
        let mut byte = [0];
        while service.read_exact(&mut byte).await.is_ok() {
            service.write_all(&byte).await?;
        }
        Ok::<_, std::io::Error>(())
    });
    let start = Instant::now();
    for _ in 0..TIMES {
        app.write_all(&[1]).await?;
        app.read_exact(&mut [0]).await?;
    }
    Ok(start.elapsed().as_secs_f64() * 1e6 / f64::from(TIMES))
}

async fn plain_path() -> Outcome<(TcpStream, TcpStream)> {
    let (app, near) = tcp().await?;
    let (service, far) = tcp().await?;
    spawn_relay(near, far);
    Ok((app, service))
}

async fn tls_path(tls: &Tls) -> Outcome<(TcpStream, TcpStream)> {
    let (client, server) = tls.connect().await?;
    let (app, near) = tcp().await?;
    let (service, far) = tcp().await?;
    spawn_relay(near, client);
    spawn_relay(far, server);
    Ok((app, service))
}

async fn tunnel_path(tls: &Tls) -> Outcome<(TcpStream, TcpStream)> {
    let (client, server) = tls.connect().await?;
    let limits = Limits::default();
    let (mux, requests) = tokio::join!(Mux::handshake(client, &limits), serve(server, &limits));
    let (mux, driver) = mux?;
    tokio::spawn(driver);
    let (service, far) = tcp().await?;
    tokio::spawn(accept(requests?, far));

    let (app, near) = tcp().await?;
    let tunnel = mux.connect("service:1".parse()?, HeaderMap::new()).await?;
    spawn_relay(near, tunnel);
    Ok((app, service))
}

type ServerStream = tokio_rustls::server::TlsStream<TcpStream>;

async fn accept((mut requests, _): (Requests<ServerStream>, ServerHandle), far: TcpStream) {
    let mut far = Some(far);
    while let Some(Ok(incoming)) = requests.next().await {
        if let (Ok(tunnel), Some(far)) = (incoming.accept(HeaderMap::new()), far.take()) {
            spawn_relay(far, tunnel);
        }
    }
}

fn spawn_relay(
    local: impl IntoEnd<End: Send> + Send + 'static,
    remote: impl IntoEnd<End: Send> + Send + 'static,
) {
    tokio::spawn(async move {
        let limits = RelayLimits {
            idle: Some(Duration::from_secs(60)),
        };
        relay(local, remote, limits, &Counters::default(), &Cut::new()).await
    });
}

async fn tcp() -> Outcome<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let near = TcpStream::connect(listener.local_addr()?);
    let (near, far) = tokio::join!(near, listener.accept());
    let (near, (far, _)) = (near?, far?);
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    Ok((near, far))
}

struct Tls {
    connector: TlsConnector,
    acceptor: TlsAcceptor,
}

fn tls() -> Outcome<Tls> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    let client = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Tls {
        connector: TlsConnector::from(Arc::new(client)),
        acceptor: TlsAcceptor::from(Arc::new(server)),
    })
}

impl Tls {
    async fn connect(&self) -> Outcome<(client::TlsStream<TcpStream>, ServerStream)> {
        let (near, far) = tcp().await?;
        let (near, far) = tokio::join!(
            self.connector.connect("localhost".try_into()?, near),
            self.acceptor.accept(far),
        );
        Ok((near?, far?))
    }
}
