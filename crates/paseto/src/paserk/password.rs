//! Keys under a password: `local-pw` and `secret-pw` (PASERK § PBKW).

use alloc::string::String;
use alloc::{vec, vec::Vec};
use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params};
use zeroize::Zeroizing;

use super::pie::Wraps;
use super::suite::Suite;
use super::{Confidential, Header};
use crate::encoding;
use crate::error::PaserkError;
use crate::key::Key;
use crate::primitives::pbkdf2_sha384;
use crate::random::Random;
use crate::v1::InsecureV1;
use crate::v2::V2;
use crate::v3::V3;
use crate::v4::V4;
use crate::version::{Holds, Version};

/// A key under a password: read, not unlocked.
///
/// ```
/// use countersign_paseto::paserk::{Argon2id, ProtectedKey, WorkLimits};
/// use countersign_paseto::{Key, Local, SystemRandom, V4};
///
/// let key = Key::<V4, Local>::generate(&SystemRandom)?;
/// let text = key.protect(b"correct horse", Argon2id::default(), &SystemRandom)?;
///
/// let read = ProtectedKey::<V4, Local>::parse(&text)?;
/// assert_eq!(read.work(), Argon2id::default());
/// let unlocked = read.unlock(b"correct horse", &WorkLimits::default())?;
/// assert_eq!(unlocked.id(), key.id());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ProtectedKey<V: Protects, K> {
    /// Salt, work factor, nonce, encrypted key, tag.
    pub(crate) data: Zeroizing<Vec<u8>>,
    work: V::Work,
    kind: PhantomData<fn() -> K>,
}

impl<V: Protects + Holds<K>, K: Confidential> ProtectedKey<V, K> {
    /// Reads the text; does no work.
    ///
    /// # Errors
    ///
    /// [`PaserkError::TooLong`], [`PaserkError::WrongHeader`] or [`PaserkError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, PaserkError> {
        let (_, data) = header::<V, K>().decode(text)?;
        let work = data
            .get(V::SALT_LEN..)
            .and_then(V::Work::read)
            .ok_or(PaserkError::Malformed)?;
        if data.len() < V::SALT_LEN + V::Work::LEN + V::Suite::NONCE_LEN + V::Suite::TAG_LEN {
            return Err(PaserkError::Malformed);
        }
        Ok(Self {
            data,
            work,
            kind: PhantomData,
        })
    }

    /// What unlocking costs.
    pub fn work(&self) -> V::Work {
        self.work
    }

    /// The key, if `password` is the right one and the work is within `limits`.
    ///
    /// # Errors
    ///
    /// [`PaserkError::TooCostly`] before any work, [`PaserkError::NotAuthentic`] for another password or altered bytes.
    pub fn unlock(
        mut self,
        password: &[u8],
        limits: &WorkLimits,
    ) -> Result<Key<V, K>, PaserkError> {
        self.work.check(limits)?;
        let tag_at = self.data.len() - V::Suite::TAG_LEN;
        let (authenticated, tag) = self.data.split_at_mut(tag_at);
        let (prefix, inner) =
            authenticated.split_at_mut(V::SALT_LEN + V::Work::LEN + V::Suite::NONCE_LEN);
        let (salt, rest) = prefix.split_at(V::SALT_LEN);
        let (_, nonce) = rest.split_at(V::Work::LEN);
        let stretched = self.work.stretch(password, salt)?;
        let keys = V::Suite::of_password(&stretched, nonce);
        let header = header::<V, K>().begin(0);
        keys.check(&[header.as_bytes(), prefix, inner], tag)?;
        keys.apply_keystream(inner);
        Ok(Key {
            material: <V as Holds<K>>::parse_protected(inner)?,
        })
    }
}

/// Shows the type and the work alone.
impl<V: Protects, K: Confidential> fmt::Debug for ProtectedKey<V, K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "ProtectedKey({}.{}, {:?})",
            V::PASERK,
            K::PROTECTED,
            self.work
        )
    }
}

impl<V: Protects + Holds<K>, K: Confidential> Key<V, K> {
    /// The key as text that only `password` opens, such as `k4.local-pw.…`. The text is as strong as the password.
    ///
    /// # Errors
    ///
    /// [`PaserkError::BadWorkFactor`] or [`PaserkError::Randomness`].
    pub fn protect(
        &self,
        password: &[u8],
        work: V::Work,
        random: &dyn Random,
    ) -> Result<String, PaserkError> {
        let mut prefix = vec![0; V::SALT_LEN];
        random.fill(&mut prefix)?;
        let mut nonce = vec![0; V::Suite::NONCE_LEN];
        random.fill(&mut nonce)?;
        let keys = V::Suite::of_password(&*work.stretch(password, &prefix)?, &nonce);
        work.write(&mut prefix);
        let mut inner = self.expose_secret();
        keys.apply_keystream(&mut inner);
        let mut text = header::<V, K>().begin(0);
        let tag = keys.tag(&[text.as_bytes(), &prefix, &nonce, &inner]);
        encoding::append(
            &mut text,
            &[prefix.as_slice(), &nonce, &inner, tag.as_ref()].concat(),
        );
        Ok(text)
    }
}

fn header<V: Version, K: Confidential>() -> Header<2> {
    Header([V::PASERK, K::PROTECTED])
}

/// A version that protects keys with a password.
pub trait Protects: Wraps {
    /// How the password is stretched.
    type Work: WorkFactor;

    #[doc(hidden)]
    const SALT_LEN: usize;
}

