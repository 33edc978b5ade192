//! What a gateway has in its keeping, opened in the right order at start and kept fresh while it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use countersign_channel::Profile;
use countersign_channel::identity::TrustDomain;
use countersign_hsm::{HsmError, Pkcs11Uri};
use countersign_paseto::KeyId;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::access::AccessTokens;
use crate::acme::Acme;
use crate::audit::{Audit, AuditError, Event, WhenUnwritable};
use crate::authority::{self, AuthorityService, AuthorityServiceError};
use crate::bearer::BearerTokens;
use crate::config::{IdentityVersion, KeysConfig};
use crate::enrolment::EnrolmentService;
use crate::hardware::{Hardware, NewKeyError};
use crate::identity::{IdentityTokens, Signing, UnfitIdentityKey};
use crate::report::{Report, with_sources};
use crate::root_key::{RootKey, RootKeyError};
use crate::rotation::RotationError;
use crate::state::State;
use crate::store::{SqliteStore, Store, StoreError};

/// Where things lie, and for whom.
#[derive(Clone, Debug)]
pub(crate) struct CustodyConfig {
    pub(crate) trust_domain: TrustDomain,
    /// The gateway's name.
    pub(crate) gateway: String,
    /// Of all listeners.
    pub(crate) profiles: Vec<Profile>,
    pub(crate) identity: IdentityVersion,
    pub(crate) keys: KeysConfig,
    pub(crate) store_file: PathBuf,
    pub(crate) root_key_file: PathBuf,
    pub(crate) audit_file: PathBuf,
    pub(crate) when_unaudited: WhenUnwritable,
}

/// The gateway's state and the services that work on it.
#[derive(Clone)]
pub(crate) struct Custody {
    pub(crate) state: Arc<State>,
    pub(crate) authority: Arc<AuthorityService>,
    pub(crate) access: Arc<AccessTokens>,
    pub(crate) enrolment: Arc<EnrolmentService>,
    pub(crate) identity: Arc<IdentityTokens>,
    pub(crate) bearers: Arc<BearerTokens>,
    pub(crate) acme: Arc<Acme>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) hardware: Arc<Hardware>,
    root: Arc<RootKey>,
}

/// Why the gateway cannot start, or cannot keep what it has fresh.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum CustodyError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The root key cannot be used.
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    /// A key in a PKCS#11 token cannot be used.
    #[error(transparent)]
    Hardware(#[from] HsmError),
    /// A key in a PKCS#11 token does not sign identity tokens.
    #[error(transparent)]
    IdentityKey(#[from] UnfitIdentityKey),
    /// A key that a new configuration names cannot be used.
    #[error(transparent)]
    NewKey(#[from] NewKeyError),
    /// The authority cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityServiceError),
    /// The audit trail cannot be used.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The database belongs to another trust domain.
    #[error("the database `{}` is of the trust domain `{stored}`, not `{configured}`", file.display())]
    OtherTrustDomain {
        file: PathBuf,
        stored: String,
        configured: TrustDomain,
    },
}

impl Report for CustodyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::RootKey(error) => error.hint(),
            Self::Hardware(error) => error.hint(),
            Self::IdentityKey(error) => error.hint(),
            Self::NewKey(error) => error.hint(),
            Self::Authority(error) => error.hint(),
            Self::Audit(error) => error.hint(),
            Self::OtherTrustDomain { stored, .. } => Some(format!(
                "set `trust_domain = \"{stored}\"`, or give this gateway another `state_dir`"
            )),
        }
    }
}

impl From<RotationError> for CustodyError {
    fn from(error: RotationError) -> Self {
        match error {
            RotationError::Root(error) => Self::RootKey(error),
            RotationError::Store(error) => Self::Store(error),
        }
    }
}

