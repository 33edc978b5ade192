//! `[[client_authority]]`: who vouches for agentless clients.

use std::path::PathBuf;

use super::error::ConfigError;
use super::key::key;
use super::kind::{FILE, LABEL};
use super::reader::Table;

/// An authority whose client certificates services may ask for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ClientAuthorityConfig {
    /// Its name in services, grants and records.
    pub(crate) name: String,
    /// Its certificates, a PEM file.
    pub(crate) certificate: PathBuf,
    /// The lists of what it revoked, a PEM file.
    pub(crate) revocation_list: Option<PathBuf>,
}

/// Reads every `[[client_authority]]`.
pub(super) fn read(root: &mut Table<'_>) -> Result<Vec<ClientAuthorityConfig>, ConfigError> {
    let mut authorities: Vec<ClientAuthorityConfig> = Vec::new();
    for mut table in root.tables("client_authority")? {
        let authority = read_one(&mut table)?;
        if authorities.iter().any(|other| other.name == authority.name) {
            let name = &authority.name;
            let message = format!("there are two client authorities called `{name}`");
            let remedy = "give each authority a name of its own";
            return Err(table.contradiction("name", message, remedy));
        }
        table.finish()?;
        authorities.push(authority);
    }
    Ok(authorities)
}

fn read_one(table: &mut Table<'_>) -> Result<ClientAuthorityConfig, ConfigError> {
    let name = key(
        "name",
        &LABEL,
        "the name in services, and in grants as `cert:NAME/…`",
    );
    let certificate = key("certificate", &FILE, "the authority's certificates, PEM");
    let list = key(
        "revocation_list",
        &FILE,
        "what the authority revoked, PEM; with it, what no list in its time covers is refused",
    );
    Ok(ClientAuthorityConfig {
        name: table.read(name)?,
        certificate: table.read_path(certificate)?,
        revocation_list: table.find_path(list.absent("nothing is revoked"))?,
    })
}
