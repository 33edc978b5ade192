//! The agent: runs beside a program, joins the gateway, keeps a channel to it, and leads local ports, sockets and proxies
//! through that channel to services.

mod attester;
mod backoff;
mod channel;
mod control;
mod dial;
mod evidence;
mod home;
mod identity;
mod join;
mod link;
mod listener;
mod local;
mod open;
mod prover;
mod proxy;
mod sessions;
mod telemetry;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::AgentConfig;
use crate::report::Failure;

use self::attester::Attester;
use self::dial::Gateway;
use self::evidence::EvidenceCommand;
use self::home::Home;
use self::identity::{Identity, Standing};
use self::link::Link;
pub(crate) use self::link::LinkState;
use self::listener::{Listener, bind_tcp, serve_each};
use self::prover::Witness;
use self::sessions::Sessions;

/// Runs an agent until `shutdown`, and then for as long as its streams take to end.
///
/// # Errors
///
/// The agent cannot start; each error says what to do.
pub(crate) async fn run(config: AgentConfig, shutdown: CancellationToken) -> Result<(), Failure> {
    // A join may wait for its gateway. Cut anywhere, the same start does the rest.
    let started = shutdown.run_until_cancelled(Agent::start(config)).await;
    if let Some(agent) = started.transpose()? {
        agent.run(shutdown).await;
    }
    Ok(())
}

/// An agent that has joined and whose ports are bound; it answers once it [runs](Self::run).
pub(crate) struct Agent {
    config: AgentConfig,
    link: Link<Gateway>,
    listeners: Vec<Listener>,
    http: Option<TcpListener>,
    socks: Option<TcpListener>,
    telemetry: Option<TcpListener>,
    sessions: Arc<Sessions>,
}

impl Agent {
    /// Takes the state directory, binds all ports, and joins where the agent has not joined yet.
    ///
    /// Ports come first: a port in use must not cost a join string.
    ///
    /// # Errors
    ///
    /// Any of the three failed; nothing is left running.
    pub(crate) async fn start(config: AgentConfig) -> Result<Self, Failure> {
        let home = Home::open(&config.state_dir)?;
        let listeners = config.listeners.iter().map(Listener::bind);
        let listeners = listeners.collect::<Result<_, _>>()?;
        let bind = |address: Option<SocketAddr>, purpose| {
            address
                .map(|address| bind_tcp(address, purpose))
                .transpose()
        };
        let http = bind(config.proxy.http, "the HTTP proxy")?;
        let socks = bind(config.proxy.socks, "the SOCKS5 proxy")?;
        let telemetry = bind(config.telemetry.address, "telemetry")?;
        let witness = witness(&config, &home)?;
        let identity = joined(home, &config, witness.as_ref()).await?;
        identity.check_profile(config.profile)?;
        let gateway = Gateway::new(identity, &config, witness);
        Ok(Self {
            link: Link::new(gateway),
            listeners,
            http,
            socks,
            telemetry,
            sessions: Sessions::new(),
            config,
        })
    }

    /// How its link to the gateway stands, from now on.
    pub(crate) fn link(&self) -> watch::Receiver<LinkState> {
        self.link.state()
    }

    /// The ports of its listeners, in the order of the configuration; a Unix socket has none.
    #[cfg(test)]
    fn listener_addresses(&self) -> Vec<Option<SocketAddr>> {
        self.listeners.iter().map(Listener::local_address).collect()
    }

    /// Answers until `shutdown`; then takes no new programs, and ends when the streams have, or their time is over.
    pub(crate) async fn run(mut self, shutdown: CancellationToken) {
        let stopped = CancellationToken::new();
        let services = TaskTracker::new();
        self.keep_link(&services, &stopped);
        self.answer(&services, &shutdown);
        self.answer_proxies(&services, &shutdown);
        shutdown.cancelled().await;
        let (streams, longest) = (self.sessions.open(), self.config.drain_time);
        tracing::info!(
            streams,
            longest_s = longest.as_secs(),
            "stopping, once the open streams have ended"
        );
        let cut = self.sessions.drain(self.config.drain_time).await;
        if cut > 0 {
            tracing::warn!(cut, "streams were cut: the time to drain is over");
        }
        stopped.cancel();
        services.close();
        services.wait().await;
    }

