//! How long to wait before the next attempt to reach the gateway.
//!
//! The wait doubles from the first to the longest, and half of it is random, so that a fleet does not come back in step
//! after a gateway was away. A channel that held for a while starts the count anew; one that was lost at once
//! does not, or a gateway that accepts and drops would be asked without end.

use std::time::Duration;

use crate::config::BackoffConfig;

/// The waits between attempts.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits as configured, with no failure yet.
    pub(crate) fn new(config: &BackoffConfig) -> Self {
        Self {
            first: config.first,
            longest: config.longest,
            failures: 0,
        }
    }

    /// The wait after one more failure; `random` is uniform over all of `u32`.
    pub(crate) fn after_failure(&mut self, random: u32) -> Duration {
        let ceiling = self
            .first
            .saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX))
            .min(self.longest);
        self.failures = self.failures.saturating_add(1);
        let half = ceiling / 2;
        half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
    }

    /// Takes note that a channel was lost which had lasted for `held`.
    pub(crate) fn lost_after(&mut self, held: Duration) {
        if held >= PROVEN {
            self.failures = 0;
        }
    }
}

/// What spreads the waits.
pub(super) fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness the wait is the shortest of its span; the next handshake fails and says so.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}

/// A channel that lived this long was not refused by a gateway that merely accepts.
const PROVEN: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(&BackoffConfig {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(30),
        })
    }

    fn waits(random: u32) -> Vec<u128> {
        let mut backoff = backoff();
        (0..10)
            .map(|_| backoff.after_failure(random).as_millis())
            .collect()
    }

    #[test]
    fn waits_double_up_to_half_a_minute() {
        assert_eq!(
            waits(u32::MAX),
            [250, 500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]
        );
    }

    #[test]
    fn half_of_a_wait_is_random() {
        assert_eq!(
            waits(0),
            [125, 250, 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]
        );
    }

    #[test]
    fn only_a_channel_that_held_starts_the_count_anew() {
        let mut backoff = backoff();
        backoff.after_failure(0);
        backoff.lost_after(Duration::from_millis(20));
        assert_eq!(backoff.after_failure(0), Duration::from_millis(250));
        backoff.lost_after(PROVEN);
        assert_eq!(backoff.after_failure(0), Duration::from_millis(125));
    }

    #[test]
    fn a_year_of_failures_does_not_overflow() {
        let mut backoff = backoff();
        backoff.failures = u32::MAX;
        assert_eq!(backoff.after_failure(u32::MAX), Duration::from_secs(30));
    }
}
