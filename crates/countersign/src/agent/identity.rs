//! Who the agent is: its key, its certificate, the bundle it trusts, and where all that is kept.
//!
//! The key is written before anything is sent, the join string with it, so that an enrolment whose reply was lost is
//! repeated with the same key, which the gateway takes for the same enrolment. The certificate is written last: where it
//! is, the agent has joined.

use std::sync::Arc;

use arc_swap::ArcSwap;
use countersign_channel::Profile;
use countersign_channel::identity::{
    BundleError, KeyAlgorithm, KeyError, PrivateKey, SignedTrustBundle, SpkiHash, Svid, SvidError,
    TrustBundle, TrustDomain,
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::attester::{Attester, AttesterError};
use super::control::Issued;
use super::home::{Home, HomeError, Item};
use crate::config::HostPort;
use crate::join_string::JoinString;
use crate::report::Report;

/// An agent that has joined, with the directory that remembers it.
#[derive(Debug)]
pub(crate) struct Identity {
    home: Home,
    key: Arc<PrivateKey>,
    pin: SpkiHash,
    address: HostPort,
    current: ArcSwap<Credentials>,
}

/// What changes with each renewal.
#[derive(Debug)]
pub(crate) struct Credentials {
    /// The certificate and its key.
    pub(crate) svid: Arc<Svid>,
    /// The bundle, verified under the pinned key.
    pub(crate) bundle: Arc<TrustBundle>,
}

/// What a state directory says about its agent.
#[derive(Debug)]
pub(crate) enum Standing {
    /// The agent has joined; its certificate may have expired.
    Joined(Box<Identity>),
    /// It has not.
    Outside(Home),
}

impl Standing {
    /// Reads the directory.
    ///
    /// # Errors
    ///
    /// A file is open to others, cannot be read, or does not belong with the rest.
    pub(crate) fn read(home: Home, tpm: Option<&Attester>) -> Result<Self, IdentityError> {
        let Some(svid) = home.read(Item::Svid)? else {
            return Ok(Self::Outside(home));
        };
        let damaged = |item| IdentityError::damaged(&home, item);
        let key = read_key(&home, tpm)?.ok_or_else(|| damaged(Item::Key))?;
        let membership = home.read(Item::Bundle)?;
        let membership =
            membership.and_then(|json| serde_json::from_slice::<Membership>(&json).ok());
        let membership = membership.ok_or_else(|| damaged(Item::Bundle))?;
        let address = membership.address.parse();
        let address = address.map_err(|_| damaged(Item::Bundle))?;
        let svid = std::str::from_utf8(&svid).map_err(|_| damaged(Item::Svid))?;
        let svid = Svid::from_pem(svid, Arc::clone(&key))?;
        let bundle = membership
            .bundle
            .verify(&membership.pin, &membership.trust_domain)?;
        Ok(Self::Joined(Box::new(Identity {
            home,
            key,
            pin: membership.pin,
            address,
            current: ArcSwap::from_pointee(Credentials {
                svid: Arc::new(svid),
                bundle: Arc::new(bundle),
            }),
        })))
    }
}

impl Identity {
    /// Writes down what a gateway issued for the first time.
    ///
    /// # Errors
    ///
    /// The certificate is not for the key, or the directory cannot be written.
    pub(crate) fn joined(
        home: Home,
        join: &JoinString,
        key: Arc<PrivateKey>,
        bundle: TrustBundle,
        issued: Issued,
    ) -> Result<Self, IdentityError> {
        let svid = Svid::new(issued.chain, Arc::clone(&key))?;
        let identity = Self {
            home,
            key,
            pin: join.pin,
            address: join.address.clone(),
            current: ArcSwap::from_pointee(Credentials {
                svid: Arc::new(svid),
                bundle: Arc::new(bundle),
            }),
        };
        identity.write(&identity.current())?;
        Ok(identity)
    }

    /// Takes over what a gateway issued, once it is on disk.
    ///
    /// # Errors
    ///
    /// The bundle is not the pinned key's, or older than the one that is held; the certificate is not for the key or of
    /// another agent; or the directory cannot be written. What was there stays.
    pub(crate) fn renewed(&self, issued: Issued) -> Result<(), IdentityError> {
        let held = self.current();
        let trust_domain = held.bundle.trust_domain();
        let offered = issued.bundle.verify(&self.pin, trust_domain)?;
        let bundle = held.bundle.succeeded_by(offered)?;
        let svid = Svid::new(issued.chain, Arc::clone(&self.key))?;
        if svid.id() != held.svid.id() {
            return Err(IdentityError::AnotherName {
                held: held.svid.id().to_string(),
                issued: svid.id().to_string(),
            });
        }
        let fresh = Credentials {
            svid: Arc::new(svid),
            bundle: Arc::new(bundle),
        };
        self.write(&fresh)?;
        self.current.store(Arc::new(fresh));
        Ok(())
    }

    /// Forgets who the agent is, so that it can join with another key.
    ///
    /// The certificate goes first: without it the agent has not joined, and a cut here is mended by the next start.
    ///
    /// # Errors
    ///
    /// The directory cannot be written.
    pub(crate) fn leave(self) -> Result<Home, IdentityError> {
        self.home.remove(Item::Svid)?;
        self.home.remove(Item::Key)?;
        self.home.remove(Item::SealedKey)?;
        Ok(self.home)
    }

    /// The certificate and bundle of this moment.
    pub(crate) fn current(&self) -> Arc<Credentials> {
        self.current.load_full()
    }

    /// The key.
    pub(crate) fn key(&self) -> &Arc<PrivateKey> {
        &self.key
    }

    /// Where the join string said that the gateway is.
    pub(crate) fn address(&self) -> &HostPort {
        &self.address
    }

    /// The hash of the trust domain's key.
    pub(crate) fn pin(&self) -> &SpkiHash {
        &self.pin
    }

    /// The directory.
    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    /// Whether the certificate is of use at this time.
    pub(crate) fn is_valid_at(&self, now: Timestamp) -> bool {
        self.current().svid.is_valid_at(now)
    }

    /// Checks that the key is one that the profile has agents use.
    ///
    /// # Errors
    ///
    /// It is not.
    pub(crate) fn check_profile(&self, profile: Profile) -> Result<(), IdentityError> {
        check_algorithm(&self.home, &self.key, profile)
    }

    /// The bundle goes first: a newer bundle with an older certificate is a state that works.
    fn write(&self, credentials: &Credentials) -> Result<(), IdentityError> {
        let membership = Membership {
            address: self.address.to_string(),
            trust_domain: credentials.bundle.trust_domain().clone(),
            pin: self.pin,
            bundle: credentials.bundle.signed().clone(),
        };
        let json = serde_json::to_vec_pretty(&membership);
        let json = json.map_err(|_| IdentityError::damaged(&self.home, Item::Bundle))?;
        self.home.write(Item::Bundle, &json)?;
        let pem = credentials.svid.chain_to_pem()?;
        Ok(self.home.write(Item::Svid, pem.as_bytes())?)
    }
}

/// The key of the directory, or a fresh one that is on disk when this returns: sealed to the TPM where one is to keep it.
///
/// # Errors
///
/// The key is open to others, is none, is not one that the profile has agents use, or cannot be written.
pub(crate) fn key_for(
    home: &Home,
    profile: Profile,
    tpm: Option<&Attester>,
) -> Result<Arc<PrivateKey>, IdentityError> {
    if let Some(key) = read_key(home, tpm)? {
        check_algorithm(home, &key, profile)?;
        return Ok(key);
    }
    let key = PrivateKey::generate(profile.leaf_key())?;
    match tpm.filter(|tpm| tpm.seals_keys()) {
        Some(tpm) => home.write(Item::SealedKey, &tpm.seal(&key.to_pkcs8_der()?)?)?,
        None => home.write(Item::Key, key.to_pkcs8_pem()?.as_bytes())?,
    }
    Ok(Arc::new(key))
}

/// Keeps a join string beside the key, so that an enrolment that was interrupted goes on by itself.
///
/// # Errors
///
/// The directory cannot be written.
pub(crate) fn keep_join_string(home: &Home, join: &JoinString) -> Result<(), IdentityError> {
    Ok(home.write(Item::Join, join.expose_secret().as_bytes())?)
}

/// The join string that was kept.
///
/// # Errors
///
/// The file is open to others or cannot be read.
pub(crate) fn kept_join_string(home: &Home) -> Result<Option<JoinString>, IdentityError> {
    let Some(text) = home.read(Item::Join)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let text = std::str::from_utf8(&text).ok();
    let join = text.and_then(|text| text.parse().ok());
    join.map(Some)
        .ok_or_else(|| IdentityError::damaged(home, Item::Join))
}

fn read_key(home: &Home, tpm: Option<&Attester>) -> Result<Option<Arc<PrivateKey>>, IdentityError> {
    if let Some(sealed) = home.read(Item::SealedKey)? {
        let tpm = tpm.ok_or_else(|| IdentityError::Sealed {
            file: home.path(Item::SealedKey).display().to_string(),
        })?;
        let key = PrivateKey::from_pkcs8_der(&tpm.unseal(&sealed)?)?;
        return Ok(Some(Arc::new(key)));
    }
    let Some(pem) = home.read(Item::Key)?.map(Zeroizing::new) else {
        return Ok(None);
    };
    let pem = std::str::from_utf8(&pem).map_err(|_| IdentityError::damaged(home, Item::Key))?;
    Ok(Some(Arc::new(PrivateKey::from_pkcs8_pem(pem)?)))
}

fn check_algorithm(home: &Home, key: &PrivateKey, profile: Profile) -> Result<(), IdentityError> {
    if profile.agent_schemes().contains(&key.algorithm().scheme()) {
        return Ok(());
    }
    Err(IdentityError::WrongAlgorithm {
        found: key.algorithm(),
        profile,
        directory: home.directory().display().to_string(),
    })
}

/// What `bundle.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Membership {
    address: String,
    trust_domain: TrustDomain,
    pin: SpkiHash,
    bundle: SignedTrustBundle,
}

