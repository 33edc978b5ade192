//! Reads registered and private claims in one pass, each name once, with a limit on nesting.

use alloc::borrow::{Cow, ToOwned};
use alloc::collections::BTreeSet;
use alloc::string::String;

use jiff::Timestamp;
use serde::de::value::CowStrDeserializer;
use serde::de::{
    Deserialize, DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::object::{Entries, Fault};
use super::{Registered, time};
use crate::error::{ClaimError, TokenError};

/// The private claims in the JSON object `payload`; the registered ones go to `registered`, which is empty.
///
/// # Errors
///
/// [`TokenError::TooDeep`], [`TokenError::NotUtf8`], [`TokenError::Unreadable`], or [`ClaimError::Duplicate`] for a name that occurs twice.
pub(crate) fn parse<'de, C: Deserialize<'de>>(
    payload: &'de [u8],
    registered: &mut Registered,
) -> Result<C, TokenError> {
    let payload = core::str::from_utf8(payload).map_err(|_| TokenError::NotUtf8)?;
    read(payload, registered).map_err(|Fault(error)| *error)
}

fn read<'de, C: Deserialize<'de>>(
    payload: &'de str,
    registered: &mut Registered,
) -> Result<C, Fault> {
    let mut reader = Reader {
        entries: Entries::of(payload)?,
        registered,
        names: Names::default(),
        name: Cow::Borrowed(""),
    };
    let private = C::deserialize(Private(&mut reader))?;
    match reader.name()? {
        Some(name) => Err(in_claim(&name, Fault::custom("it was not asked for"))),
        None => Ok(private),
    }
}

/// Refuses what [`parse`] would refuse in the object of private claims `own`, which serde_json has written, beside those that
/// are `set`: nesting, and a name that occurs twice. Values need no reading, unless a private claim has a registered name.
pub(super) fn check_own(own: &str, set: &Registered) -> Result<(), TokenError> {
    match has_registered(own, set).map_err(|Fault(error)| *error)? {
        true => parse::<IgnoredAny>(own.as_bytes(), &mut Registered::default()).map(drop),
        false => Ok(()),
    }
}

/// Whether `own` has a claim with a registered name that is not among those `set`.
fn has_registered(own: &str, set: &Registered) -> Result<bool, Fault> {
    let mut entries = Entries::of(own)?;
    let mut names = Names::default();
    let mut found = false;
    while let Some(name) = entries.name()? {
        match is_set(set, &name) {
            Some(true) => return Err(duplicate(&name)),
            Some(false) => found = true,
            None => names.meet(name)?,
        }
        entries.value()?;
    }
    Ok(found)
}

/// Whether the claim `name` is set; `None` when that is not a registered one.
fn is_set(claims: &Registered, name: &str) -> Option<bool> {
    Some(match name {
        "iss" => claims.issuer.is_some(),
        "sub" => claims.subject.is_some(),
        "aud" => claims.audience.is_some(),
        "exp" => claims.expires_at.is_some(),
        "nbf" => claims.not_before.is_some(),
        "iat" => claims.issued_at.is_some(),
        "jti" => claims.token_id.is_some(),
        _ => return None,
    })
}

/// The private names met so far: the first few where comparing them all is fastest and nothing is allocated.
#[derive(Default)]
struct Names<'de> {
    first: [&'de str; 8],
    count: usize,
    others: BTreeSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    /// Remembers `name`.
    ///
    /// # Errors
    ///
    /// When it has been met before.
    fn meet(&mut self, name: Cow<'de, str>) -> Result<(), Fault> {
        if self.first.iter().take(self.count).any(|met| *met == name) || self.others.contains(&name)
        {
            return Err(duplicate(&name));
        }
        match (name, self.first.get_mut(self.count)) {
            (Cow::Borrowed(name), Some(place)) => {
                *place = name;
                self.count += 1;
            }
            (name, _) => {
                self.others.insert(name);
            }
        }
        Ok(())
    }
}

fn duplicate(name: &str) -> Fault {
    let claim = name.to_owned();
    TokenError::from(ClaimError::Duplicate { claim }).into()
}

/// Reads the object from its start to its end.
struct Reader<'a, 'de> {
    entries: Entries<'de>,
    registered: &'a mut Registered,
    names: Names<'de>,
    /// Of the value that comes next.
    name: Cow<'de, str>,
}

impl<'de> Reader<'_, 'de> {
    /// The next name that is not registered.
    fn name(&mut self) -> Result<Option<Cow<'de, str>>, Fault> {
        while let Some(name) = self.entries.name()? {
            if !self.set_aside(&name)? {
                self.names.meet(name.clone())?;
                return Ok(Some(name));
            }
        }
        Ok(None)
    }

    /// Keeps the value of the registered claim `name`; `false` when the name is not registered.
    fn set_aside(&mut self, name: &str) -> Result<bool, Fault> {
        let (entries, registered) = (&mut self.entries, &mut *self.registered);
        match name {
            "iss" => once(name, &mut registered.issuer, text(entries, name)?)?,
            "sub" => once(name, &mut registered.subject, text(entries, name)?)?,
            "aud" => once(name, &mut registered.audience, text(entries, name)?)?,
            "exp" => once(name, &mut registered.expires_at, time(entries, name)?)?,
            "nbf" => once(name, &mut registered.not_before, time(entries, name)?)?,
            "iat" => once(name, &mut registered.issued_at, time(entries, name)?)?,
            "jti" => once(name, &mut registered.token_id, text(entries, name)?)?,
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn once<T>(name: &str, place: &mut Option<T>, value: T) -> Result<(), Fault> {
    match place.replace(value) {
        Some(_) => Err(duplicate(name)),
        None => Ok(()),
    }
}

fn text(entries: &mut Entries<'_>, name: &str) -> Result<String, Fault> {
    let text = entries.string().map_err(|error| in_claim(name, error))?;
    Ok(text.into_owned())
}

fn time(entries: &mut Entries<'_>, name: &str) -> Result<Timestamp, Fault> {
    if let Some(at) = entries.string_of(time::USUAL_LEN, time::utc) {
        return Ok(at);
    }
    let text = entries.string().map_err(|error| in_claim(name, error))?;
    time::read(&text).map_err(|error| in_claim(name, Fault::custom(error)))
}

fn in_claim(name: &str, Fault(error): Fault) -> Fault {
    match *error {
        TokenError::Unreadable(why) => Fault::custom(format_args!("claim `{name}`: {why}")),
        other => other.into(),
    }
}

/// The object as the private claims see it: without the registered ones, which are set aside in passing.
struct Private<'r, 'a, 'de>(&'r mut Reader<'a, 'de>);

impl<'de> MapAccess<'de> for Private<'_, '_, 'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Self(reader) = self;
        let name = reader.name().inspect_err(|_| reader.entries.abandon())?;
        let Some(name) = name else {
            return Ok(None);
        };
        reader.name = name.clone();
        seed.deserialize(CowStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let Self(reader) = self;
        let mut json = serde_json::Deserializer::from_str(reader.entries.value()?);
        let read = seed.deserialize(&mut json);
        let read = read.and_then(|read| json.end().map(|()| read));
        read.map_err(|error| in_claim(&reader.name, Fault::custom(error)))
    }
}

