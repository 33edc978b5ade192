//! The built-in authority: the trust domain's key, the anchors, and the certificates issued from them.
//!
//! The gateway's own keys live in memory only: each certificate of its own has a fresh key.

mod error;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_channel::Profile;
use countersign_channel::identity::{
    Authority, BundleDraft, CertificateRequest, KeyAlgorithm, KeyError, Leaf, PrivateKey,
    ProvenKey, SignedTrustBundle, SpiffeId, SpkiHash, Svid, SvidError, TrustBundle, TrustDomain,
    TrustDomainKey, Validity,
};
use countersign_hsm::SigningKey;
use jiff::{SignedDuration, Timestamp};
use rustls_pki_types::CertificateDer;
use tokio::runtime::RuntimeFlavor;
use tokio::sync::{Mutex, watch};

pub(crate) use self::error::AuthorityServiceError;
use crate::hardware::AuthorityKey;
use crate::root_key::RootKey;
use crate::state::State;
use crate::store::{BundleDocument, Initial, SealedSecret, SecretKind};

/// Issues certificates for the trust domain and keeps the gateway's own fresh.
pub(crate) struct AuthorityService {
    state: Arc<State>,
    root: Arc<RootKey>,
    /// The key of anchors of its algorithm, instead of one that is drawn.
    in_token: Option<SigningKey>,
    gateway: SpiffeId,
    key: TrustDomainKey,
    trust: ArcSwap<TrustBundle>,
    anchors: ArcSwap<Vec<Arc<Authority>>>,
    svids: ArcSwap<BTreeMap<&'static str, Arc<Svid>>>,
    renewed: watch::Sender<u64>,
    changing: Mutex<()>,
}

/// A certificate that was issued, with what is kept of it.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    /// The chain, leaf first; it has only a leaf.
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) serial: String,
    pub(crate) expires_at: Timestamp,
}

/// Draws the keys of a new trust domain, sealed, with its first bundle.
///
/// # Errors
///
/// There is no randomness, or the key in the token would issue nothing.
pub(crate) fn begin(
    (trust_domain, profiles): (&TrustDomain, &[Profile]),
    (root, in_token): (&RootKey, Option<&SigningKey>),
    now: Timestamp,
) -> Result<Initial, AuthorityServiceError> {
    check_key(profiles, in_token)?;
    let key = TrustDomainKey::generate()?;
    let mut secrets = vec![seal(root, SecretKind::TrustDomainKey, key.key(), now)?];
    let mut anchors = Vec::new();
    for algorithm in anchor_algorithms(profiles) {
        let key = anchor_key(algorithm, in_token)?;
        let authority = Authority::begin(trust_domain.clone(), key, Validity::anchor(now))?;
        if !authority.key().is_elsewhere() {
            secrets.push(seal(root, SecretKind::Anchor, authority.key(), now)?);
        }
        anchors.push(authority.anchor().clone());
    }
    let draft = BundleDraft {
        trust_domain: trust_domain.clone(),
        version: 1,
        issued_at: now,
        anchors,
    };
    let bundle = document(&key.sign(&draft)?, &draft);
    Ok(Initial {
        trust_domain: trust_domain.to_string(),
        secrets,
        bundle,
    })
}

