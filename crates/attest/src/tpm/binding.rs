//! What a quote is asked with: one channel, one gateway, one agent's key and one question, so that it answers nothing else.

use super::hash::HashAlgorithm;

/// What ties a quote to the channel that it is shown on.
///
/// A quote over it cannot be relayed: another channel has another exporter (RFC 9266), another gateway another certificate, another
/// agent another key, and a later question another nonce. The direction keeps a gateway that were to quote from being mistaken for an
/// agent. Each part has a fixed length, and so one reading.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The SHA-384 of the certificate that the gateway showed.
    pub gateway_certificate: &'a [u8; 48],
    /// The exporter of the channel, as the verifier's own end has it.
    pub exporter: &'a [u8; 32],
    /// The SHA-384 of the agent's public key, as the handshake proved it.
    pub agent_key: &'a [u8; 48],
    /// The verifier's question, good once.
    pub nonce: &'a [u8; 32],
}

impl Binding<'_> {
    /// The qualifying data of the quote: a SHA-256, since that is the longest that every TPM takes (part 2, section 10.4.3).
    pub fn qualifying_data(&self) -> Vec<u8> {
        HashAlgorithm::Sha256.digest(&[
            AGENT_TO_GATEWAY,
            self.gateway_certificate,
            self.exporter,
            self.agent_key,
            self.nonce,
        ])
    }
}

const AGENT_TO_GATEWAY: &[u8] = b"countersign quote v1, agent to gateway\0";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_counts() {
        let whole = |certificate, exporter, key, nonce| {
            let binding = Binding {
                gateway_certificate: &[certificate; 48],
                exporter: &[exporter; 32],
                agent_key: &[key; 48],
                nonce: &[nonce; 32],
            };
            binding.qualifying_data()
        };
        let others = [
            whole(9, 2, 3, 4),
            whole(1, 9, 3, 4),
            whole(1, 2, 9, 4),
            whole(1, 2, 3, 9),
        ];
        assert_eq!(whole(1, 2, 3, 4), whole(1, 2, 3, 4));
        assert!(others.iter().all(|other| *other != whole(1, 2, 3, 4)));
    }
}
