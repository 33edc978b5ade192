//! How much of what comes to nothing a gateway takes from one channel.
//!
//! HTTP/2 bounds the streams that are open, not those that are opened and reset at once (CVE-2023-44487), nor requests
//! that are refused. Each of them costs a decision, and perhaps a connection to a service or a line of audit.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A burst and a rate, kept as the one moment at which all would be forgiven (the generic cell rate algorithm of ITU-T
/// I.371, annex A).
#[derive(Debug)]
pub(crate) struct Patience {
    each: Duration,
    most: Duration,
    forgiven: Mutex<Instant>,
}

impl Patience {
    /// Patience for this many at once, and for one more each time that `each` has passed.
    pub(crate) fn new(burst: u32, each: Duration) -> Self {
        Self {
            each,
            most: each * burst,
            forgiven: Mutex::new(Instant::now()),
        }
    }

    /// Uses some up; false once there is none left.
    pub(crate) fn bears(&self, now: Instant) -> bool {
        let mut forgiven = self.forgiven.lock().unwrap_or_else(PoisonError::into_inner);
        let next = now.max(*forgiven) + self.each;
        let bears = next.duration_since(now) <= self.most;
        if bears {
            *forgiven = next;
        }
        bears
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn borne(patience: &Patience, tries: usize) -> usize {
        let now = Instant::now();
        (0..tries).filter(|_| patience.bears(now)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_borne_and_one_more_is_not() {
        assert_eq!(borne(&Patience::new(3, Duration::from_secs(1)), 10), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_no_faster_than_the_rate_is_borne_for_ever() {
        let patience = Patience::new(1, Duration::from_secs(1));
        for _ in 0..1000 {
            assert_eq!(borne(&patience, 1), 1);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_borne_costs_nothing() {
        let patience = Patience::new(3, Duration::from_secs(1));
        assert_eq!(borne(&patience, 1000), 3);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(borne(&patience, 1000), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn quiet_time_saves_up_no_more_than_the_burst() {
        let patience = Patience::new(3, Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!(borne(&patience, 10), 3);
    }
}
