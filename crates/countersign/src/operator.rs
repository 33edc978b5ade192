//! The words between the operator commands and a running gateway: JSON over HTTP/1.1 on a Unix socket.
//!
//! Both ends use these types, `--format json` prints them, and docs/operator-api.md describes them. A field may be added; none
//! is renamed or removed within a major version, so what an older gateway does not send has a default here.

use std::path::PathBuf;

use countersign_channel::{ChannelRecord, Profile, Stage};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::from_files::Problem;
use crate::hop::Hop;

/// `POST /join-strings`: let a machine in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct JoinStringRequest {
    /// The agent's name.
    pub(crate) name: String,
    /// Seconds until the join string ends.
    pub(crate) expires_in: u64,
    /// Whether the name may be taken over from the agent that has it.
    #[serde(default)]
    pub(crate) replace: bool,
    /// The address to put into the join string; the listener's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<String>,
}

/// The answer to [`JoinStringRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JoinStringCreated {
    /// The join string: a secret, until it is used or ends.
    pub(crate) join_string: String,
    /// The agent's name.
    pub(crate) name: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// `GET /agents`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agents {
    /// By name.
    pub(crate) agents: Vec<Agent>,
}

/// A machine that has joined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agent {
    /// Its name.
    pub(crate) name: String,
    /// Its SPIFFE ID.
    pub(crate) id: String,
    /// When it joined.
    pub(crate) enrolled_at: Timestamp,
    /// When it last enrolled, renewed or connected.
    #[serde(default)]
    pub(crate) last_seen: Option<Timestamp>,
    /// When its newest certificate ends.
    pub(crate) certificate_expires_at: Timestamp,
    /// How many channels it has open.
    #[serde(default)]
    pub(crate) channels: usize,
    /// When and why it was shut out.
    #[serde(default)]
    pub(crate) revoked: Option<Revocation>,
}

/// When and why an agent or a token was shut out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Revocation {
    /// When.
    pub(crate) at: Timestamp,
    /// Why, in the operator's words.
    pub(crate) reason: String,
}

/// `POST /agents/{name}/revoke` and `POST /tokens/{id}/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RevokeRequest {
    /// Why.
    pub(crate) reason: String,
}

/// The answer to [`RevokeRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AgentRevoked {
    /// The agent's name.
    pub(crate) name: String,
    /// How many of its channels were cut.
    pub(crate) channels_closed: usize,
}

/// `GET /grants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grants {
    /// By principal, then service.
    pub(crate) grants: Vec<Grant>,
}

/// A principal that may reach a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// A SPIFFE ID, `cert:AUTHORITY/NAME`, `bearer:NAME`, or `anonymous`.
    pub(crate) principal: String,
    /// The service's name.
    pub(crate) service: String,
    /// Where it was made.
    pub(crate) origin: Origin,
    /// When it was made, for those of the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) added_at: Option<Timestamp>,
}

/// Where a grant or an exception was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Origin {
    /// By a command.
    Store,
    /// In the gateway's configuration.
    Config,
}

/// `POST /grants`, and the query of `DELETE /grants`. The principal may be an agent's bare name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GrantRequest {
    /// An agent's name, a SPIFFE ID, `cert:AUTHORITY/NAME`, `bearer:NAME`, or `anonymous`.
    pub(crate) principal: String,
    /// The service's name.
    pub(crate) service: String,
}

/// The answer to [`GrantRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GrantChanged {
    /// The principal as policy sees it.
    pub(crate) principal: String,
    /// The service's name.
    pub(crate) service: String,
    /// Whether anything changed: `false` when the grant was there already.
    pub(crate) changed: bool,
    /// Whether the gateway's configuration has a service of that name.
    #[serde(default = "yes")]
    pub(crate) service_known: bool,
}

/// `POST /tokens`: issue a bearer token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenRequest {
    /// The one service that it opens.
    pub(crate) service: String,
    /// Whom it names.
    pub(crate) subject: String,
    /// Seconds until it ends.
    pub(crate) expires_in: u64,
}

