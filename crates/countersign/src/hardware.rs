//! Keys that live in PKCS#11 tokens: where they are, how they sign, and what happens when a token goes.

use std::path::Path;

use countersign_channel::Profile;
use countersign_channel::identity::{KeyError, PrivateKey, SignElsewhere};
use countersign_hsm::{HsmError, KeyAlgorithm, Pkcs11Uri, SigningKey, Token, TokenState};
use tokio::sync::watch;

use crate::audit::{Audit, Event};
use crate::config::{KeysConfig, RootProtection};
use crate::report::{Report, Verdict};
use crate::root_key::Protection;

/// The keys of a gateway that live elsewhere than in its store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hardware {
    tokens: Vec<Token>,
    /// What protects the root key.
    pub(crate) root: Protection,
    /// Issues certificates.
    pub(crate) authority: Option<SigningKey>,
    /// The first signs identity tokens, at the start.
    pub(crate) identity: Vec<SigningKey>,
}

impl Hardware {
    /// Opens every token that a configuration names, once, and finds its keys in them. Blocks for as long as the modules do.
    ///
    /// # Errors
    ///
    /// A module, a token or a key is missing, or a PIN is refused: it is tried once.
    pub(crate) fn open(config: &KeysConfig) -> Result<Self, HsmError> {
        let mut hardware = Self::default();
        hardware.root = match &config.root {
            RootProtection::Mode => Protection::Mode,
            RootProtection::Password(file) => Protection::Password(file.clone()),
            RootProtection::Tpm(device) => Protection::Tpm(device.clone()),
            RootProtection::Token(uri) => Protection::Token(hardware.token(uri)?.sealing_key(uri)?),
        };
        if let Some(uri) = &config.authority {
            hardware.authority = Some(hardware.token(uri)?.signing_key(uri)?);
        }
        for uri in &config.identity {
            let key = hardware.token(uri)?.signing_key(uri)?;
            hardware.identity.push(key);
        }
        Ok(hardware)
    }

    /// Finds keys in the tokens that are open. Blocks for as long as the modules do.
    ///
    /// # Errors
    ///
    /// A key is missing, or in another token: each is opened and watched from the start.
    pub(crate) fn signing_keys(&self, uris: &[Pkcs11Uri]) -> Result<Vec<SigningKey>, NewKeyError> {
        let find = |uri: &Pkcs11Uri| {
            let token = self.tokens.iter().find(|token| token.holds(uri));
            let token = token.ok_or_else(|| NewKeyError::NotOpen {
                token: uri.token.to_string(),
            })?;
            Ok(token.signing_key(uri)?)
        };
        uris.iter().map(find).collect()
    }

    /// Each token, with what is known of it.
    pub(crate) fn tokens(&self) -> impl Iterator<Item = (String, watch::Receiver<TokenState>)> {
        let tokens = self.tokens.iter();
        tokens.map(|token| (token.label().to_owned(), token.state()))
    }

    /// Says in log and audit when a token goes and when it is back. Ends only when there is none.
    pub(crate) async fn watch(&self, audit: &Audit) {
        let mut watched = tokio::task::JoinSet::new();
        let (told, mut changes) = tokio::sync::mpsc::channel(1);
        for (token, mut state) in self.tokens() {
            let told = told.clone();
            watched.spawn(async move {
                while state.changed().await.is_ok() {
                    let now = state.borrow_and_update().clone();
                    if told.send((token.clone(), now)).await.is_err() {
                        return;
                    }
                }
            });
        }
        drop(told);
        let mut lost = std::collections::BTreeSet::new();
        while let Some((token, state)) = changes.recv().await {
            match state {
                TokenState::Lost { cause } if lost.insert(token.clone()) => {
                    tracing::error!(token, cause, "a PKCS#11 token is gone: its keys wait");
                    audit.record(Event::KeyTokenLost { token, cause });
                }
                TokenState::Lost { .. } => {}
                TokenState::Reachable => {
                    if lost.remove(&token) {
                        tracing::info!(token, "a PKCS#11 token is back");
                        audit.record(Event::KeyTokenBack { token });
                    }
                }
            }
        }
    }

