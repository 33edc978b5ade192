//! Who sends requests on a connection: the client of a channel, or of a tunnel in it that leads to an HTTP service.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;

use super::dispatch::{self, Opening};
use super::exchange::HeadLimits;
use super::live::{LiveChannel, Session};
use super::problem::Problem;
use super::services::Service;
use super::{Gateway, identity_keys, target};

/// The client at the other end of a connection. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Client {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) channel: Arc<LiveChannel>,
    tunnel: Option<Arc<(Session, Arc<Service>)>>,
}

/// What a client's requests may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientLimits {
    pub(crate) head: HeadLimits,
    /// How long a head may take, from its first byte.
    pub(crate) head_wait: Duration,
    /// How long a body may stand still before its service has answered.
    pub(crate) body_wait: Duration,
}

impl Client {
    /// The client of a channel: it may reach what is granted to it.
    pub(crate) fn new(gateway: &Arc<Gateway>, channel: &Arc<LiveChannel>) -> Self {
        Self {
            gateway: Arc::clone(gateway),
            channel: Arc::clone(channel),
            tunnel: None,
        }
    }

    /// The client of a tunnel that `session` opened to `service`: it may reach no other.
    pub(crate) fn of_tunnel(&self, session: Session, service: Arc<Service>) -> Self {
        Self {
            tunnel: Some(Arc::new((session, service))),
            ..self.clone()
        }
    }

    /// Checks that a request is not one for a proxy. Inside a tunnel its scheme says nothing.
    ///
    /// # Errors
    ///
    /// It is.
    pub(crate) fn check_target(&self, request: &Parts) -> Result<(), Problem> {
        match self.is_in_tunnel() {
            true => Ok(()),
            false => target::is_not_for_a_proxy(request),
        }
    }

    /// Whether a request is for the gateway itself.
    ///
    /// # Errors
    ///
    /// The request can be understood in more than one way, or in none.
    pub(crate) fn means_gateway(&self, request: &Parts) -> Result<bool, Problem> {
        let authority = target::of_request(request)?;
        let (gateway, host) = (&self.gateway, authority.host());
        if identity_keys::are_asked_of_a_service(gateway, &self.channel, request, host) {
            return Ok(true);
        }
        let own = host.eq_ignore_ascii_case(&gateway.server_name);
        Ok(own && !self.is_in_tunnel())
    }

    /// Decides on a CONNECT.
    ///
    /// # Errors
    ///
    /// What the client is to be told.
    pub(crate) fn decide_connect(&self, request: &Parts) -> Result<Opening, Problem> {
        if self.is_in_tunnel() {
            let detail = "there are no tunnels inside a tunnel to an HTTP service";
            return Err(Problem::new(
                StatusCode::NOT_IMPLEMENTED,
                "not_implemented",
                detail,
            ));
        }
        dispatch::connect(&self.gateway, &self.channel, request)
    }

    /// Decides on a request to a service.
    ///
    /// # Errors
    ///
    /// What the client is to be told.
    pub(crate) fn decide(&self, request: &Parts) -> Result<Opening, Problem> {
        let (gateway, channel) = (&self.gateway, &self.channel);
        match self.tunnel.as_deref() {
            None => dispatch::request(gateway, channel, request),
            Some((session, service)) => {
                dispatch::inside(gateway, channel, (session, service), request)
            }
        }
    }

    /// Counts a refusal against the client, if it is the client that it is about.
    pub(crate) fn refused(&self, problem: &Problem) {
        if problem.status.is_client_error() {
            self.channel.refused();
        }
    }

    /// What its requests may cost, as it is configured now.
    pub(crate) fn limits(&self) -> ClientLimits {
        let running = self.gateway.running();
        let limits = &running.config.limits;
        let bytes = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
        ClientLimits {
            head: HeadLimits {
                uri: bytes(limits.uri_bytes),
                fields: bytes(limits.header_bytes),
            },
            head_wait: limits.header_timeout,
            body_wait: limits.body_timeout,
        }
    }

    fn is_in_tunnel(&self) -> bool {
        self.tunnel.is_some()
    }
}
