//! `countersign attest`: what machines show, and what is expected of them.

mod machine;
mod verify;

use http::Method;

use super::client;
use super::{Asked, show};
use crate::cli::{AttestCommand, Format, Operate};
use crate::operator::{AcceptRequest, Attestation};
use crate::report::{Failure, Report, Verdict};

/// `countersign attest …`.
pub(crate) async fn attest(options: Operate<AttestCommand>, format: Format) -> Result<(), Failure> {
    let command = match options.command {
        AttestCommand::Verify(options) => return verify::verify(&options, format),
        AttestCommand::Show { device } => return machine::show(&device, format),
        command => command,
    };
    let gateway = Asked::of(&options.gateway, format)?;
    let path = |agent: &str| format!("/agents/{}/attestation", client::escaped(agent));
    match command {
        AttestCommand::Verify(_) | AttestCommand::Show { .. } => Ok(()),
        AttestCommand::Learn { agent } => {
            let path = format!("{}/learn", path(&agent));
            gateway.ask::<Attestation>(Method::POST, &path, None).await
        }
        AttestCommand::Accept { agent, reason } => {
            let path = format!("{}/accept", path(&agent));
            gateway
                .post::<Attestation>(&path, &AcceptRequest { reason })
                .await
        }
        AttestCommand::Diff { agent } => diff(&gateway, &path(&agent), format).await,
    }
}

async fn diff(gateway: &Asked, path: &str, format: Format) -> Result<(), Failure> {
    let (read, answer) = gateway
        .fetch::<Attestation>(Method::GET, path, None)
        .await?;
    match format {
        Format::Text => show::text(&read)?,
        Format::Json => show::json(&answer)?,
    }
    let name = read.name.clone();
    match (read.expected_since, read.changes.len()) {
        (None, _) => Err(NotAsExpected::Unmeasured { name }.into()),
        (Some(_), 0) => Ok(()),
        (Some(_), _) => Err(NotAsExpected::Changed { name }.into()),
    }
}

/// What the exit status of `attest diff` says.
#[derive(Debug, thiserror::Error)]
enum NotAsExpected {
    #[error("nothing is expected of the machine of `{name}` yet")]
    Unmeasured { name: String },
    #[error("the machine of `{name}` is not as expected")]
    Changed { name: String },
}

impl Report for NotAsExpected {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Unmeasured { name } => {
                format!("if what it shows now is right: `countersign attest learn {name}`")
            }
            Self::Changed { name } => format!(
                "if what it shows now is right: `countersign attest accept {name} --reason WHY`"
            ),
        })
    }

    fn verdict(&self) -> Verdict {
        Verdict::No
    }
}