    /// Where each key lives, in words.
    pub(crate) fn places(
        &self,
        root_key_file: &Path,
        profiles: &[Profile],
    ) -> Vec<(&'static str, String)> {
        let sealed = || "the store, sealed under the root key".to_owned();
        let place = |key: Option<&SigningKey>| key.map_or_else(sealed, in_token);
        let mut places = vec![
            ("root", self.root.place(root_key_file)),
            ("trust domain", sealed()),
            ("authority", place(self.authority.as_ref())),
            ("identity tokens", place(self.identity.first())),
            ("access, join and bearer tokens", sealed()),
        ];
        let in_token = self.authority.as_ref().and_then(AuthorityKey::algorithm);
        let differs = |profile: &Profile| Some(profile.anchor_key()) != in_token;
        if in_token.is_some() && profiles.iter().any(differs) {
            places.push(("authority of the other profiles", sealed()));
        }
        places
    }

    fn token(&mut self, uri: &Pkcs11Uri) -> Result<Token, HsmError> {
        if let Some(open) = self.tokens.iter().find(|token| token.holds(uri)) {
            return Ok(open.clone());
        }
        let token = Token::open(uri)?;
        self.tokens.push(token.clone());
        Ok(token)
    }
}

/// Why a key cannot be taken while the gateway runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NewKeyError {
    /// It is missing, or its token is gone.
    #[error(transparent)]
    Hsm(#[from] HsmError),
    /// Its token is not open.
    #[error("the PKCS#11 token `{token}` is not in use, and only a start opens one")]
    NotOpen {
        /// What it is called in the URI.
        token: String,
    },
}

impl Report for NewKeyError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::Hsm(error) => error.hint(),
            Self::NotOpen { .. } => Some("restart the gateway".to_owned()),
        }
    }
}

/// Where a key is, in words.
fn in_token(key: &SigningKey) -> String {
    let (token, algorithm) = (key.token().label(), key.public_key().algorithm());
    format!("the PKCS#11 token `{token}` ({algorithm})")
}

impl Report for HsmError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Module { .. } => {
                "set `module-path` in the URI to the library that came with the HSM".to_owned()
            }
            Self::NoToken { .. } | Self::SeveralTokens { .. } => {
                "set `token` or `serial` in the URI to one of those that are there".to_owned()
            }
            Self::PinFile { file, .. } => format!(
                "write the PIN in one line to `{0}` and run `chmod 0600 {0}`",
                file.display()
            ),
            Self::NoPin { .. } => "add `pin-source=file:/…` to the URI".to_owned(),
            Self::PinRefused { .. } => {
                "put the right PIN into the file that `pin-source` names".to_owned()
            }
            Self::PinNotTried { .. } => "put the right PIN into the file that `pin-source` names, then log in once by other \
                 means: `pkcs11-tool --module MODULE --token-label LABEL --login --list-objects`"
                .to_owned(),
            Self::NoKey { .. } => "make it: `countersign hsm generate --algorithm … URI`".to_owned(),
            Self::SeveralKeys { .. } => "add `id=…` to the URI".to_owned(),
            Self::KeyExists { .. } => {
                "use it, or choose another `object` or `id`: nothing is overwritten".to_owned()
            }
            Self::Lost { .. } => "the gateway looks for it by itself".to_owned(),
            Self::Unsealable { .. } => {
                "name the key that sealed the root key, or restore a backup".to_owned()
            }
            _ => return None,
        })
    }

    fn verdict(&self) -> Verdict {
        match self {
            Self::KeyExists { .. } | Self::Lacking { .. } | Self::NoKey { .. } => Verdict::No,
            _ => Verdict::Unknown,
        }
    }
}

/// An authority's key in a token.
pub(crate) struct AuthorityKey(SigningKey);

impl AuthorityKey {
    /// The key as an authority uses it.
    ///
    /// # Errors
    ///
    /// No authority has such keys.
    pub(crate) fn private_key(key: &SigningKey) -> Result<PrivateKey, KeyError> {
        let public =
            countersign_channel::identity::PublicKey::from_spki_der(&key.public_key().spki_der())?;
        Ok(PrivateKey::elsewhere(public, Box::new(Self(key.clone()))))
    }

    /// The algorithm of an authority with this key.
    pub(crate) const fn algorithm(
        key: &SigningKey,
    ) -> Option<countersign_channel::identity::KeyAlgorithm> {
        use countersign_channel::identity::KeyAlgorithm as Channel;
        match key.public_key().algorithm() {
            KeyAlgorithm::EcdsaP384 => Some(Channel::EcdsaP384),
            KeyAlgorithm::MlDsa65 => Some(Channel::MlDsa65),
            KeyAlgorithm::MlDsa87 => Some(Channel::MlDsa87),
            _ => None,
        }
    }
}

impl SignElsewhere for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        self.0.sign(message).map_err(|error| error.to_string())
    }
}
