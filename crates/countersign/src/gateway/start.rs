//! Starting a gateway, and stopping it: everything that can fail fails before the first connection is taken.

use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use countersign_channel::Profile;
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::error::GatewayError;
use super::exceptions::ExceptionUses;
use super::listener::{self, Listener};
use super::live::{CutReason, Live};
use super::places::Places;
use super::running::Running;
use super::{Gateway, operate, upkeep};
use crate::audit::{Event, Operator, WhenUnwritable};
use crate::config::{AuditConfig, GatewayConfig};
use crate::custody::{Custody, CustodyConfig};
use crate::enrolment::{DEFAULT_JOIN, NewJoinString};
use crate::join_string::JoinString;
use crate::log::LogFilter;
use crate::metrics::{self, Metrics};
use crate::state::Snapshot;

/// A running gateway.
pub(crate) struct Handle {
    pub(super) gateway: Arc<Gateway>,
}

/// Runs a gateway until it is told to stop by SIGTERM or SIGINT; SIGHUP has it read its configuration again.
///
/// # Errors
///
/// It does not start.
pub(crate) async fn run(config_file: &Path) -> Result<(), GatewayError> {
    let mut signals = [
        SignalKind::terminate(),
        SignalKind::interrupt(),
        SignalKind::hangup(),
    ]
    .map(|kind| signal(kind).map_err(GatewayError::Signals));
    let handle = start(config_file).await?;
    let [Ok(terminate), Ok(interrupt), Ok(hangup)] = &mut signals else {
        return signals
            .into_iter()
            .find_map(Result::err)
            .map_or(Ok(()), Err);
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // What came of it is in the log and in the audit trail.
            _ = hangup.recv() => { let _ = handle.gateway.reload().await; }
        }
    }
    let hurried = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("stopping at once: open streams are cut");
    };
    handle.stop_unless(hurried).await;
    Ok(())
}

/// Starts a gateway and gives it back once it serves.
///
/// # Errors
///
/// It does not start; nothing is left running.
pub(crate) async fn start(config_file: &Path) -> Result<Handle, GatewayError> {
    let config = GatewayConfig::read(config_file)?;
    let log = crate::log::start(&config.log);
    let warm = tokio::task::spawn_blocking(countersign_channel::warm_up);
    allow_open_files();
    let custody = open_custody(&config).await?;
    let metrics = Metrics::new();
    let running = Running::build(config, &custody.state.snapshot(), None, &metrics)?;
    let _ = warm.await;
    let opened = open(config_file, custody, running, metrics, log).await?;
    Ok(Handle { gateway: opened })
}

/// Reads a configuration and every file that it names, and builds what a start builds of them, without a port, a key or
/// a store. Gives what the configuration weakens.
///
/// # Errors
///
/// What a start with it would fail with.
pub(crate) fn check(config_file: &Path) -> Result<Vec<String>, GatewayError> {
    let config = GatewayConfig::read(config_file)?;
    let running = Running::build(config, &Snapshot::empty(), None, &Metrics::new())?;
    let listeners = running.config.listeners.iter();
    for (one, certificates) in listeners.zip(running.certificates.in_use(None)) {
        let settings = listener::settings(&running, one, certificates);
        let checked = settings.check_settings();
        checked.map_err(|error| listener::refused(one, &error))?;
    }
    Ok(running.config.weakenings())
}

/// Each channel and each stream is a socket, and shells hand on a limit of 1024 where the system allows far more.
fn allow_open_files() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, ?current, "the limit of open files stays as it is");
    }
}

async fn open_custody(config: &GatewayConfig) -> Result<Custody, GatewayError> {
    let folder = &config.state_dir;
    let mut private = std::fs::DirBuilder::new();
    let made = private.recursive(true).mode(0o700).create(folder);
    made.map_err(|source| GatewayError::StateDir {
        folder: folder.clone(),
        source,
    })?;
    let custody = CustodyConfig {
        trust_domain: config.trust_domain.clone(),
        gateway: config.name.clone(),
        profiles: config.profiles(),
        identity: config.identity.version,
        keys: config.keys.clone(),
        store_file: config.store_file.clone(),
        root_key_file: config.root_key_file.clone(),
        audit_file: config.audit.file.clone(),
        when_unaudited: config.audit.when_unwritable(),
    };
    Ok(Custody::open(&custody, Timestamp::now()).await?)
}

