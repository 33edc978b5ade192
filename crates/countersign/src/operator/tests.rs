//! The types beside the examples of docs/operator-api.md.

use serde::Serialize;
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
        "tpm-join-string" => again::<TpmJoinString>(example),
        "agents" => again::<Agents>(example),
        "eks" => again::<AllowedEks>(example),
        "ek-request" => again::<AllowEkRequest>(example),
        "ek" => again::<AllowedEk>(example),
        "ek-forbidden" => again::<EkForbidden>(example),
        "accept-request" => again::<AcceptRequest>(example),
        "attestation" => again::<Attestation>(example),
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
    let page = include_str!("../../../../docs/operator-api.md");
    let examples: Vec<_> = page.split("```json ").skip(1).collect();
    assert_eq!(examples.len(), 34, "each kind has one example");
    for example in examples {
        let (kind, rest) = example.split_once('\n').unwrap();
        let (json, _) = rest.split_once("```").unwrap();
        let example: Value = serde_json::from_str(json).unwrap();
        assert_eq!(rewritten(kind, &example), example, "{kind}");
    }
}
