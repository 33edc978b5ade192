//! Times in claims: RFC 3339, written in whole seconds, as every implementation reads them.

use alloc::string::ToString;
use alloc::vec::Vec;
use core::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use serde::de::{self, Deserialize, Deserializer, Visitor};
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
pub(super) struct Time(pub(super) Timestamp);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Time;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a time as text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                let parsed = utc(text).map_or_else(|| text.parse(), Ok);
                parsed.map(Time).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// The form that nearly all tokens have, `2039-01-01T00:00:00Z` or with `+00:00`; the others are jiff's to read.
fn utc(text: &str) -> Option<Timestamp> {
    let (civil, offset) = text.as_bytes().split_first_chunk::<19>()?;
    let [c1, c2, y1, y2, b'-', m1, m2, b'-', d1, d2, b'T', time @ ..] = civil else {
        return None;
    };
    let [h1, h2, b':', n1, n2, b':', s1, s2] = time else {
        return None;
    };
    let year = i16::from(number(c1, c2)?) * 100 + i16::from(number(y1, y2)?);
    let (month, day) = (number(m1, m2)?, number(d1, d2)?);
    let (hour, minute, second) = (number(h1, h2)?, number(n1, n2)?, number(s1, s2)?);
    let civil = DateTime::new(year, month, day, hour, minute, second, 0).ok()?;
    match offset {
        b"Z" | b"+00:00" => Offset::UTC.to_timestamp(civil).ok(),
        _ => None,
    }
}

fn number(tens: &u8, ones: &u8) -> Option<i8> {
    let digit = |byte: &u8| byte.is_ascii_digit().then(|| (byte - b'0').cast_signed());
    Some(digit(tens)? * 10 + digit(ones)?)
}

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