/// Every port and socket of a gateway, open and not yet served.
struct Doors {
    listeners: Vec<Listener>,
    operate: UnixListener,
    telemetry: Option<TcpListener>,
}

impl Doors {
    async fn open(running: &Running, custody: &Custody) -> Result<Self, GatewayError> {
        let config = &running.config;
        let mut listeners = Vec::new();
        let in_use = running.certificates.in_use(Some(&custody.acme));
        for (one, certificates) in config.listeners.iter().zip(in_use) {
            let bound = Listener::bind(running, one, certificates, custody);
            listeners.push(bound.await?);
        }
        let path = &config.operate.socket;
        let operate = operate::bind(path).map_err(|source| GatewayError::Socket {
            path: path.clone(),
            source,
        })?;
        let telemetry = match config.telemetry.address {
            None => None,
            Some(address) => Some(bind_telemetry(address).await?),
        };
        Ok(Self {
            listeners,
            operate,
            telemetry,
        })
    }

    /// Serves on all of them, each in tasks that end with the gateway.
    fn serve(self, gateway: &Arc<Gateway>) {
        let config = &gateway.running().config;
        let places = Arc::new(Places::new(config.limits.channels));
        let tasks = &gateway.tasks;
        for listener in self.listeners {
            tasks.spawn(listener.serve(Arc::clone(gateway), Arc::clone(&places)));
        }
        let path = config.operate.socket.clone();
        tasks.spawn(operate::serve(Arc::clone(gateway), self.operate, path));
        if let Some(telemetry) = self.telemetry {
            let router = metrics::router(gateway.metrics.clone(), gateway.ready.subscribe());
            let stopped = gateway.stopped.clone().cancelled_owned();
            tasks.spawn(async move {
                let served = axum::serve(telemetry, router).with_graceful_shutdown(stopped);
                if let Err(error) = served.await {
                    tracing::error!(%error, "telemetry has failed");
                }
            });
        }
    }
}

async fn bind_telemetry(address: SocketAddr) -> Result<TcpListener, GatewayError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| GatewayError::Bind {
            what: "telemetry".to_owned(),
            address,
            source,
        })
}

async fn open(
    config_file: &Path,
    custody: Custody,
    running: Running,
    metrics: Metrics,
    log: LogFilter,
) -> Result<Arc<Gateway>, GatewayError> {
    let config = running.config.clone();
    let doors = Doors::open(&running, &custody).await?;
    let listeners = || doors.listeners.iter();
    let gateway = Arc::new(Gateway {
        server_name: config.trust_domain.gateway_server_name(),
        trust_domain: config.trust_domain.clone(),
        custody,
        metrics,
        live: Arc::default(),
        stopping: CancellationToken::new(),
        stopped: CancellationToken::new(),
        config_file: config_file.to_owned(),
        addresses: listeners().map(Listener::address).collect(),
        acceptors: listeners().map(|one| Arc::clone(&one.acceptor)).collect(),
        running: ArcSwap::from_pointee(running),
        exception_uses: ExceptionUses::default(),
        shown: Arc::default(),
        changing: Mutex::new(()),
        log,
        ready: watch::Sender::new(Ok(())),
        tasks: TaskTracker::new(),
    });
    let audit = Arc::clone(&gateway.custody.audit);
    gateway.metrics.watch_audit(audit);
    gateway.show_certificates();
    gateway
        .metrics
        .watch_certificates(Arc::clone(&gateway.shown));
    let signing = gateway.custody.identity.signing();
    gateway.keep_keys_file(&config.identity, &signing)?;
    let tokens = gateway.custody.hardware.tokens();
    gateway.metrics.watch_key_tokens(tokens.collect());
    show_upstreams(&gateway);
    announce(&gateway, &config);
    gateway.running().services.watch();
    doors.serve(&gateway);
    gateway.tasks.spawn(upkeep::run(Arc::clone(&gateway)));
    Ok(gateway)
}

/// Lets metrics look at the upstreams of whatever services are configured by then.
fn show_upstreams(gateway: &Arc<Gateway>) {
    let watched = Arc::downgrade(gateway);
    gateway.metrics.watch_upstreams(Box::new(move || {
        let gateway = watched.upgrade();
        gateway.map_or_else(Vec::new, |gateway| gateway.running().services.view())
    }));
}

