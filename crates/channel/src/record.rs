//! The channel record: what a client offered, what came of it, and why.
//!
//! It is made for every handshake, the failed ones included. Metrics, log, audit and inventory are views of it.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::identity::{Leaf, SpiffeId, SpkiHash};
use crate::profile::Profile;
use crate::registry::{Group, Scheme, Suite};
use crate::stage::{Kind, Stage};

/// One handshake, as the gateway saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChannelRecord {
    /// When the connection was accepted.
    pub at: Timestamp,
    /// The listener's name.
    pub listener: String,
    /// Where the connection came from.
    pub peer_address: SocketAddr,
    /// The listener's stage at that time.
    pub stage: Stage,
    /// The listener's profile at that time.
    pub profile: Profile,
    /// What the client is, judged by the server name it asked for; `None` when it sent no whole ClientHello.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
    /// What it offered, as it stood in the ClientHello.
    #[serde(default)]
    pub offered: Offer,
    /// What both ends settled on; `None` when they did not get so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub negotiated: Option<Negotiated>,
    /// An agent's certificate, verified; `None` for an agentless client and for an agent that enrols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<Peer>,
    /// An agentless client's certificate, verified, where its service asked for one and it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<Client>,
    /// The exception that let a classical key exchange through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exception: Option<String>,
    /// What came of it.
    pub outcome: Outcome,
}

/// What a ClientHello offered. Code points are kept as sent, also those that this crate cannot name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Offer {
    /// The server name, in lower case.
    pub sni: Option<String>,
    /// ALPN protocols; a protocol that is not text is shown in escapes.
    pub alpn: Vec<String>,
    /// Key exchange groups, in the client's order.
    pub groups: Vec<Group>,
    /// Signature schemes, in the client's order.
    pub schemes: Vec<Scheme>,
    /// Cipher suites, in the client's order.
    pub suites: Vec<Suite>,
}

/// What both ends settled on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Negotiated {
    /// The key exchange group.
    pub group: Group,
    /// The cipher suite.
    pub suite: Suite,
    /// The scheme with which the gateway signed.
    pub scheme: Scheme,
    /// The ALPN protocol.
    pub alpn: Option<String>,
}

/// Who is at the other end, by its verified certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its SPIFFE ID.
    pub id: SpiffeId,
    /// The SHA-384 of its leaf's SubjectPublicKeyInfo.
    pub spki_sha384: SpkiHash,
    /// When its leaf ends.
    pub not_after: Timestamp,
    /// The scheme with which it signed.
    pub scheme: Scheme,
}

/// Which agentless client is at the other end, by its verified certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The authority that issued it, by its name in the configuration.
    pub authority: String,
    /// The name in it: the first URI, or else the first email address, or else the first DNS name.
    pub name: String,
    /// The SHA-384 of its SubjectPublicKeyInfo.
    pub spki_sha384: SpkiHash,
    /// Its serial number in hexadecimal, as tools print it.
    pub serial: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// What came of a handshake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Outcome {
    /// The channel stands.
    Established,
    /// It does not, for this reason.
    Refused(Refusal),
}

/// Why a handshake was refused. The names are stable: they label metrics and audit events.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "reason", content = "detail", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Refusal {
    /// The client has classical key exchange only, and no exception covers it.
    #[error("the client offers classical key exchange only, and no exception covers it")]
    ClassicalKeyExchange,
    /// The client has post-quantum groups, but none of the profile's.
    #[error("the client offers none of the profile's groups")]
    NoCommonGroup,
    /// The client cannot verify the kind of certificate that it asked for.
    #[error("the client cannot verify the certificate's signature scheme")]
    NoCommonSignatureScheme,
    /// The client offers none of the profile's suites.
    #[error("the client offers none of the profile's suites")]
    NoCommonSuite,
    /// The client does not offer TLS 1.3.
    #[error("the client does not offer TLS 1.3")]
    TlsVersion,
    /// The bytes are not TLS.
    #[error("the client does not speak TLS")]
    NotTls,
    /// The bytes are an HTTP request without TLS.
    #[error("the client speaks HTTP without TLS")]
    PlainHttp,
    /// The connection ended before its ClientHello did.
    #[error("the connection ended before the ClientHello did")]
    IncompleteClientHello,
    /// The deadline passed before the handshake was done.
    #[error("the handshake was not done in time")]
    HandshakeTimeout,
    /// Too many connections waited, and this was the one that had waited longest.
    #[error("too many handshakes were waiting, and this one had waited longest")]
    Crowded,
    /// An agentless client came to a `strict` listener that admits none.
    #[error("the listener is strict and admits no agentless clients")]
    AgentlessNotAdmitted,
    /// An agentless client came to a listener that has no certificate for it.
    #[error("the listener has no certificate for agentless clients")]
    NoCertificate,
    /// The client's certificate does not hold.
    #[error("the client's certificate does not hold: {0}")]
    CertificateInvalid(CertificateFlaw),
    /// The client showed no certificate where one is needed.
    #[error("the client showed no certificate")]
    CertificateRequired,
    /// The client ended the handshake with this alert.
    #[error("the client ended the handshake with the alert `{0}`")]
    ClientAlert(String),
    /// The connection was lost in the middle of the handshake.
    #[error("the connection was lost during the handshake")]
    ConnectionLost,
    /// An ACME server checked a name, and had its answer (RFC 8737): there is nothing more to such a handshake.
    #[error("an ACME server checked that the name leads here, and had its answer")]
    AcmeChallenge,
    /// The client broke the protocol.
    #[error("the client broke the protocol: {0}")]
    Protocol(String),
}

