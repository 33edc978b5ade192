use std::fs;

use countersign_channel::identity::{KeyAlgorithm, Leaf, PrivateKey, SpkiHash};
use countersign_paseto::{Key, Local, SystemRandom, V4, mint_payload};
use tempfile::TempDir;

use super::*;
use crate::audit::{Record, WhenUnwritable, read};
use crate::config::IdentityVersion;
use crate::custody::{Custody, CustodyConfig};
use crate::store::StoreError;

mod joining;
mod membership;

/// A gateway's custody in a folder of its own, and a clock.
struct Gateway {
    folder: TempDir,
    custody: Custody,
    now: Timestamp,
}

impl Gateway {
    async fn new() -> Self {
        Self::with_profile(Profile::HybridV1).await
    }

    async fn with_profile(profile: Profile) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let custody = Custody::open(&config(&folder, profile), now).await.unwrap();
        Self {
            folder,
            custody,
            now,
        }
    }

    fn enrolment(&self) -> &EnrolmentService {
        &self.custody.enrolment
    }

    fn later(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    async fn join_string(&self, name: &str, replace: bool) -> String {
        let new = new_join_string(name, replace);
        let created = self
            .enrolment()
            .create_join_string(new, OPERATOR, self.now)
            .await;
        let join = created.unwrap().0;
        join.token.unwrap().expose_secret().to_owned()
    }

    async fn enrol(&self, token: &str, key: &PrivateKey) -> Result<Admission, EnrolRefusal> {
        let request = CertificateRequest::write(key).unwrap();
        self.enrol_raw(token, &request, self.now).await
    }

    async fn enrol_raw(
        &self,
        join_token: &str,
        certificate_request: &[u8],
        agent_time: Timestamp,
    ) -> Result<Admission, EnrolRefusal> {
        let (peer, profile) = (peer(), Profile::HybridV1);
        let request = EnrolRequest {
            join_token: Some(join_token),
            tpm: None,
            certificate_request,
            agent_time,
            peer,
            profile,
        };
        self.enrolment().enrol(request, self.now).await
    }

    async fn check_refused(&self, token: &str, key: &PrivateKey, code: &str, message: &str) {
        let refusal = self
            .enrol(token, key)
            .await
            .err()
            .expect("the enrolment must be refused");
        assert_eq!(
            (refusal.code(), refusal.to_string().as_str()),
            (code, message)
        );
    }

    async fn audited(&self) -> Vec<Record> {
        self.custody.audit.flush().await.unwrap();
        read(&self.folder.path().join("audit.jsonl")).unwrap()
    }

    fn holder<'a>(&self, id: &'a SpiffeId, key: &'a SpkiHash) -> Holder<'a> {
        Holder {
            id,
            key,
            profile: Profile::HybridV1,
        }
    }
}

fn config(folder: &TempDir, profile: Profile) -> CustodyConfig {
    CustodyConfig {
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        gateway: "main".to_owned(),
        profiles: vec![profile],
        identity: IdentityVersion::V4,
        keys: crate::config::KeysConfig::default(),
        store_file: folder.path().join("gateway.db"),
        root_key_file: folder.path().join("root.key"),
        audit_file: folder.path().join("audit.jsonl"),
        when_unaudited: WhenUnwritable::Refuse,
    }
}

fn new_join_string(name: &str, replace: bool) -> NewJoinString {
    NewJoinString {
        name: name.to_owned(),
        expires_in: DEFAULT_JOIN,
        replace,
        address: "gate.example.org:8443".parse().unwrap(),
        profile: Profile::HybridV1,
    }
}

fn key() -> PrivateKey {
    PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap()
}

fn peer() -> SocketAddr {
    ([192, 0, 2, 7], 40000).into()
}

fn laptop() -> SpiffeId {
    SpiffeId::parse("spiffe://example.org/agent/laptop").unwrap()
}

const OPERATOR: Operator = Operator { uid: 1000 };
