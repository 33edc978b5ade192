//! The PROXY protocol, version 2: tells a TCP service who is connected to it.
//!
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>, section 2.2. The header is sent once,
//! before the first byte of the stream. It carries the address of the client's machine and of
//! the gateway, and the client's SPIFFE ID in a TLV of type [`SPIFFE_ID`].

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The type of the TLV that holds the SPIFFE ID, as UTF-8 without an end mark.
///
/// From the range that section 2.2.8 leaves to applications (0xE0–0xEF).
pub const SPIFFE_ID: u8 = 0xE0;

/// The header for a stream from `source` that was accepted at `destination`, with the client's
/// SPIFFE ID if it has one.
///
/// An identity that is too long for a header (65,535 bytes; a SPIFFE ID has 2,048 at most) is
/// left out.
#[must_use]
pub fn header(source: SocketAddr, destination: SocketAddr, spiffe_id: Option<&str>) -> Vec<u8> {
    let mut body = Vec::with_capacity(128);
    let family = addresses(&mut body, source, destination);
    if let Some(id) = spiffe_id {
        tlv(&mut body, SPIFFE_ID, id.as_bytes());
    }
    let length = u16::try_from(body.len()).expect("`tlv` keeps the body below its limit");

    let mut header = Vec::with_capacity(SIGNATURE.len() + 4 + body.len());
    header.extend_from_slice(&SIGNATURE);
    header.extend_from_slice(&[VERSION_2_PROXY, family]);
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&body);
    header
}

/// Section 2.2.1: both addresses, then both ports; an IPv4 address beside an IPv6 one is mapped.
fn addresses(body: &mut Vec<u8>, source: SocketAddr, destination: SocketAddr) -> u8 {
    let family = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            body.extend_from_slice(&source.octets());
            body.extend_from_slice(&destination.octets());
            TCP_OVER_IPV4
        }
        (source, destination) => {
            body.extend_from_slice(&mapped(source).octets());
            body.extend_from_slice(&mapped(destination).octets());
            TCP_OVER_IPV6
        }
    };
    body.extend_from_slice(&source.port().to_be_bytes());
    body.extend_from_slice(&destination.port().to_be_bytes());
    family
}

fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

/// Section 2.2.7: type, length, value.
fn tlv(body: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let room = usize::from(u16::MAX) - body.len() - 3;
    let Some(length) = u16::try_from(value.len())
        .ok()
        .filter(|_| value.len() <= room)
    else {
        return;
    };
    body.push(kind);
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(value);
}

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, command PROXY.
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(source: &str, destination: &str, id: Option<&str>, expected: &[&[u8]]) {
        let header = header(source.parse().unwrap(), destination.parse().unwrap(), id);
        let (start, rest) = header.split_at(12);
        assert_eq!(start, b"\x0D\x0A\x0D\x0A\x00\x0D\x0A\x51\x55\x49\x54\x0A");
        assert_eq!(rest, expected.concat());
    }

    #[test]
    fn ipv4_addresses_take_twelve_bytes() {
        check(
            "192.0.2.1:50000",
            "198.51.100.7:443",
            None,
            &[
                &[0x21, 0x11, 0, 12],
                &[192, 0, 2, 1, 198, 51, 100, 7],
                &[0xC3, 0x50, 0x01, 0xBB],
            ],
        );
    }

    #[test]
    fn ipv6_addresses_take_thirty_six_bytes() {
        let one = Ipv6Addr::LOCALHOST.octets();
        check(
            "[::1]:1",
            "[::1]:2",
            None,
            &[&[0x21, 0x21, 0, 36], &one, &one, &[0, 1, 0, 2]],
        );
    }

    #[test]
    fn mixed_families_are_mapped_to_ipv6() {
        let four = Ipv6Addr::new(0, 0, 0, 0, 0, 0xFFFF, 0x7F00, 1).octets();
        let six = Ipv6Addr::LOCALHOST.octets();
        check(
            "127.0.0.1:1",
            "[::1]:2",
            None,
            &[&[0x21, 0x21, 0, 36], &four, &six, &[0, 1, 0, 2]],
        );
    }

    #[test]
    fn the_spiffe_id_follows_the_addresses() {
        check(
            "127.0.0.1:1",
            "127.0.0.1:2",
            Some("spiffe://example.org/agent/a"),
            &[
                &[0x21, 0x11, 0, 12 + 3 + 28],
                &[127, 0, 0, 1, 127, 0, 0, 1, 0, 1, 0, 2],
                &[0xE0, 0, 28],
                b"spiffe://example.org/agent/a",
            ],
        );
    }

    #[test]
    fn an_identity_beyond_the_header_is_left_out() {
        let huge = "x".repeat(usize::from(u16::MAX));
        check(
            "127.0.0.1:1",
            "127.0.0.1:2",
            Some(&huge),
            &[
                &[0x21, 0x11, 0, 12],
                &[127, 0, 0, 1, 127, 0, 0, 1, 0, 1, 0, 2],
            ],
        );
    }
}
