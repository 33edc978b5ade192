//! The link in virtual time, over a pipe in memory.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use countersign_channel::identity::{SpiffeId, TrustDomain};
use countersign_channel::tunnel::{Early, Limits, Mux, Tunnel};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::gateway::Gateway;
use crate::agent::control::Control;
use crate::agent::dial::{Dial, DialError, Line, LinkError};
use crate::agent::link::{Link, LinkState};
use crate::agent::open::{Carriage, Open, OpenError};
use crate::config::BackoffConfig;

/// Connects to a gateway in the same process.
struct Pipe {
    gateway: Arc<Gateway>,
    is_up: AtomicBool,
    half_life: Duration,
    renew_at: Mutex<Instant>,
}

impl Dial for Arc<Pipe> {
    async fn dial(&self) -> Result<Line, LinkError> {
        if !self.is_up.load(Ordering::SeqCst) {
            let address = "gate.example.org:8443".parse().unwrap();
            let source = io::ErrorKind::ConnectionRefused.into();
            return Err(DialError::Unreachable { address, source }.into());
        }
        let (near, far) = tokio::io::duplex(64 * 1024);
        let agent: SpiffeId = "spiffe://example.org/agent/laptop".parse().unwrap();
        tokio::spawn(Arc::clone(&self.gateway).serve(far, Some(agent)));
        let connecting = Mux::handshake(near, &Limits::default()).await;
        let (mux, driver) = connecting.map_err(DialError::from)?;
        tokio::spawn(driver);
        Ok(Line { mux, prover: None })
    }

    async fn renew(&self, _: Control<'_>) -> Result<(), LinkError> {
        self.gateway.renewals.fetch_add(1, Ordering::SeqCst);
        *self.renew_at.lock().unwrap() = Instant::now() + self.half_life;
        Ok(())
    }

    fn renew_in(&self) -> Duration {
        let renew_at = *self.renew_at.lock().unwrap();
        renew_at.saturating_duration_since(Instant::now())
    }

    fn trust_domain(&self) -> &TrustDomain {
        &self.gateway.domain.name
    }
}

struct Linked {
    gateway: Arc<Gateway>,
    pipe: Arc<Pipe>,
    link: Link<Arc<Pipe>>,
    stop: CancellationToken,
}

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

impl Linked {
    fn start(rekey_interval: Duration, half_life: Duration) -> Self {
        let gateway = Gateway::new();
        let pipe = Arc::new(Pipe {
            gateway: Arc::clone(&gateway),
            is_up: AtomicBool::new(true),
            half_life,
            renew_at: Mutex::new(Instant::now() + half_life),
        });
        let link = Link::new(Arc::clone(&pipe));
        let stop = CancellationToken::new();
        let (running, stopped) = (link.clone(), stop.clone());
        let backoff = BackoffConfig {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
        };
        tokio::spawn(async move { running.run(rekey_interval, &backoff, stopped).await });
        Self {
            gateway,
            pipe,
            link,
            stop,
        }
    }

    fn steady() -> Self {
        Self::start(1000 * HOUR, 1000 * HOUR)
    }

    async fn open(&self, service: &str) -> Result<Tunnel, OpenError> {
        self.link
            .open(&service.parse().unwrap(), Carriage::Shared)
            .await
    }

    async fn is_connected(&self, expected: bool) {
        let mut state = self.link.state();
        let as_expected =
            |state: &LinkState| matches!(state, LinkState::Connected { .. }) == expected;
        state.wait_for(as_expected).await.unwrap();
    }

    fn connections(&self) -> (usize, usize) {
        (
            self.gateway.count(|gateway| &gateway.connections),
            self.gateway.count(|gateway| &gateway.open),
        )
    }
}

async fn is_alive(tunnel: &mut Tunnel) {
    tunnel.write_all(b"over").await.unwrap();
    let mut answer = [0; 4];
    tunnel.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"over");
}

async fn end(mut tunnel: Tunnel) {
    tunnel.shutdown().await.unwrap();
    let mut rest = Vec::new();
    tunnel.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}