/// Why there is no identity to work with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum IdentityError {
    /// The directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A file holds something else than the agent wrote.
    #[error("`{file}` is missing or damaged")]
    Damaged {
        /// The file.
        file: String,
        /// The directory it is in.
        directory: String,
    },
    /// The key cannot be read, made or used.
    #[error("the agent's key cannot be used")]
    Key(#[from] KeyError),
    /// The certificate cannot be read, or belongs to another key.
    #[error("the agent's certificate cannot be used")]
    Svid(#[from] SvidError),
    /// The key is sealed to a TPM, and the agent is told of none.
    #[error("the agent's key in `{file}` is sealed to a TPM, and this agent is told of none")]
    Sealed {
        /// The file.
        file: String,
    },
    /// The TPM does not keep the key or does not give it back.
    #[error(transparent)]
    Tpm(#[from] AttesterError),
    /// The bundle is not to be trusted.
    #[error("the trust bundle was not taken")]
    Bundle(#[from] BundleError),
    /// The gateway issued a certificate with another name.
    #[error("the gateway issued a certificate for `{issued}` to `{held}`")]
    AnotherName {
        /// Who the agent is.
        held: String,
        /// Who it would have become.
        issued: String,
    },
    /// The profile changed after the agent had joined.
    #[error("the agent's key is {found}, which profile `{}` does not allow", profile.name())]
    WrongAlgorithm {
        /// The key's algorithm.
        found: KeyAlgorithm,
        /// The profile.
        profile: Profile,
        /// The state directory.
        directory: String,
    },
}

impl IdentityError {
    fn damaged(home: &Home, item: Item) -> Self {
        Self::Damaged {
            file: home.path(item).display().to_string(),
            directory: home.directory().display().to_string(),
        }
    }
}

impl Report for IdentityError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Home(error) => error.hint(),
            Self::Sealed { .. } => Some(
                "name the TPM in the configuration: `[tpm] device = \"/dev/tpmrm0\"`".to_owned(),
            ),
            Self::Tpm(error) => error.remedy(),
            Self::Damaged { directory, .. } | Self::WrongAlgorithm { directory, .. } => {
                Some(format!(
                    "move `{directory}` away and join again, with a string from \
                 `countersign join-string create --name NAME --replace` on the gateway"
                ))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::tests::Domain;

    fn join_string(domain: &Domain) -> JoinString {
        let address = "gate.example.org:8443".parse().unwrap();
        domain.join_string(address, "v4.local.secret")
    }

    fn join(domain: &Domain, directory: &std::path::Path) -> Identity {
        let home = Home::open(directory).unwrap();
        let key = key_for(&home, Profile::HybridV1, None).unwrap();
        let issued = domain.issue(&key, "laptop", 1);
        let join = join_string(domain);
        let bundle = issued.bundle.clone().verify(&join.pin, &domain.name);
        Identity::joined(home, &join, key, bundle.unwrap(), issued).unwrap()
    }

    fn read(directory: &std::path::Path) -> Result<Standing, IdentityError> {
        Standing::read(Home::open(directory).unwrap(), None)
    }

    #[test]
    fn an_agent_that_joined_finds_itself_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("agent");
        let joined = join(&Domain::new(), &directory);
        let svid = Arc::clone(&joined.current().svid);
        drop(joined);
        let Standing::Joined(again) = read(&directory).unwrap() else {
            panic!("the agent has joined");
        };
        assert_eq!(again.current().svid.chain(), svid.chain());
        assert_eq!(again.address().to_string(), "gate.example.org:8443");
        assert!(again.is_valid_at(Timestamp::now()));
    }

    #[test]
    fn a_kill_before_the_certificate_was_written_keeps_key_and_join_string() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("agent");
        let domain = Domain::new();
        let home = Home::open(&directory).unwrap();
        let key = key_for(&home, Profile::HybridV1, None).unwrap();
        keep_join_string(&home, &join_string(&domain)).unwrap();
        drop(home);
        let Standing::Outside(home) = read(&directory).unwrap() else {
            panic!("the agent has not joined");
        };
        let again = key_for(&home, Profile::HybridV1, None).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        let join = kept_join_string(&home).unwrap().unwrap();
        assert_eq!(join.token.unwrap().expose_secret(), "v4.local.secret");
    }

    #[test]
    fn a_renewal_is_on_disk_before_it_is_used() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("agent");
        let domain = Domain::new();
        let identity = join(&domain, &directory);
        identity
            .renewed(domain.issue(identity.key(), "laptop", 2))
            .unwrap();
        let svid = Arc::clone(&identity.current().svid);
        assert_eq!(identity.current().bundle.version(), 2);
        drop(identity);
        let Standing::Joined(again) = read(&directory).unwrap() else {
            panic!("the agent has joined");
        };
        assert_eq!(again.current().svid.chain(), svid.chain());
        assert_eq!(again.current().bundle.version(), 2);
    }

    #[test]
    fn a_renewal_with_an_older_bundle_another_name_or_another_key_is_not_taken() {
        let root = tempfile::tempdir().unwrap();
        let domain = Domain::new();
        let identity = join(&domain, &root.path().join("agent"));
        let before = identity.current();
        let stranger = PrivateKey::generate(KeyAlgorithm::MlDsa65).unwrap();
        let older = identity.renewed(domain.issue(identity.key(), "laptop", 0));
        assert!(matches!(older, Err(IdentityError::Bundle(_))));
        let renamed = identity.renewed(domain.issue(identity.key(), "server", 2));
        assert!(matches!(renamed, Err(IdentityError::AnotherName { .. })));
        let foreign = identity.renewed(domain.issue(&stranger, "laptop", 2));
        assert!(matches!(foreign, Err(IdentityError::Svid(_))));
        let other_domain = identity.renewed(Domain::new().issue(identity.key(), "laptop", 2));
        assert!(matches!(other_domain, Err(IdentityError::Bundle(_))));
        assert!(Arc::ptr_eq(&before, &identity.current()));
    }

    #[test]
    fn a_damaged_file_is_named_with_the_way_out() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("agent");
        let identity = join(&Domain::new(), &directory);
        identity.home().write(Item::Bundle, b"{}").unwrap();
        drop(identity);
        let error = read(&directory).unwrap_err();
        let file = directory.join("bundle.json");
        assert_eq!(
            error.to_string(),
            format!("`{}` is missing or damaged", file.display())
        );
        assert!(error.hint().unwrap().contains("--replace"));
    }

    #[test]
    fn a_profile_that_does_not_allow_the_key_is_told() {
        let root = tempfile::tempdir().unwrap();
        let identity = join(&Domain::new(), &root.path().join("agent"));
        identity.check_profile(Profile::HybridV1).unwrap();
        let error = identity.check_profile(Profile::Cnsa2V1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the agent's key is ML-DSA-65, which profile `cnsa2@1` does not allow"
        );
    }
}