/// The answer to [`TokenRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenIssued {
    /// The token: a secret, until it is revoked or ends. It is told here and never again.
    pub(crate) token: String,
    /// Its id, for `tokens revoke`.
    pub(crate) id: String,
    /// Whom it names.
    pub(crate) subject: String,
    /// The one service that it opens.
    pub(crate) service: String,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// `GET /tokens`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tokens {
    /// In the order in which they were issued.
    pub(crate) tokens: Vec<Token>,
}

/// A bearer token that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Token {
    /// Its id.
    pub(crate) id: String,
    /// Whom it names.
    pub(crate) subject: String,
    /// The one service that it opens.
    pub(crate) service: String,
    /// When it was issued.
    pub(crate) issued_at: Timestamp,
    /// The user id of the operator who issued it.
    pub(crate) issued_by: u32,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
    /// How many streams it holds open.
    #[serde(default)]
    pub(crate) streams: usize,
    /// When and why it was revoked.
    #[serde(default)]
    pub(crate) revoked: Option<Revocation>,
}

/// The answer to `POST /tokens/{id}/revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenRevoked {
    /// The token's id.
    pub(crate) id: String,
    /// Whom it named.
    pub(crate) subject: String,
    /// How many streams were cut.
    pub(crate) streams_closed: usize,
}

/// `GET /sessions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sessions {
    /// The oldest first.
    pub(crate) sessions: Vec<Session>,
}

/// An open channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// Its id, for `sessions close`.
    pub(crate) id: String,
    /// A SPIFFE ID, `cert:AUTHORITY/NAME`, or `anonymous`.
    pub(crate) principal: String,
    /// When the access token ends; an anonymous channel has none.
    #[serde(default)]
    pub(crate) token_expires_at: Option<Timestamp>,
    /// How the channel was negotiated.
    pub(crate) record: ChannelRecord,
    /// What is open in it.
    pub(crate) streams: Vec<Stream>,
}

/// An open stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stream {
    /// Its number within the channel.
    pub(crate) id: u64,
    /// Who opened it; empty from a gateway that does not say.
    #[serde(default)]
    pub(crate) principal: String,
    /// The service it leads to.
    pub(crate) service: String,
    /// The rule that let it through.
    pub(crate) rule: String,
    /// When it was opened.
    pub(crate) since: Timestamp,
    /// Bytes carried towards the service.
    pub(crate) bytes_to_service: u64,
    /// Bytes carried back.
    pub(crate) bytes_from_service: u64,
    /// What protects them between gateway and service, once there is a connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_hop: Option<Hop>,
}

/// `GET /sessions/refused`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    /// The newest first.
    pub(crate) refused: Vec<ChannelRecord>,
}

/// The answer to `POST /sessions/{id}/close`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SessionClosed {
    /// The session's id.
    pub(crate) id: String,
}

/// `GET /services`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Services {
    /// By name.
    pub(crate) services: Vec<Service>,
}

/// A service behind the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Service {
    /// Its name.
    pub(crate) name: String,
    /// Its port.
    pub(crate) port: u16,
    /// Where it is.
    pub(crate) upstream: String,
    /// How the gateway reaches it.
    pub(crate) last_hop: LastHop,
    /// Whether it is told who calls.
    pub(crate) proxy_protocol: bool,
    /// Names by which agentless clients reach it.
    pub(crate) sni: Vec<String>,
    /// Streams that are open to it.
    #[serde(default)]
    pub(crate) streams: usize,
    /// Each place where it is.
    #[serde(default)]
    pub(crate) upstreams: Vec<Upstream>,
}

/// One place where a service is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Upstream {
    /// Its host and port.
    pub(crate) address: String,
    /// Whether it is used.
    pub(crate) condition: Condition,
    /// Requests and streams that are open to it.
    pub(crate) in_flight: usize,
    /// The newest connection to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_hop: Option<Hop>,
}

/// Whether an upstream is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Condition {
    /// It is.
    Up,
    /// It failed too often lately: for a while only if there is no other.
    Ejected,
    /// It does not answer its health check as it should: it is not.
    Down,
}