impl Custody {
    /// Opens everything; a first start creates the root key, the trust domain and its first bundle.
    ///
    /// # Errors
    ///
    /// [`CustodyError`]: nothing of what was there is changed then.
    pub(crate) async fn open(config: &CustodyConfig, now: Timestamp) -> Result<Self, CustodyError> {
        // The store first: its lock keeps a second gateway away from the other files.
        let store = SqliteStore::open(&config.store_file).await?;
        let audit = Arc::new(Audit::open(&config.audit_file, config.when_unaudited)?);
        let hardware = open_hardware(&config.keys).await?;
        let root = Arc::new(open_root(&store, (config, &hardware), now).await?);
        let (state, secrets) = State::load(Arc::new(store)).await?;
        let names = (&config.trust_domain, config.gateway.as_str());
        let keeping = (&state, &root);
        let in_token = hardware.authority.clone();
        let authority = AuthorityService::load(names, keeping, in_token, &secrets)?;
        let authority = Arc::new(authority);
        let access = AccessTokens::load(config.trust_domain.clone(), &state, &root, &secrets)?;
        let access = Arc::new(access);
        let signing = Signing::new(config.identity, hardware.identity.clone())?;
        let identity = IdentityTokens::load(&config.trust_domain, keeping, &secrets)?;
        let acme = Acme::load(&state, &root, &secrets)?;
        let enrolment = EnrolmentService::load(
            (&state, &root),
            &secrets,
            Arc::clone(&authority),
            Arc::clone(&access),
            Arc::clone(&audit),
        )?;
        let enrolment = Arc::new(enrolment);
        let bearers =
            BearerTokens::load(&config.trust_domain, keeping, &secrets, Arc::clone(&audit))?;
        let custody = Self {
            state,
            authority,
            access,
            enrolment,
            identity: Arc::new(identity),
            bearers: Arc::new(bearers),
            acme: Arc::new(acme),
            audit,
            hardware: Arc::new(hardware),
            root,
        };
        custody.prepare(&config.profiles, &signing, now).await?;
        custody.identity.sign_with(signing);
        Ok(custody)
    }

    /// What another configuration has sign identity tokens. Where it names the same keys, `uris` is none and no token is asked.
    ///
    /// # Errors
    ///
    /// A key is not there or does not sign them, or its token was not opened at the start.
    pub(crate) async fn signing(
        &self,
        version: IdentityVersion,
        uris: Option<&[Pkcs11Uri]>,
    ) -> Result<Signing, CustodyError> {
        let keys = match uris.map(<[_]>::to_vec) {
            None => self.identity.signing().keys().to_vec(),
            Some(uris) => {
                let hardware = Arc::clone(&self.hardware);
                let found = tokio::task::spawn_blocking(move || hardware.signing_keys(&uris));
                found
                    .await
                    .expect("it does not panic, and nobody cancels it")?
            }
        };
        Ok(Signing::new(version, keys)?)
    }

    /// Makes ready for listeners with these profiles and for what signs identity tokens: at start, and before a reload takes
    /// effect.
    ///
    /// # Errors
    ///
    /// The store cannot be written, or AWS-LC failed.
    pub(crate) async fn prepare(
        &self,
        profiles: &[Profile],
        signing: &Signing,
        now: Timestamp,
    ) -> Result<(), CustodyError> {
        let before = self.authority.trust().version();
        self.authority.prepare(profiles, now).await?;
        let version = self.authority.trust().version();
        if version != before {
            let key = self.authority.pin().to_string();
            self.audit
                .record(Event::TrustBundlePublished { version, key });
        }
        for profile in profiles {
            let version = profile.token_version();
            self.rotated("access", self.access.rings().want(version, now).await?);
            self.rotated("join", self.enrolment.rings().want(version, now).await?);
            self.rotated("bearer", self.bearers.rings().want(version, now).await?);
        }
        self.rotated("identity", self.identity.prepare(signing, now).await?);
        Ok(())
    }