impl<'de> Deserializer<'de> for Private<'_, '_, 'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_map(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    /// `()` as private claims: whatever else the token holds is checked and passed over.
    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        IgnoredAny.visit_map(self)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_unit(visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;
    use core::fmt;

    use serde::de::DeserializeOwned;
    use serde_json::{Map, Value, json};

    use super::super::object::MAX_NESTING;
    use super::*;

    fn claims<C: DeserializeOwned>(payload: &[u8]) -> Result<C, TokenError> {
        parse(payload, &mut Registered::default())
    }

    fn check(payload: &str, expected: Result<Value, TokenError>) {
        assert_eq!(
            claims::<Map<_, _>>(payload.as_bytes()).map(Value::Object),
            expected,
            "{payload}"
        );
    }

    #[test]
    fn registered_claims_are_set_aside() {
        check(
            r#"{"sub":"alice","role":"admin"}"#,
            Ok(json!({"role": "admin"})),
        );
        let mut registered = Registered::default();
        let payload = br#"{"sub":"alice","role":"admin"}"#;
        assert_eq!(parse::<()>(payload, &mut registered), Ok(()));
        assert_eq!(registered.subject.as_deref(), Some("alice"));
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
        assert!(claims::<()>(text.as_bytes()).is_ok());
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
                claims::<()>(payload.as_bytes()),
                Err(TokenError::Unreadable(_))
            );
            assert!(refused, "{payload}");
        }
    }

    /// Takes what it can get.
    struct Careless;

    impl<'de> Deserialize<'de> for Careless {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_map(Self)
        }
    }

    impl<'de> Visitor<'de> for Careless {
        type Value = Self;

        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("anything")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
            for _ in 0..8 {
                drop(map.next_entry::<IgnoredAny, IgnoredAny>());
            }
            Ok(self)
        }
    }

    #[test]
    fn an_error_passed_over_is_one_all_the_same() {
        let careless = |payload: &str| claims::<Careless>(payload.as_bytes()).is_ok();
        assert!(careless(r#"{"exp":"2039-01-01T00:00:00Z","role":1}"#));
        for payload in [
            r#"{"role":1,"role":2}"#,
            r#"{"role":1,"exp":"never"}"#,
            r#"{"role":1}}"#,
            r#"{"role":1"#,
            r#"{"role":1,}"#,
        ] {
            assert!(!careless(payload), "{payload}");
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused() {
        let refused = claims::<()>(b"{\"a\":\"\xff\"}");
        assert_eq!(refused, Err(TokenError::NotUtf8));
    }
}
