//! The outermost object of a payload (RFC 8259 section 4), cut into its entries by hand: most values are plain text and need no
//! parser. The end of any other is found here, and serde_json has to read what stands before it as one whole value.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use core::fmt::Display;

use serde::de;

use crate::error::TokenError;

/// The entries of an object that are still to come.
pub(super) struct Entries<'de> {
    text: &'de str,
    rest: &'de str,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    /// No entry has been read.
    Opened,
    /// One has, so that a comma stands before the next.
    Within,
    Closed,
    Abandoned,
}

impl<'de> Entries<'de> {
    /// Those of the object that `text` is.
    pub(super) fn of(text: &'de str) -> Result<Self, Fault> {
        let mut entries = Self {
            text,
            rest: text,
            state: State::Opened,
        };
        entries.skip_space();
        match entries.rest.strip_prefix("{") {
            Some(rest) => Ok(Self { rest, ..entries }),
            None => Err(entries.unexpected("an object of claims")),
        }
    }

    /// The next name, of which the value has to be taken before the one after it; `None` where the object ends.
    pub(super) fn name(&mut self) -> Result<Option<Cow<'de, str>>, Fault> {
        match self.state {
            State::Closed => return Ok(None),
            State::Abandoned => return Err(self.unexpected("no more")),
            State::Opened | State::Within => self.skip_space(),
        }
        if self.rest.starts_with("}") {
            return self.close().map(|()| None);
        }
        if self.state == State::Within {
            self.expect(",")?;
        }
        self.state = State::Within;
        self.skip_space();
        let name = match self.three_letters() {
            Some(name) => Cow::Borrowed(name),
            None => self.any_name()?,
        };
        self.skip_space();
        Ok(Some(name))
    }

    /// A name as all registered claims have it, with its colon.
    fn three_letters(&mut self) -> Option<&'de str> {
        let (name, rest) = self.rest.split_at_checked(6)?;
        let [b'"', letters @ .., b'"', b':'] = name.as_bytes() else {
            return None;
        };
        if !letters.iter().all(u8::is_ascii_lowercase) {
            return None;
        }
        self.rest = rest;
        name.get(1..4)
    }

    fn any_name(&mut self) -> Result<Cow<'de, str>, Fault> {
        let name = self.string()?;
        self.skip_space();
        self.expect(":")?;
        Ok(name)
    }

    /// What `read` makes of the value, where that is a text of `length` bytes; it is to refuse one with escapes.
    pub(super) fn string_of<T>(&mut self, length: usize, read: fn(&str) -> Option<T>) -> Option<T> {
        let text = self.rest.strip_prefix("\"")?;
        let (text, rest) = text.split_at_checked(length)?;
        let rest = rest.strip_prefix("\"")?;
        let value = read(text)?;
        self.rest = rest;
        Some(value)
    }

    /// The value as text, borrowed where it has no escapes.
    pub(super) fn string(&mut self) -> Result<Cow<'de, str>, Fault> {
        if let Some(text) = self.rest.strip_prefix("\"")
            && let Some((plain, rest)) = text.split_at_checked(plain_len(text.as_bytes()))
            && let Some(rest) = rest.strip_prefix("\"")
        {
            self.rest = rest;
            return Ok(Cow::Borrowed(plain));
        }
        let value = self.value()?;
        let text = serde_json::from_str::<String>(value);
        text.map(Cow::Owned).map_err(|_| self.no_text(value))
    }

    /// The value, of which nothing is known but where it ends.
    pub(super) fn value(&mut self) -> Result<&'de str, Fault> {
        let end = end_of_value(self.rest.as_bytes())?;
        let cut = end.and_then(|end| self.rest.split_at_checked(end));
        let (value, rest) = cut.ok_or_else(|| self.unexpected("a value"))?;
        self.rest = rest;
        Ok(value)
    }

    fn close(&mut self) -> Result<(), Fault> {
        self.expect("}")?;
        self.skip_space();
        if !self.rest.is_empty() {
            return Err(self.unexpected("the end"));
        }
        self.state = State::Closed;
        Ok(())
    }

    /// Has no entry follow, and no end, also where somebody passes over an error.
    pub(super) fn abandon(&mut self) {
        self.state = State::Abandoned;
    }

    /// RFC 8259 section 2. There is nearly never any.
    fn skip_space(&mut self) {
        let next = self.rest.as_bytes().first();
        if next.is_some_and(|byte| *byte <= b' ') {
            self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        }
    }

    fn expect(&mut self, character: &'static str) -> Result<(), Fault> {
        let rest = self.rest.strip_prefix(character);
        self.rest = rest.ok_or_else(|| self.unexpected(character))?;
        Ok(())
    }

    /// Why `value`, which has just been taken, is no text.
    #[cold]
    fn no_text(&self, value: &str) -> Fault {
        let at = self.text.len() - self.rest.len() - value.len();
        de::Error::custom(format_args!("expected a text at byte {at}"))
    }

    #[cold]
    fn unexpected(&self, expected: &'static str) -> Fault {
        let at = self.text.len() - self.rest.len();
        de::Error::custom(format_args!("expected {expected} at byte {at}"))
    }
}

