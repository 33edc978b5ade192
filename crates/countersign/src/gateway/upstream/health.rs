//! Whether an upstream is well: what it says when it is asked, and what is seen of it in passing.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::operator::Condition;

/// What is known of one upstream.
#[derive(Debug, Default)]
pub(crate) struct Health {
    known: Mutex<Known>,
}

/// The answers in a row that change what is thought of an upstream.
#[derive(Clone, Copy, Debug)]
pub(super) struct Threshold {
    /// Good ones that bring it back.
    pub(super) rise: usize,
    /// Bad ones that take it out.
    pub(super) fall: usize,
}

#[derive(Debug, Default)]
struct Known {
    /// What its health checks made of it; nothing before the first.
    checked: Option<bool>,
    /// Answers in a row that say the opposite.
    against: usize,
    /// Failures in a row of what was sent to it.
    failures: u32,
    /// How often in a row it was ejected.
    ejections: u32,
    ejected_until: Option<Instant>,
}

impl Health {
    /// Whether it may be taken now.
    pub(crate) fn condition(&self, now: Instant) -> Condition {
        let known = self.known();
        match (known.checked, known.ejected_until) {
            (Some(false), _) => Condition::Down,
            (_, Some(until)) if now < until => Condition::Ejected,
            _ => Condition::Up,
        }
    }

    /// Takes the answer to a health check; true when it changed what is thought of the upstream. The first one counts
    /// at once, since nothing was known before it.
    pub(super) fn checked(&self, well: bool, threshold: Threshold) -> bool {
        let mut known = self.known();
        let before = known.checked;
        known.against = match before {
            Some(before) if before != well => known.against + 1,
            _ => 0,
        };
        let enough = match well {
            true => threshold.rise,
            false => threshold.fall,
        };
        if before.is_some() && known.against < enough {
            return false;
        }
        known.against = 0;
        known.checked = Some(well);
        if well {
            known.forgive();
        }
        before.unwrap_or(true) != well
    }

    /// It is not asked any more: what it said does not count.
    pub(super) fn unchecked(&self) {
        let mut known = self.known();
        known.checked = None;
        known.against = 0;
    }

    /// It took a connection and answered.
    pub(super) fn succeeded(&self) {
        self.known().forgive();
    }

    /// It could not be reached, or had a request and gave no answer. How long it is ejected for, if that was once too often.
    pub(super) fn failed(&self, now: Instant) -> Option<Duration> {
        let mut known = self.known();
        known.failures = known.failures.saturating_add(1);
        if known.failures < FAILURES || known.ejected_until.is_some_and(|until| now < until) {
            return None;
        }
        let out = EJECTION
            .saturating_mul(1 << known.ejections.min(10))
            .min(LONGEST_EJECTION);
        known.ejections = known.ejections.saturating_add(1);
        known.ejected_until = Some(now + out);
        Some(out)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Each change is one assignment after another: a panic leaves nothing half said.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn forgive(&mut self) {
        self.failures = 0;
        self.ejections = 0;
        self.ejected_until = None;
    }
}

/// One failure is an accident; a process that restarts makes a few within a second.
const FAILURES: u32 = 3;

/// How long an upstream is ejected at first. When it ends, the next failure ejects it for twice as long.
const EJECTION: Duration = Duration::from_secs(5);

/// An upstream that was away all night is found again within this time.
const LONGEST_EJECTION: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLD: Threshold = Threshold { rise: 2, fall: 3 };

    /// What each of these answers to health checks makes of an upstream.
    fn check(answers: &[bool], expected: &[Condition]) {
        let health = Health::default();
        let conditions: Vec<_> = answers
            .iter()
            .map(|well| {
                health.checked(*well, THRESHOLD);
                health.condition(Instant::now())
            })
            .collect();
        assert_eq!(conditions, expected);
    }

    #[test]
    fn the_first_answer_counts_at_once_and_later_ones_in_a_row() {
        use Condition::{Down, Up};
        check(&[false], &[Down]);
        check(&[true, false, false, false], &[Up, Up, Up, Down]);
        check(&[true, false, false, true, false, false], &[Up; 6]);
        check(
            &[false, true, false, true, true],
            &[Down, Down, Down, Down, Up],
        );
    }

    #[test]
    fn a_change_is_told_once() {
        let health = Health::default();
        let told = [true, false, false, false, false, true, true, true]
            .map(|well| health.checked(well, THRESHOLD));
        assert_eq!(told, [false, false, false, true, false, false, true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_eject_for_longer_each_time_until_it_works_again() {
        let health = Health::default();
        let failed = || health.failed(Instant::now()).map(|out| out.as_secs());
        assert_eq!(
            [failed(), failed(), failed(), failed()],
            [None, None, Some(5), None]
        );
        for seconds in [10, 20, 40, 80, 160, 300, 300] {
            assert_eq!(health.condition(Instant::now()), Condition::Ejected);
            tokio::time::advance(Duration::from_secs(300)).await;
            assert_eq!(health.condition(Instant::now()), Condition::Up);
            assert_eq!(failed(), Some(seconds));
        }
        health.succeeded();
        assert_eq!(health.condition(Instant::now()), Condition::Up);
        assert_eq!([failed(), failed(), failed()], [None, None, Some(5)]);
    }
}