impl AuthorityService {
    /// Opens the authority's keys; one may be `in_token`.
    ///
    /// # Errors
    ///
    /// The store or a key in it cannot be used.
    pub(crate) fn load(
        (trust_domain, gateway_name): (&TrustDomain, &str),
        (state, root): (&Arc<State>, &Arc<RootKey>),
        in_token: Option<SigningKey>,
        secrets: &[SealedSecret],
    ) -> Result<Self, AuthorityServiceError> {
        let mut keys = open_all(root, SecretKind::TrustDomainKey, secrets)?;
        let key = keys.pop().ok_or(AuthorityServiceError::Absent {
            what: "trust domain key",
        })?;
        let key = TrustDomainKey::new(key)?;
        let snapshot = state.snapshot();
        let stored = snapshot.bundle.as_ref();
        let stored = stored.ok_or(AuthorityServiceError::Absent {
            what: "trust bundle",
        })?;
        let trust =
            SignedTrustBundle::from_json(&stored.document)?.verify(&key.pin(), trust_domain)?;
        let mut anchors = Vec::new();
        let elsewhere = in_token.as_ref().map(AuthorityKey::private_key);
        let mut keys = open_all(root, SecretKind::Anchor, secrets)?;
        keys.extend(elsewhere.transpose()?);
        for key in keys {
            let anchor = trust
                .anchors()
                .iter()
                .find(|anchor| anchor.public_key() == key.public_key());
            if let Some(anchor) = anchor.cloned() {
                anchors.push(Arc::new(Authority::restore(
                    trust_domain.clone(),
                    anchor,
                    key,
                )?));
            }
        }
        Ok(Self {
            state: Arc::clone(state),
            root: Arc::clone(root),
            in_token,
            gateway: trust_domain.gateway(gateway_name)?,
            key,
            trust: ArcSwap::from_pointee(trust),
            anchors: ArcSwap::from_pointee(anchors),
            svids: ArcSwap::default(),
            renewed: watch::Sender::new(0),
            changing: Mutex::new(()),
        })
    }

    /// The hash of the trust domain's key, for join strings.
    pub(crate) fn pin(&self) -> SpkiHash {
        self.key.pin()
    }

    /// The trust bundle, as it is now.
    pub(crate) fn trust(&self) -> Arc<TrustBundle> {
        self.trust.load_full()
    }

    /// The gateway's own SPIFFE ID.
    pub(crate) fn gateway(&self) -> &SpiffeId {
        &self.gateway
    }

    /// The gateway's certificate for a profile that was [prepared](Self::prepare).
    pub(crate) fn svid(&self, profile: Profile) -> Option<Arc<Svid>> {
        self.svids.load().get(profile.leaf_key().name()).cloned()
    }

    /// Told each time after a certificate of the gateway, or the trust bundle, was replaced.
    pub(crate) fn renewals(&self) -> watch::Receiver<u64> {
        self.renewed.subscribe()
    }

    /// Makes sure that there are an anchor and a certificate of the gateway for each of these profiles. A new anchor
    /// makes a new version of the bundle, which agents take at their next renewal.
    ///
    /// # Errors
    ///
    /// The store cannot be written, AWS-LC failed, or the key in the token would issue nothing.
    pub(crate) async fn prepare(
        &self,
        profiles: &[Profile],
        now: Timestamp,
    ) -> Result<(), AuthorityServiceError> {
        check_key(profiles, self.in_token.as_ref())?;
        let _one_at_a_time = self.changing.lock().await;
        for algorithm in anchor_algorithms(profiles) {
            if !self.has_anchor(algorithm) {
                self.add_anchor(algorithm, now).await?;
            }
        }
        let absent = |algorithm: &KeyAlgorithm| {
            profiles
                .iter()
                .any(|profile| profile.leaf_key() == *algorithm)
                && !self.svids.load().contains_key(algorithm.name())
        };
        let absent: Vec<KeyAlgorithm> = KeyAlgorithm::ALL.into_iter().filter(absent).collect();
        self.replace_svids(&absent, now)?;
        Ok(())
    }

    /// Replaces those certificates of the gateway that are past half of their life. Gives what was issued.
    ///
    /// # Errors
    ///
    /// AWS-LC failed; the certificates before stay.
    pub(crate) async fn renew(
        &self,
        now: Timestamp,
    ) -> Result<Vec<Arc<Svid>>, AuthorityServiceError> {
        let _one_at_a_time = self.changing.lock().await;
        let due = |algorithm: &KeyAlgorithm| {
            let svid = self.svids.load().get(algorithm.name()).cloned();
            svid.is_some_and(|svid| svid.half_life() <= now)
        };
        let due: Vec<KeyAlgorithm> = KeyAlgorithm::ALL.into_iter().filter(due).collect();
        self.replace_svids(&due, now)
    }

