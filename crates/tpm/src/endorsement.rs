//! Endorsement keys and their certificates (TCG EK Credential Profile 2.5, section 2.2 and annex B).

use crate::algorithm::{Hash, id};
use crate::command::Entity;
use crate::error::Error;
use crate::public::{Public, attribute};
use crate::session::Session;
use crate::tpm::{Hierarchy, Loaded, Tpm};
use crate::wire::Writer;

/// Which endorsement key: a TPM has one for each template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndorsementKind {
    /// Template L-1, RSA with 2048 bits.
    Rsa2048,
    /// Template L-2, ECC on P-256.
    EccP256,
    /// Template H-1, RSA with 2048 bits.
    Rsa2048High,
    /// Template H-2, ECC on P-256.
    EccP256High,
    /// Template H-3, ECC on P-384.
    EccP384,
    /// Template H-4, ECC on P-521.
    EccP521,
    /// Template H-6, RSA with 3072 bits.
    Rsa3072,
    /// Template H-7, RSA with 4096 bits.
    Rsa4096,
}

impl EndorsementKind {
    /// All of them, the ones to prefer first: elliptic curves are faster, but few verifiers read P-521.
    pub const ALL: [Self; 8] = [
        Self::EccP384,
        Self::EccP256High,
        Self::EccP256,
        Self::Rsa2048High,
        Self::Rsa2048,
        Self::Rsa3072,
        Self::Rsa4096,
        Self::EccP521,
    ];

    /// The NV index of its certificate (section 2.2.1.4 and 2.2.1.5).
    pub fn certificate_index(self) -> u32 {
        match self {
            Self::Rsa2048 => 0x01c0_0002,
            Self::EccP256 => 0x01c0_000a,
            Self::Rsa2048High => 0x01c0_0012,
            Self::EccP256High => 0x01c0_0014,
            Self::EccP384 => 0x01c0_0016,
            Self::EccP521 => 0x01c0_0018,
            Self::Rsa3072 => 0x01c0_001c,
            Self::Rsa4096 => 0x01c0_001e,
        }
    }

    fn is_low(self) -> bool {
        matches!(self, Self::Rsa2048 | Self::EccP256)
    }

    /// The hash of its name and policy, which goes with the strength of the key.
    fn hash(self) -> Hash {
        match self {
            Self::Rsa2048 | Self::EccP256 | Self::Rsa2048High | Self::EccP256High => Hash::Sha256,
            Self::EccP384 | Self::Rsa3072 | Self::Rsa4096 => Hash::Sha384,
            Self::EccP521 => Hash::Sha512,
        }
    }

    fn template(self) -> Public {
        let low = attribute::FIXED_TPM
            | attribute::FIXED_PARENT
            | attribute::SENSITIVE_DATA_ORIGIN
            | attribute::ADMIN_WITH_POLICY
            | attribute::RESTRICTED
            | attribute::DECRYPT;
        let (attributes, policy) = match self.is_low() {
            true => (low, secret_policy(self.hash())),
            false => (low | attribute::USER_WITH_AUTH, policy_or(self.hash())),
        };
        let kind = match self.curve() {
            Some(_) => id::ECC,
            None => id::RSA,
        };
        let head = Writer::new().u16(kind).u16(self.hash().id());
        let head = head.u32(attributes).sized(&policy);
        let bytes = self.unique(self.parameters(head)).finish();
        Public::parse(&bytes).expect("the profile's templates are well formed")
    }

    fn parameters(self, writer: Writer) -> Writer {
        let aes_bits = match self.hash() {
            Hash::Sha256 => 128,
            _ => 256,
        };
        let writer = writer.u16(id::AES).u16(aes_bits).u16(id::CFB).u16(id::NULL);
        match self.curve() {
            Some(curve) => writer.u16(curve).u16(id::NULL),
            None => writer.u16(self.rsa_bits()).u32(0),
        }
    }

    /// Zeros as long as the key in the low range, empty in the high.
    fn unique(self, writer: Writer) -> Writer {
        match self {
            Self::Rsa2048 => writer.sized(&[0; 256]),
            Self::EccP256 => writer.sized(&[0; 32]).sized(&[0; 32]),
            Self::EccP256High | Self::EccP384 | Self::EccP521 => writer.sized(&[]).sized(&[]),
            Self::Rsa2048High | Self::Rsa3072 | Self::Rsa4096 => writer.sized(&[]),
        }
    }

    fn curve(self) -> Option<u16> {
        match self {
            Self::EccP256 | Self::EccP256High => Some(id::P256),
            Self::EccP384 => Some(id::P384),
            Self::EccP521 => Some(id::P521),
            Self::Rsa2048 | Self::Rsa2048High | Self::Rsa3072 | Self::Rsa4096 => None,
        }
    }

    fn rsa_bits(self) -> u16 {
        match self {
            Self::Rsa4096 => 4096,
            Self::Rsa3072 => 3072,
            _ => 2048,
        }
    }
}

/// A certificate that the TPM's maker put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementCertificate {
    /// Of which endorsement key.
    pub kind: EndorsementKind,
    /// The X.509 certificate in DER.
    pub der: Vec<u8>,
}

/// The public part of an endorsement key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndorsementKey {
    /// Which.
    pub kind: EndorsementKind,
    /// TPMT_PUBLIC, without a length before it.
    pub public: Vec<u8>,
}

