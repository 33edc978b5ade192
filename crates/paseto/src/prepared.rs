//! What a key's uses would each compute from it again.

use alloc::boxed::Box;

/// `S`, and `T` made of it for all uses: at the first one, so that to unwrap, unseal or list a key costs none of it; at once
/// without `std`, which has what it takes to wait for another thread.
#[derive(Clone)]
pub(crate) struct Prepared<S, T> {
    source: S,
    #[cfg(feature = "std")]
    made: std::sync::OnceLock<Box<T>>,
    #[cfg(not(feature = "std"))]
    made: Box<T>,
}

/// Made of a key or of a part of one.
pub(crate) trait Of<S> {
    fn of(source: &S) -> Self;
}

impl<S, T> Prepared<S, T> {
    pub(crate) fn source(&self) -> &S {
        &self.source
    }
}

#[cfg(feature = "std")]
impl<S, T: Of<S>> Prepared<S, T> {
    pub(crate) fn new(source: S) -> Self {
        Self {
            source,
            made: std::sync::OnceLock::new(),
        }
    }

    pub(crate) fn get(&self) -> &T {
        self.made.get_or_init(|| Box::new(T::of(&self.source)))
    }
}

#[cfg(not(feature = "std"))]
impl<S, T: Of<S>> Prepared<S, T> {
    pub(crate) fn new(source: S) -> Self {
        let made = Box::new(T::of(&source));
        Self { source, made }
    }

    pub(crate) fn get(&self) -> &T {
        &self.made
    }
}
