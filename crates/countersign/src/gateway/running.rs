//! What is configured, built and ready to serve: swapped whole at a reload, and when grants change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use countersign_channel::record::Negotiated;
use countersign_channel::stage::Kind;
use countersign_channel::{ChannelRecord, Rules, Stage};
use countersign_policy::{Bundle, BundleError, Grant, Limits, Policy};
use jiff::Timestamp;

use super::behind::{Behind, BehindFiles};
use super::certificates::Certificates;
use super::client_rules::ClientRules;
use super::error::GatewayError;
use super::exceptions::Exceptions;
use super::live::{CutReason, LiveChannel};
use super::services::Services;
use crate::attestation;
use crate::config::GatewayConfig;
use crate::metrics::Metrics;
use crate::state::{ShutOut, Snapshot};
use crate::store::GrantRecord;

/// A configuration, with all that was read and built for it.
#[derive(Clone)]
pub(crate) struct Running {
    pub(crate) config: GatewayConfig,
    pub(crate) services: Arc<Services>,
    pub(crate) clients: Arc<ClientRules>,
    pub(crate) listeners: Arc<Vec<ListenerRules>>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) exceptions: Arc<Exceptions>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) attestation: Arc<attestation::Rules>,
    pub(crate) behind: Arc<BehindFiles>,
    bundle: Arc<Bundle>,
}

/// What a listener admits.
pub(crate) struct ListenerRules {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) rules: Rules,
    pub(crate) admits_agentless: bool,
}

impl Running {
    /// Reads what a configuration names and builds what it says; what did not change of the services `before` keeps its
    /// connections.
    ///
    /// # Errors
    ///
    /// A file cannot be read, or what it holds cannot be used.
    pub(crate) fn build(
        config: GatewayConfig,
        snapshot: &Snapshot,
        before: Option<&Services>,
        metrics: &Metrics,
    ) -> Result<Self, GatewayError> {
        let behind = BehindFiles::read(&config, before, metrics)?;
        let Behind { services, clients } = behind.current();
        let bundle = Arc::new(read_bundle(config.policy.bundle.as_deref())?);
        let policy = Arc::new(policy(&bundle, &config, snapshot)?);
        let certificates = Arc::new(Certificates::read(&config)?);
        let attestation = Arc::new(attestation::Rules::read(&config.attestation)?);
        let listeners = config
            .listeners
            .iter()
            .map(|listener| ListenerRules {
                name: listener.name.clone(),
                address: listener.address,
                rules: listener.rules,
                admits_agentless: (!listener.classical_certificates.is_empty()
                    || (config.acme.is_some() && listener.may_show_classical()))
                    && (listener.agentless_in_strict || listener.rules.stage() != Stage::Strict),
            })
            .collect();
        let exceptions = Arc::new(Exceptions::new(&config, snapshot));
        Ok(Self {
            config,
            services,
            clients,
            listeners: Arc::new(listeners),
            policy,
            exceptions,
            certificates,
            attestation,
            behind: Arc::new(behind),
            bundle,
        })
    }

    /// The same, with the grants of a newer snapshot.
    ///
    /// # Errors
    ///
    /// The policy cannot be built with these grants.
    pub(crate) fn with_grants_of(&self, snapshot: &Snapshot) -> Result<Self, GatewayError> {
        Ok(Self {
            policy: Arc::new(policy(&self.bundle, &self.config, snapshot)?),
            ..self.clone()
        })
    }

    /// The same, with the exceptions of a newer snapshot.
    pub(crate) fn with_exceptions_of(&self, snapshot: &Snapshot) -> Self {
        Self {
            exceptions: Arc::new(Exceptions::new(&self.config, snapshot)),
            ..self.clone()
        }
    }

    /// The same, with what was last made of the files of services and client authorities.
    pub(super) fn with_what_is_behind(&self) -> Self {
        let Behind { services, clients } = self.behind.current();
        Self {
            services,
            clients,
            ..self.clone()
        }
    }