impl Condition {
    /// The word used in metrics and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Ejected => "ejected",
            Self::Down => "down",
        }
    }
}

/// How the gateway reaches a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum LastHop {
    /// Over TLS.
    Tls,
    /// Over plain TCP that does not leave the machine.
    Loopback,
    /// Over plain TCP: an unprotected hop.
    Plaintext,
}

/// `GET /certificates`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificates {
    /// By listener, in the order of the configuration.
    pub(crate) certificates: Vec<Certificate>,
}

/// A certificate that a listener shows to agentless clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Certificate {
    /// The listener.
    pub(crate) listener: String,
    /// The names in it.
    pub(crate) names: Vec<String>,
    /// Where it comes from.
    pub(crate) source: CertificateSource,
    /// The file it was read from.
    #[serde(default)]
    pub(crate) file: Option<PathBuf>,
    /// When it begins.
    #[serde(default)]
    pub(crate) not_before: Option<Timestamp>,
    /// When it ends.
    #[serde(default)]
    pub(crate) not_after: Option<Timestamp>,
    /// When it is renewed, or when a first one is tried for again; a certificate from files is renewed by others.
    #[serde(default)]
    pub(crate) renewal: Option<Timestamp>,
    /// Why a newer one is not in use.
    #[serde(default)]
    pub(crate) problem: Option<CertificateProblem>,
}

/// Where a certificate comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CertificateSource {
    /// Files that the configuration names.
    Files,
    /// An ACME server.
    Acme,
}

/// Why a certificate is not in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateProblem {
    /// Since when.
    pub(crate) since: Timestamp,
    /// What is wrong.
    pub(crate) detail: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

impl CertificateProblem {
    /// As the operator is told of it.
    pub(crate) fn of(problem: &Problem) -> Self {
        Self {
            since: problem.since,
            detail: problem.what.clone(),
            hint: problem.hint.clone(),
        }
    }
}

/// `POST /certificates/{name}/renew`: a new certificate is asked for now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateRenewal {
    /// The name that it is for.
    pub(crate) name: String,
}

/// `GET /exceptions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exceptions {
    /// Those of the configuration, then those that were added, the oldest first.
    pub(crate) exceptions: Vec<Exception>,
}

/// Someone who may still use classical key exchange, until a date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exception {
    /// Its id, for `exceptions end`.
    pub(crate) id: String,
    /// Where it was made.
    pub(crate) origin: Origin,
    /// The network it is for.
    #[serde(default)]
    pub(crate) source: Option<String>,
    /// The name it is for.
    #[serde(default)]
    pub(crate) sni: Option<String>,
    /// The listener it is for; every one that heeds exceptions when absent.
    #[serde(default)]
    pub(crate) listener: Option<String>,
    /// The listeners on which it lets anyone in: those of its that are at stage `classical-canary`.
    #[serde(default)]
    pub(crate) heeded_by: Vec<String>,
    /// Who answers for it.
    pub(crate) owner: String,
    /// Why it is needed.
    pub(crate) reason: String,
    /// When it was made, for those of the store.
    #[serde(default)]
    pub(crate) added_at: Option<Timestamp>,
    /// When it ends, or has ended.
    pub(crate) ends: Timestamp,
    /// Whether it has ended.
    pub(crate) ended: bool,
    /// The uid of the operator who ended it before its time.
    #[serde(default)]
    pub(crate) ended_by: Option<u32>,
    /// Channels that are open under it.
    #[serde(default)]
    pub(crate) channels: usize,
    /// Channels that it let in since the gateway started.
    #[serde(default)]
    pub(crate) used: u64,
    /// When it let in the last of them.
    #[serde(default)]
    pub(crate) last_used: Option<Timestamp>,
}