impl Tpm {
    /// The certificates in the TPM, those of elliptic curves first. Some makers ship none, others only on their servers.
    ///
    /// # Errors
    ///
    /// When the TPM does not answer as it should.
    pub fn endorsement_certificates(&mut self) -> Result<Vec<EndorsementCertificate>, Error> {
        let mut certificates = Vec::new();
        for kind in EndorsementKind::ALL {
            let content = self.read_index(kind.certificate_index())?;
            let der = content.and_then(unpadded);
            certificates.extend(der.map(|der| EndorsementCertificate { kind, der }));
        }
        Ok(certificates)
    }

    /// The public part of an endorsement key: the persistent one where there is one from this template, else a new one, which is
    /// always the same.
    ///
    /// # Errors
    ///
    /// [`Error::HierarchyPassword`], or a refusal where the TPM does not know the algorithm.
    pub fn endorsement_key(&mut self, kind: EndorsementKind) -> Result<EndorsementKey, Error> {
        self.with_endorsement_key(kind, |_, key| {
            let public = key.public.bytes.clone();
            Ok(EndorsementKey { kind, public })
        })
    }

    pub(crate) fn with_endorsement_key<T>(
        &mut self,
        kind: EndorsementKind,
        work: impl FnOnce(&mut Self, &Loaded) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let template = kind.template();
        let key = match self.persistent(&template)? {
            Some(key) => key,
            None => self.create_primary(Hierarchy::Endorsement, &template)?,
        };
        self.with_loaded(key.handle, |tpm| work(tpm, &key))
    }

    /// Fulfils the policy of an endorsement key in `session`.
    pub(crate) fn satisfy_endorsement_policy(
        &mut self,
        kind: EndorsementKind,
        session: &Session,
    ) -> Result<(), Error> {
        self.policy_secret(session)?;
        match kind.is_low() {
            true => Ok(()),
            false => self.policy_or(session, &branches(kind.hash())),
        }
    }

    pub(crate) fn policy_hash(kind: EndorsementKind) -> Hash {
        kind.hash()
    }

    /// The key from this template in the range that is kept for endorsement keys.
    fn persistent(&mut self, template: &Public) -> Result<Option<Loaded>, Error> {
        let handles = self.handles(*PERSISTENT.start())?;
        for handle in handles
            .into_iter()
            .filter(|handle| PERSISTENT.contains(handle))
        {
            let public = self.read_public(handle)?;
            if let Some(public) = public.filter(|public| public.is_from(template)) {
                return Ok(Some(Loaded { handle, public }));
            }
        }
        Ok(None)
    }
}

/// PolicyA: PolicySecret of the endorsement hierarchy.
fn secret_policy(hash: Hash) -> Vec<u8> {
    let endorsement = Entity::named_by_handle(Hierarchy::Endorsement.handle());
    let start = vec![0; hash.length()];
    let step = hash.of(&[&start, &POLICY_SECRET.to_be_bytes(), &endorsement.name]);
    // A second hash takes in the reference, which is empty.
    hash.of(&[&step])
}

/// PolicyB: either PolicyA or PolicyC.
fn policy_or(hash: Hash) -> Vec<u8> {
    let [first, second] = branches(hash);
    let start = vec![0; hash.length()];
    hash.of(&[&start, &POLICY_OR.to_be_bytes(), &first, &second])
}

fn branches(hash: Hash) -> [Vec<u8>; 2] {
    [secret_policy(hash), owner_policy(hash)]
}

/// PolicyC: PolicyAuthorizeNV with an index that the owner may set up, 0x01c07f01 and following. It is locked with its name and its hash.
fn owner_policy(hash: Hash) -> Vec<u8> {
    let (number, attributes) = match hash {
        Hash::Sha384 => (2, OWNER_INDEX),
        Hash::Sha512 => (3, OWNER_INDEX),
        Hash::Sha1 | Hash::Sha256 => (1, OWNER_INDEX),
    };
    let size = u16::try_from(2 + hash.length()).unwrap_or_default();
    let public = Writer::new().u32(0x01c0_7f00 + number).u16(hash.id());
    let public = public.u32(attributes).sized(&secret_policy(hash)).u16(size);
    let name = [&hash.id().to_be_bytes()[..], &hash.of(&[&public.finish()])].concat();
    let start = vec![0; hash.length()];
    hash.of(&[&start, &POLICY_AUTHORIZE_NV.to_be_bytes(), &name])
}

/// The certificate without what pads it: some makers fill up the index.
fn unpadded(content: Vec<u8>) -> Option<Vec<u8>> {
    let length = match content.as_slice() {
        [0x30, 0x82, high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])) + 4,
        _ => return None,
    };
    content.get(..length).map(<[u8]>::to_vec)
}

const PERSISTENT: std::ops::RangeInclusive<u32> = 0x8101_0000..=0x8101_ffff;
const POLICY_SECRET: u32 = 0x151;
const POLICY_OR: u32 = 0x171;
const POLICY_AUTHORIZE_NV: u32 = 0x192;
/// Of the owner's index: policy may write and read, the owner may read, written, no dictionary attack (annex B.6.2).
const OWNER_INDEX: u32 = 0x220f_1008;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(digest: Vec<u8>, expected: &str) {
        let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, expected);
    }

    #[test]
    fn the_policy_of_the_low_range_is_the_profiles() {
        check(
            secret_policy(Hash::Sha256),
            "837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa",
        );
    }

    #[test]
    fn the_policies_of_the_high_range_are_the_profiles() {
        check(
            policy_or(Hash::Sha256),
            "ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0",
        );
        check(
            policy_or(Hash::Sha384),
            "b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12",
        );
        check(
            policy_or(Hash::Sha512),
            "b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a429c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea",
        );
    }
}
