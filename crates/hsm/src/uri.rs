//! `pkcs11:` URIs (RFC 7512): which module, which token, which key, and where the PIN is.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Which key in which token of which module, and the file that holds the PIN.
///
/// ```
/// use countersign_hsm::Pkcs11Uri;
///
/// let uri: Pkcs11Uri = "pkcs11:token=gateway;object=identity?module-name=softhsm2&pin-source=file:/etc/countersign/pin".parse()?;
/// assert_eq!(uri.token.label.as_deref(), Some("gateway"));
/// assert_eq!(uri.key.label.as_deref(), Some("identity"));
/// # Ok::<(), countersign_hsm::UriError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pkcs11Uri {
    /// The library to load.
    pub module: PathBuf,
    /// The token in it.
    pub token: TokenName,
    /// The key in the token.
    pub key: KeyName,
    /// The file that holds the PIN; none for a token without log-in.
    pub pin_source: Option<PathBuf>,
}

/// What a token must be called: what is given must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenName {
    /// `token`: `CK_TOKEN_INFO.label`.
    pub label: Option<String>,
    /// `serial`.
    pub serial: Option<String>,
    /// `manufacturer`.
    pub manufacturer: Option<String>,
    /// `model`.
    pub model: Option<String>,
    /// `slot-id`.
    pub slot: Option<u64>,
}

/// What a key must be called: what is given must be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct KeyName {
    /// `object`: `CKA_LABEL`.
    pub label: Option<String>,
    /// `id`: `CKA_ID`.
    pub id: Option<Vec<u8>>,
}

/// Why a text is no URI of a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UriError {
    /// It has another scheme.
    #[error("`{0}` does not begin with `pkcs11:`")]
    Scheme(String),
    /// A part is not `name=value`.
    #[error("`{0}` is not an attribute and its value, such as `object=identity`")]
    Attribute(String),
    /// An attribute is not known, or not in that part of the URI.
    #[error("`{name}` is no attribute of the {part} here: there are {known}")]
    Unknown {
        /// The attribute.
        name: String,
        /// The part of the URI that it stands in.
        part: &'static str,
        /// Those that the part can have.
        known: String,
    },
    /// An attribute is there twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// A percent sign without two hexadecimal digits, or bytes that are not UTF-8.
    #[error("the value of `{0}` is not percent-encoded UTF-8")]
    Encoding(String),
    /// The value cannot be one.
    #[error("`{name}` cannot be `{value}`: {why}")]
    Value {
        /// The attribute.
        name: &'static str,
        /// What it was given.
        value: String,
        /// What it takes.
        why: &'static str,
    },
    /// The PIN itself stands in the URI.
    #[error(
        "`pin-value` would put the PIN where every reader of the configuration and every backup finds it: write it to a file of mode 0600 and name that by `pin-source=file:/…`"
    )]
    PinValue,
    /// No module is named, and none is the default.
    #[error("no module is named: add `?module-path=/…/module.so`, or `module-name=…`")]
    NoModule,
    /// Nothing says which token.
    #[error("no token is named: add `token=…` or `serial=…`")]
    NoToken,
    /// Nothing says which key.
    #[error("no key is named: add `object=…` or `id=…`")]
    NoKey,
}

impl FromStr for Pkcs11Uri {
    type Err = UriError;

    fn from_str(text: &str) -> Result<Self, UriError> {
        let rest = text.strip_prefix("pkcs11:");
        let rest = rest.ok_or_else(|| UriError::Scheme(scheme_of(text)))?;
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = Attributes::read(path, ';', "path", &PATH)?;
        let query = Attributes::read(query, '&', "query", &QUERY)?;
        if query.find("pin-value").is_some() {
            return Err(UriError::PinValue);
        }
        check_type(&path)?;
        Ok(Self {
            module: module(&query)?,
            token: TokenName::read(&path)?,
            key: KeyName::read(&path)?,
            pin_source: query.text("pin-source")?.map(pin_source).transpose()?,
        })
    }
}

/// As it is written in a configuration, without the query: it names no file.
impl fmt::Display for Pkcs11Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkcs11:{}", self.token)?;
        if let Some(label) = &self.key.label {
            write!(f, ";object={}", encoded(label.as_bytes()))?;
        }
        match &self.key.id {
            Some(id) => write!(f, ";id={}", encoded(id)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for TokenName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = [
            ("token", &self.label),
            ("serial", &self.serial),
            ("manufacturer", &self.manufacturer),
            ("model", &self.model),
        ];
        let texts = texts.into_iter().filter_map(|(name, value)| {
            let value = value.as_ref()?;
            Some(format!("{name}={}", encoded(value.as_bytes())))
        });
        let slot = self.slot.map(|slot| format!("slot-id={slot}"));
        let all: Vec<String> = texts.chain(slot).collect();
        f.write_str(&all.join(";"))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.label, &self.id) {
            (Some(label), Some(id)) => write!(f, "{label} (id {})", encoded(id)),
            (Some(label), None) => f.write_str(label),
            (None, Some(id)) => write!(f, "id {}", encoded(id)),
            (None, None) => Ok(()),
        }
    }
}