    /// The link and telemetry outlive the listeners: streams that drain still need their tokens.
    fn keep_link(&mut self, services: &TaskTracker, stopped: &CancellationToken) {
        let (link, stop) = (self.link.clone(), stopped.clone());
        let (rekey_interval, backoff) = (self.config.rekey_interval, self.config.backoff.clone());
        services.spawn(async move { link.run(rekey_interval, &backoff, stop).await });
        if let Some(listener) = self.telemetry.take() {
            services.spawn(telemetry::serve(
                listener,
                self.link.state(),
                stopped.clone(),
            ));
        }
    }

    fn answer(&mut self, services: &TaskTracker, shutdown: &CancellationToken) {
        for listener in self.listeners.drain(..) {
            let (link, sessions) = (self.link.clone(), Arc::clone(&self.sessions));
            services.spawn(listener.run(link, sessions, shutdown.clone()));
        }
    }

    fn answer_proxies(&mut self, services: &TaskTracker, shutdown: &CancellationToken) {
        if let Some(listener) = self.http.take() {
            let serve = self.server(proxy::http::serve);
            let sessions = Arc::clone(&self.sessions);
            services.spawn(serve_each(listener, sessions, shutdown.clone(), serve));
        }
        if let Some(listener) = self.socks.take() {
            let serve = self.server(proxy::socks::serve);
            let sessions = Arc::clone(&self.sessions);
            services.spawn(serve_each(listener, sessions, shutdown.clone(), serve));
        }
    }

    fn server<S, F>(&self, serve: S) -> impl Fn(TcpStream) -> F + use<S, F>
    where
        S: Fn(TcpStream, Link<Gateway>, Arc<Sessions>) -> F,
    {
        let (link, sessions) = (self.link.clone(), Arc::clone(&self.sessions));
        move |client| serve(client, link.clone(), Arc::clone(&sessions))
    }
}

fn witness(config: &AgentConfig, home: &Home) -> Result<Option<Witness>, Failure> {
    if let Some(tpm) = &config.tpm {
        return Ok(Some(Witness::Tpm(Arc::new(Attester::open(tpm, home)?))));
    }
    let evidence = config.evidence.clone();
    Ok(evidence.map(|config| Witness::Guest(Arc::new(EvidenceCommand::new(config)))))
}

async fn joined(
    home: Home,
    config: &AgentConfig,
    witness: Option<&Witness>,
) -> Result<Identity, Failure> {
    let tpm = witness.and_then(Witness::tpm);
    let given = config.join_string_file.as_deref();
    let (home, join_string) = match Standing::read(home, tpm)? {
        Standing::Outside(home) => (home, given.map(join::read).transpose()?),
        Standing::Joined(identity) => match join::another(identity.home(), given)? {
            None => return Ok(known(*identity)),
            Some(join_string) => {
                let gateway = Gateway::new(*identity, config, witness.cloned());
                let shut_out = gateway.shut_out().await;
                let identity = gateway.into_identity();
                let Some(problem) = shut_out else {
                    return Ok(known(identity));
                };
                tracing::warn!(%problem, "joining again, with a new key and the new join string");
                (identity.leave()?, Some(join_string))
            }
        },
    };
    let identity = join::join(home, join_string, config, tpm).await?;
    tracing::info!(id = %identity.current().svid.id(), "joined");
    Ok(identity)
}

fn known(identity: Identity) -> Identity {
    tracing::info!(id = %identity.current().svid.id(), "the agent has joined before");
    identity
}
