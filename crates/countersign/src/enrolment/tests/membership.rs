//! Agents that are in: their certificates, how they are shut out, and what outlives a restart.

use super::*;

#[tokio::test]
async fn a_revoked_agent_is_out_and_its_key_with_it() {
    let gateway = Gateway::new().await;
    let (token, key) = (gateway.join_string("laptop", false).await, key());
    gateway.enrol(&token, &key).await.unwrap();
    let mut changes = gateway.custody.state.changes();
    changes.mark_unchanged();
    gateway
        .enrolment()
        .revoke("laptop", "stolen", OPERATOR, gateway.now)
        .await
        .unwrap();
    assert!(
        changes.has_changed().unwrap(),
        "who watches must hear of it"
    );
    let hash = key.public_key().hash();
    let expected = "the agent `laptop` was revoked at 2027-01-15T08:00:00Z: stolen";
    let (id, request) = (laptop(), CertificateRequest::write(&key).unwrap());
    let holder = gateway.holder(&id, &hash);
    let renewal = gateway
        .enrolment()
        .renew(holder, &request, None, gateway.now)
        .await;
    assert_eq!(renewal.err().unwrap().to_string(), expected);
    let token_refusal =
        gateway
            .enrolment()
            .access_token(holder, Appraisal::software(gateway.now), gateway.now);
    assert_eq!(token_refusal.err().unwrap().code(), "revoked");
    let message = "the agent's key was revoked at 2027-01-15T08:00:00Z";
    gateway
        .check_refused(&token, &key, "key_revoked", message)
        .await;
    let again = gateway
        .enrolment()
        .revoke("laptop", "again", OPERATOR, gateway.now)
        .await;
    let already = "the agent `laptop` was revoked at 2027-01-15T08:00:00Z";
    assert_eq!(again.unwrap_err().to_string(), already);
    let nobody = gateway
        .enrolment()
        .revoke("desktop", "", OPERATOR, gateway.now)
        .await;
    assert_eq!(
        nobody.unwrap_err().to_string(),
        "there is no agent `desktop`"
    );
}

#[tokio::test]
async fn a_renewal_keeps_the_key_or_changes_it() {
    let mut gateway = Gateway::new().await;
    let (token, old, new) = (gateway.join_string("laptop", false).await, key(), key());
    gateway.enrol(&token, &old).await.unwrap();
    gateway.later(1800);
    let (id, old_hash, new_hash) = (laptop(), old.public_key().hash(), new.public_key().hash());
    let holder = gateway.holder(&id, &old_hash);
    let request = CertificateRequest::write(&old).unwrap();
    let kept = gateway
        .enrolment()
        .renew(holder, &request, None, gateway.now)
        .await
        .unwrap();
    assert_eq!(
        Leaf::unverified(&kept.svid[0]).unwrap().not_after(),
        gateway.now + SignedDuration::from_hours(1)
    );
    let request = CertificateRequest::write(&new).unwrap();
    let changed = gateway
        .enrolment()
        .renew(holder, &request, None, gateway.now)
        .await
        .unwrap();
    let token = changed.access_token.as_ref().unwrap().expose_secret();
    let verified = gateway
        .custody
        .access
        .verify(token, Profile::HybridV1, gateway.now)
        .unwrap();
    assert!(verified.claims().cnf.is_for(new_hash.as_bytes()));
    let snapshot = gateway.custody.state.snapshot();
    snapshot.admit("laptop", &old_hash, gateway.now).unwrap();
    gateway.later(3600);
    assert!(snapshot.admit("laptop", &old_hash, gateway.now).is_err());
    snapshot.admit("laptop", &new_hash, gateway.now).unwrap();
}

#[tokio::test]
async fn everything_is_there_after_a_restart_without_a_close() {
    let gateway = Gateway::new().await;
    let (used, key) = (gateway.join_string("laptop", false).await, key());
    let unused = gateway.join_string("desktop", false).await;
    let admission = gateway.enrol(&used, &key).await.unwrap();
    let Gateway {
        folder,
        custody,
        now,
    } = gateway;
    let (pin, bundle) = (custody.authority.pin(), custody.authority.trust());
    let revision = custody.state.snapshot().revision;
    drop(custody);
    let custody = reopen(&folder, now).await;
    assert_eq!(custody.authority.pin(), pin);
    assert_eq!(custody.authority.trust().signed(), bundle.signed());
    assert_eq!(custody.state.snapshot().revision, revision);
    let token = admission.access_token.as_ref().unwrap().expose_secret();
    custody
        .access
        .verify(token, Profile::HybridV1, now)
        .unwrap();
    let gateway = Gateway {
        folder,
        custody,
        now,
    };
    gateway.enrol(&used, &key).await.unwrap();
    gateway.enrol(&unused, &super::tests::key()).await.unwrap();
}

/// The writer task of the custody before may still hold the lock for a moment.
async fn reopen(folder: &TempDir, now: Timestamp) -> Custody {
    for _ in 0..1000 {
        match Custody::open(&config(folder, Profile::HybridV1), now).await {
            Ok(custody) => return custody,
            Err(crate::custody::CustodyError::Store(StoreError::InUse { .. })) => {
                tokio::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lock was never let go of");
}

#[tokio::test]
async fn when_an_agent_was_seen_is_kept_without_a_new_revision() {
    let mut gateway = Gateway::new().await;
    let token = gateway.join_string("laptop", false).await;
    gateway.enrol(&token, &key()).await.unwrap();
    let revision = gateway.custody.state.snapshot().revision;
    gateway.later(60);
    gateway.custody.state.seen("laptop", gateway.now);
    gateway.custody.state.seen("nobody", gateway.now);
    gateway.custody.maintain(gateway.now).await.unwrap();
    let snapshot = gateway.custody.state.snapshot();
    assert_eq!(snapshot.agents["laptop"].last_seen, Some(gateway.now));
    assert_eq!(snapshot.revision, revision);
}

#[tokio::test]
async fn each_outcome_is_in_the_audit_trail() {
    let gateway = Gateway::new().await;
    let token = gateway.join_string("laptop", false).await;
    gateway.enrol(&token, &key()).await.unwrap();
    let _refused = gateway.enrol(&token, &key()).await;
    let _refused = gateway.enrol("nonsense", &key()).await;
    gateway
        .enrolment()
        .revoke("laptop", "lost", OPERATOR, gateway.now)
        .await
        .unwrap();
    let records = gateway.audited().await;
    let json: Vec<serde_json::Value> = records
        .iter()
        .map(|record| serde_json::to_value(record).unwrap())
        .filter(|record| record["event"] != "key-rotated")
        .collect();
    let names: Vec<&str> = json
        .iter()
        .map(|record| record["event"].as_str().unwrap())
        .collect();
    let expected = [
        "join-string-created",
        "enrolment-allowed",
        "token-minted",
        "enrolment-refused",
        "enrolment-refused",
        "agent-revoked",
    ];
    assert_eq!(names, expected);
    assert_eq!(
        (&json[3]["reason"], &json[3]["name"]),
        (&"join_used".into(), &"laptop".into())
    );
    assert_eq!(
        (&json[4]["reason"], &json[4]["name"]),
        (&"unknown".into(), &().into())
    );
    assert_eq!(json[5]["operator"], 1000);
    let text = fs::read_to_string(gateway.folder.path().join("audit.jsonl")).unwrap();
    assert!(!text.contains(&token), "the trail never holds a token");
}
