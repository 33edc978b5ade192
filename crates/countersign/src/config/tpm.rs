//! `[tpm]`: the machine's TPM, in the agent's file.

use std::path::PathBuf;

use super::error::ConfigError;
use super::key::key;
use super::kind::{FILE, FLAG, PCRS_OR_NONE, TPM};
use super::reader::Table;

/// The TPM that vouches for the agent's machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TpmConfig {
    /// Where it is.
    pub(crate) device: countersign_tpm::Address,
    /// The log of what was measured into its PCRs.
    pub(crate) event_log: Option<PathBuf>,
    /// Whether the agent's key is sealed to it.
    pub(crate) seal_key: bool,
    /// The PCRs of the SHA-256 bank that must stand as they did for the key to be unsealed.
    pub(crate) seal_pcrs: Vec<u8>,
}

impl TpmConfig {
    /// Nothing where the machine's TPM is not to be used.
    pub(super) fn read(mut table: Table<'_>) -> Result<Option<Self>, ConfigError> {
        let device = key(
            "device",
            &TPM,
            "the TPM that vouches for this machine; with it the agent joins and stays by what the TPM quotes",
        );
        let log = key(
            "event_log",
            &FILE,
            "the log of what was measured at start, on Linux `/sys/kernel/security/tpm0/binary_bios_measurements`",
        );
        let seal = key(
            "seal_key",
            &FLAG,
            "keep the agent's key so that only this TPM opens it; holds for keys made from then on",
        );
        let pcrs = key(
            "seal_pcrs",
            &PCRS_OR_NONE,
            "the PCRs of the SHA-256 bank that have to stand as they did for the key to be opened: an update of what they measure shuts the agent out",
        );
        let device = table.find(device.absent("no hardware vouches for this machine"))?;
        let event_log = table.find_path(log.absent("quotes come without a log"))?;
        let seal_key = table.read(seal.or("true"))?;
        let seal_pcrs = table.read(pcrs.or("[]"))?;
        table.finish()?;
        Ok(device.map(|device| Self {
            device,
            event_log,
            seal_key,
            seal_pcrs,
        }))
    }
}
