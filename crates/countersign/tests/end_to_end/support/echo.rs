//! Whether streams to the echo service open and live.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Agent, loopback};

/// A stream through the agent to the echo service, if one opens.
pub(crate) fn echoes(agent: &Agent) -> Option<TcpStream> {
    let stream = TcpStream::connect(loopback(agent.port("echo"))).ok()?;
    is_alive(&stream).then_some(stream)
}

pub(crate) fn is_alive(mut stream: &TcpStream) -> bool {
    let mut answer = [0];
    stream.write_all(b"x").is_ok() && stream.read_exact(&mut answer).is_ok()
}