    /// Renews the gateway's certificates and lets keys take turns, where it is time, and writes down who was seen.
    ///
    /// # Errors
    ///
    /// The store cannot be written, or AWS-LC failed; what was there stays in use.
    pub(crate) async fn maintain(&self, now: Timestamp) -> Result<(), CustodyError> {
        // An authority whose token is gone keeps no other key from its turn.
        let certificates = self.renew_certificates(now).await;
        self.rotate_keys(now).await?;
        self.state.keep_seen().await?;
        certificates
    }

    async fn renew_certificates(&self, now: Timestamp) -> Result<(), CustodyError> {
        for svid in self.authority.renew(now).await? {
            self.audit.record(Event::CertificateRenewed {
                name: svid.id().to_string(),
                key: svid.leaf().public_key().hash(),
                serial: svid.leaf().serial().to_owned(),
                expires_at: svid.not_after(),
                key_changed: true,
            });
        }
        Ok(())
    }

    async fn rotate_keys(&self, now: Timestamp) -> Result<(), CustodyError> {
        self.rotated("access", self.access.rings().rotate(now).await?);
        self.rotated("join", self.enrolment.rings().rotate(now).await?);
        self.rotated("identity", self.identity.rotate(now).await?);
        self.rotated("bearer", self.bearers.rings().rotate(now).await?);
        Ok(())
    }

    /// Maintains until it is told to stop. A failure is logged and tried again.
    pub(crate) async fn run(&self, stop: CancellationToken) {
        let mut turns = tokio::time::interval(MAINTENANCE);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
            }
            if let Err(error) = self.maintain(Timestamp::now()).await {
                let error = with_sources(&error);
                tracing::error!(error, "keys and certificates could not be renewed");
            }
        }
    }

    /// The root key, for a backup.
    pub(crate) fn root(&self) -> &RootKey {
        &self.root
    }

    /// Writes what is left and closes the files.
    ///
    /// # Errors
    ///
    /// Something could not be written.
    pub(crate) async fn close(&self) -> Result<(), CustodyError> {
        self.state.keep_seen().await?;
        self.state.close().await?;
        self.audit.flush().await?;
        Ok(())
    }

    fn rotated(&self, kind: &str, added: Vec<KeyId>) {
        for key_id in added {
            let (kind, key_id) = (kind.to_owned(), key_id.to_string());
            self.audit.record(Event::KeyRotated { kind, key_id });
        }
    }
}

/// Modules may block for as long as they like, so they are opened beside the runtime.
async fn open_hardware(keys: &KeysConfig) -> Result<Hardware, HsmError> {
    let keys = keys.clone();
    let opened = tokio::task::spawn_blocking(move || Hardware::open(&keys)).await;
    opened.expect("it does not panic, and nobody cancels it")
}

/// The root key that belongs to the database; a first start draws it, and the trust domain's keys under it.
async fn open_root(
    store: &SqliteStore,
    (config, hardware): (&CustodyConfig, &Hardware),
    now: Timestamp,
) -> Result<RootKey, CustodyError> {
    let file = &config.root_key_file;
    let stored = store.load().await?.trust_domain;
    let protection = &hardware.root;
    let root = match (RootKey::read(file, protection)?, &stored) {
        (Some(root), _) => root,
        (None, None) => RootKey::create(file, protection)?,
        (None, Some(_)) => return Err(RootKeyError::Missing { file: file.clone() }.into()),
    };
    match stored {
        None => {
            let first = authority::begin(
                (&config.trust_domain, &config.profiles),
                (&root, hardware.authority.as_ref()),
                now,
            )?;
            store.initialise(&first).await?;
        }
        Some(stored) if stored != config.trust_domain.as_str() => {
            let (file, configured) = (config.store_file.clone(), config.trust_domain.clone());
            return Err(CustodyError::OtherTrustDomain {
                file,
                stored,
                configured,
            });
        }
        Some(_) => {}
    }
    Ok(root)
}

/// Certificates live an hour and are renewed at half of it: a turn each half minute is never late.
const MAINTENANCE: Duration = Duration::from_secs(30);

#[cfg(test)]
pub(crate) mod tests;
