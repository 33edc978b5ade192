//! A trust domain as a gateway has it: the key that signs bundles, and an authority.

use std::sync::Arc;
use std::time::Duration;

use countersign_channel::identity::{
    Authority, BundleDraft, CertificateRequest, KeyAlgorithm, PrivateKey, ProvenKey,
    SignedTrustBundle, SpiffeId, Svid, TrustBundle, TrustDomain, TrustDomainKey, Validity,
};
use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use crate::agent::control::Issued;
use crate::config::HostPort;
use crate::join_string::{JoinString, JoinToken};

pub(in crate::agent) struct Domain {
    key: TrustDomainKey,
    authority: Authority,
    made_at: Timestamp,
    pub(in crate::agent) name: TrustDomain,
}

impl Domain {
    pub(in crate::agent) fn new() -> Self {
        let name = TrustDomain::parse("example.org").unwrap();
        let made_at = Timestamp::now();
        let validity = Validity::anchor(made_at);
        let algorithm = KeyAlgorithm::MlDsa87;
        Self {
            key: TrustDomainKey::generate().unwrap(),
            authority: Authority::generate(name.clone(), algorithm, validity).unwrap(),
            made_at,
            name,
        }
    }

    pub(in crate::agent) fn signed(&self, version: u64) -> SignedTrustBundle {
        let draft = BundleDraft {
            trust_domain: self.name.clone(),
            version,
            issued_at: self.made_at,
            anchors: vec![self.authority.anchor().clone()],
        };
        self.key.sign(&draft).unwrap()
    }

    pub(in crate::agent) fn bundle(&self) -> Arc<TrustBundle> {
        let verified = self.signed(1).verify(&self.key.pin(), &self.name);
        Arc::new(verified.unwrap())
    }

    pub(in crate::agent) fn leaf(
        &self,
        request: &[u8],
        id: &SpiffeId,
        begins: Timestamp,
        life: Duration,
    ) -> CertificateDer<'static> {
        let validity = Validity::new(begins, begins + life);
        self.authority
            .issue(&proven(request), id, validity)
            .unwrap()
    }

    pub(in crate::agent) fn gateway(&self, begins: Timestamp) -> Svid {
        let key = PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap();
        let request = CertificateRequest::write(&key).unwrap();
        let id = self.name.gateway("main").unwrap();
        let leaf = self.leaf(&request, &id, begins, TWO_HOURS);
        Svid::new(vec![leaf], Arc::new(key)).unwrap()
    }

    pub(in crate::agent) fn issue(&self, key: &PrivateKey, name: &str, version: u64) -> Issued {
        let request = CertificateRequest::write(key).unwrap();
        let id = self.name.agent(name).unwrap();
        Issued {
            chain: vec![self.leaf(&request, &id, an_hour_ago(), TWO_HOURS)],
            bundle: self.signed(version),
        }
    }

    pub(in crate::agent) fn join_string(&self, address: HostPort, token: &str) -> JoinString {
        JoinString {
            address,
            trust_domain: self.name.clone(),
            pin: self.key.pin(),
            token: Some(JoinToken::new(token.to_owned())),
        }
    }
}

pub(in crate::agent) fn proven(request: &[u8]) -> ProvenKey {
    CertificateRequest::from_der(request)
        .unwrap()
        .prove()
        .unwrap()
}

pub(in crate::agent) fn an_hour_ago() -> Timestamp {
    Timestamp::now() - Duration::from_secs(3600)
}

const TWO_HOURS: Duration = Duration::from_secs(7200);
