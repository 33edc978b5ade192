//! `[evidence]`: how a confidential guest gets its evidence, in the agent's file.

use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::key::key;
use super::kind::{COMMAND, FILE, SPAN};
use super::reader::Table;

/// The program that asks the machine's hardware for evidence, and what is shown beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EvidenceConfig {
    /// A program and its arguments.
    pub(crate) command: Vec<String>,
    /// How long it may take.
    pub(crate) time_limit: Duration,
    /// The certificate of the chip's key.
    pub(crate) certificate: Option<PathBuf>,
    /// The certificates above it.
    pub(crate) certificate_chain: Option<PathBuf>,
    /// Intel's collateral.
    pub(crate) collateral: Option<PathBuf>,
}

impl EvidenceConfig {
    /// Nothing where the machine is no confidential guest.
    pub(super) fn read(mut table: Table<'_>) -> Result<Option<Self>, ConfigError> {
        let command = key(
            "command",
            &COMMAND,
            "a program that reads 64 bytes from standard input and prints evidence of SEV-SNP, TDX, SGX or Nitro over them; run for each access token",
        );
        let limit = key("time_limit", &SPAN, "how long the command may take");
        let certificate = key(
            "certificate",
            &FILE,
            "for SEV-SNP: the VCEK or VLEK of this machine, DER; read again each time",
        );
        let chain = key(
            "certificate_chain",
            &FILE,
            "for SEV-SNP: the `cert_chain` of the processor's family, PEM; read again each time",
        );
        let collateral = key(
            "collateral",
            &FILE,
            "for TDX and SGX: Intel's collateral for this kind of platform, JSON; read again each time",
        );
        let command = table.find(command.absent("the machine is no confidential guest"))?;
        let time_limit = table.read(limit.or("\"20s\""))?;
        if time_limit > LONGEST {
            let message = format!("a command that takes {time_limit:?} answers too late");
            let remedy = "the gateway's question is good for 30 seconds: give it 25 at most";
            return Err(table.contradiction("time_limit", message, remedy));
        }
        let certificate = table.find_path(certificate.absent("none is shown"))?;
        let certificate_chain = table.find_path(chain.absent("none is shown"))?;
        let collateral = table.find_path(collateral.absent("none is shown"))?;
        let beside = [&certificate, &certificate_chain, &collateral];
        if command.is_none() && beside.iter().any(|file| file.is_some()) {
            let message = "there is nothing that makes evidence".to_owned();
            return Err(table.contradiction("command", message, "name a `command`"));
        }
        table.finish()?;
        Ok(command.map(|command| Self {
            command,
            time_limit,
            certificate,
            certificate_chain,
            collateral,
        }))
    }
}

/// The question's half minute, less what the way to the gateway and back takes.
const LONGEST: Duration = Duration::from_secs(25);