impl TokenName {
    fn read(path: &Attributes<'_>) -> Result<Self, UriError> {
        let name = Self {
            label: path.text("token")?,
            serial: path.text("serial")?,
            manufacturer: path.text("manufacturer")?,
            model: path.text("model")?,
            slot: path.text("slot-id")?.map(|id| slot(&id)).transpose()?,
        };
        match name == Self::default() {
            true => Err(UriError::NoToken),
            false => Ok(name),
        }
    }
}

impl KeyName {
    fn read(path: &Attributes<'_>) -> Result<Self, UriError> {
        let name = Self {
            label: path.text("object")?,
            id: path.bytes("id")?,
        };
        match name == Self::default() {
            true => Err(UriError::NoKey),
            false => Ok(name),
        }
    }
}

/// The attributes of one part, still encoded.
struct Attributes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Attributes<'a> {
    /// RFC 7512 section 2.3. It lets vendors add attributes and readers pass over them; here an unknown one is a typing
    /// error that would select another key.
    fn read(
        text: &'a str,
        separator: char,
        part: &'static str,
        known: &[&str],
    ) -> Result<Self, UriError> {
        let mut found: Vec<(&str, &str)> = Vec::new();
        for attribute in text.split(separator).filter(|one| !one.is_empty()) {
            let pair = attribute.split_once('=');
            let (name, value) = pair.ok_or_else(|| UriError::Attribute(attribute.to_owned()))?;
            if !known.contains(&name) {
                let (name, known) = (name.to_owned(), listed(known));
                return Err(UriError::Unknown { name, part, known });
            }
            if found.iter().any(|(before, _)| *before == name) {
                return Err(UriError::Twice(name.to_owned()));
            }
            found.push((name, value));
        }
        Ok(Self(found))
    }

    fn find(&self, name: &str) -> Option<&'a str> {
        let mut all = self.0.iter();
        all.find(|(one, _)| *one == name).map(|(_, value)| *value)
    }

    fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, UriError> {
        let decoded = |value| decode(value).ok_or_else(|| UriError::Encoding(name.to_owned()));
        self.find(name).map(decoded).transpose()
    }

    fn text(&self, name: &str) -> Result<Option<String>, UriError> {
        let text =
            |bytes| String::from_utf8(bytes).map_err(|_| UriError::Encoding(name.to_owned()));
        self.bytes(name)?.map(text).transpose()
    }
}

fn check_type(path: &Attributes<'_>) -> Result<(), UriError> {
    match path.find("type") {
        None | Some("private" | "secret-key") => Ok(()),
        Some(other) => Err(UriError::Value {
            name: "type",
            value: other.to_owned(),
            why: "a key is `private` or `secret-key`",
        }),
    }
}

fn module(query: &Attributes<'_>) -> Result<PathBuf, UriError> {
    if let Some(path) = query.text("module-path")? {
        return match Path::new(&path).is_absolute() {
            true => Ok(path.into()),
            false => Err(UriError::Value {
                name: "module-path",
                value: path,
                why: "it is an absolute path",
            }),
        };
    }
    let name = query.text("module-name")?.ok_or(UriError::NoModule)?;
    match name.contains('/') || name.is_empty() {
        true => Err(UriError::Value {
            name: "module-name",
            value: name,
            why: "it is a name such as `softhsm2`, and a path goes into `module-path`",
        }),
        // RFC 7512 section 2.3: without what the system puts before and after it. The loader knows where libraries are.
        false => Ok(format!("lib{name}.so").into()),
    }
}

/// RFC 7512 section 2.4 leaves open what a PIN source is. A `file:` URI (RFC 8089) or a path here, and no command: what a
/// configuration starts, whoever writes to the configuration starts.
fn pin_source(value: String) -> Result<PathBuf, UriError> {
    let path = match value.strip_prefix("file:") {
        Some(rest) => rest.strip_prefix("//").unwrap_or(rest),
        None => value.as_str(),
    };
    match Path::new(path).is_absolute() {
        true => Ok(path.into()),
        false => Err(UriError::Value {
            name: "pin-source",
            value,
            why: "it is the absolute path of a file, or `file:` and such a path",
        }),
    }
}

fn slot(id: &str) -> Result<u64, UriError> {
    id.parse().map_err(|_| UriError::Value {
        name: "slot-id",
        value: id.to_owned(),
        why: "it is a decimal number",
    })
}

/// What stands before the colon: what follows may be anything, a PIN too.
fn scheme_of(text: &str) -> String {
    let scheme = text.split(':').next().unwrap_or_default();
    scheme.chars().take(24).collect()
}

fn listed(names: &[&str]) -> String {
    let public = names.iter().filter(|name| **name != "pin-value");
    let quoted: Vec<String> = public.map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => nibble(bytes.next()?)? << 4 | nibble(bytes.next()?)?,
            _ => byte,
        });
    }
    Some(decoded)
}

fn nibble(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}

/// RFC 3986 section 2.3: what need not be encoded anywhere.
fn encoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

