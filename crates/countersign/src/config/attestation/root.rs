//! `[[attestation.root]]`: who vouches for confidential guests, in place of the makers whose roots are built in.

use countersign_attest::Technology;

use crate::config::error::ConfigError;
use crate::config::key::key;
use crate::config::kind::{GUEST_TECHNOLOGY, SHA256, TEXT};
use crate::config::reader::Table;

/// A root that is trusted for one technology.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RootConfig {
    /// What its evidence is of.
    pub(crate) technology: Technology,
    /// What an appraisal calls whoever has it.
    pub(crate) vendor: String,
    /// The SHA-256 of its certificate.
    pub(crate) sha256: [u8; 32],
}

pub(super) fn read(attestation: &mut Table<'_>) -> Result<Vec<RootConfig>, ConfigError> {
    let mut roots = Vec::new();
    for mut table in attestation.tables("root")? {
        let technology = key(
            "technology",
            &GUEST_TECHNOLOGY,
            "whose evidence it vouches for; where a technology has a root here, the one that is built in is not trusted for it",
        );
        let vendor = key("vendor", &TEXT, "what policies see as the vendor");
        let sha256 = key(
            "sha256",
            &SHA256,
            "the hash of the root's certificate, as `openssl x509 -fingerprint -sha256` prints it",
        );
        roots.push(RootConfig {
            technology: table.read(technology)?,
            vendor: table.read(vendor)?,
            sha256: table.read(sha256)?,
        });
        table.finish()?;
    }
    Ok(roots)
}
