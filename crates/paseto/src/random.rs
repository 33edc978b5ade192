//! Randomness as an argument: the crate never reaches for a generator of its own.

use zeroize::Zeroizing;

#[cfg(any(feature = "aws-lc", feature = "getrandom"))]
use crate::primitives;

/// A source of secret, unpredictable bytes.
///
/// Implement it for a generator of your own, or for fixed bytes in a test of test vectors.
///
/// ```
/// use countersign_paseto::{Key, Local, Random, RandomnessUnavailable, V4};
///
/// struct Device;
///
/// impl Random for Device {
///     fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
///         # bytes.fill(7);
///         # let read_from_device = |_: &mut [u8]| Ok::<(), ()>(());
///         read_from_device(bytes).map_err(|_| RandomnessUnavailable)
///     }
/// }
///
/// let key = Key::<V4, Local>::generate(&Device)?;
/// # Ok::<(), RandomnessUnavailable>(())
/// ```
pub trait Random {
    /// Fills `bytes`, all of it or none.
    ///
    /// # Errors
    ///
    /// When the source cannot give that many bytes.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable>;

    /// Whether this is [`SystemRandom`], so that what has the same generator may ask it itself.
    #[doc(hidden)]
    fn is_system(&self) -> bool {
        false
    }
}

/// AWS-LC's generator, seeded by the operating system; with the features `pure` and `getrandom`, the operating system's own.
///
/// AWS-LC's first use in a process costs some tens of milliseconds. Where there is neither, bring a [`Random`] of your own.
#[cfg(any(feature = "aws-lc", feature = "getrandom"))]
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

#[cfg(any(feature = "aws-lc", feature = "getrandom"))]
impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        primitives::system_random(bytes)
    }

    fn is_system(&self) -> bool {
        true
    }
}

/// The source of randomness failed; nothing was minted or wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the source of randomness failed")]
pub struct RandomnessUnavailable;

/// What `of` makes of random bytes. Draws again where it takes them for none of its own: of P-384's scalars that is one in 2^190.
pub(crate) fn accepted<const N: usize, T>(
    random: &dyn Random,
    of: impl Fn(Zeroizing<[u8; N]>) -> Option<T>,
) -> Result<T, RandomnessUnavailable> {
    for _ in 0..8 {
        if let Some(made) = of(Zeroizing::new(bytes(random)?)) {
            return Ok(made);
        }
    }
    Err(RandomnessUnavailable)
}

/// `N` fresh bytes.
pub(crate) fn bytes<const N: usize>(random: &dyn Random) -> Result<[u8; N], RandomnessUnavailable> {
    let mut bytes = [0; N];
    random.fill(&mut bytes)?;
    Ok(bytes)
}