    /// Why a channel may not stay open, if it may not.
    pub(crate) fn judge(
        &self,
        channel: &LiveChannel,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Option<CutReason> {
        self.judge_handshake(&channel.record, now)
            .or_else(|| self.judge_client(channel))
            .or_else(|| match shut_out(channel, snapshot, now)? {
                ShutOut::OtherKey { .. } => Some(CutReason::KeyReplaced),
                _ => Some(CutReason::AgentRevoked),
            })
    }

    /// Why an agentless client's certificate would not be taken any more, if it would not. What it was verified for does
    /// not change; a reload makes it anew.
    fn judge_client(&self, channel: &LiveChannel) -> Option<CutReason> {
        let client = channel.client()?;
        let sni = channel.record.offered.sni.as_deref().unwrap_or_default();
        let Some(asked) = self.clients.asked_under(sni) else {
            return Some(CutReason::CertificateRefused(NOT_ASKED.to_owned()));
        };
        if client.is_verified_for(asked) {
            return None;
        }
        match client.verify_again(asked, channel.record.profile) {
            Ok(again) => {
                channel.set_client(again);
                None
            }
            Err(flaw) => Some(CutReason::CertificateRefused(flaw.to_string())),
        }
    }

    /// Why a handshake would not be accepted any more, if it would not.
    pub(crate) fn judge_handshake(
        &self,
        record: &ChannelRecord,
        now: Timestamp,
    ) -> Option<CutReason> {
        let listener = self.listeners.iter().find(|l| l.name == record.listener);
        let Some((listener, negotiated)) = listener.zip(record.negotiated.as_ref()) else {
            return Some(CutReason::StageChanged);
        };
        if let Some(id) = &record.exception {
            let heeded = listener.heeds_exceptions() && self.excepts(id, record, now);
            return (!heeded).then(|| CutReason::ExceptionEnded(id.clone()));
        }
        (!listener.admits(record, negotiated)).then_some(CutReason::StageChanged)
    }

    /// Whether the exception that let a channel in still covers it.
    fn excepts(&self, id: &str, record: &ChannelRecord, now: Timestamp) -> bool {
        let (source, sni) = (record.peer_address.ip(), record.offered.sni.as_deref());
        self.exceptions.iter().any(|known| {
            known.exception.id == id
                && known.holds_for(&record.listener)
                && known.exception.covers(source, sni, now)
        })
    }
}

impl ListenerRules {
    /// Whether an exception has an effect here.
    pub(crate) fn heeds_exceptions(&self) -> bool {
        self.rules.stage() == Stage::ClassicalCanary
    }

    /// Whether stage and profile admit what was negotiated.
    fn admits(&self, record: &ChannelRecord, negotiated: &Negotiated) -> bool {
        let profile = self.rules.profile();
        let schemes = match record.kind {
            Some(Kind::Agent) => profile.agent_schemes(),
            _ if !self.admits_agentless => return false,
            _ => profile.agentless_schemes(),
        };
        let signed_by = record.peer.iter().map(|peer| peer.scheme);
        profile.groups().contains(&negotiated.group)
            && profile.suites().contains(&negotiated.suite)
            && signed_by
                .chain([negotiated.scheme])
                .all(|scheme| schemes.contains(&scheme))
    }
}

const NOT_ASKED: &str = "its service asks for none";

/// Why the agent of a channel may not come in any more, though its certificate still holds.
fn shut_out(channel: &LiveChannel, snapshot: &Snapshot, now: Timestamp) -> Option<ShutOut> {
    let peer = channel.record.peer.as_ref()?;
    let name = peer.id.agent_name()?;
    snapshot.admit(name, &peer.spki_sha384, now).err()
}

fn policy(
    bundle: &Bundle,
    config: &GatewayConfig,
    snapshot: &Snapshot,
) -> Result<Policy, GatewayError> {
    let kept = snapshot.grants.iter().map(
        |GrantRecord {
             principal, service, ..
         }| (principal, service),
    );
    let configured = config
        .grants
        .iter()
        .map(|grant| (&grant.principal, &grant.service));
    let grants = kept
        .chain(configured)
        .map(|(principal, service)| Grant::new(principal, service))
        .collect::<Result<Vec<_>, _>>()?;
    Policy::new(bundle, &grants, snapshot.revision, Limits::default()).map_err(GatewayError::Policy)
}

/// Reads an OPA bundle from a folder; without one, the built-in bundle.
fn read_bundle(folder: Option<&Path>) -> Result<Bundle, GatewayError> {
    let Some(folder) = folder else {
        return Ok(Bundle::built_in());
    };
    let unreadable = |source| GatewayError::BundleUnreadable {
        folder: folder.to_owned(),
        source,
    };
    let mut files = BTreeMap::new();
    read_folder(folder, folder, &mut files).map_err(unreadable)?;
    let entries = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    Bundle::load(entries, &Limits::default()).map_err(|source: BundleError| GatewayError::Bundle {
        folder: folder.to_owned(),
        source,
    })
}

fn read_folder(
    root: &Path,
    folder: &Path,
    files: &mut BTreeMap<String, Vec<u8>>,
) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        if path.is_dir() {
            read_folder(root, &path, files)?;
        } else {
            let name = path
                .strip_prefix(root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            files.insert(name, std::fs::read(&path)?);
        }
    }
    Ok(())
}
