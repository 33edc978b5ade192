//! What the audit trail can say.

use std::net::SocketAddr;
use std::path::PathBuf;

use countersign_channel::identity::SpkiHash;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::hop::Hop;

/// A decision or a change, told by its stable name in `event`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum Event {
    /// The gateway serves.
    Start {
        version: String,
        trust_domain: String,
        gateway: String,
    },
    /// The gateway ends.
    Stop { reason: String },
    /// A configuration took effect.
    ConfigurationLoaded {
        file: PathBuf,
        weakenings: Vec<String>,
    },
    /// A configuration was refused as a whole; what was in effect stays.
    ConfigurationRefused { file: PathBuf, reason: String },
    /// A listener stands at this stage with this profile.
    StageSet {
        listener: String,
        stage: String,
        profile: String,
    },
    /// A classical client came in under an exception.
    ExceptionUsed {
        exception: String,
        owner: String,
        channel: String,
        peer: SocketAddr,
    },

    /// An operator let classical clients in.
    ExceptionAdded {
        exception: String,
        owner: String,
        reason: String,
        ends: Timestamp,
        source: Option<String>,
        sni: Option<String>,
        listener: Option<String>,
        operator: Operator,
    },
    /// An exception is over: an operator ended it, or its date came while the gateway ran.
    ExceptionEnded {
        exception: String,
        owner: String,
        operator: Option<Operator>,
    },

    /// An operator made a join string.
    JoinStringCreated {
        name: String,
        token_id: String,
        expires_at: Timestamp,
        replaces: bool,
        operator: Operator,
    },
    /// An agent is in, by a join token, by its TPM's endorsement key, or by both; `repeated` when it asked again with the same key.
    EnrolmentAllowed {
        name: String,
        spiffe_id: String,
        key: SpkiHash,
        token_id: Option<String>,
        #[serde(default)]
        ek_hash: Option<String>,
        peer: SocketAddr,
        repeated: bool,
    },
    /// An enrolment was refused; the token's id and name are there only if it authenticated.
    EnrolmentRefused {
        reason: String,
        detail: String,
        name: Option<String>,
        token_id: Option<String>,
        peer: SocketAddr,
    },
    /// An agent or the gateway has a new certificate.
    CertificateRenewed {
        name: String,
        key: SpkiHash,
        serial: String,
        expires_at: Timestamp,
        key_changed: bool,
    },
    /// A listener shows agentless clients another certificate.
    ServerCertificateTaken {
        listener: String,
        names: Vec<String>,
        key: SpkiHash,
        expires_at: Timestamp,
        file: PathBuf,
    },
    /// An ACME server issued a certificate for agentless clients.
    ServerCertificateIssued {
        name: String,
        directory: String,
        key: SpkiHash,
        expires_at: Timestamp,
    },
    /// An operator had a certificate for agentless clients replaced before its time.
    ServerCertificateRenewalAsked { name: String, operator: Operator },
    /// An agent asked for a new certificate and got none.
    RenewalRefused {
        name: String,
        key: SpkiHash,
        reason: String,
    },
    /// An operator shut an agent out.
    AgentRevoked {
        name: String,
        key: SpkiHash,
        reason: String,
        operator: Operator,
    },

    /// An operator let a TPM in by its endorsement key.
    EkAllowed {
        ek_hash: String,
        name: String,
        operator: Operator,
    },
    /// An operator lets a TPM in no more.
    EkForbidden { ek_hash: String, operator: Operator },
    /// What is expected of an agent's machine is now what it showed.
    ReferenceSet {
        name: String,
        reason: String,
        changes: Vec<String>,
        operator: Operator,
    },
    /// A machine's evidence was appraised and came to something else than the time before.
    MachineAppraised {
        name: String,
        result: String,
        reasons: Vec<String>,
    },
    /// A machine's evidence did not hold.
    EvidenceRefused {
        name: String,
        reason: String,
        peer: SocketAddr,
    },

    /// An access token was made.
    TokenMinted {
        subject: String,
        token_id: String,
        key_id: String,
        expires_at: Timestamp,
    },
    /// An access token or a bearer token was not accepted; its id is there only if it authenticated.
    TokenRefused {
        reason: String,
        #[serde(default)]
        token_id: Option<String>,
        channel: Option<String>,
        peer: SocketAddr,
    },
    /// An operator issued a bearer token.
    BearerTokenIssued {
        token_id: String,
        subject: String,
        service: String,
        key_id: String,
        expires_at: Timestamp,
        operator: Operator,
    },
    /// An operator revoked a bearer token.
    BearerTokenRevoked {
        token_id: String,
        subject: String,
        service: String,
        reason: String,
        operator: Operator,
    },
    /// A key took over from the one before.
    KeyRotated { kind: String, key_id: String },
    /// A PKCS#11 token with keys of the gateway is gone; it is looked for.
    KeyTokenLost { token: String, cause: String },
    /// A PKCS#11 token that was gone answers again.
    KeyTokenBack { token: String },
    /// The trust bundle has a new version.
    TrustBundlePublished { version: u64, key: String },

    /// A channel stands.
    ChannelOpened {
        channel: String,
        principal: String,
        record: serde_json::Value,
    },
    /// A handshake failed or was refused.
    ChannelRefused {
        peer: SocketAddr,
        reason: String,
        record: serde_json::Value,
    },
    /// So many more handshakes were refused that each is not told.
    ChannelsRefused { listener: String, number: u64 },
    /// A channel ended.
    ChannelClosed {
        channel: String,
        principal: String,
        reason: String,
        streams: u64,
    },
    /// An operator closed a channel.
    SessionClosed {
        channel: String,
        principal: String,
        operator: Operator,
    },

    /// A stream may be opened, by this rule; `token_id` is what proved the principal, unless a certificate did.
    StreamAllowed {
        channel: String,
        stream: String,
        principal: String,
        #[serde(default)]
        token_id: Option<String>,
        service: String,
        rule: String,
        bundle: String,
        policy_revision: u64,
        decision: String,
    },
    /// A stream was refused, by this rule.
    StreamDenied {
        channel: String,
        principal: String,
        service: String,
        rule: String,
        bundle: String,
        policy_revision: u64,
        decision: String,
    },
    /// A stream ended by itself, or could not be opened; bytes as the client sent and received them.
    StreamClosed {
        channel: String,
        stream: String,
        service: String,
        end: String,
        sent: u64,
        received: u64,
        #[serde(default)]
        last_hop: Option<Hop>,
    },
    /// A stream was ended because what allowed it no longer holds.
    StreamCut {
        channel: String,
        stream: String,
        principal: String,
        service: String,
        reason: String,
        #[serde(default)]
        last_hop: Option<Hop>,
    },

    /// An operator gave a grant.
    GrantAdded {
        principal: String,
        service: String,
        operator: Operator,
    },
    /// An operator took a grant away.
    GrantRemoved {
        principal: String,
        service: String,
        operator: Operator,
    },

    /// The gateway's state was written to an encrypted file.
    BackupCreated { file: PathBuf, operator: Operator },
    /// The gateway's state came from a backup.
    BackupRestored {
        file: PathBuf,
        created_at: Timestamp,
        operator: Operator,
    },
}

/// Who operated the gateway: the peer of its local socket, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Operator {
    pub(crate) uid: u32,
}

#[cfg(test)]
mod tests;
