//! What is no handshake, half a handshake, or a thousand of them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::classical::s_client;
use crate::support::{GatewaySetup, Tunnel, installed, loopback, upstream, wait_until};

#[test]
fn bytes_that_are_no_handshake_are_refused_by_name() {
    let gateway = GatewaySetup::new().start();
    let hello = client_hello();
    for (sent, reason) in [
        (b"\x00\x01garbage, and more of it".as_slice(), "not-tls"),
        (
            b"GET / HTTP/1.1\r\nHost: gateway\r\n\r\n".as_slice(),
            "plain-http",
        ),
        (&hello[..hello.len() / 2], "incomplete-client-hello"),
    ] {
        let mut stream = TcpStream::connect(loopback(gateway.port)).unwrap();
        stream.write_all(sent).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // An alert, or nothing; never more than that.
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.len() <= 7 || answer.starts_with(b"HTTP/1.1 400"),
            "{reason}: {answer:?}"
        );
        wait_until(reason, || gateway.refused().contains(reason).then_some(()));
    }
}

#[test]
fn tls_1_2_is_refused_by_name() {
    let Some(openssl) = installed("openssl") else {
        return;
    };
    let gateway = GatewaySetup::new().start();
    let told = s_client(&openssl, &gateway, &gateway.name(), &["-tls1_2"], "").failed();
    assert!(told.contains("alert protocol version"), "{told}");
    let refused = gateway.refused();
    assert!(refused.contains("tls-version"), "{refused}");
}

#[test]
fn a_client_hello_in_two_segments_is_read_as_one() {
    let gateway = GatewaySetup::new()
        .service("echo", upstream::echo(), "")
        .start();
    gateway.grant("laptop", "echo");
    let relay = splitting_relay(gateway.port);
    let agent = gateway
        .agent("laptop")
        .key(&format!("gateway = \"127.0.0.1:{relay}\""))
        .listener("echo")
        .start();
    assert_eq!(say(agent.port("echo"), b"hello"), b"hello");
}

#[test]
fn a_thousand_unfinished_handshakes_stop_no_honest_client() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    // This process's own limit; the gateway has raised its own.
    allow_open_files(4096);
    let hello = client_hello();
    let unfinished: Vec<_> = (0..1000)
        .map(|count| {
            let mut stream = TcpStream::connect(loopback(tunnel.gateway.port)).unwrap();
            // Some never say anything, some begin and stop.
            stream.write_all(&hello[..count % hello.len()]).unwrap();
            stream
        })
        .collect();
    assert_eq!(
        say(tunnel.port(), b"on the open channel"),
        b"on the open channel"
    );
    tunnel.gateway.grant("newcomer", "echo");
    let newcomer = tunnel.gateway.agent("newcomer").listener("echo").start();
    assert_eq!(say(newcomer.port("echo"), b"on a new one"), b"on a new one");
    drop(unfinished);
}

/// Sends bytes, ends, and gives what came back.
fn say(port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(loopback(port)).unwrap();
    stream.write_all(bytes).unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// The first bytes of a TLS client.
fn client_hello() -> Vec<u8> {
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "gateway.example.org".try_into().expect("a name");
    let mut connection = rustls::ClientConnection::new(config.into(), name).expect("a client");
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).expect("memory");
    bytes
}

/// Hands connections on to a port, with the first bytes cut in two segments.
fn splitting_relay(to: u16) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(loopback(to)).expect("the gateway listens");
            far.set_nodelay(true).expect("a socket");
            let (mut from_near, mut to_near) = (near.try_clone().expect("a handle"), near);
            let (mut from_far, mut to_far) = (far.try_clone().expect("a handle"), far);
            thread::spawn(move || std::io::copy(&mut from_far, &mut to_near));
            thread::spawn(move || {
                let mut first = [0; 300];
                from_near.read_exact(&mut first)?;
                for half in first.chunks(150) {
                    to_far.write_all(half)?;
                    // Long enough that the first half has been read alone.
                    thread::park_timeout(Duration::from_millis(50));
                }
                std::io::copy(&mut from_near, &mut to_far)
            });
        }
    });
    port
}

fn allow_open_files(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit
            .maximum
            .map_or(Some(count), |most| Some(most.min(count))),
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, wanted).expect("up to the maximum is allowed");
}
