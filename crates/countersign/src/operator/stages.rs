//! `stage`: where each listener stands in the migration.

use countersign_channel::{Profile, Stage};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// `GET /stage`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stages {
    /// In the order of the configuration.
    pub(crate) listeners: Vec<ListenerStage>,
}

/// Where a listener stands in the migration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ListenerStage {
    /// Its name.
    pub(crate) listener: String,
    /// Where it listens.
    pub(crate) address: String,
    /// Its stage.
    pub(crate) stage: Stage,
    /// Its profile.
    pub(crate) profile: Profile,
    /// Whether agentless clients are served.
    pub(crate) agentless: bool,
    /// Open channels.
    #[serde(default)]
    pub(crate) channels: usize,
    /// Open channels whose key exchange is classical.
    #[serde(default)]
    pub(crate) classical_channels: usize,
    /// Who may still use classical key exchange.
    pub(crate) exceptions: Vec<ExceptionInForce>,
    /// What stays classical under the profile.
    pub(crate) residues: Vec<Residue>,
}

/// An exception, and what is left of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExceptionInForce {
    /// Its id.
    pub(crate) id: String,
    /// The network it is for.
    #[serde(default)]
    pub(crate) source: Option<String>,
    /// The name it is for.
    #[serde(default)]
    pub(crate) sni: Option<String>,
    /// Who answers for it.
    pub(crate) owner: String,
    /// Why it is needed.
    pub(crate) reason: String,
    /// When it ends.
    pub(crate) ends: Timestamp,
    /// Whether it has ended.
    pub(crate) ended: bool,
}

/// Something that stays classical under a profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Residue {
    /// What it is.
    pub(crate) what: String,
    /// Why it stays.
    pub(crate) why: String,
}