const PATH: [&str; 8] = [
    "token",
    "serial",
    "manufacturer",
    "model",
    "slot-id",
    "object",
    "id",
    "type",
];
const QUERY: [&str; 4] = ["module-path", "module-name", "pin-source", "pin-value"];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, expected: Result<&str, &str>) {
        let read = text.parse::<Pkcs11Uri>();
        let told = read.map(|uri| {
            let pin = uri.pin_source.as_deref().unwrap_or(Path::new("no PIN"));
            format!("{uri} in {}, {}", uri.module.display(), pin.display())
        });
        let told = told.map_err(|error| error.to_string());
        assert_eq!(told, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn a_key_is_named_by_its_token_and_its_label_or_id() {
        check(
            "pkcs11:token=a;object=b?module-path=/m.so&pin-source=file:/pin",
            Ok("pkcs11:token=a;object=b in /m.so, /pin"),
        );
        check(
            "pkcs11:object=b;id=%01%ff;serial=7;manufacturer=m;model=n;slot-id=3;type=private?module-name=softhsm2",
            Ok(
                "pkcs11:serial=7;manufacturer=m;model=n;slot-id=3;object=b;id=%01%FF in libsofthsm2.so, no PIN",
            ),
        );
    }

    #[test]
    fn values_are_percent_encoded() {
        check(
            "pkcs11:token=My%20token%3b%C3%A9;object=k?module-path=/a%20b.so",
            Ok("pkcs11:token=My%20token%3B%C3%A9;object=k in /a b.so, no PIN"),
        );
        for bad in ["%", "%4", "%4g", "%zz", "%ff"] {
            check(
                &format!("pkcs11:token={bad};object=k?module-path=/m.so"),
                Err("the value of `token` is not percent-encoded UTF-8"),
            );
        }
    }

    #[test]
    fn a_pin_source_is_a_path_however_it_is_written() {
        for source in [
            "/etc/pin",
            "file:/etc/pin",
            "file:///etc/pin",
            "%2fetc%2Fpin",
        ] {
            check(
                &format!("pkcs11:token=a;object=b?module-path=/m.so&pin-source={source}"),
                Ok("pkcs11:token=a;object=b in /m.so, /etc/pin"),
            );
        }
        check(
            "pkcs11:token=a;object=b?module-path=/m.so&pin-source=|/bin/pin",
            Err(
                "`pin-source` cannot be `|/bin/pin`: it is the absolute path of a file, or `file:` and such a path",
            ),
        );
    }

    #[test]
    fn a_pin_in_the_uri_is_refused_and_not_repeated() {
        let text = "pkcs11:token=a;object=b?module-path=/m.so&pin-value=1234";
        let message = text.parse::<Pkcs11Uri>().unwrap_err().to_string();
        assert!(message.contains("pin-source=file:/") && !message.contains("1234"));
        check("1234:5678", Err("`1234` does not begin with `pkcs11:`"));
    }

    #[test]
    fn what_is_missing_or_mistyped_is_named() {
        let query = "?module-path=/m.so";
        for (path, expected) in [
            ("object=b", "no token is named: add `token=…` or `serial=…`"),
            ("token=a", "no key is named: add `object=…` or `id=…`"),
            ("token=a;token=b", "`token` is given twice"),
            (
                "token",
                "`token` is not an attribute and its value, such as `object=identity`",
            ),
            (
                "token=a;lable=b",
                "`lable` is no attribute of the path here: there are `token`, `serial`, `manufacturer`, `model`, `slot-id`, `object`, `id`, `type`",
            ),
            (
                "token=a;object=b;type=cert",
                "`type` cannot be `cert`: a key is `private` or `secret-key`",
            ),
            (
                "slot-id=x;object=b",
                "`slot-id` cannot be `x`: it is a decimal number",
            ),
        ] {
            check(&format!("pkcs11:{path}{query}"), Err(expected));
        }
    }

    #[test]
    fn a_module_is_a_path_or_a_name() {
        let uri = "pkcs11:token=a;object=b";
        check(
            uri,
            Err("no module is named: add `?module-path=/…/module.so`, or `module-name=…`"),
        );
        check(
            &format!("{uri}?module-path=m.so"),
            Err("`module-path` cannot be `m.so`: it is an absolute path"),
        );
        check(
            &format!("{uri}?module-name=../m"),
            Err(
                "`module-name` cannot be `../m`: it is a name such as `softhsm2`, and a path goes into `module-path`",
            ),
        );
        check(
            &format!("{uri}?module=/m.so"),
            Err(
                "`module` is no attribute of the query here: there are `module-path`, `module-name`, `pin-source`",
            ),
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(label in ".{1,20}", id in proptest::collection::vec(any::<u8>(), 1..20)) {
            let text = format!(
                "pkcs11:token={0};object={0};id={1}?module-path=/m.so",
                encoded(label.as_bytes()),
                encoded(&id)
            );
            let uri: Pkcs11Uri = text.parse().unwrap();
            prop_assert_eq!(uri.key.id.as_deref(), Some(id.as_slice()));
            prop_assert_eq!(uri.key.label.as_deref(), Some(label.as_str()));
            prop_assert_eq!(format!("{uri}?module-path=/m.so"), text);
        }
    }
}
