//! Channel binding: a value that both ends of one channel know and no other channel has.

use rustls::{ConnectionCommon, Error};

/// The exporter of RFC 9266, `tls-exporter`.
pub type ChannelBinding = [u8; 32];

/// RFC 9266 section 4: this label, an empty context, 32 bytes.
pub(crate) fn channel_binding<Data>(
    connection: &ConnectionCommon<Data>,
) -> Result<ChannelBinding, Error> {
    connection.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""))
}
