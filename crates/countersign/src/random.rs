//! Random bytes and names from AWS-LC.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// `N` random bytes.
///
/// # Panics
///
/// When the operating system has no randomness: nothing that follows could be safe.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .expect("AWS-LC's generator fails only where the operating system's does");
    bytes
}

/// A name that nothing else has: 128 random bits in hexadecimal.
pub(crate) fn id() -> String {
    format!("{:032x}", u128::from_be_bytes(bytes()))
}
