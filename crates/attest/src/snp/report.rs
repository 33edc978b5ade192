//! The attestation report's layout (SEV-SNP ABI Specification, 56860, table 23).

use crate::little_endian::Fields;

use super::SnpError;

/// The length of every version of the report.
pub(super) const REPORT_LEN: usize = 1184;

/// What the signature covers: the report up to it.
const SIGNED_LEN: usize = 0x2a0;

/// What the firmware says of a guest, before anybody has checked who says so.
#[derive(Clone, Debug)]
pub(super) struct Fixed {
    pub(super) version: u32,
    pub(super) guest_svn: u32,
    pub(super) policy: u64,
    pub(super) vmpl: u32,
    pub(super) algorithm: u32,
    pub(super) platform: u64,
    pub(super) key_info: u32,
    pub(super) report_data: [u8; 64],
    pub(super) measurement: [u8; 48],
    pub(super) host_data: [u8; 32],
    pub(super) id_key_digest: [u8; 48],
    pub(super) author_key_digest: [u8; 48],
    pub(super) report_id: [u8; 32],
    pub(super) reported_tcb: [u8; 8],
    pub(super) chip_id: [u8; 64],
    pub(super) committed_tcb: [u8; 8],
    pub(super) signed: Vec<u8>,
    /// r and s as AWS-LC takes them: big-endian, 48 bytes each.
    pub(super) signature: [u8; 96],
}

/// Reads the fields and refuses what no firmware writes.
pub(super) fn parse(bytes: &[u8]) -> Result<Fixed, SnpError> {
    if bytes.len() != REPORT_LEN {
        return Err(SnpError::Length {
            expected: REPORT_LEN,
            found: bytes.len(),
        });
    }
    let (signed, signature) = bytes
        .split_at_checked(SIGNED_LEN)
        .ok_or(SnpError::Signature)?;
    let mut fields = Fields(signed);
    let version = fields.u32().ok_or(SnpError::Signature)?;
    if !(2..=5).contains(&version) {
        return Err(SnpError::Version { found: version });
    }
    let fixed = body(version, &mut fields, signed, big_endian(signature)?);
    fixed.ok_or(SnpError::Signature)
}

fn body(
    version: u32,
    fields: &mut Fields<'_>,
    signed: &[u8],
    signature: [u8; 96],
) -> Option<Fixed> {
    let guest_svn = fields.u32()?;
    let policy = fields.u64()?;
    let _family_and_image_id: [u8; 32] = fields.bytes()?;
    let vmpl = fields.u32()?;
    let algorithm = fields.u32()?;
    let _current_tcb = fields.u64()?;
    let platform = fields.u64()?;
    let key_info = fields.u32()?;
    let _reserved = fields.u32()?;
    Some(Fixed {
        version,
        guest_svn,
        policy,
        vmpl,
        algorithm,
        platform,
        key_info,
        report_data: fields.bytes()?,
        measurement: fields.bytes()?,
        host_data: fields.bytes()?,
        id_key_digest: fields.bytes()?,
        author_key_digest: fields.bytes()?,
        report_id: fields.bytes()?,
        reported_tcb: {
            let _migration_agent: [u8; 32] = fields.bytes()?;
            fields.bytes()?
        },
        chip_id: {
            let _cpuid_and_reserved: [u8; 24] = fields.bytes()?;
            fields.bytes()?
        },
        committed_tcb: fields.bytes()?,
        signed: signed.to_vec(),
        signature,
    })
}

/// The signature's two numbers: little-endian in 72 bytes each, of which P-384 fills 48, then bytes that are zero (table 141).
fn big_endian(signature: &[u8]) -> Result<[u8; 96], SnpError> {
    let mut fields = Fields(signature);
    let mut numbers = [0; 96];
    for number in numbers.chunks_exact_mut(48) {
        let mut digits: [u8; 48] = fields.bytes().ok_or(SnpError::Signature)?;
        let padding: [u8; 24] = fields.bytes().ok_or(SnpError::Signature)?;
        if padding != [0; 24] {
            return Err(SnpError::Signature);
        }
        digits.reverse();
        number.copy_from_slice(&digits);
    }
    match fields.0.iter().all(|byte| *byte == 0) {
        true => Ok(numbers),
        false => Err(SnpError::Signature),
    }
}