#[tokio::test(start_paused = true)]
async fn streams_share_one_channel() {
    let linked = Linked::steady();
    let mut first = linked.open("echo:7").await.unwrap();
    let mut second = linked.open("echo:7").await.unwrap();
    is_alive(&mut first).await;
    is_alive(&mut second).await;
    assert_eq!(linked.connections(), (1, 1));
    linked.is_connected(true).await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_comes_with_the_gateways_reason() {
    let linked = Linked::steady();
    let error = linked.open("secret:7").await.unwrap_err();
    assert_eq!(error.status(), http::StatusCode::FORBIDDEN);
    assert_eq!(
        error.to_string(),
        "the gateway refused `secret:7` (403): no grant lets `laptop` reach `secret`"
    );
}

#[tokio::test(start_paused = true)]
async fn a_service_without_a_port_is_looked_up() {
    let linked = Linked::steady();
    is_alive(&mut linked.open("echo").await.unwrap()).await;
    let unknown = linked.open("nothing").await.unwrap_err();
    assert_eq!(unknown.to_string(), "the gateway has no service `nothing`");
    let unclear = linked.open("both").await.unwrap_err();
    assert!(matches!(unclear, OpenError::SeveralPorts(_)), "{unclear}");
}

#[tokio::test(start_paused = true)]
async fn a_program_waits_ten_seconds_for_a_channel_and_hears_why_there_is_none() {
    let linked = Linked::steady();
    linked.pipe.is_up.store(false, Ordering::SeqCst);
    let began = Instant::now();
    let error = linked.open("echo:7").await.unwrap_err();
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    assert!(
        error.to_string().starts_with(
            "no channel to the gateway after 10 s: cannot reach the gateway at `gate.example.org:8443`: "
        ),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_lost_channel_is_made_again_and_its_streams_fail() {
    let linked = Linked::steady();
    let mut lost = linked.open("echo:7").await.unwrap();
    is_alive(&mut lost).await;
    linked.gateway.drop_all();
    linked.is_connected(false).await;
    assert!(lost.read(&mut [0; 1]).await.is_err());
    linked.is_connected(true).await;
    is_alive(&mut linked.open("echo:7").await.unwrap()).await;
    assert_eq!(linked.connections(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_program_that_comes_while_the_channel_is_lost_waits_for_the_next() {
    let linked = Linked::steady();
    linked.is_connected(true).await;
    linked.gateway.drop_all();
    linked.is_connected(false).await;
    is_alive(&mut linked.open("echo:7").await.unwrap()).await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_drains_keeps_its_streams_and_gets_no_new_ones() {
    let linked = Linked::steady();
    let mut old = linked.open("echo:7").await.unwrap();
    is_alive(&mut old).await;
    linked.gateway.drain();
    linked.is_connected(false).await;
    is_alive(&mut linked.open("echo:7").await.unwrap()).await;
    is_alive(&mut old).await;
    assert_eq!(linked.connections(), (2, 2));
    end(old).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(linked.connections(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rekey_makes_the_fresh_connection_first_and_drops_no_stream() {
    let linked = Linked::start(HOUR, 1000 * HOUR);
    let mut old = linked.open("echo:7").await.unwrap();
    is_alive(&mut old).await;
    tokio::time::sleep(HOUR + MINUTE).await;
    assert_eq!(linked.connections(), (2, 2));
    is_alive(&mut old).await;
    is_alive(&mut linked.open("echo:7").await.unwrap()).await;
    end(old).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(linked.connections(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn two_channels_drain_at_most_and_the_rekey_is_made_up_for() {
    let linked = Linked::start(HOUR, 1000 * HOUR);
    let mut streams = Vec::new();
    for _ in 0..4 {
        let mut stream = linked.open("echo:7").await.unwrap();
        is_alive(&mut stream).await;
        streams.push(stream);
        tokio::time::sleep(HOUR + MINUTE).await;
    }
    assert_eq!(linked.connections(), (3, 3));
    end(streams.remove(0)).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(linked.connections(), (4, 3));
    for mut stream in streams {
        is_alive(&mut stream).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_renewed_at_half_life_with_a_fresh_connection() {
    let linked = Linked::start(1000 * HOUR, HOUR / 2);
    let mut old = linked.open("echo:7").await.unwrap();
    is_alive(&mut old).await;
    tokio::time::sleep(HOUR / 2 + MINUTE).await;
    assert_eq!(linked.gateway.count(|gateway| &gateway.renewals), 1);
    assert_eq!(linked.connections(), (2, 2));
    is_alive(&mut old).await;
}

#[tokio::test(start_paused = true)]
async fn a_token_is_renewed_at_two_thirds_on_draining_channels_too() {
    let linked = Linked::start(HOUR, 1000 * HOUR);
    let _old = linked.open("echo:7").await.unwrap();
    tokio::time::sleep(HOUR + Duration::from_secs(2)).await;
    assert_eq!(linked.connections(), (2, 2));
    let before = linked.gateway.tokens.load(Ordering::SeqCst);
    // A token lasts ten minutes by the gateway's clock, which stands still here: it is asked for after 400 s.
    tokio::time::sleep(Duration::from_secs(410)).await;
    let after = linked.gateway.tokens.load(Ordering::SeqCst);
    assert_eq!(after - before, 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_program_said_goes_with_the_second_attempt_too() {
    let linked = Linked::steady();
    linked.is_connected(true).await;
    linked.gateway.oldest_token.store(1, Ordering::SeqCst);
    let (service, mut early) = ("echo:7".parse().unwrap(), Early::of(&b"hello"[..]));
    let opened = linked
        .link
        .open_saying(&service, Carriage::Shared, &mut early)
        .await;
    let mut answer = [0; 5];
    opened.unwrap().read_exact(&mut answer).await.unwrap();
    assert_eq!((&answer, &**early.said()), (b"hello", &b"hello"[..]));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_refused_is_replaced_once() {
    let linked = Linked::steady();
    linked.is_connected(true).await;
    linked.gateway.oldest_token.store(1, Ordering::SeqCst);
    is_alive(&mut linked.open("echo:7").await.unwrap()).await;
    linked
        .gateway
        .oldest_token
        .store(u64::MAX, Ordering::SeqCst);
    let error = linked.open("echo:7").await.unwrap_err();
    assert!(
        error.to_string().ends_with("the access token has expired"),
        "{error}"
    );
    assert_eq!(linked.gateway.tokens.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn a_stream_with_a_connection_of_its_own_ends_it() {
    let linked = Linked::steady();
    linked.is_connected(true).await;
    let service = "echo:7".parse().unwrap();
    let mut own = linked.link.open(&service, Carriage::Own).await.unwrap();
    is_alive(&mut own).await;
    assert_eq!(linked.connections(), (2, 2));
    end(own).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(linked.connections(), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_the_channel() {
    let linked = Linked::steady();
    linked.is_connected(true).await;
    linked.stop.cancel();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(linked.connections(), (1, 0));
}
