//! When something is to be done for a name: at two thirds of a certificate's life or when its issuer says, and after a
//! failure later each time.
//!
//! Gateways that were set up together must not come to the issuer together: a certificate's own key, which is random,
//! says where in its time it is renewed, so that a restart does not draw again.

use std::collections::BTreeMap;
use std::time::Duration;

use countersign_channel::server::ClassicalCertificate;
use jiff::Timestamp;

use super::Wanted;
use crate::from_files::Problem;
use crate::random;

/// What is known of each name that a certificate is wanted for.
#[derive(Debug, Default)]
pub(super) struct Plan {
    names: BTreeMap<String, Name>,
}

/// The time in which an issuer wants a certificate to be renewed (RFC 9773 section 4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

#[derive(Debug, Default)]
struct Name {
    failures: u32,
    /// No attempt before this time.
    rests_until: Option<Timestamp>,
    /// An operator wants a new one now.
    hurried: bool,
    problem: Option<Problem>,
    window: Option<Window>,
    /// When the issuer is asked for the window again.
    asks_at: Option<Timestamp>,
}

impl Plan {
    /// Forgets names that are not wanted any more.
    pub(super) fn keep_only(&mut self, wanted: &Wanted) {
        self.names.retain(|name, _| wanted.contains_key(name));
    }

    /// Makes a name due at once.
    pub(super) fn hurry(&mut self, name: &str) {
        let entry = self.entry(name);
        entry.hurried = true;
        entry.rests_until = None;
    }

    /// There is a new certificate.
    pub(super) fn succeeded(&mut self, name: &str) {
        *self.entry(name) = Name::default();
    }

    /// There is none; it is tried again later, after `wait` at the earliest.
    pub(super) fn failed(&mut self, name: &str, problem: Problem, wait: Duration, now: Timestamp) {
        let entry = self.entry(name);
        entry.failures += 1;
        let pause = pause(entry.failures, u16::from_ne_bytes(random::bytes()));
        entry.rests_until = now.checked_add(pause.max(wait)).ok();
        let since = entry.problem.as_ref().map_or(now, |known| known.since);
        entry.problem = Some(Problem { since, ..problem });
    }

    /// Whether a name with this certificate is to be seen to.
    pub(super) fn is_due(
        &self,
        name: &str,
        certificate: Option<&ClassicalCertificate>,
        now: Timestamp,
    ) -> bool {
        self.next(name, certificate).is_none_or(|next| next <= now)
    }

    /// When that is. `None`: at once.
    pub(super) fn next(
        &self,
        name: &str,
        certificate: Option<&ClassicalCertificate>,
    ) -> Option<Timestamp> {
        let entry = self.names.get(name);
        let window = entry.and_then(|entry| entry.window);
        let certificate = certificate.filter(|_| !entry.is_some_and(|entry| entry.hurried));
        let renewal = certificate.map(|certificate| Life::of(certificate).renewal(window));
        renewal.max(entry.and_then(|entry| entry.rests_until))
    }

    /// Why the last attempt came to nothing.
    pub(super) fn problem(&self, name: &str) -> Option<&Problem> {
        self.names.get(name)?.problem.as_ref()
    }

    /// Whether it is time to ask a name's issuer when it wants the certificate to be renewed.
    pub(super) fn asks(&self, name: &str, now: Timestamp) -> bool {
        let asks_at = self.names.get(name).and_then(|entry| entry.asks_at);
        asks_at.is_none_or(|at| at <= now)
    }

    /// Whether the issuer wants to know what an order replaces. If it did not like to hear it, it is not told again.
    pub(super) fn may_replace(&self, name: &str) -> bool {
        let entry = self.names.get(name);
        entry.is_some_and(|entry| entry.window.is_some() && entry.failures == 0)
    }

    /// The issuer has answered; without a window, the one of before stays.
    pub(super) fn answered(
        &mut self,
        name: &str,
        window: Option<Window>,
        again: Duration,
        now: Timestamp,
    ) {
        let entry = self.entry(name);
        entry.window = window.or(entry.window);
        let again = again.clamp(SOONEST_QUESTION, LATEST_QUESTION);
        entry.asks_at = now.checked_add(again).ok();
    }

    fn entry(&mut self, name: &str) -> &mut Name {
        self.names.entry(name.to_owned()).or_default()
    }
}

/// A certificate's time, and its own place in any span of time.
#[derive(Clone, Copy, Debug)]
struct Life {
    begin: Timestamp,
    end: Timestamp,
    place: u16,
}

impl Life {
    fn of(certificate: &ClassicalCertificate) -> Self {
        let [first, second, ..] = *certificate.key_hash().as_bytes();
        Self {
            begin: certificate.not_before(),
            end: certificate.not_after(),
            place: u16::from_be_bytes([first, second]),
        }
    }

