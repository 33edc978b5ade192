//! Reads registered and private claims in one pass, each name once, with a limit on nesting.

use alloc::borrow::Cow;
use alloc::borrow::ToOwned;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use core::fmt;
use core::marker::PhantomData;

use jiff::Timestamp;
use serde::de::value::CowStrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::Registered;
use super::time::Time;
use crate::error::{ClaimError, TokenError};

/// What a payload holds, before any rule has looked at it.
pub(crate) struct Parsed<C> {
    pub(crate) registered: Registered,
    pub(crate) private: C,
}

/// Reads the JSON object `payload`.
///
/// # Errors
///
/// [`TokenError::TooDeep`], [`TokenError::NotUtf8`], [`TokenError::Unreadable`], or [`ClaimError::Duplicate`] for a name that occurs twice.
pub(crate) fn parse<'de, C: Deserialize<'de>>(payload: &'de [u8]) -> Result<Parsed<C>, TokenError> {
    check_nesting(payload)?;
    let payload = core::str::from_utf8(payload).map_err(|_| TokenError::NotUtf8)?;
    let mut registered = Registered::default();
    let mut names = Names::default();
    let mut json = serde_json::Deserializer::from_str(payload);
    let object = Object {
        registered: &mut registered,
        names: &mut names,
        private: PhantomData,
    };
    let read = json
        .deserialize_map(object)
        .and_then(|private| json.end().map(|()| private));
    match (read, names.duplicate) {
        (_, Some(claim)) => Err(ClaimError::Duplicate { claim }.into()),
        (Ok(private), None) => Ok(Parsed {
            registered,
            private,
        }),
        (Err(error), None) => Err(TokenError::Unreadable(error.to_string())),
    }
}

/// Refuses what [`parse`] would refuse in the object of private claims `own`, written beside those that are `set`: nesting, and
/// a name that occurs twice. Values need no reading, unless a private claim has a registered name.
pub(super) fn check_own(own: &[u8], set: &Registered) -> Result<(), TokenError> {
    check_nesting(own)?;
    let set = names_of(set);
    let mut names = Names {
        registered: set,
        ..Names::default()
    };
    let read = serde_json::Deserializer::from_slice(own).deserialize_map(&mut names);
    match (read, names.duplicate) {
        (_, Some(claim)) => Err(ClaimError::Duplicate { claim }.into()),
        (Ok(()), None) if names.registered != set => parse::<IgnoredAny>(own).map(drop),
        (Ok(()), None) => Ok(()),
        (Err(error), None) => Err(TokenError::Unreadable(error.to_string())),
    }
}

/// The names met so far: the first few private ones where comparing them all is fastest and nothing is allocated.
#[derive(Default)]
struct Names<'de> {
    /// A bit for each registered claim.
    registered: u8,
    first: [Cow<'de, str>; 8],
    count: usize,
    others: BTreeSet<Cow<'de, str>>,
    duplicate: Option<String>,
}

impl<'de> Names<'de> {
    /// Remembers `name`.
    ///
    /// # Errors
    ///
    /// When it has been met before.
    fn meet<E: de::Error>(&mut self, name: Cow<'de, str>) -> Result<(), E> {
        let new = match registered(&name) {
            Some(bit) => {
                let new = self.registered & bit == 0;
                self.registered |= bit;
                new
            }
            None => self.meet_private(name.clone()),
        };
        if !new {
            self.duplicate = Some(name.into_owned());
            return Err(E::custom("a claim occurs twice"));
        }
        Ok(())
    }

    fn meet_private(&mut self, name: Cow<'de, str>) -> bool {
        if self.first.iter().take(self.count).any(|met| *met == name) {
            return false;
        }
        match self.first.get_mut(self.count) {
            Some(place) => *place = name,
            None => return self.others.insert(name),
        }
        self.count += 1;
        true
    }
}

/// The bit of a registered claim, so that two claims have two bits.
fn registered(name: &str) -> Option<u8> {
    Some(match name {
        "iss" => 1,
        "sub" => 1 << 1,
        "aud" => 1 << 2,
        "exp" => 1 << 3,
        "nbf" => 1 << 4,
        "iat" => 1 << 5,
        "jti" => 1 << 6,
        _ => return None,
    })
}

/// The bits of the claims that there are.
fn names_of(claims: &Registered) -> u8 {
    [
        ("iss", claims.issuer.is_some()),
        ("sub", claims.subject.is_some()),
        ("aud", claims.audience.is_some()),
        ("exp", claims.expires_at.is_some()),
        ("nbf", claims.not_before.is_some()),
        ("iat", claims.issued_at.is_some()),
        ("jti", claims.token_id.is_some()),
    ]
    .into_iter()
    .filter_map(|(name, is_set)| registered(name).filter(|_| is_set))
    .sum()
}

/// Passes over the values.
impl<'de> Visitor<'de> for &mut Names<'de> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(Name(name)) = map.next_key()? {
            self.meet(name)?;
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

