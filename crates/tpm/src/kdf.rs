//! The two key derivation functions (Part 1, sections 9.4.10.2 and 9.4.10.3), and the salt of a session.

use aws_lc_rs::agreement::{ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey, agree_ephemeral};
use aws_lc_rs::kdf::{
    KbkdfCtrHmacAlgorithmId, SskdfDigestAlgorithmId, get_kbkdf_ctr_hmac_algorithm,
    get_sskdf_digest_algorithm, kbkdf_ctr_hmac, sskdf_digest,
};
use aws_lc_rs::rand::SystemRandom;
use zeroize::Zeroizing;

use crate::algorithm::Hash;
use crate::error::Error;
use crate::wire::Writer;

/// KDFa: SP 800-108 in counter mode.
pub(crate) fn kdf_a(
    hash: Hash,
    key: &[u8],
    label: &str,
    newer: &[u8],
    older: &[u8],
    length: usize,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let algorithm = get_kbkdf_ctr_hmac_algorithm(match hash {
        Hash::Sha1 => return Err(Error::Cryptography),
        Hash::Sha256 => KbkdfCtrHmacAlgorithmId::Sha256,
        Hash::Sha384 => KbkdfCtrHmacAlgorithmId::Sha384,
        Hash::Sha512 => KbkdfCtrHmacAlgorithmId::Sha512,
    });
    let algorithm = algorithm.ok_or(Error::Cryptography)?;
    let bits = u32::try_from(length * 8).map_err(|_| Error::Cryptography)?;
    let info = [label.as_bytes(), &[0], newer, older, &bits.to_be_bytes()].concat();
    let mut derived = Zeroizing::new(vec![0; length]);
    kbkdf_ctr_hmac(algorithm, key, &info, &mut derived).map_err(|_| Error::Cryptography)?;
    Ok(derived)
}

/// A salt that only the holder of the P-256 key `(x, y)` can open, and its TPM2B_ENCRYPTED_SECRET's content (Part 1, annex C.6.3).
pub(crate) fn salt(x: &[u8], y: &[u8]) -> Result<(Zeroizing<Vec<u8>>, Vec<u8>), Error> {
    let random = SystemRandom::new();
    let ephemeral =
        EphemeralPrivateKey::generate(&ECDH_P256, &random).map_err(|_| Error::Cryptography)?;
    let public = ephemeral
        .compute_public_key()
        .map_err(|_| Error::Cryptography)?;
    let (_, point) = public.as_ref().split_first().ok_or(Error::Cryptography)?;
    let (own_x, own_y) = point
        .split_at_checked(COORDINATE)
        .ok_or(Error::Cryptography)?;
    let peer = [&[UNCOMPRESSED][..], &padded(x)?, &padded(y)?].concat();
    let peer = UnparsedPublicKey::new(&ECDH_P256, peer);
    let salt = agree_ephemeral(ephemeral, &peer, Error::Cryptography, |shared| {
        kdf_e(shared, "SECRET", own_x, x)
    })?;
    let encrypted = Writer::new().sized(own_x).sized(own_y).finish();
    Ok((salt, encrypted))
}

/// KDFe with SHA-256: SP 800-56A, one step.
fn kdf_e(
    shared: &[u8],
    label: &str,
    party_u: &[u8],
    party_v: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let algorithm = get_sskdf_digest_algorithm(SskdfDigestAlgorithmId::Sha256);
    let algorithm = algorithm.ok_or(Error::Cryptography)?;
    let info = [label.as_bytes(), &[0], party_u, party_v].concat();
    let mut derived = Zeroizing::new(vec![0; Hash::Sha256.length()]);
    sskdf_digest(algorithm, shared, &info, &mut derived).map_err(|_| Error::Cryptography)?;
    Ok(derived)
}

/// Some TPMs leave out a coordinate's leading zeros.
fn padded(coordinate: &[u8]) -> Result<[u8; COORDINATE], Error> {
    let mut padded = [0; COORDINATE];
    let start = COORDINATE.checked_sub(coordinate.len());
    let target = start.and_then(|start| padded.get_mut(start..));
    target
        .ok_or(Error::Cryptography)?
        .copy_from_slice(coordinate);
    Ok(padded)
}

const COORDINATE: usize = 32;
const UNCOMPRESSED: u8 = 4;
