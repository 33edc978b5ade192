//! Times in claims: RFC 3339, written in whole seconds, as every implementation reads them.

use alloc::string::ToString;
use alloc::vec::Vec;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::{Serialize, Serializer};

/// Appends `at` in quotes, without its fraction of a second.
pub(super) fn append(json: &mut Vec<u8>, at: Timestamp) {
    let at = whole(at);
    let civil = Offset::UTC.to_datetime(at);
    json.push(b'"');
    match u8::try_from(civil.year() / 100) {
        Ok(century @ 0..100) if civil.year() >= 0 => append_civil(json, century, civil),
        _ => json.extend_from_slice(at.to_string().as_bytes()),
    }
    json.push(b'"');
}

/// What jiff writes, in a tenth of the time: three of these are most of what a token's claims take.
fn append_civil(json: &mut Vec<u8>, century: u8, civil: DateTime) {
    json.extend_from_slice(&two(century));
    let year_of_century = u8::try_from(civil.year() % 100).unwrap_or_default();
    json.extend_from_slice(&two(year_of_century));
    for (separator, number) in [
        (b'-', civil.month()),
        (b'-', civil.day()),
        (b'T', civil.hour()),
        (b':', civil.minute()),
        (b':', civil.second()),
    ] {
        json.push(separator);
        json.extend_from_slice(&two(number.unsigned_abs()));
    }
    json.push(b'Z');
}

/// A number below 100 in two digits.
fn two(number: u8) -> [u8; 2] {
    [b'0' + number / 10, b'0' + number % 10]
}

/// For [`Registered`](super::Registered)'s own `Serialize`.
pub(super) fn seconds<S: Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    at.map(whole).serialize(serializer)
}

fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// A time as a claim has it.
pub(super) fn read(text: &str) -> Result<Timestamp, jiff::Error> {
    utc(text).map_or_else(|| text.parse(), Ok)
}

/// The form that nearly all tokens have, `2039-01-01T00:00:00Z` or with `+00:00`; the others are jiff's to read.
pub(super) fn utc(text: &str) -> Option<Timestamp> {
    let (civil, offset) = text.as_bytes().split_first_chunk::<19>()?;
    let [c1, c2, y1, y2, b'-', m1, m2, b'-', d1, d2, b'T', time @ ..] = civil else {
        return None;
    };
    let [h1, h2, b':', n1, n2, b':', s1, s2] = time else {
        return None;
    };
    let year = number(c1, c2)? * 100 + number(y1, y2)?;
    let day = days(year, number(m1, m2)?, number(d1, d2)?)?;
    let (hour, minute, second) = (number(h1, h2)?, number(n1, n2)?, number(s1, s2)?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let second = i64::from(hour * 3_600 + minute * 60 + second);
    match offset {
        b"Z" | b"+00:00" => Timestamp::from_second(day * 86_400 + second).ok(),
        _ => None,
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted in years that begin in March, so that a leap day is the last.
fn days(year: u32, month: u32, day: u32) -> Option<i64> {
    let is_leap =
        || year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let last = match month {
        2 if is_leap() => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if day < 1 || day > last {
        return None;
    }
    // from 400 years before the year 0, of which January is in the year before
    let year = year + 400 - u32::from(month < 3);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    Some(i64::from(days) - DAYS_TO_1970)
}

fn number(tens: &u8, ones: &u8) -> Option<u32> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then(|| u32::from(tens * 10 + ones))
}

/// `2039-01-01T00:00:00Z`
pub(super) const USUAL_LEN: usize = 20;

/// From March 1 of the year -400 to 1970-01-01.
const DAYS_TO_1970: i64 = 719_468 + 146_097;

#[cfg(test)]
mod tests {
    use alloc::format;
    use alloc::string::String;

    use proptest::prelude::*;

    use super::*;

    fn written(at: Timestamp) -> String {
        let mut json = Vec::new();
        append(&mut json, at);
        String::from_utf8(json).unwrap()
    }

    fn check(text: &str) {
        let read: Timestamp = text.parse().unwrap();
        assert_eq!(written(read), format!("\"{}\"", whole(read)));
        if let Some(at) = utc(text) {
            assert_eq!(at, read, "{text}");
        }
    }

    #[test]
    fn times_are_those_of_jiff() {
        for text in [
            "2039-01-01T00:00:00Z",
            "2024-02-29T23:59:59+00:00",
            "1969-12-31T23:59:59.5Z",
            "0000-01-01T00:00:00Z",
            "9999-12-30T00:00:00Z",
            "-000001-12-31T23:59:59Z",
            "-009999-06-01T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2039-01-01T02:00:00+02:00",
        ] {
            check(text);
        }
    }

    #[test]
    fn what_is_no_time_is_read_by_neither() {
        for text in [
            "2039-13-01T00:00:00Z",
            "2039-02-29T00:00:00Z",
            "2039-01-01T24:00:00Z",
            "2039-01-01T00:00:0:Z",
        ] {
            assert_eq!(utc(text), None);
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_time_is_that_of_jiff(second in -377_705_023_201_i64..253_402_207_200) {
            check(&Timestamp::from_second(second).unwrap().to_string());
        }
    }
}
