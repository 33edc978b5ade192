//! The primitives that come from one of two sources: AWS-LC with the feature `aws-lc`, RustCrypto and dalek without it.
//!
//! Both sources have the same items. What AWS-LC has nothing for, or is slower at, stands in the versions themselves.

#[cfg(feature = "aws-lc")]
mod aws_lc;
#[cfg(not(feature = "aws-lc"))]
mod pure;

#[cfg(feature = "aws-lc")]
pub(crate) use aws_lc::*;
#[cfg(not(feature = "aws-lc"))]
pub(crate) use pure::*;

#[cfg(not(any(feature = "aws-lc", feature = "pure")))]
compile_error!("countersign-paseto needs a source of primitives: the feature `aws-lc` or `pure`");

/// SHA-384 and HMAC with it.
pub(crate) const SHA384_LEN: usize = 48;
/// A coordinate of P-384 and the byte that tells the other's sign (SEC 1 section 2.3.3).
pub(crate) const P384_POINT_LEN: usize = 49;
/// Scalars and coordinates of P-384.
pub(crate) const P384_SCALAR_LEN: usize = 48;
/// r and s.
pub(crate) const P384_SIGNATURE_LEN: usize = 96;
/// RSA of 2048 bits.
pub(crate) const RSA_SIGNATURE_LEN: usize = 256;
/// FIPS 204 section 4, table 2.
#[cfg(feature = "draft")]
pub(crate) const ML_DSA_PUBLIC_LEN: usize = 2592;
#[cfg(feature = "draft")]
pub(crate) const ML_DSA_SIGNATURE_LEN: usize = 4627;

#[cfg(test)]
mod tests {
    use super::aes_256_ctr;

    /// The second block under `counter` is the first block under `next`.
    fn check(counter: u128, next: u128) {
        let mut two = [0; 32];
        aes_256_ctr(&[7; 32], &counter.to_be_bytes(), &mut two);
        let mut one = [0; 16];
        aes_256_ctr(&[7; 32], &next.to_be_bytes(), &mut one);
        assert_eq!(two[16..], one);
    }

    #[test]
    fn the_counter_carries_through_all_128_bits() {
        check(u128::from(u32::MAX), 1 << 32);
        check(u128::from(u64::MAX), 1 << 64);
        check(u128::MAX, 0);
    }
}