/// Why claims are not read: the error, out of the way of what is.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(super) struct Fault(pub(super) Box<TokenError>);

impl From<TokenError> for Fault {
    fn from(error: TokenError) -> Self {
        Self(Box::new(error))
    }
}

impl de::Error for Fault {
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        TokenError::Unreadable(message.to_string()).into()
    }
}

/// How long the value is that `bytes` begin with; `None` when it does not end.
fn end_of_value(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    match bytes.first() {
        Some(b'"') => Ok(end_of_string(bytes)),
        Some(b'{' | b'[') => end_of_nested(bytes),
        _ => Ok(bytes.iter().position(|byte| b",}] \t\n\r".contains(byte))),
    }
}

fn end_of_nested(bytes: &[u8]) -> Result<Option<usize>, Fault> {
    // the outermost object is the first level
    let (mut depth, mut at) = (1, 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += match byte {
            b'"' => match bytes.get(at..).and_then(end_of_string) {
                Some(length) => length,
                None => return Ok(None),
            },
            _ => 1,
        };
        match depth {
            1 => return Ok(Some(at)),
            2..=MAX_NESTING => {}
            _ => return Err(TokenError::TooDeep { limit: MAX_NESTING }.into()),
        }
    }
    Ok(None)
}

fn end_of_string(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += plain_len(bytes.get(at..)?);
        match bytes.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => return None,
        }
    }
}

/// How many bytes stand before the first that is a quote, a backslash or a control character (RFC 8259 section 7), a word at a
/// time.
fn plain_len(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        match special(u64::from_le_bytes(*word)) {
            0 => length += 8,
            found => return length + usize::try_from(found.trailing_zeros() / 8).unwrap_or(8),
        }
    }
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..b' ');
    length + rest.iter().position(special).unwrap_or(rest.len())
}

/// The top bit of each byte that is special, up to the first of them: borrows reach no lower byte.
fn special(word: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |word: u64, limit: u8| word.wrapping_sub(ONES * u64::from(limit)) & !word;
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    (below(word, b' ') | equal(b'"') | equal(b'\\')) & (ONES << 7)
}

/// Claims are a flat object with small values; a quarter of serde_json's own limit leaves a caller's types stack to spare.
pub(super) const MAX_NESTING: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &[u8], expected: usize) {
        for start in 0..=bytes.len().min(expected) {
            assert_eq!(plain_len(&bytes[start..]), expected - start, "{bytes:?}");
        }
    }

    #[test]
    fn a_special_byte_is_found_wherever_it_stands() {
        for place in 0..24 {
            for special in [b'"', b'\\', 0, 1, 0x1f] {
                for other in [b' ', b'!', b'#', b'[', b']', b'a', 0x7f, 0x80, 0xff] {
                    let mut bytes = [other; 24];
                    check(&bytes, 24);
                    bytes[place] = special;
                    check(&bytes, place);
                }
            }
        }
    }
}
