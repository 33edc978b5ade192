//! How many requests of a service may be sent again.

use std::sync::atomic::{AtomicU32, Ordering};

/// Lets one request in five be sent again, and a few more after a quiet time: where an upstream fails altogether,
/// retries would double what it has to bear.
#[derive(Debug)]
pub(super) struct Budget {
    /// In fifths of a retry.
    saved: AtomicU32,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self {
            saved: AtomicU32::new(MOST_SAVED),
        }
    }

    /// Puts by what one request allows.
    pub(super) fn earn(&self) {
        let more = |saved: u32| (saved < MOST_SAVED).then_some(saved + 1);
        let _ = self
            .saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    /// Takes what a retry costs; false if there is not enough.
    pub(super) fn spend(&self) -> bool {
        let less = |saved: u32| saved.checked_sub(PRICE);
        self.saved
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok()
    }
}

const PRICE: u32 = 5;

/// Twenty retries.
const MOST_SAVED: u32 = 20 * PRICE;

#[cfg(test)]
mod tests {
    use super::*;

    fn spent(budget: &Budget, tries: usize) -> usize {
        (0..tries).filter(|_| budget.spend()).count()
    }

    #[test]
    fn a_quiet_service_has_twenty_retries_and_no_more() {
        let budget = Budget::new();
        (0..1000).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, 1000), 20);
    }

    #[test]
    fn a_busy_service_has_one_retry_in_five_requests() {
        let budget = Budget::new();
        spent(&budget, 1000);
        (0..50).for_each(|_| budget.earn());
        assert_eq!(spent(&budget, 1000), 10);
    }
}
