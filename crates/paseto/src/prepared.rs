//! A symmetric key, and what each token would compute from it again.

use zeroize::Zeroizing;

/// Thirty-two bytes, and `T` made of them for all tokens: at the first one, so that to unwrap, unseal or list a key costs none of
/// it; at once without `std`, which has what it takes to wait for another thread.
pub(crate) struct Prepared<T> {
    pub(crate) key: Zeroizing<[u8; 32]>,
    #[cfg(feature = "std")]
    made: std::sync::OnceLock<T>,
    #[cfg(not(feature = "std"))]
    made: T,
}

/// Made of a key.
pub(crate) trait OfKey {
    fn of_key(key: &[u8; 32]) -> Self;
}

#[cfg(feature = "std")]
impl<T: OfKey> Prepared<T> {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self {
            key,
            made: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> &T {
        self.made.get_or_init(|| T::of_key(&self.key))
    }
}

#[cfg(not(feature = "std"))]
impl<T: OfKey> Prepared<T> {
    pub(crate) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        let made = T::of_key(&key);
        Self { key, made }
    }

    pub(crate) fn get(&self) -> &T {
        &self.made
    }
}
