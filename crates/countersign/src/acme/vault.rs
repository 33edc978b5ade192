//! Accounts and certificates, in memory, and sealed in the store.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use countersign_channel::server::{ClassicalCertificate, ListenerError};
use instant_acme::AccountCredentials;
use jiff::Timestamp;
use zeroize::Zeroizing;

use super::error::AcmeError;
use crate::root_key::{RootKey, RootKeyError};
use crate::state::State;
use crate::store::{SealedSecret, SecretKind};

/// What an ACME server gave.
pub(super) struct Vault {
    state: Arc<State>,
    root: Arc<RootKey>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Credentials in JSON, by the directory of their server.
    accounts: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// By name.
    certificates: BTreeMap<String, ClassicalCertificate>,
}

impl Vault {
    /// Opens what is in the store. A certificate that cannot be read any more is got anew.
    ///
    /// # Errors
    ///
    /// A secret does not open.
    pub(super) fn load(
        state: Arc<State>,
        root: Arc<RootKey>,
        secrets: &[SealedSecret],
    ) -> Result<Self, RootKeyError> {
        let mut kept = Kept::default();
        for secret in secrets {
            let open = || root.open(secret.kind, &secret.id, &secret.sealed);
            match secret.kind {
                SecretKind::AcmeAccount => {
                    kept.accounts.insert(secret.id.clone(), open()?);
                }
                SecretKind::AcmeCertificate => {
                    if let Ok(certificate) = read(&open()?) {
                        kept.certificates.insert(secret.id.clone(), certificate);
                    }
                }
                _ => {}
            }
        }
        Ok(Self {
            state,
            root,
            kept: Mutex::new(kept),
        })
    }

    /// The account with a server.
    pub(super) fn account(&self, directory: &str) -> Option<AccountCredentials> {
        serde_json::from_slice(self.kept().accounts.get(directory)?).ok()
    }

    /// Keeps an account.
    ///
    /// # Errors
    ///
    /// It cannot be written.
    pub(super) async fn keep_account(
        &self,
        directory: &str,
        credentials: &AccountCredentials,
        now: Timestamp,
    ) -> Result<(), AcmeError> {
        let json = serde_json::to_vec(credentials).expect("credentials are JSON");
        let json = Zeroizing::new(json);
        let sealed = self.seal(SecretKind::AcmeAccount, directory, &json)?;
        let secret = SealedSecret {
            kind: SecretKind::AcmeAccount,
            id: directory.to_owned(),
            sealed,
            not_before: now,
            not_after: None,
        };
        self.state.put_secret(secret, now).await?;
        self.kept().accounts.insert(directory.to_owned(), json);
        Ok(())
    }

    /// Forgets an account that its server does not know.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(super) async fn forget_account(&self, directory: &str) -> Result<(), AcmeError> {
        let (kind, now) = (SecretKind::AcmeAccount, Timestamp::now());
        self.state.remove_secret(kind, directory, now).await?;
        self.kept().accounts.remove(directory);
        Ok(())
    }

    /// The certificate for a name.
    pub(super) fn certificate(&self, name: &str) -> Option<ClassicalCertificate> {
        self.kept().certificates.get(name).cloned()
    }

    /// Keeps a certificate for a name: its key and its chain, in PEM.
    ///
    /// # Errors
    ///
    /// It is none for the name, or cannot be written.
    pub(super) async fn keep(
        &self,
        name: &str,
        pem: &str,
        now: Timestamp,
    ) -> Result<ClassicalCertificate, AcmeError> {
        let certificate = read(pem.as_bytes()).map_err(AcmeError::Certificate)?;
        if !certificate.is_for(name) {
            return Err(AcmeError::OtherNames {
                name: name.to_owned(),
                names: certificate.names().to_vec(),
            });
        }
        let secret = SealedSecret {
            kind: SecretKind::AcmeCertificate,
            id: name.to_owned(),
            sealed: self.seal(SecretKind::AcmeCertificate, name, pem.as_bytes())?,
            not_before: certificate.not_before(),
            not_after: Some(certificate.not_after()),
        };
        self.state.put_secret(secret, now).await?;
        let mut kept = self.kept();
        kept.certificates
            .insert(name.to_owned(), certificate.clone());
        Ok(certificate)
    }

    fn seal(&self, kind: SecretKind, id: &str, secret: &[u8]) -> Result<String, RootKeyError> {
        self.root.seal(kind, id, secret)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Key and chain stand in one text; each reader takes its own sections.
fn read(pem: &[u8]) -> Result<ClassicalCertificate, ListenerError> {
    let text = String::from_utf8_lossy(pem);
    ClassicalCertificate::from_pem(&text, &text)
}
