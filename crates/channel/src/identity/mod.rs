//! Who is who: SPIFFE IDs, keys, certificates, the authority that issues them and the bundle that anchors them.

mod authority;
mod elsewhere;
mod key;
mod leaf;
mod request;
pub(crate) mod signer;
mod spiffe_id;
mod spki_hash;
mod svid;
mod trust;

pub use authority::{Anchor, Authority, AuthorityError, Validity};
pub use elsewhere::SignElsewhere;
pub use key::{KeyAlgorithm, KeyError, PrivateKey, PublicKey};
pub use leaf::Leaf;
pub(crate) use leaf::{Expectation, Role, hexadecimal, timestamp, webpki_flaw};
pub use request::{CertificateRequest, ProvenKey, RequestError};
pub use spiffe_id::{InvalidSpiffeId, SpiffeId, TrustDomain};
pub use spki_hash::{InvalidSpkiHash, SpkiHash};
pub use svid::{Svid, SvidError};
pub use trust::{BundleDraft, BundleError, SignedTrustBundle, TrustBundle, TrustDomainKey};