struct Object<'a, 'de, C> {
    registered: &'a mut Registered,
    names: &'a mut Names<'de>,
    private: PhantomData<C>,
}

impl<'de, C: Deserialize<'de>> Visitor<'de> for Object<'_, 'de, C> {
    type Value = C;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<C, A::Error> {
        C::deserialize(Private {
            map,
            registered: self.registered,
            names: self.names,
        })
    }
}

/// The object as the private claims see it: without the registered ones, which are set aside in passing.
struct Private<'a, 'de, A> {
    map: A,
    registered: &'a mut Registered,
    names: &'a mut Names<'de>,
}

impl<'de, A: MapAccess<'de>> Private<'_, 'de, A> {
    /// Keeps the value of the registered claim `name`; `false` when the name is not registered.
    fn set_aside(&mut self, name: &str) -> Result<bool, A::Error> {
        match name {
            "iss" => self.registered.issuer = Some(self.value("iss")?),
            "sub" => self.registered.subject = Some(self.value("sub")?),
            "aud" => self.registered.audience = Some(self.value("aud")?),
            "exp" => self.registered.expires_at = Some(self.time("exp")?),
            "nbf" => self.registered.not_before = Some(self.time("nbf")?),
            "iat" => self.registered.issued_at = Some(self.time("iat")?),
            "jti" => self.registered.token_id = Some(self.value("jti")?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn time(&mut self, claim: &str) -> Result<Timestamp, A::Error> {
        self.value(claim).map(|Time(at)| at)
    }

    fn value<T: Deserialize<'de>>(&mut self, claim: &str) -> Result<T, A::Error> {
        self.map
            .next_value()
            .map_err(|error| A::Error::custom(format_args!("claim `{claim}`: {error}")))
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Private<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(Name(name)) = self.map.next_key()? {
            self.names.meet(name.clone())?;
            if !self.set_aside(&name)? {
                return seed.deserialize(CowStrDeserializer::new(name)).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Private<'_, 'de, A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_newtype_struct(self)
    }

    /// `()` as private claims: whatever else the token holds is checked and passed over.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        IgnoredAny.visit_map(self)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        self.deserialize_unit(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// A claim's name, borrowed from the payload where it holds no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a claim's name")
            }

            fn visit_borrowed_str<E: de::Error>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Refuses a payload nested deeper than [`MAX_NESTING`], before any parser recurses into it.
fn check_nesting(payload: &[u8]) -> Result<(), TokenError> {
    let opening = payload.iter().filter(|byte| matches!(byte, b'{' | b'['));
    if opening.count() <= MAX_NESTING {
        return Ok(());
    }
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in payload {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            return Err(TokenError::TooDeep { limit: MAX_NESTING });
        }
    }
    Ok(())
}

/// Claims are a flat object with small values; a quarter of serde_json's own limit leaves a caller's types stack to spare.
const MAX_NESTING: usize = 32;

#[cfg(test)]
mod tests {
    use alloc::format;

    use serde_json::{Map, Value, json};

    use super::*;

    fn check(payload: &str, expected: Result<Value, TokenError>) {
        let private = parse::<Map<String, Value>>(payload.as_bytes())
            .map(|parsed| Value::Object(parsed.private));
        assert_eq!(private, expected, "{payload}");
    }

    #[test]
    fn registered_claims_are_set_aside() {
        check(
            r#"{"sub":"alice","role":"admin"}"#,
            Ok(json!({"role": "admin"})),
        );
        let parsed = parse::<()>(br#"{"sub":"alice","role":"admin"}"#)
            .map(|parsed| parsed.registered.subject);
        assert_eq!(parsed, Ok(Some("alice".to_owned())));
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let twice = |claim: &str| {
            Err(ClaimError::Duplicate {
                claim: claim.to_owned(),
            }
            .into())
        };
        check(r#"{"role":"user","role":"admin"}"#, twice("role"));
        check(
            r#"{"exp":"2039-01-01T00:00:00Z","e\u0078p":"2040-01-01T00:00:00Z"}"#,
            twice("exp"),
        );
    }

    #[test]
    fn deep_nesting_is_refused() {
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(1000), "]".repeat(1000));
        check(&deep, Err(TokenError::TooDeep { limit: MAX_NESTING }));
        let text = format!("{{\"a\":\"{}\\\"[[\"}}", "[".repeat(1000));
        assert!(parse::<()>(text.as_bytes()).is_ok());
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for payload in [
            "",
            "[]",
            "null",
            "\"exp\"",
            "{} {}",
            "{\"a\":1,}",
            "{\"exp\":null}",
            "{\"exp\":1}",
            "{\"sub\":\"\u{0}\"}",
        ] {
            let refused = matches!(
                parse::<()>(payload.as_bytes()),
                Err(TokenError::Unreadable(_))
            );
            assert!(refused, "{payload}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        let refused = parse::<()>(b"{\"a\":\"\xff\"}").map(drop);
        assert_eq!(refused, Err(TokenError::NotUtf8));
    }
}
