//! Channel binding: what ties a statement to one channel and to the gateway at its end.

use aws_lc_rs::digest::{SHA384, digest};
use rustls::{ConnectionCommon, Error};

/// What both ends of an agent's channel know, and nobody on another channel.
///
/// A statement that covers both is worth nothing on any other channel (the exporter differs) and at no other gateway (its
/// certificate does).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelBinding {
    /// The exporter of RFC 9266, `tls-exporter`.
    pub exporter: [u8; 32],
    /// The SHA-384 of the certificate that the gateway showed, in DER.
    pub gateway_certificate: [u8; 48],
}

/// RFC 9266 section 4: this label, an empty context, 32 bytes.
pub(crate) fn exporter<Data>(connection: &ConnectionCommon<Data>) -> Result<[u8; 32], Error> {
    connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
}

/// The SHA-384 of a certificate in DER.
pub(crate) fn certificate_hash(der: &[u8]) -> [u8; 48] {
    let mut hash = [0; 48];
    hash.copy_from_slice(digest(&SHA384, der).as_ref());
    hash
}
