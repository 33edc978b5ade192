//! Who comes in by a join string, and who does not.

use super::*;

#[tokio::test]
async fn a_join_string_lets_its_agent_in() {
    let gateway = Gateway::new().await;
    let (token, key) = (gateway.join_string("laptop", false).await, key());
    let admission = gateway.enrol(&token, &key).await.unwrap();
    let leaf = Leaf::unverified(&admission.svid[0]).unwrap();
    assert_eq!(
        (leaf.id(), leaf.public_key()),
        (&laptop(), key.public_key())
    );
    assert_eq!(
        leaf.not_after(),
        gateway.now + SignedDuration::from_hours(1)
    );
    assert_eq!(admission.bundle.version(), 1);
    let access = &gateway.custody.access;
    let token = admission.access_token.as_ref().unwrap().expose_secret();
    let verified = access
        .verify(token, Profile::HybridV1, gateway.now)
        .unwrap();
    assert_eq!(
        verified.subject(),
        Some("spiffe://example.org/agent/laptop")
    );
    assert!(
        verified
            .claims()
            .cnf
            .is_for(key.public_key().hash().as_bytes())
    );
    let snapshot = gateway.custody.state.snapshot();
    snapshot
        .admit("laptop", &key.public_key().hash(), gateway.now)
        .unwrap();
}

#[tokio::test]
async fn a_lost_reply_does_not_burn_the_join_string() {
    let mut gateway = Gateway::new().await;
    let (token, key) = (gateway.join_string("laptop", false).await, key());
    gateway.enrol(&token, &key).await.unwrap();
    gateway.enrol(&token, &key).await.unwrap();
    gateway.later(3600);
    gateway.enrol(&token, &key).await.unwrap();
    let allowed: Vec<bool> = gateway
        .audited()
        .await
        .into_iter()
        .filter_map(|record| match record.event {
            Event::EnrolmentAllowed { repeated, .. } => Some(repeated),
            _ => None,
        })
        .collect();
    assert_eq!(allowed, [false, true, true]);
}

#[tokio::test]
async fn a_used_join_string_lets_no_other_key_in() {
    let gateway = Gateway::new().await;
    let token = gateway.join_string("laptop", false).await;
    gateway.enrol(&token, &key()).await.unwrap();
    let message = "the join string was used at 2027-01-15T08:00:00Z, by a machine with another key";
    gateway
        .check_refused(&token, &key(), "join_used", message)
        .await;
}

#[tokio::test]
async fn two_keys_that_race_for_one_join_string_do_not_both_come_in() {
    let gateway = Gateway::new().await;
    let token = gateway.join_string("laptop", false).await;
    let (one, other) = (key(), key());
    let (one, other) = tokio::join!(gateway.enrol(&token, &one), gateway.enrol(&token, &other));
    assert_ne!(one.is_ok(), other.is_ok());
}

#[tokio::test]
async fn an_expired_join_string_says_when_it_ended() {
    let mut gateway = Gateway::new().await;
    let token = gateway.join_string("laptop", false).await;
    let message = "the join string expired at 2027-01-15T08:15:00Z";
    gateway.later(900);
    gateway
        .check_refused(&token, &key(), "join_expired", message)
        .await;
    gateway.later(30 * 24 * 3600);
    gateway
        .check_refused(&token, &key(), "join_expired", message)
        .await;
}

