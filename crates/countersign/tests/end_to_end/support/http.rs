//! One HTTP request on a loopback port, with nothing but the standard library.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::loopback;

/// Whether `/readyz` says 200.
pub(crate) fn is_ready(port: u16) -> bool {
    exchange(port, "GET /readyz HTTP/1.0\r\n\r\n").is_some_and(|(status, _)| status == 200)
}

/// The body of a page that is there.
pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    let (status, body) = exchange(port, &format!("GET {path} HTTP/1.0\r\n\r\n"))?;
    (status == 200).then_some(body)
}

/// The status and the body of an answer to a whole request; nothing if there was no answer.
pub(crate) fn exchange(port: u16, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(loopback(port)).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // What came before an error counts.
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}
