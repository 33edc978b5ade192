//! Certificates for agentless clients from an ACME server (RFC 8555), which checks by TLS-ALPN-01 (RFC 8737) that their names
//! lead here.
//!
//! There is one certificate for each name, so that a name that cannot be had keeps no other from being renewed. Account and
//! keys lie sealed in the store. [`plan`] says when something is to be done, [`order`] does it.

mod error;
mod http;
mod order;
mod plan;
mod vault;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use countersign_channel::Profile;
use countersign_channel::identity::KeyAlgorithm;
use countersign_channel::registry::Scheme;
use countersign_channel::server::{Challenges, ClassicalCertificate};
use instant_acme::{Account, ExternalAccountKey, NewAccount};
use jiff::Timestamp;
use zeroize::Zeroizing;

use self::error::AcmeError;
use self::plan::{Plan, Window};
use self::vault::Vault;
use crate::config::AcmeConfig;
use crate::from_files::Problem;
use crate::private_file;
use crate::root_key::{RootKey, RootKeyError};
use crate::state::State;
use crate::store::SealedSecret;

/// What an ACME server gave, and what is to be asked of it.
pub(crate) struct Acme {
    vault: Vault,
    challenges: Challenges,
    plan: Mutex<Plan>,
}

/// The names that certificates are wanted for, with the profiles of the listeners that will show them.
pub(crate) type Wanted = BTreeMap<String, Vec<Profile>>;

/// What is known of a name that a certificate is wanted for.
pub(crate) struct Course {
    /// When the next attempt is due.
    pub(crate) next: Option<Timestamp>,
    pub(crate) problem: Option<Problem>,
}

impl Acme {
    /// Opens what was kept.
    ///
    /// # Errors
    ///
    /// A secret does not open.
    pub(crate) fn load(
        state: &Arc<State>,
        root: &Arc<RootKey>,
        secrets: &[SealedSecret],
    ) -> Result<Self, RootKeyError> {
        Ok(Self {
            vault: Vault::load(Arc::clone(state), Arc::clone(root), secrets)?,
            challenges: Challenges::default(),
            plan: Mutex::default(),
        })
    }

    /// The challenges that listeners answer.
    pub(crate) fn challenges(&self) -> Challenges {
        self.challenges.clone()
    }

    /// The certificate for a name, if a listener with this profile may show it.
    pub(crate) fn certificate(&self, name: &str, profile: Profile) -> Option<ClassicalCertificate> {
        let certificate = self.vault.certificate(name)?;
        certificate
            .check_allowed(profile)
            .is_ok()
            .then_some(certificate)
    }

    /// What is known of a name.
    pub(crate) fn course(&self, name: &str) -> Course {
        let certificate = self.vault.certificate(name);
        let plan = self.plan();
        Course {
            next: plan.next(name, certificate.as_ref()),
            problem: plan.problem(name).cloned(),
        }
    }

    /// Has the certificate for a name replaced now. False: there is none, and none on its way.
    pub(crate) fn renew(&self, name: &str, wanted: &Wanted) -> bool {
        let is_wanted = wanted.contains_key(name);
        if is_wanted {
            self.plan().hurry(name);
        }
        is_wanted
    }

    /// A name whose certificate is due, if one is.
    pub(crate) fn due(&self, wanted: &Wanted, now: Timestamp) -> Option<String> {
        let mut plan = self.plan();
        plan.keep_only(wanted);
        let is_due = |(name, profiles): &(&String, &Vec<Profile>)| {
            let certificate = self.vault.certificate(name).filter(|certificate| {
                let mut profiles = profiles.iter();
                profiles.all(|profile| certificate.check_allowed(*profile).is_ok())
            });
            plan.is_due(name, certificate.as_ref(), now)
        };
        wanted.iter().find(is_due).map(|(name, _)| name.clone())
    }

    /// Gets a certificate for a name and keeps it. What came of it is in the plan.
    ///
    /// # Errors
    ///
    /// There is none, for this reason; the one before stays.
    pub(crate) async fn obtain(
        &self,
        config: &AcmeConfig,
        name: &str,
        profiles: &[Profile],
    ) -> Result<ClassicalCertificate, Problem> {
        let outcome = self.try_obtain(config, name, profiles).await;
        let now = Timestamp::now();
        match outcome {
            Ok(certificate) => {
                self.plan().succeeded(name);
                Ok(certificate)
            }
            Err(error) => {
                let wait = error.wait();
                let problem = Problem::of(error, now);
                self.plan().failed(name, problem.clone(), wait, now);
                Err(problem)
            }
        }
    }

