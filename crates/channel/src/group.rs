//! SecP384r1MLKEM1024, which rustls 0.23 does not have: P-384 and ML-KEM-1024, composed of the two groups it has.
//!
//! draft-ietf-tls-ecdhe-mlkem section 4: the classical part comes first, in the shares and in the secret.

use rustls::crypto::aws_lc_rs::kx_group;
use rustls::crypto::{ActiveKeyExchange, CompletedKeyExchange, SharedSecret, SupportedKxGroup};
use rustls::{Error, NamedGroup, PeerMisbehaved, ProtocolVersion};

use crate::registry::Group;

/// The group SecP384r1MLKEM1024, code point 0x11ed.
pub static SECP384R1_MLKEM1024: &dyn SupportedKxGroup = &SecP384r1MlKem1024;

#[derive(Debug)]
struct SecP384r1MlKem1024;

impl SupportedKxGroup for SecP384r1MlKem1024 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        let classical = kx_group::SECP384R1.start()?;
        let post_quantum = kx_group::MLKEM1024.start()?;
        let share = [classical.pub_key(), post_quantum.pub_key()].concat();
        Ok(Box::new(Started {
            classical,
            post_quantum,
            share,
        }))
    }

    /// A key encapsulation has no share of the server's before the client's is seen, so the server does both at once.
    fn start_and_complete(&self, client_share: &[u8]) -> Result<CompletedKeyExchange, Error> {
        let (point, encapsulation_key) = split(client_share)?;
        let classical = kx_group::SECP384R1.start_and_complete(point)?;
        let post_quantum = kx_group::MLKEM1024.start_and_complete(encapsulation_key)?;
        Ok(CompletedKeyExchange {
            group: self.name(),
            pub_key: [classical.pub_key, post_quantum.pub_key].concat(),
            secret: joined(&classical.secret, &post_quantum.secret),
        })
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::from(Group::SECP384R1_MLKEM1024.code_point())
    }

    fn usable_for_version(&self, version: ProtocolVersion) -> bool {
        version == ProtocolVersion::TLSv1_3
    }
}

struct Started {
    classical: Box<dyn ActiveKeyExchange>,
    post_quantum: Box<dyn ActiveKeyExchange>,
    share: Vec<u8>,
}

impl ActiveKeyExchange for Started {
    fn complete(self: Box<Self>, server_share: &[u8]) -> Result<SharedSecret, Error> {
        let (point, ciphertext) = split(server_share)?;
        let classical = self.classical.complete(point)?;
        let post_quantum = self.post_quantum.complete(ciphertext)?;
        Ok(joined(&classical, &post_quantum))
    }

    fn pub_key(&self) -> &[u8] {
        &self.share
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::from(Group::SECP384R1_MLKEM1024.code_point())
    }
}

/// The P-384 point and the ML-KEM-1024 part. The encapsulation key and the ciphertext happen to have the same length.
fn split(share: &[u8]) -> Result<(&[u8], &[u8]), Error> {
    share
        .split_at_checked(POINT)
        .filter(|(_, post_quantum)| post_quantum.len() == ML_KEM_1024)
        .ok_or(Error::PeerMisbehaved(PeerMisbehaved::InvalidKeyShare))
}

/// `SharedSecret` wipes itself; the joined bytes go straight into one.
fn joined(classical: &SharedSecret, post_quantum: &SharedSecret) -> SharedSecret {
    SharedSecret::from([classical.secret_bytes(), post_quantum.secret_bytes()].concat())
}

/// An uncompressed point on P-384 (SEC 1 section 2.3.3).
const POINT: usize = 97;

/// An ML-KEM-1024 encapsulation key or ciphertext (FIPS 203 table 3).
const ML_KEM_1024: usize = 1568;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_get_the_same_secret_of_48_and_32_bytes() {
        let client = SECP384R1_MLKEM1024.start().unwrap();
        let server = SECP384R1_MLKEM1024
            .start_and_complete(client.pub_key())
            .unwrap();
        let secret = client.complete(&server.pub_key).unwrap();
        assert_eq!(secret.secret_bytes(), server.secret.secret_bytes());
        assert_eq!(secret.secret_bytes().len(), 48 + 32);
    }

    #[test]
    fn shares_have_the_lengths_of_the_draft() {
        let client = SECP384R1_MLKEM1024.start().unwrap();
        assert_eq!(client.pub_key().len(), 1665);
        let server = SECP384R1_MLKEM1024
            .start_and_complete(client.pub_key())
            .unwrap();
        assert_eq!(server.pub_key.len(), 1665);
        assert_eq!(u16::from(server.group), 0x11ed);
    }

    #[test]
    fn a_share_of_another_length_is_refused() {
        let client = SECP384R1_MLKEM1024.start().unwrap();
        let mut share = client.pub_key().to_vec();
        assert!(
            SECP384R1_MLKEM1024
                .start_and_complete(&share[..POINT])
                .is_err()
        );
        share.push(0);
        assert!(SECP384R1_MLKEM1024.start_and_complete(&share).is_err());
        assert!(SECP384R1_MLKEM1024.start_and_complete(&[]).is_err());
        assert!(client.complete(&share).is_err());
    }
}