/// `POST /exceptions`; the answer is the [`Exception`]. `source` or `sni` is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExceptionRequest {
    /// Who answers for it.
    pub(crate) owner: String,
    /// Why it is needed.
    pub(crate) reason: String,
    /// When it ends by itself.
    pub(crate) ends: Timestamp,
    /// The network that clients come from, in CIDR notation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    /// The name that clients ask for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sni: Option<String>,
    /// The listener it holds for; every `classical-canary` one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) listener: Option<String>,
}

/// The answer to `POST /exceptions/{id}/end`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ExceptionEnded {
    /// Its id.
    pub(crate) id: String,
    /// How many channels were cut with it.
    pub(crate) channels_closed: usize,
}

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

/// `POST /backup`. Both paths are absolute: the gateway opens them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct BackupRequest {
    /// The file to write; it must not exist.
    pub(crate) file: PathBuf,
    /// The file that holds the passphrase.
    pub(crate) passphrase_file: PathBuf,
}

/// The answer to [`BackupRequest`], and what `backup restore` prints.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BackupDone {
    /// The file.
    pub(crate) file: PathBuf,
    /// The trust domain whose state it holds.
    pub(crate) trust_domain: String,
    /// The state's revision.
    pub(crate) revision: u64,
}

/// What went wrong, RFC 9457: the body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OperatorProblem {
    /// What went wrong, in one line.
    pub(crate) detail: String,
    /// A stable word for it, such as `unknown-agent`.
    #[serde(default)]
    pub(crate) code: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hint: Option<String>,
}

/// What a gateway that does not say so is taken to mean.
fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use serde::de::DeserializeOwned;
    use serde_json::Value;

    use super::*;
    use crate::identity::PublishedKeys;

    /// Reads an example as the type it is an example of, and writes it again.
    fn again<T: Serialize + DeserializeOwned>(example: &Value) -> Value {
        let read: T = serde_json::from_value(example.clone())
            .unwrap_or_else(|error| panic!("{error}: {example:#}"));
        serde_json::to_value(read).unwrap()
    }

    fn rewritten(kind: &str, example: &Value) -> Value {
        match kind {
            "join-string-request" => again::<JoinStringRequest>(example),
            "join-string" => again::<JoinStringCreated>(example),
            "agents" => again::<Agents>(example),
            "revoke-request" => again::<RevokeRequest>(example),
            "revoked" => again::<AgentRevoked>(example),
            "grants" => again::<Grants>(example),
            "grant-request" => again::<GrantRequest>(example),
            "grant" => again::<GrantChanged>(example),
            "token-request" => again::<TokenRequest>(example),
            "token" => again::<TokenIssued>(example),
            "tokens" => again::<Tokens>(example),
            "token-revoked" => again::<TokenRevoked>(example),
            "sessions" => again::<Sessions>(example),
            "refused" => again::<Refused>(example),
            "closed" => again::<SessionClosed>(example),
            "services" => again::<Services>(example),
            "exceptions" => again::<Exceptions>(example),
            "exception-request" => again::<ExceptionRequest>(example),
            "exception-ended" => again::<ExceptionEnded>(example),
            "identity-keys" => again::<PublishedKeys>(example),
            "certificates" => again::<Certificates>(example),
            "certificate-renewal" => again::<CertificateRenewal>(example),
            "stage" => again::<Stages>(example),
            "backup-request" => again::<BackupRequest>(example),
            "backup" => again::<BackupDone>(example),
            "problem" => again::<OperatorProblem>(example),
            "check-config" => example.clone(),
            kind => panic!("docs/operator-api.md has an example of an unknown kind `{kind}`"),
        }
    }

    #[test]
    fn the_examples_in_the_documentation_are_what_the_types_say() {
        let page = include_str!("../../../docs/operator-api.md");
        let examples: Vec<_> = page.split("```json ").skip(1).collect();
        assert_eq!(examples.len(), 27, "each kind has one example");
        for example in examples {
            let (kind, rest) = example.split_once('\n').unwrap();
            let (json, _) = rest.split_once("```").unwrap();
            let example: Value = serde_json::from_str(json).unwrap();
            assert_eq!(rewritten(kind, &example), example, "{kind}");
        }
    }
}
