//! The usual set: a gateway in front of one service, and an agent that may reach it.

use std::net::TcpStream;

use super::agent::Agent;
use super::gateway::{Gateway, GatewaySetup, SERVICE_PORT};
use super::{exchange, loopback};

/// A gateway, an agent, and the way to one service.
pub(crate) struct Tunnel {
    pub(crate) agent: Agent,
    pub(crate) gateway: Gateway,
    service: String,
}

impl Tunnel {
    /// To a service on a loopback port.
    #[track_caller]
    pub(crate) fn to(service: &str, upstream: u16) -> Self {
        Self::through(GatewaySetup::new().service(service, upstream, ""), service)
    }

    /// To a service of this gateway, which has no other agent yet.
    #[track_caller]
    pub(crate) fn through(setup: GatewaySetup, service: &str) -> Self {
        let gateway = setup.start();
        gateway.grant("laptop", service);
        let agent = gateway.agent("laptop").listener(service).start();
        Self {
            agent,
            gateway,
            service: service.to_owned(),
        }
    }

    /// The agent's local port that leads to the service.
    pub(crate) fn port(&self) -> u16 {
        self.agent.port(&self.service)
    }

    /// A connection to that port.
    #[track_caller]
    pub(crate) fn connect(&self) -> TcpStream {
        TcpStream::connect(loopback(self.port())).expect("the agent listens")
    }

    /// What the agent's HTTP proxy answers to CONNECT for a service of the gateway.
    #[track_caller]
    pub(crate) fn connect_by_proxy(&self, service: &str) -> (u16, String) {
        let authority = format!("{service}:{SERVICE_PORT}");
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        exchange(self.agent.http, &request).expect("an answer")
    }
}