#[tokio::test]
async fn a_clock_that_is_off_is_named_and_burns_nothing() {
    let gateway = Gateway::new().await;
    let (token, key) = (gateway.join_string("laptop", false).await, key());
    let request = CertificateRequest::write(&key).unwrap();
    for seconds in [600, -600] {
        let agent_time = gateway.now + SignedDuration::from_secs(seconds);
        let refusal = gateway
            .enrol_raw(&token, &request, agent_time)
            .await
            .err()
            .unwrap();
        assert_eq!(refusal.code(), "clock_skew");
        assert_eq!(
            refusal.to_string(),
            format!("the agent's clock is off by {seconds} seconds")
        );
    }
    gateway
        .enrol_raw(&token, &request, gateway.now + SignedDuration::from_mins(5))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_join_string_of_another_gateway_is_told_apart() {
    let (gateway, other) = (Gateway::new().await, Gateway::new().await);
    let token = other.join_string("laptop", false).await;
    let message = "the join string is for another gateway";
    gateway
        .check_refused(&token, &key(), "wrong_gateway", message)
        .await;
}

#[tokio::test]
async fn a_name_in_use_needs_replace() {
    let gateway = Gateway::new().await;
    let (first, second) = (
        gateway.join_string("laptop", false).await,
        gateway.join_string("laptop", false).await,
    );
    let (old, new) = (key(), key());
    gateway.enrol(&first, &old).await.unwrap();
    let message = "the name `laptop` is in use by another key";
    gateway
        .check_refused(&second, &new, "name_in_use", message)
        .await;
    gateway.enrol(&second, &old).await.unwrap();
    let created = gateway
        .enrolment()
        .create_join_string(new_join_string("laptop", false), OPERATOR, gateway.now)
        .await;
    assert_eq!(
        created.unwrap_err().to_string(),
        "the name `laptop` is in use"
    );
    let replacing = gateway.join_string("laptop", true).await;
    gateway.enrol(&replacing, &new).await.unwrap();
    let snapshot = gateway.custody.state.snapshot();
    let shut_out = snapshot
        .admit("laptop", &old.public_key().hash(), gateway.now)
        .unwrap_err();
    assert_eq!(
        shut_out.to_string(),
        "the agent `laptop` has another key now"
    );
}

#[tokio::test]
async fn whoever_holds_no_authentic_token_is_told_nothing() {
    let gateway = Gateway::new().await;
    let token = gateway.join_string("laptop", false).await;
    let message = "the join string is not known here";
    let mut altered = token.clone().into_bytes();
    altered[40] = if altered[40] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    for text in [altered.as_str(), "", "v4.local.AAAA.AAAA", "v4.public.AAAA"] {
        gateway
            .check_refused(text, &key(), "unknown", message)
            .await;
    }
    let admission = gateway.enrol(&token, &key()).await.unwrap();
    let access = admission.access_token.as_ref().unwrap().expose_secret();
    let refusal = gateway.enrol(access, &key()).await.err().unwrap();
    assert_eq!(
        refusal.code(),
        "wrong_gateway",
        "an access token is no join token"
    );
}

#[tokio::test]
async fn a_token_that_the_store_does_not_know_is_unknown() {
    let gateway = Gateway::new().await;
    let token = gateway.join_string("laptop", false).await;
    let mut database = sqlx_connection(&gateway).await;
    sqlx::query("DELETE FROM join_tokens")
        .execute(&mut database)
        .await
        .unwrap();
    let message = "the join string is not known here";
    gateway
        .check_refused(&token, &key(), "unknown", message)
        .await;
}

async fn sqlx_connection(gateway: &Gateway) -> sqlx::SqliteConnection {
    use sqlx::ConnectOptions;
    let file = gateway.folder.path().join("gateway.db");
    sqlx::sqlite::SqliteConnectOptions::new()
        .filename(file)
        .connect()
        .await
        .unwrap()
}

#[tokio::test]
async fn a_bad_certificate_request_burns_nothing() {
    let gateway = Gateway::new().await;
    let (token, key) = (gateway.join_string("laptop", false).await, key());
    let mut request = CertificateRequest::write(&key).unwrap();
    *request.last_mut().unwrap() ^= 1;
    let refusal = gateway
        .enrol_raw(&token, &request, gateway.now)
        .await
        .err()
        .unwrap();
    assert_eq!(refusal.code(), "bad_request");
    let p256 = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let message = "agents under `hybrid@1` have ML-DSA-65 keys, this one is ECDSA P-256";
    gateway
        .check_refused(&token, &p256, "bad_request", message)
        .await;
    gateway.enrol(&token, &key).await.unwrap();
}

#[tokio::test]
async fn a_name_or_a_time_that_cannot_be_is_refused() {
    let gateway = Gateway::new().await;
    for name in ["", "a/b", "..", "ä"] {
        let new = new_join_string(name, false);
        let refusal = gateway
            .enrolment()
            .create_join_string(new, OPERATOR, gateway.now)
            .await;
        assert!(matches!(refusal, Err(JoinStringError::Name(_))), "`{name}`");
    }
    for seconds in [0, 8 * 24 * 3600] {
        let expires_in = Duration::from_secs(seconds);
        let new = NewJoinString {
            expires_in,
            ..new_join_string("laptop", false)
        };
        let refusal = gateway
            .enrolment()
            .create_join_string(new, OPERATOR, gateway.now)
            .await;
        let expected =
            format!("a join string lives from 1 second to 7 days, not {seconds} seconds");
        assert_eq!(refusal.unwrap_err().to_string(), expected);
    }
}

#[tokio::test]
async fn under_a_profile_of_nist_algorithms_tokens_are_v3() {
    let gateway = Gateway::with_profile(Profile::Cnsa2V1).await;
    let new = NewJoinString {
        profile: Profile::Cnsa2V1,
        ..new_join_string("laptop", false)
    };
    let created = gateway
        .enrolment()
        .create_join_string(new, OPERATOR, gateway.now)
        .await;
    let token = created.unwrap().0.token.unwrap();
    assert!(token.expose_secret().starts_with("v3.local."));
    let key = PrivateKey::generate(KeyAlgorithm::MlDsa87).unwrap();
    let request = EnrolRequest {
        join_token: Some(token.expose_secret()),
        tpm: None,
        certificate_request: &CertificateRequest::write(&key).unwrap(),
        agent_time: gateway.now,
        peer: peer(),
        profile: Profile::Cnsa2V1,
    };
    let admission = gateway
        .enrolment()
        .enrol(request, gateway.now)
        .await
        .unwrap();
    assert!(
        admission
            .access_token
            .unwrap()
            .expose_secret()
            .starts_with("v3.local.")
    );
}

#[tokio::test]
async fn a_token_that_this_gateway_sealed_as_something_else_is_no_join_token() {
    let gateway = Gateway::new().await;
    let text = fs::read_to_string(gateway.folder.path().join("root.key")).unwrap();
    let root = Key::<V4, Local>::from_paserk(text.trim_end()).unwrap();
    let footer = format!("{{\"kid\":\"{}\"}}", root.id());
    let envelope = countersign_paseto::Envelope {
        footer: footer.as_bytes(),
        assertion: b"",
    };
    let token = mint_payload(&root, b"{}", envelope, &SystemRandom).unwrap();
    let message = "the join string is for another gateway";
    gateway
        .check_refused(&token, &key(), "wrong_gateway", message)
        .await;
}
