//! `[acme]`: certificates for agentless clients from an ACME server (RFC 8555).

use std::path::PathBuf;

use countersign_channel::Stage;

use super::ListenerConfig;
use super::error::ConfigError;
use super::key::key;
use super::kind::{DOMAINS, EMAILS, FILE, FLAG, HTTPS_URL, TEXT};
use super::reader::Table;

/// Where certificates come from, and for which names.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct AcmeConfig {
    /// The server's directory, an https URL.
    pub(crate) directory: String,
    /// Addresses to which the server may write.
    pub(crate) contact: Vec<String>,
    /// The names; those of the services when absent.
    pub(crate) names: Option<Vec<String>>,
    /// The authorities that may vouch for the ACME server itself; the system's when absent.
    pub(crate) ca: Option<PathBuf>,
    /// An account elsewhere that the ACME account belongs to (RFC 8555 section 7.3.4).
    pub(crate) external_account: Option<ExternalAccountConfig>,
}

/// An account elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ExternalAccountConfig {
    /// Its key's id.
    pub(crate) id: String,
    /// The file that holds the key.
    pub(crate) key_file: PathBuf,
}

/// Reads `[acme]`, when it is there.
pub(super) fn read(
    root: &mut Table<'_>,
    listeners: &[ListenerConfig],
) -> Result<Option<AcmeConfig>, ConfigError> {
    let Some(mut table) = root.find_table("acme")? else {
        return Ok(None);
    };
    let directory = key("directory", &HTTPS_URL, "the ACME server's directory");
    let agreed = key(
        "terms_of_service_agreed",
        &FLAG,
        "you agree to the ACME server's terms of service: it has to be `true`",
    );
    let contact = key(
        "contact",
        &EMAILS,
        "addresses to which the ACME server may write",
    );
    let names = key("names", &DOMAINS, "the names to get certificates for");
    let ca = key(
        "ca",
        &FILE,
        "the authorities that may vouch for the ACME server itself, PEM",
    );
    let agreed = table.read(agreed)?;
    let acme = AcmeConfig {
        directory: table.read(directory)?,
        contact: table.read(contact.or("[]"))?,
        names: table.find(names.absent("the `sni` of the services"))?,
        ca: table.find_path(ca.absent("those of the system"))?,
        external_account: table
            .find_table("external_account")?
            .map(read_external_account)
            .transpose()?,
    };
    if !agreed {
        let message = "no certificate comes without `terms_of_service_agreed`".to_owned();
        let remedy = "read the ACME server's terms, and set it to `true` or remove [acme]";
        return Err(table.contradiction("terms_of_service_agreed", message, remedy));
    }
    if !listeners.iter().any(ListenerConfig::may_show_classical) {
        let message = "no listener would show a certificate of [acme]".to_owned();
        let remedy = "use a profile with classical certificates and a stage that serves agentless clients, or remove [acme]";
        return Err(table.contradiction("directory", message, remedy));
    }
    table.finish().map(|()| Some(acme))
}

fn read_external_account(mut table: Table<'_>) -> Result<ExternalAccountConfig, ConfigError> {
    let id = key("id", &TEXT, "the key's id, as the authority gave it");
    let file = key(
        "key_file",
        &FILE,
        "a file of mode 0600 with the key, in base64url as the authority gave it",
    );
    let account = ExternalAccountConfig {
        id: table.read(id)?,
        key_file: table.read_path(file)?,
    };
    table.finish().map(|()| account)
}

impl ListenerConfig {
    /// Whether agentless clients are served with classical certificates, where there are any.
    pub(crate) fn may_show_classical(&self) -> bool {
        let (stage, profile) = (self.rules.stage(), self.rules.profile());
        let mut schemes = profile.agentless_schemes().iter();
        (stage != Stage::Strict || self.agentless_in_strict)
            && schemes.any(|scheme| !scheme.is_post_quantum())
    }
}
