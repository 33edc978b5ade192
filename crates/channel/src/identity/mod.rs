//! Who is who: SPIFFE IDs, keys, certificates, the authority that issues them and the bundle that anchors them.

mod key;
mod spiffe_id;

pub use key::{InvalidSpkiHash, KeyAlgorithm, KeyError, PrivateKey, PublicKey, SpkiHash};
pub use spiffe_id::{InvalidSpiffeId, SpiffeId, TrustDomain};