    /// Asks the server when it wants the certificate of one name to be renewed (RFC 9773), where that is due.
    pub(crate) async fn ask(&self, config: &AcmeConfig, wanted: &Wanted) {
        let now = Timestamp::now();
        let has = |name: &String| Some((name.clone(), self.vault.certificate(name)?));
        let mut certificates = wanted.keys().filter_map(has);
        let Some((name, certificate)) = certificates.find(|(name, _)| self.plan().asks(name, now))
        else {
            return;
        };
        let answer = self.window(config, &certificate).await;
        let (window, again) = match answer {
            Ok((window, again)) => (Some(window), again),
            // Most servers that do not answer have nothing to say.
            Err(error) => {
                tracing::debug!(name, %error, "the ACME server does not say when to renew");
                (None, plan::LATEST_QUESTION)
            }
        };
        self.plan().answered(&name, window, again, now);
    }

    async fn window(
        &self,
        config: &AcmeConfig,
        certificate: &ClassicalCertificate,
    ) -> Result<(Window, Duration), AcmeError> {
        let id = certificate.renewal_id().map(order::identifier);
        let id = id.ok_or_else(|| {
            AcmeError::Answer("a certificate without its issuer's key".to_owned())
        })?;
        let account = self.account(config).await?;
        let (info, again) = account.renewal_info(&id).await?;
        let at = |moment: i64| Timestamp::from_second(moment).unwrap_or(Timestamp::MAX);
        let window = Window {
            start: at(info.suggested_window.start.unix_timestamp()),
            end: at(info.suggested_window.end.unix_timestamp()),
        };
        Ok((window, again))
    }

    async fn try_obtain(
        &self,
        config: &AcmeConfig,
        name: &str,
        profiles: &[Profile],
    ) -> Result<ClassicalCertificate, AcmeError> {
        let account = self.account(config).await?;
        let before = self.vault.certificate(name);
        let replaced = before.as_ref().and_then(ClassicalCertificate::renewal_id);
        let order = order::Order {
            name,
            algorithm: algorithm(profiles),
            replaces: replaced.filter(|_| self.plan().may_replace(name)),
        };
        match order.fill(&account, &self.challenges).await {
            Ok(pem) => self.vault.keep(name, &pem, Timestamp::now()).await,
            Err(error) => {
                if error.is_account_unknown() {
                    // The server has forgotten the account: the next attempt makes another.
                    self.vault.forget_account(&config.directory).await?;
                }
                Err(error)
            }
        }
    }

    /// The account with the server; a first one is made and kept.
    async fn account(&self, config: &AcmeConfig) -> Result<Account, AcmeError> {
        let http = Box::new(http::Https::new(config.ca.as_deref())?);
        let builder = Account::builder_with_http(http);
        if let Some(credentials) = self.vault.account(&config.directory) {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let external = external_account(config)?;
        let contact: Vec<_> = config
            .contact
            .iter()
            .map(|to| format!("mailto:{to}"))
            .collect();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            // The configuration does not hold without it.
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let directory = config.directory.clone();
        let (account, credentials) = builder.create(&new, directory, external.as_ref()).await?;
        self.vault
            .keep_account(&config.directory, &credentials, Timestamp::now())
            .await?;
        tracing::info!(
            directory = config.directory,
            account = account.id(),
            "an account with the ACME server was made"
        );
        Ok(account)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn external_account(config: &AcmeConfig) -> Result<Option<ExternalAccountKey>, AcmeError> {
    let Some(account) = &config.external_account else {
        return Ok(None);
    };
    let text = private_file::read(&account.key_file)?;
    let malformed = || AcmeError::ExternalAccountKey {
        file: account.key_file.clone(),
    };
    let text = std::str::from_utf8(&text).map_err(|_| malformed())?;
    let text = text.trim().trim_end_matches('=');
    let key = Base64UrlUnpadded::decode_vec(text).map_err(|_| malformed())?;
    let key = Zeroizing::new(key);
    Ok(Some(ExternalAccountKey::new(account.id.clone(), &key)))
}

/// P-256, which every client can verify, or P-384 where a listener's profile allows no less.
fn algorithm(profiles: &[Profile]) -> KeyAlgorithm {
    let mut profiles = profiles.iter();
    match profiles.all(|profile| profile.agentless_schemes().contains(&Scheme::ECDSA_P256)) {
        true => KeyAlgorithm::EcdsaP256,
        false => KeyAlgorithm::EcdsaP384,
    }
}

#[cfg(test)]
mod tests;
