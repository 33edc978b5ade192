//! Certificates that end soon are told of in time, once.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::operator;

/// What was said of certificates that end: each is warned of once, and once more when it has ended.
#[derive(Default)]
pub(super) struct Warnings {
    told: BTreeSet<(String, Timestamp, Ending)>,
}

/// How near a certificate's end is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    Soon,
    Over,
}

impl Warnings {
    /// Says in the log which certificates end soon or have ended, if that was not said before.
    pub(super) fn tell(&mut self, certificates: &[operator::Certificate], now: Timestamp) {
        let mut stand = BTreeSet::new();
        for certificate in certificates {
            let Some((until, ending)) = ending(certificate, now) else {
                continue;
            };
            let listener = certificate.listener.as_str();
            let names = certificate.names.join(", ");
            let warning = (format!("{listener} {names}"), until, ending);
            match ending {
                _ if self.told.contains(&warning) => {}
                Ending::Soon => {
                    tracing::warn!(listener, names, %until, "a certificate for agentless clients ends soon");
                }
                Ending::Over => {
                    tracing::error!(listener, names, %until, "a certificate for agentless clients has ended; clients refuse it");
                }
            }
            stand.insert(warning);
        }
        self.told = stand;
    }
}

/// The end of a certificate, if it is near: within 14 days, or a quarter of its lifetime when that is shorter.
fn ending(certificate: &operator::Certificate, now: Timestamp) -> Option<(Timestamp, Ending)> {
    let (begin, until) = certificate.not_before.zip(certificate.not_after)?;
    let left = until.duration_since(now);
    let near = (until.duration_since(begin) / 4).min(NEAR);
    match left {
        left if !left.is_positive() => Some((until, Ending::Over)),
        left if left < near => Some((until, Ending::Soon)),
        _ => None,
    }
}

/// Long enough for a person to be back from a holiday.
const NEAR: SignedDuration = SignedDuration::from_hours(14 * 24);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(lifetime_days: i64, left_hours: i64, expected: Option<Ending>) {
        let until: Timestamp = "2026-11-23T00:00:00Z".parse().unwrap();
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        let certificate = operator::Certificate {
            listener: "main".to_owned(),
            names: vec!["web.test".to_owned()],
            source: operator::CertificateSource::Files,
            file: None,
            not_before: Some(until - days(lifetime_days)),
            not_after: Some(until),
            renewal: None,
            problem: None,
        };
        let now = until - SignedDuration::from_hours(left_hours);
        let found = ending(&certificate, now).map(|(_, ending)| ending);
        assert_eq!(found, expected, "{lifetime_days} days, {left_hours} h left");
    }

    #[test]
    fn an_end_is_near_within_two_weeks_or_a_quarter_of_a_short_life() {
        check(365, 15 * 24, None);
        check(365, 13 * 24, Some(Ending::Soon));
        check(6, 2 * 24, None);
        check(6, 24, Some(Ending::Soon));
        check(90, 0, Some(Ending::Over));
        check(90, -24, Some(Ending::Over));
    }
}