    /// Somewhere in the issuer's window, or in the thirtieth of its life before two thirds of it. An issuer that is wrong
    /// about the time makes it neither renew without end nor never.
    fn renewal(self, window: Option<Window>) -> Timestamp {
        let life = self.end.duration_since(self.begin);
        let (soonest, latest) = (self.begin + life / 100, self.end - life / 10);
        let own = || Window {
            start: self.begin + (life / 3 * 2 - life / 30),
            end: self.begin + life / 3 * 2,
        };
        let window = window.unwrap_or_else(own);
        let span = window.end.duration_since(window.start);
        let share = span / i32::from(u16::MAX) * i32::from(self.place);
        let within = window.start.checked_add(share).unwrap_or(window.start);
        within.min(latest).max(soonest)
    }
}

/// A minute, twice as long with each failure up to six hours; a quarter more or less by `random`.
fn pause(failures: u32, random: u16) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(1 << (failures - 1).min(16));
    let pause = doubled.min(LONGEST_PAUSE);
    pause * 3 / 4 + pause / 2 * u32::from(random) / u32::from(u16::MAX)
}

const FIRST_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// RFC 9773, section 4.3: within these bounds the server's word counts.
const SOONEST_QUESTION: Duration = Duration::from_secs(60);
pub(super) const LATEST_QUESTION: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    const DAY: SignedDuration = SignedDuration::from_hours(24);

    fn day(day: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(24 * day)
    }

    fn check_renewal(
        days: i64,
        window: Option<(i64, i64)>,
        earliest: Timestamp,
        latest: Timestamp,
    ) {
        let window = window.map(|(start, end)| Window {
            start: day(start),
            end: day(end),
        });
        let at = |place| {
            let life = Life {
                begin: day(0),
                end: day(days),
                place,
            };
            life.renewal(window)
        };
        assert_eq!(at(0), earliest, "{days} days");
        let late = latest.duration_since(at(u16::MAX));
        assert!(
            late.abs() < SignedDuration::from_secs(1),
            "{days} days: {late}"
        );
    }

    #[test]
    fn a_certificate_is_renewed_before_two_thirds_of_its_life_have_passed() {
        check_renewal(90, None, day(57), day(60));
        check_renewal(30, None, day(19), day(20));
    }

    #[test]
    fn an_issuer_that_says_when_is_heeded() {
        check_renewal(90, Some((3, 4)), day(3), day(4));
        check_renewal(90, Some((70, 70)), day(70), day(70));
    }

    #[test]
    fn an_issuer_that_is_wrong_about_the_time_is_heeded_within_reason() {
        check_renewal(100, Some((-5, -4)), day(1), day(1));
        check_renewal(100, Some((200, 300)), day(90), day(90));
        check_renewal(100, Some((60, -60)), day(60), day(1));
    }

    #[test]
    fn pauses_grow_to_six_hours_and_differ() {
        let check = |failures, seconds: u64| {
            let quarter = seconds / 4;
            assert_eq!(pause(failures, 0).as_secs(), seconds - quarter);
            assert_eq!(pause(failures, u16::MAX).as_secs(), seconds + quarter);
        };
        check(1, 60);
        check(2, 120);
        check(4, 480);
        check(9, 15_360);
        check(10, 21_600);
        check(u32::MAX, 21_600);
    }

    fn problem() -> Problem {
        Problem {
            since: Timestamp::MAX,
            what: "no".to_owned(),
            hint: None,
        }
    }

    #[test]
    fn a_name_rests_after_a_failure_unless_an_operator_wants_it_now() {
        let mut plan = Plan::default();
        assert!(plan.is_due("a.test", None, day(0)));
        plan.failed("a.test", problem(), Duration::ZERO, day(0));
        assert!(!plan.is_due("a.test", None, day(0)));
        assert!(plan.is_due("a.test", None, day(1)));
        plan.hurry("a.test");
        assert!(plan.is_due("a.test", None, day(0)));
        plan.failed(
            "a.test",
            problem(),
            2 * Duration::try_from(DAY).unwrap(),
            day(0),
        );
        assert!(!plan.is_due("a.test", None, day(1)));
        assert_eq!(plan.problem("a.test").unwrap().since, day(0));
        plan.succeeded("a.test");
        assert_eq!(plan.problem("a.test"), None);
    }

    #[test]
    fn an_issuer_is_asked_again_when_it_says_within_bounds() {
        let mut plan = Plan::default();
        assert!(plan.asks("a.test", day(0)));
        plan.answered("a.test", None, Duration::MAX, day(0));
        assert!(!plan.asks("a.test", day(0)));
        assert!(plan.asks("a.test", day(1)));
        plan.answered("a.test", None, Duration::ZERO, day(1));
        assert!(!plan.asks("a.test", day(1)));
    }
}
