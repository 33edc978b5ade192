//! Strict base64url (RFC 4648 section 5, no padding, canonical) and pre-authentication encoding.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use base64_simd::URL_SAFE_NO_PAD;
use base64ct::{Base64, Base64UrlUnpadded, Encoding as _};
use zeroize::Zeroizing;

/// Appends the base64url form of what is not secret.
pub(crate) fn append(text: &mut String, bytes: &[u8]) {
    URL_SAFE_NO_PAD.encode_append(bytes, text);
}

/// How many characters the base64url form of `bytes` bytes has.
pub(crate) fn length(bytes: usize) -> usize {
    URL_SAFE_NO_PAD.encoded_length(bytes)
}

/// Decodes what is not secret; `None` when `text` is not the one canonical form of some bytes.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode_to_vec(text).ok()
}

/// Encodes a secret in constant time.
pub(crate) fn encode_secret(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(Base64UrlUnpadded::encode_string(bytes))
}

/// Decodes a secret in constant time; `None` as for [`decode`].
pub(crate) fn decode_secret(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    Base64UrlUnpadded::decode_vec(text).ok().map(Zeroizing::new)
}

/// The DER of a secret in PEM with this label (RFC 7468), decoded in constant time.
pub(crate) fn decode_secret_pem(text: &[u8], label: &str) -> Option<Zeroizing<Vec<u8>>> {
    let mut lines = core::str::from_utf8(text).ok()?.trim_end().lines();
    let begins = lines.next() == Some(&format!("-----BEGIN {label}-----"));
    let ends = lines.next_back() == Some(&format!("-----END {label}-----"));
    let mut base64 = Zeroizing::new(String::with_capacity(text.len()));
    lines.for_each(|line| base64.push_str(line));
    let der = Base64::decode_vec(&base64).ok().map(Zeroizing::new)?;
    (begins && ends).then_some(der)
}

/// Feeds `sink` the pre-authentication encoding of `pieces` (PASETO Common § PAE Definition).
pub(crate) fn pae(pieces: &[&[u8]], mut sink: impl FnMut(&[u8])) {
    sink(&le64(pieces.len()));
    for piece in pieces {
        sink(&le64(piece.len()));
        sink(piece);
    }
}

/// Calls `then` with the pre-authentication encoding of `pieces`, which needs no allocation where it is short.
pub(crate) fn with_pae<R>(pieces: &[&[u8]], then: impl FnOnce(&[u8]) -> R) -> R {
    let mut short = [0; 192];
    let Some(encoded) = short.get_mut(..pae_len(pieces)) else {
        return then(&pae_vec(pieces));
    };
    let mut rest = &mut *encoded;
    pae(pieces, |bytes| {
        let (place, after) = mem::take(&mut rest).split_at_mut(bytes.len());
        place.copy_from_slice(bytes);
        rest = after;
    });
    then(encoded)
}

fn pae_len(pieces: &[&[u8]]) -> usize {
    let payload: usize = pieces.iter().map(|piece| piece.len()).sum();
    payload + 8 * (pieces.len() + 1)
}

/// The pre-authentication encoding of `pieces` as one buffer, for signatures.
pub(crate) fn pae_vec(pieces: &[&[u8]]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(pae_len(pieces));
    pae(pieces, |bytes| encoded.extend_from_slice(bytes));
    encoded
}

/// LE64: the length as 64 bits, little-endian, its most significant bit clear.
fn le64(length: usize) -> [u8; 8] {
    let length = u64::try_from(length).expect("a length in memory fits 64 bits");
    (length & (u64::MAX >> 1)).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;

    fn check(pieces: &[&[u8]], expected: &[u8]) {
        assert_eq!(pae_vec(pieces), expected);
        with_pae(pieces, |encoded| assert_eq!(encoded, expected));
    }

    // The examples of PASETO Common § PAE Definition.
    #[test]
    fn nothing_is_a_zero_count() {
        check(&[], b"\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn an_empty_piece_has_a_length() {
        check(&[b""], b"\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn a_piece_follows_its_length() {
        check(&[b"test"], b"\x01\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0test");
    }

    #[test]
    fn a_long_piece_is_encoded_whole() {
        let long = [7; 300];
        let expected = [b"\x01\0\0\0\0\0\0\0\x2c\x01\0\0\0\0\0\0".as_slice(), &long].concat();
        check(&[&long], &expected);
    }

    #[test]
    fn both_codecs_refuse_what_is_not_canonical() {
        for text in ["AA==", "AB", "A", "AA\n", "+/8", "AAA ", "é"] {
            assert_eq!(decode(text), None, "{text}");
            assert!(decode_secret(text).is_none(), "{text}");
        }
        assert_eq!(decode("_-8"), Some(vec![0xff, 0xef]));
        assert_eq!(
            decode_secret("_-8").map(|bytes| bytes.to_vec()),
            Some(vec![0xff, 0xef])
        );
    }
}
