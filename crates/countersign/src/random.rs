//! Random bytes and names from AWS-LC.

use std::cell::RefCell;

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
    format!("{:032x}", u128::from_be_bytes(identifier()))
}

/// 128 random bits that name something and are no secret: they lie in memory until their turn comes.
///
/// A request has four names, and AWS-LC's generator takes as long for one as for thirty.
pub(crate) fn identifier() -> [u8; 16] {
    thread_local! {
        static DRAWN: RefCell<Vec<[u8; 16]>> = const { RefCell::new(Vec::new()) };
    }
    DRAWN.with_borrow_mut(|drawn| {
        drawn.pop().unwrap_or_else(|| {
            let block = bytes::<512>();
            drawn.extend_from_slice(block.as_chunks().0);
            bytes()
        })
    })
}