/// What is wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CertificateFlaw {
    /// Its end has passed.
    #[error("it has expired")]
    Expired,
    /// Its beginning is still to come.
    #[error("it is not valid yet")]
    NotYetValid,
    /// No authority that counts here issued it.
    #[error("no authority that counts here issued it")]
    UnknownIssuer,
    /// A signature on it, or made with its key, is wrong.
    #[error("a signature does not verify")]
    BadSignature,
    /// Its signature algorithm is not one of the profile's.
    #[error("the profile does not allow its signature algorithm")]
    AlgorithmNotAllowed,
    /// It belongs to another trust domain.
    #[error("it belongs to another trust domain")]
    WrongTrustDomain,
    /// Its SPIFFE ID is of another kind than the place asks for.
    #[error("its SPIFFE ID is of the wrong kind")]
    WrongKind,
    /// It does not have exactly one URI name that is a SPIFFE ID.
    #[error("it does not hold exactly one SPIFFE ID")]
    NotOneSpiffeId,
    /// Its authority revoked it.
    #[error("its authority revoked it")]
    Revoked,
    /// The lists that its authority was given with do not say whether it was revoked, or have ended.
    #[error("no list in its time says whether it was revoked")]
    RevocationUnknown,
    /// It has no name that can name a client, or one that could be taken for something else.
    #[error("it holds no name that can name a client")]
    NoUsableName,
    /// It is not meant for this use.
    #[error("it is not meant for this use")]
    WrongUse,
    /// It cannot be read.
    #[error("it cannot be read")]
    Malformed,
}

impl ChannelRecord {
    /// Why the handshake was refused, if it was.
    pub const fn refusal(&self) -> Option<&Refusal> {
        match &self.outcome {
            Outcome::Established => None,
            Outcome::Refused(refusal) => Some(refusal),
        }
    }

    /// Whether the channel stands on a key exchange that a quantum computer would break.
    pub fn is_classical(&self) -> bool {
        self.negotiated
            .as_ref()
            .is_some_and(|negotiated| !negotiated.group.is_post_quantum())
    }
}

impl Peer {
    pub(crate) fn of(leaf: &Leaf) -> Self {
        Self {
            id: leaf.id().clone(),
            spki_sha384: leaf.public_key().hash(),
            not_after: leaf.not_after(),
            scheme: leaf.public_key().algorithm().scheme(),
        }
    }
}

impl Refusal {
    /// Its stable name, in kebab case.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ClassicalKeyExchange => "classical-key-exchange",
            Self::NoCommonGroup => "no-common-group",
            Self::NoCommonSignatureScheme => "no-common-signature-scheme",
            Self::NoCommonSuite => "no-common-suite",
            Self::TlsVersion => "tls-version",
            Self::NotTls => "not-tls",
            Self::PlainHttp => "plain-http",
            Self::IncompleteClientHello => "incomplete-client-hello",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::Crowded => "crowded",
            Self::AgentlessNotAdmitted => "agentless-not-admitted",
            Self::NoCertificate => "no-certificate",
            Self::CertificateInvalid(_) => "certificate-invalid",
            Self::CertificateRequired => "certificate-required",
            Self::ClientAlert(_) => "client-alert",
            Self::ConnectionLost => "connection-lost",
            Self::AcmeChallenge => "acme-challenge",
            Self::Protocol(_) => "protocol",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(refusal: Refusal) -> ChannelRecord {
        ChannelRecord {
            at: "2026-11-23T00:00:00Z".parse().unwrap(),
            listener: "main".to_owned(),
            peer_address: "192.0.2.7:40000".parse().unwrap(),
            stage: Stage::Hybrid,
            profile: Profile::HybridV1,
            kind: Some(Kind::Agentless),
            offered: Offer {
                sni: Some("service.example.org".to_owned()),
                alpn: vec!["h2".to_owned()],
                groups: vec![Group(0x3a3a), Group::X25519, Group(0xfe32)],
                schemes: vec![Scheme::ECDSA_P256],
                suites: vec![Suite::AES_128_GCM_SHA256],
            },
            negotiated: None,
            peer: None,
            client: None,
            exception: None,
            outcome: Outcome::Refused(refusal),
        }
    }

    #[test]
    fn a_record_is_written_as_logs_and_audit_know_it() {
        insta::assert_json_snapshot!("refused", refused(Refusal::ClassicalKeyExchange));
    }

    #[test]
    fn a_record_reads_back_from_its_json() {
        for refusal in [
            Refusal::ClassicalKeyExchange,
            Refusal::CertificateInvalid(CertificateFlaw::Expired),
            Refusal::ClientAlert("unknown_ca".to_owned()),
        ] {
            let record = refused(refusal);
            let json = serde_json::to_string(&record).unwrap();
            assert_eq!(
                serde_json::from_str::<ChannelRecord>(&json).unwrap(),
                record
            );
        }
    }

    #[test]
    fn a_refusal_has_one_name_in_json_and_in_metrics() {
        for refusal in [
            Refusal::ClassicalKeyExchange,
            Refusal::NoCommonGroup,
            Refusal::NoCommonSignatureScheme,
            Refusal::NoCommonSuite,
            Refusal::TlsVersion,
            Refusal::NotTls,
            Refusal::PlainHttp,
            Refusal::IncompleteClientHello,
            Refusal::HandshakeTimeout,
            Refusal::Crowded,
            Refusal::AgentlessNotAdmitted,
            Refusal::NoCertificate,
            Refusal::CertificateInvalid(CertificateFlaw::WrongKind),
            Refusal::CertificateRequired,
            Refusal::ClientAlert(String::new()),
            Refusal::ConnectionLost,
            Refusal::AcmeChallenge,
            Refusal::Protocol(String::new()),
        ] {
            assert_eq!(
                serde_json::to_value(&refusal).unwrap()["reason"],
                refusal.name()
            );
        }
    }
}