/// Says in log and audit what starts, and what weakens it.
fn announce(gateway: &Gateway, config: &GatewayConfig) {
    let audit = &gateway.custody.audit;
    audit.record(Event::Start {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        trust_domain: config.trust_domain.to_string(),
        gateway: gateway.custody.authority.gateway().to_string(),
    });
    let weakenings = config.weakenings();
    for weakening in &weakenings {
        tracing::warn!(weakening, "the configuration weakens the gateway");
    }
    audit.record(Event::ConfigurationLoaded {
        file: gateway.config_file.clone(),
        weakenings,
    });
    let hardware = &gateway.custody.hardware;
    for (key, place) in hardware.places(&config.root_key_file, &config.profiles()) {
        tracing::info!(key, place, "a key lives here");
    }
    for (listener, address) in config.listeners.iter().zip(&gateway.addresses) {
        let (stage, profile) = (listener.rules.stage(), listener.rules.profile());
        tracing::info!(listener = listener.name, %address, %stage, %profile, "listening");
        audit.record(Event::StageSet {
            listener: listener.name.clone(),
            stage: stage.to_string(),
            profile: profile.to_string(),
        });
    }
}

impl Handle {
    /// What is open.
    pub(crate) fn live(&self) -> &Live {
        &self.gateway.live
    }

    /// Makes a join string for the first listener, on behalf of the user who runs this process; it takes the name over
    /// from an agent that has it.
    ///
    /// # Errors
    ///
    /// The name cannot be one, or the store cannot be written.
    pub(crate) async fn create_join_string(
        &self,
        name: &str,
    ) -> Result<JoinString, crate::enrolment::JoinStringError> {
        let (address, profile) = self.gateway.advertised();
        let new = NewJoinString {
            name: name.to_owned(),
            expires_in: DEFAULT_JOIN,
            replace: true,
            address,
            profile,
        };
        let operator = Operator {
            uid: rustix::process::getuid().as_raw(),
        };
        let enrolment = &self.gateway.custody.enrolment;
        let (join_string, _) = enrolment
            .create_join_string(new, operator, Timestamp::now())
            .await?;
        Ok(join_string)
    }

    /// Takes no more streams, lets the open ones end for as long as the configuration says, cuts the rest, and closes
    /// the store.
    pub(crate) async fn stop(self) {
        self.stop_unless(std::future::pending()).await;
    }

    /// Stops, and waits for no stream any more once `hurried`.
    pub(super) async fn stop_unless(self, hurried: impl Future<Output = ()>) {
        let gateway = self.gateway;
        let stops = Err("the gateway stops".to_owned());
        let _ = gateway.ready.send_replace(stops);
        gateway.stopping.cancel();
        gateway.running().services.close_idle();
        let drain_time = gateway.running().config.limits.drain_time;
        let (channels, longest_s) = (gateway.live.len(), drain_time.as_secs());
        tracing::info!(
            channels,
            longest_s,
            "stopping, once the open streams have ended"
        );
        let drained = tokio::select! {
            drained = tokio::time::timeout(drain_time, gateway.live.drained()) => drained.is_ok(),
            () = hurried => false,
        };
        if !drained {
            for channel in gateway.live.channels() {
                channel.cut.cut(CutReason::Stopping);
            }
            let _ = tokio::time::timeout(LAST_WORDS, gateway.live.drained()).await;
        }
        gateway.custody.audit.record(Event::Stop {
            reason: "asked to stop".to_owned(),
        });
        gateway.stopped.cancel();
        gateway.tasks.close();
        let _ = tokio::time::timeout(LAST_WORDS, gateway.tasks.wait()).await;
        if let Err(error) = gateway.custody.close().await {
            tracing::error!(%error, "the store could not be closed");
        }
    }
}

impl AuditConfig {
    /// What happens to new streams while the trail cannot be written.
    pub(super) fn when_unwritable(&self) -> WhenUnwritable {
        if self.dangerous_allow_unaudited {
            WhenUnwritable::Allow
        } else {
            WhenUnwritable::Refuse
        }
    }
}

impl GatewayConfig {
    /// The profiles of all listeners.
    pub(crate) fn profiles(&self) -> Vec<Profile> {
        self.listeners
            .iter()
            .map(|listener| listener.rules.profile())
            .collect()
    }
}

/// How long tasks that were cut may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(2);
