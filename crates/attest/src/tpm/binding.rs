//! What evidence is asked with: one channel, one gateway, one agent's key and one question, so that it answers nothing else.

use super::hash::HashAlgorithm;

/// What ties evidence to the channel that it is shown on.
///
/// A quote or a report over it cannot be relayed: another channel has another exporter (RFC 9266), another gateway another certificate, another
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
        self.digest(HashAlgorithm::Sha256, QUOTE)
    }

    /// The report data of a confidential guest: a SHA-512, which fills the 64 bytes that SEV-SNP, TDX and SGX have for it, and is the
    /// nonce of a Nitro document.
    pub fn report_data(&self) -> [u8; 64] {
        let digest = self.digest(HashAlgorithm::Sha512, REPORT);
        digest.try_into().expect("a SHA-512 has 64 bytes")
    }

    fn digest(&self, hash: HashAlgorithm, purpose: &[u8]) -> Vec<u8> {
        hash.digest(&[
            purpose,
            self.gateway_certificate,
            self.exporter,
            self.agent_key,
            self.nonce,
        ])
    }
}

const QUOTE: &[u8] = b"countersign quote v1, agent to gateway\0";
const REPORT: &[u8] = b"countersign report v1, agent to gateway\0";

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
            (binding.qualifying_data(), binding.report_data())
        };
        let others = [
            whole(9, 2, 3, 4),
            whole(1, 9, 3, 4),
            whole(1, 2, 9, 4),
            whole(1, 2, 3, 9),
        ];
        assert_eq!(whole(1, 2, 3, 4), whole(1, 2, 3, 4));
        let (quote, report) = whole(1, 2, 3, 4);
        let differs = |other: &(Vec<u8>, [u8; 64])| other.0 != quote && other.1 != report;
        assert!(others.iter().all(differs));
    }
}
