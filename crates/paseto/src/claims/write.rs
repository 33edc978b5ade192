//! Writes registered and private claims as one JSON object. The registered ones are written by hand: their names occur once and
//! their values are flat, so that only the private ones have to be looked at again.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use jiff::Timestamp;
use serde::Serialize;

use super::{Registered, read, time};
use crate::error::MintError;

/// The JSON object of both.
///
/// # Errors
///
/// [`MintError::Claims`] when `private` is no object, nests too deep, or has a name twice or one that `registered` sets.
pub(super) fn write<C: Serialize>(
    registered: &Registered,
    private: &C,
) -> Result<Vec<u8>, MintError> {
    let own = serde_json::to_string(private).map_err(refused)?;
    let mut object = Object(Vec::with_capacity(USUAL_LEN + own.len()));
    object.text("iss", registered.issuer.as_ref())?;
    object.text("sub", registered.subject.as_ref())?;
    object.text("aud", registered.audience.as_ref())?;
    object.time("exp", registered.expires_at);
    object.time("nbf", registered.not_before);
    object.time("iat", registered.issued_at);
    object.text("jti", registered.token_id.as_ref())?;
    // `()` and `None` add nothing.
    if own != "null" {
        read::check_own(&own, registered).map_err(refused)?;
        object.entries(&own);
    }
    Ok(object.closed())
}

fn refused(error: impl ToString) -> MintError {
    MintError::Claims(error.to_string())
}

/// A JSON object that is not closed yet.
struct Object(Vec<u8>);

impl Object {
    fn text(&mut self, name: &str, text: Option<&String>) -> Result<(), MintError> {
        let Some(text) = text else {
            return Ok(());
        };
        self.name(name);
        if text
            .bytes()
            .all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\'))
        {
            self.quoted(text);
        } else {
            let escaped = serde_json::to_vec(text).map_err(refused)?;
            self.0.extend_from_slice(&escaped);
        }
        Ok(())
    }

    fn time(&mut self, name: &str, at: Option<Timestamp>) {
        if let Some(at) = at {
            self.name(name);
            time::append(&mut self.0, at);
        }
    }

    /// What stands in the braces of `object`.
    fn entries(&mut self, object: &str) {
        let entries = object
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'));
        if let Some(entries) = entries.filter(|entries| !entries.is_empty()) {
            self.separator();
            self.0.extend_from_slice(entries.as_bytes());
        }
    }

    fn name(&mut self, name: &str) {
        self.separator();
        self.quoted(name);
        self.0.push(b':');
    }

    fn separator(&mut self) {
        self.0.push(if self.0.is_empty() { b'{' } else { b',' });
    }

    fn quoted(&mut self, plain: &str) {
        self.0.push(b'"');
        self.0.extend_from_slice(plain.as_bytes());
        self.0.push(b'"');
    }

    fn closed(mut self) -> Vec<u8> {
        if self.0.is_empty() {
            self.0.push(b'{');
        }
        self.0.push(b'}');
        self.0
    }
}

/// All seven registered claims, with names of usual length.
const USUAL_LEN: usize = 256;