impl Protects for InsecureV1 {
    type Work = Pbkdf2;
    const SALT_LEN: usize = 32;
}

impl Protects for V2 {
    type Work = Argon2id;
    const SALT_LEN: usize = 16;
}

impl Protects for V3 {
    type Work = Pbkdf2;
    const SALT_LEN: usize = 32;
}

impl Protects for V4 {
    type Work = Argon2id;
    const SALT_LEN: usize = 16;
}

/// How much work a password costs: [`Argon2id`] or [`Pbkdf2`].
pub trait WorkFactor: Copy + Default + PartialEq + core::fmt::Debug {
    #[doc(hidden)]
    const LEN: usize;

    #[doc(hidden)]
    fn read(bytes: &[u8]) -> Option<Self>;

    #[doc(hidden)]
    fn write(&self, bytes: &mut Vec<u8>);

    #[doc(hidden)]
    fn check(&self, limits: &WorkLimits) -> Result<(), PaserkError>;

    #[doc(hidden)]
    fn stretch(&self, password: &[u8], salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, PaserkError>;
}

/// Argon2id (RFC 9106), of versions 2 and 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2id {
    /// Bytes of memory, a multiple of 1,024.
    pub memory: u64,
    /// Passes over the memory.
    pub passes: u32,
    /// Lanes.
    pub parallelism: u32,
}

impl Default for Argon2id {
    /// RFC 9106 section 4, the second recommendation: 64 MiB and 3 passes, in one lane as libsodium has it.
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            passes: 3,
            parallelism: 1,
        }
    }
}

impl WorkFactor for Argon2id {
    const LEN: usize = 16;

    fn read(bytes: &[u8]) -> Option<Self> {
        let (memory, rest) = bytes.split_first_chunk()?;
        let (passes, rest) = rest.split_first_chunk()?;
        Some(Self {
            memory: u64::from_be_bytes(*memory),
            passes: u32::from_be_bytes(*passes),
            parallelism: u32::from_be_bytes(*rest.first_chunk()?),
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.memory.to_be_bytes());
        bytes.extend_from_slice(&self.passes.to_be_bytes());
        bytes.extend_from_slice(&self.parallelism.to_be_bytes());
    }

    fn check(&self, limits: &WorkLimits) -> Result<(), PaserkError> {
        let most = limits.argon2id;
        within("bytes of memory", self.memory, most.memory)?;
        within("passes", self.passes.into(), most.passes.into())?;
        within("lanes", self.parallelism.into(), most.parallelism.into())
    }

    fn stretch(&self, password: &[u8], salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, PaserkError> {
        if !self.memory.is_multiple_of(1024) {
            return Err(PaserkError::BadWorkFactor);
        }
        let blocks = u32::try_from(self.memory / 1024).map_err(|_| PaserkError::BadWorkFactor)?;
        let parameters = Params::new(blocks, self.passes, self.parallelism, Some(32))
            .map_err(|_| PaserkError::BadWorkFactor)?;
        let mut stretched = Zeroizing::new([0; 32]);
        Argon2::new(Algorithm::Argon2id, argon2::Version::V0x13, parameters)
            .hash_password_into(password, salt, &mut *stretched)
            .map_err(|_| PaserkError::BadWorkFactor)?;
        Ok(stretched)
    }
}

/// PBKDF2 with HMAC-SHA-384 (RFC 8018 section 5.2), of versions 1 and 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pbkdf2 {
    /// Iterations.
    pub iterations: u32,
}

impl Default for Pbkdf2 {
    /// OWASP's number for PBKDF2 with SHA-512, to which SHA-384 is equal in cost.
    fn default() -> Self {
        Self {
            iterations: 210_000,
        }
    }
}

impl WorkFactor for Pbkdf2 {
    const LEN: usize = 4;

    fn read(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            iterations: u32::from_be_bytes(*bytes.first_chunk()?),
        })
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.iterations.to_be_bytes());
    }

    fn check(&self, limits: &WorkLimits) -> Result<(), PaserkError> {
        within(
            "iterations",
            self.iterations.into(),
            limits.pbkdf2.iterations.into(),
        )
    }

    fn stretch(&self, password: &[u8], salt: &[u8]) -> Result<Zeroizing<[u8; 32]>, PaserkError> {
        let iterations = NonZeroU32::new(self.iterations).ok_or(PaserkError::BadWorkFactor)?;
        Ok(pbkdf2_sha384(password, salt, iterations))
    }
}

/// The most that unlocking may cost: the text comes from a stranger until it has authenticated.
///
/// ```
/// use countersign_paseto::paserk::WorkLimits;
///
/// let mut limits = WorkLimits::default();
/// limits.argon2id.memory = 1 << 30; // our own keys ask for that much
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkLimits {
    /// The most memory, passes and lanes.
    pub argon2id: Argon2id,
    /// The most iterations.
    pub pbkdf2: Pbkdf2,
}

impl Default for WorkLimits {
    /// 256 MiB, as libsodium's "moderate", 10 passes, 4 lanes; a million iterations: a second or so of one core each.
    fn default() -> Self {
        Self {
            argon2id: Argon2id {
                memory: 256 << 20,
                passes: 10,
                parallelism: 4,
            },
            pbkdf2: Pbkdf2 {
                iterations: 1_000_000,
            },
        }
    }
}

fn within(unit: &'static str, found: u64, limit: u64) -> Result<(), PaserkError> {
    match found > limit {
        true => Err(PaserkError::TooCostly { unit, found, limit }),
        false => Ok(()),
    }
}