    /// Issues a certificate, good for an hour, under the newest anchor that goes with the key and that every agent has taken
    /// by now; else under the oldest.
    ///
    /// # Errors
    ///
    /// No profile that was prepared has such keys, or AWS-LC failed.
    pub(crate) fn issue(
        &self,
        key: &ProvenKey,
        id: &SpiffeId,
        now: Timestamp,
    ) -> Result<Issued, AuthorityServiceError> {
        let algorithm = key.public_key().algorithm();
        let anchors = self.anchors.load();
        let fits = |anchor: &&Arc<Authority>| {
            anchor.key().algorithm().is_post_quantum() == algorithm.is_post_quantum()
        };
        let newest = anchors.iter().rev().find(fits);
        let newest = newest.ok_or(AuthorityServiceError::Absent { what: "anchor" })?;
        let alike = |anchor: &&Arc<Authority>| anchor.key().algorithm() == newest.key().algorithm();
        let known = |anchor: &&Arc<Authority>| anchor.anchor().not_before() + KNOWN_AFTER <= now;
        let known = anchors.iter().rev().filter(alike).find(known);
        let anchor = known
            .or_else(|| anchors.iter().find(alike))
            .unwrap_or(newest);
        let leaf = beside_tasks(anchor, || anchor.issue(key, id, Validity::leaf(now)))?;
        let read = Leaf::unverified(&leaf).map_err(SvidError::from)?;
        let serial = read.serial().to_owned();
        Ok(Issued {
            chain: vec![leaf],
            serial,
            expires_at: read.not_after(),
        })
    }

    /// Whether there is an anchor of this algorithm; of a key that lives elsewhere, that very one.
    fn has_anchor(&self, algorithm: KeyAlgorithm) -> bool {
        let wanted = self.in_token.as_ref();
        let wanted = wanted.filter(|key| AuthorityKey::algorithm(key) == Some(algorithm));
        self.anchors.load().iter().any(|anchor| {
            anchor.key().algorithm() == algorithm
                && (wanted.is_none() || anchor.key().is_elsewhere())
        })
    }

    async fn add_anchor(
        &self,
        algorithm: KeyAlgorithm,
        now: Timestamp,
    ) -> Result<(), AuthorityServiceError> {
        let trust = self.trust();
        let trust_domain = trust.trust_domain().clone();
        let key = anchor_key(algorithm, self.in_token.as_ref())?;
        let authority = Authority::begin(trust_domain.clone(), key, Validity::anchor(now))?;
        let mut draft = BundleDraft {
            trust_domain: trust_domain.clone(),
            version: trust.version() + 1,
            issued_at: now,
            anchors: trust.anchors().to_vec(),
        };
        draft.anchors.push(authority.anchor().clone());
        let signed = self.key.sign(&draft)?;
        // The key first: a bundle whose anchor nobody can use would be worse than a key that no bundle names.
        if !authority.key().is_elsewhere() {
            let secret = seal(&self.root, SecretKind::Anchor, authority.key(), now)?;
            self.state.put_secret(secret, now).await?;
        }
        self.state.publish_bundle(document(&signed, &draft)).await?;
        self.trust
            .store(Arc::new(signed.verify(&self.key.pin(), &trust_domain)?));
        let mut anchors = Vec::clone(&self.anchors.load());
        anchors.push(Arc::new(authority));
        self.anchors.store(Arc::new(anchors));
        self.renewed.send_modify(|count| *count += 1);
        Ok(())
    }

    fn replace_svids(
        &self,
        algorithms: &[KeyAlgorithm],
        now: Timestamp,
    ) -> Result<Vec<Arc<Svid>>, AuthorityServiceError> {
        let mut fresh = Vec::new();
        let mut svids = BTreeMap::clone(&self.svids.load());
        for algorithm in algorithms {
            let svid = Arc::new(self.own_svid(*algorithm, now)?);
            svids.insert(algorithm.name(), Arc::clone(&svid));
            fresh.push(svid);
        }
        if !fresh.is_empty() {
            self.svids.store(Arc::new(svids));
            self.renewed.send_modify(|count| *count += 1);
        }
        Ok(fresh)
    }

