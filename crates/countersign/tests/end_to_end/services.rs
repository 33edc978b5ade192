//! Services that are down, refuse, hang or reset half-way: the client sees an error, never a clean end.

use std::io::{ErrorKind, Read, Write};

use crate::support::{GatewaySetup, Tunnel, random_bytes, upstream};

#[test]
fn bytes_and_ends_come_through_whole() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    let sent = random_bytes(16 << 20);
    let mut writer = tunnel.connect();
    let mut reader = writer.try_clone().unwrap();
    let mut received = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            writer.write_all(&sent).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        reader.read_to_end(&mut received).unwrap();
    });
    assert!(sent == received, "{} bytes came back", received.len());
}

#[test]
fn a_service_that_refuses_is_a_reset_and_through_the_proxy_502() {
    let tunnel = Tunnel::to("gone", upstream::refusing());
    assert_reset(&tunnel, b"x");
    let (status, body) = tunnel.connect_by_proxy("gone");
    assert_eq!(status, 502, "{body}");
    assert!(body.contains("gone"), "{body}");
}

#[test]
fn a_service_that_hangs_in_its_tls_is_504() {
    let port = upstream::hanging();
    let setup = GatewaySetup::new().service(
        "slow",
        port,
        "connect_timeout = \"1s\"\n[service.tls]\nca = \"authority.pem\"\nname = \"slow.test\"",
    );
    let tunnel = Tunnel::through(setup, "slow");
    assert_reset(&tunnel, b"x");
    let (status, body) = tunnel.connect_by_proxy("slow");
    assert_eq!(status, 504, "{body}");
}

#[test]
fn a_service_that_says_nothing_for_too_long_is_a_reset() {
    let setup = GatewaySetup::new().service("mute", upstream::hanging(), "idle_timeout = \"1s\"");
    assert_reset(&Tunnel::through(setup, "mute"), b"x");
}

#[test]
fn a_service_that_resets_half_way_is_a_reset_after_its_bytes() {
    const COUNT: usize = 100_000;
    let tunnel = Tunnel::to("flaky", upstream::resetting_after(COUNT));
    let mut stream = tunnel.connect();
    stream.write_all(b"x").unwrap();
    let mut received = vec![0; COUNT];
    stream.read_exact(&mut received).unwrap();
    stream.write_all(b"y").unwrap();
    let error = stream.read(&mut received).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_service_that_no_grant_names_is_denied_by_rule() {
    let tunnel = Tunnel::through(
        GatewaySetup::new()
            .service("open", upstream::echo(), "")
            .service("shut", upstream::echo(), ""),
        "open",
    );
    let (status, body) = tunnel.connect_by_proxy("shut");
    assert_eq!(status, 403, "{body}");
    let denied = tunnel.gateway.audited("stream-denied");
    assert_eq!(denied.len(), 1);
    assert_eq!(denied[0]["service"], "shut");
}

#[test]
fn a_service_that_there_is_not_is_misdirected() {
    let tunnel = Tunnel::to("echo", upstream::echo());
    let (status, body) = tunnel.connect_by_proxy("nothing");
    assert_eq!(status, 421, "{body}");
}

#[test]
fn a_client_that_resets_is_a_reset_at_the_service_and_one_that_ends_an_end() {
    let (service, ends) = upstream::telling_how_streams_end();
    let tunnel = Tunnel::to("told", service);
    let mut ending = tunnel.connect();
    ending.write_all(b"x").unwrap();
    ending.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(ends.recv().unwrap(), Ok(1));

    let mut resetting = tunnel.connect();
    resetting.write_all(b"x").unwrap();
    // Answered: the stream is open from end to end.
    resetting.read_exact(&mut [0; 1]).unwrap();
    upstream::reset(resetting);
    assert_eq!(ends.recv().unwrap(), Err(ErrorKind::ConnectionReset));
}

fn assert_reset(tunnel: &Tunnel, bytes: &[u8]) {
    let mut stream = tunnel.connect();
    // The reset may come before the bytes are written, and a socket tells of it once: what is read after that looks like an end.
    let told = stream
        .write_all(bytes)
        .and_then(|()| stream.read(&mut [0; 1]));
    let error = told.expect_err("a clean end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}
