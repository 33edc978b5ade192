//! Vectors, hexadecimal and randomness that is not random.

#![expect(clippy::disallowed_methods, reason = "vectors are files")]

use std::path::{Path, PathBuf};

use countersign_paseto::{Random, RandomnessUnavailable};
use serde_json::Value;

/// Gives these bytes, from the first on at each call.
pub(crate) struct Fixed(pub(crate) Vec<u8>);

impl Random for Fixed {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), RandomnessUnavailable> {
        let given = self.0.get(..bytes.len()).ok_or(RandomnessUnavailable)?;
        bytes.copy_from_slice(given);
        Ok(())
    }
}

/// The document in `file` of `COUNTERSIGN_VECTORS`, or of the folder beside the repository; `None` when there is no such folder.
pub(crate) fn document(file: &str) -> Option<Value> {
    let folder = std::env::var_os("COUNTERSIGN_VECTORS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    if !folder.is_dir() {
        eprintln!("skipped: no vectors in {}", folder.display());
        return None;
    }
    let text = std::fs::read_to_string(folder.join(file)).expect(file);
    Some(serde_json::from_str(&text).expect(file))
}

/// The vectors of a document, as the specifications have them.
pub(crate) fn vectors(file: &str) -> Vec<Value> {
    let tests = |document: Value| document["tests"].as_array().expect(file).clone();
    document(file).map(tests).unwrap_or_default()
}

pub(crate) fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_default()
}

pub(crate) fn hex(vector: &Value, field: &str) -> Vec<u8> {
    unhex(text(vector, field))
}

/// The bytes of hexadecimal, or the DER in PEM; PEM as it is where there is no DER in it.
pub(crate) fn unhex(text: &str) -> Vec<u8> {
    if text.starts_with("-----") {
        let base64: String = text.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64_simd::STANDARD.decode_to_vec(base64);
        return der.unwrap_or_else(|_| text.as_bytes().to_vec());
    }
    let nibble = |digit: u8| char::from(digit).to_digit(16).expect("hexadecimal");
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::try_from(nibble(pair[0]) * 16 + nibble(pair[1])).expect("a byte"))
        .collect()
}