    fn own_svid(
        &self,
        algorithm: KeyAlgorithm,
        now: Timestamp,
    ) -> Result<Svid, AuthorityServiceError> {
        let key = PrivateKey::generate(algorithm)?;
        let request = CertificateRequest::write(&key)?;
        let proven = CertificateRequest::from_der(&request)?.prove()?;
        let issued = self.issue(&proven, &self.gateway, now)?;
        Ok(Svid::new(issued.chain, Arc::new(key))?)
    }
}

/// A key in a token may block, and tasks must not wait for it.
fn beside_tasks<T>(anchor: &Authority, issue: impl FnOnce() -> T) -> T {
    let many = tokio::runtime::Handle::try_current()
        .is_ok_and(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread);
    match anchor.key().is_elsewhere() && many {
        true => tokio::task::block_in_place(issue),
        false => issue(),
    }
}

/// The key in the token if it is of this algorithm, else a fresh one.
fn anchor_key(
    algorithm: KeyAlgorithm,
    in_token: Option<&SigningKey>,
) -> Result<PrivateKey, KeyError> {
    match in_token.filter(|key| AuthorityKey::algorithm(key) == Some(algorithm)) {
        Some(key) => AuthorityKey::private_key(key),
        None => PrivateKey::generate(algorithm),
    }
}

/// Refuses a key in a token that no anchor would have: whoever names one believes that it issues.
fn check_key(
    profiles: &[Profile],
    in_token: Option<&SigningKey>,
) -> Result<(), AuthorityServiceError> {
    let Some(key) = in_token else {
        return Ok(());
    };
    let wanted = anchor_algorithms(profiles);
    if AuthorityKey::algorithm(key).is_some_and(|algorithm| wanted.contains(&algorithm)) {
        return Ok(());
    }
    let wanted: Vec<&str> = wanted.into_iter().map(KeyAlgorithm::name).collect();
    Err(AuthorityServiceError::UnfitKey {
        found: key.public_key().algorithm(),
        wanted: wanted.join(" or "),
    })
}

/// Agents take a new bundle when they renew their certificate, which lives an hour. What an anchor issues before that, they
/// do not trust. The five minutes by which an anchor is dated back come on top.
const KNOWN_AFTER: SignedDuration = SignedDuration::from_mins(65);

fn anchor_algorithms(profiles: &[Profile]) -> Vec<KeyAlgorithm> {
    let wanted = |algorithm: &KeyAlgorithm| {
        profiles
            .iter()
            .any(|profile| profile.anchor_key() == *algorithm)
    };
    KeyAlgorithm::ALL.into_iter().filter(wanted).collect()
}

fn seal(
    root: &RootKey,
    kind: SecretKind,
    key: &PrivateKey,
    now: Timestamp,
) -> Result<SealedSecret, AuthorityServiceError> {
    let id = key.public_key().hash().to_string();
    let sealed = root.seal(kind, &id, &key.to_pkcs8_der()?)?;
    Ok(SealedSecret {
        kind,
        id,
        sealed,
        not_before: now,
        not_after: None,
    })
}

/// Opens the private keys of one kind, the oldest first.
fn open_all(
    root: &RootKey,
    kind: SecretKind,
    secrets: &[SealedSecret],
) -> Result<Vec<PrivateKey>, AuthorityServiceError> {
    let of_kind = secrets.iter().filter(|secret| secret.kind == kind);
    of_kind
        .map(|secret| {
            let der = root.open(kind, &secret.id, &secret.sealed)?;
            Ok(PrivateKey::from_pkcs8_der(&der)?)
        })
        .collect()
}

fn document(signed: &SignedTrustBundle, draft: &BundleDraft) -> BundleDocument {
    BundleDocument {
        version: draft.version,
        issued_at: draft.issued_at,
        document: signed.to_json().into_bytes(),
    }
}
