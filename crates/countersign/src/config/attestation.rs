//! `[attestation]`: which machines vouch for themselves by hardware, and what holds for those that do not.

mod root;

use std::path::PathBuf;

pub(crate) use self::root::RootConfig;
use super::error::ConfigError;
use super::key::key;
use super::kind::{FILE, FLAG, LABELS, PCRS};
use super::reader::Table;

/// What is asked of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AttestationConfig {
    /// A folder with the certificates of TPM makers.
    pub(crate) tpm_roots: Option<PathBuf>,
    /// Whether a machine comes in by a TPM that a maker vouches for and no operator named.
    pub(crate) enrol_any_genuine_tpm: bool,
    /// The PCRs of the SHA-256 bank that machines quote, in order.
    pub(crate) pcrs: Vec<u8>,
    /// A folder with Intel's collateral.
    pub(crate) collateral: Option<PathBuf>,
    /// The roots of confidential guests, in place of the makers' own.
    pub(crate) roots: Vec<RootConfig>,
    /// The agents without hardware that a strict listener lets in.
    pub(crate) software_in_strict: Vec<String>,
    /// Whether machines are let in that nothing is expected of.
    pub(crate) dangerous_accept_unmeasured: bool,
}

impl AttestationConfig {
    pub(super) fn read(mut table: Table<'_>) -> Result<Self, ConfigError> {
        let roots = key(
            "tpm_roots",
            &FILE,
            "a folder with the certificates of TPM makers, each in a file of its own, DER or PEM; read again at a reload",
        );
        let any = key(
            "enrol_any_genuine_tpm",
            &FLAG,
            "let every machine in whose TPM a maker in `tpm_roots` vouches for; it is named after its TPM, and reaches nothing without a grant",
        );
        let pcrs = key(
            "pcrs",
            &PCRS,
            "the PCRs of the SHA-256 bank that a machine quotes",
        );
        let collateral = key(
            "collateral",
            &FILE,
            "a folder with Intel's collateral for TDX and SGX, a JSON file for each kind of platform, and then an agent's own is not looked at; read again at a reload",
        );
        let software = key(
            "software_in_strict",
            &LABELS,
            "the agents that a strict listener lets in though no hardware vouches for them",
        );
        let unmeasured = key(
            "dangerous_accept_unmeasured",
            &FLAG,
            "let machines in of which no operator has said what they should show (`countersign attest learn`)",
        );
        let attestation = Self {
            tpm_roots: table
                .find_path(roots.absent("no maker vouches for a TPM: an operator lists each"))?,
            enrol_any_genuine_tpm: table.read(any.or("false"))?,
            pcrs: table.read(pcrs.or("[0, 1, 2, 3, 4, 5, 6, 7]"))?,
            collateral: table
                .find_path(collateral.absent("the one that the agent shows with its quote"))?,
            roots: root::read(&mut table)?,
            software_in_strict: table.read(software.or("[]"))?,
            dangerous_accept_unmeasured: table.read(unmeasured.or("false"))?,
        };
        if attestation.enrol_any_genuine_tpm && attestation.tpm_roots.is_none() {
            let message = "`enrol_any_genuine_tpm` has no maker to ask".to_owned();
            let remedy = "name a folder with the makers' certificates in `tpm_roots`";
            return Err(table.contradiction("enrol_any_genuine_tpm", message, remedy));
        }
        table.finish().map(|()| attestation)
    }
}
