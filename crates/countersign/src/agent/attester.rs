//! The machine's TPM, as the agent uses it: it lets the machine in, quotes for each access token, and keeps the agent's key.
//!
//! The TPM is opened for each use and let go of again, so that others on the machine have it in between. Its calls block and run on
//! threads for that.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use countersign_paseto::{
    Envelope, Key, Local, MintError, SystemRandom, UntrustedToken, V4, mint_payload,
};
use countersign_tpm::{
    Address, AttestationKey, AttestationScheme, Credential, EndorsementKind, Hash, PcrSelection,
    Sealed, Secret, Tpm,
};
use zeroize::Zeroizing;

use super::home::{Home, HomeError, Item};
use crate::attestation::wire::{Bytes, QuoteEvidence, ShowTpm, TpmChallenge};
use crate::config::TpmConfig;
use crate::report::Report;

/// The machine's TPM, with the key that quotes.
#[derive(Debug)]
pub(crate) struct Attester {
    tpm: Arc<Machine>,
    seals: Option<PcrSelection>,
}

#[derive(Debug)]
struct Machine {
    address: Address,
    event_log: Option<PathBuf>,
    key: AttestationKey,
    endorsement: EndorsementKind,
    /// One use at a time: on a device without a resource manager a second one would be refused.
    turn: Mutex<()>,
}

/// Why the TPM does not do its part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum AttesterError {
    /// The TPM refuses or cannot be reached.
    #[error("the TPM: {0}")]
    Tpm(#[from] countersign_tpm::Error),
    /// The state directory cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The event log cannot be read.
    #[error("cannot read the event log `{}`: {source}", path.display())]
    EventLog {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The gateway asks for something that cannot be answered.
    #[error("the gateway's question cannot be answered: its nonce has {0} bytes")]
    Question(usize),
    /// The sealed key is damaged.
    #[error("the agent's sealed key is damaged")]
    Damaged,
    /// The key cannot be sealed or opened.
    #[error("the agent's key cannot be sealed")]
    Seal(#[from] MintError),
    /// The program is stopping.
    #[error("the TPM was not asked: the agent is stopping")]
    Stopping,
}

impl AttesterError {
    /// What to do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Self::Tpm(error) => error.remedy(),
            Self::Home(error) => error.hint(),
            Self::EventLog { .. } => Some(
                "run the agent as a user who can read it, or take `event_log` out of the configuration"
                    .to_owned(),
            ),
            Self::Damaged => Some("move the agent's state directory away, and join again".to_owned()),
            Self::Question(_) | Self::Seal(_) | Self::Stopping => None,
        }
    }
}

impl Report for AttesterError {
    fn hint(&self) -> Option<String> {
        self.remedy()
    }
}

impl Attester {
    /// Finds the TPM and the key that it quotes with; makes that key, and keeps it, where there is none yet.
    ///
    /// # Errors
    ///
    /// There is no such TPM, or the state directory cannot be used.
    pub(crate) fn open(config: &TpmConfig, home: &Home) -> Result<Self, AttesterError> {
        let mut tpm = Tpm::open(&config.device)?;
        let key = match home.read(Item::AttestationKey)? {
            Some(kept) => AttestationKey::from_bytes(&kept)?,
            None => {
                let key = tpm.create_attestation_key(AttestationScheme::default())?;
                home.write(Item::AttestationKey, &key.to_bytes())?;
                key
            }
        };
        let machine = Machine {
            address: config.device.clone(),
            event_log: config.event_log.clone(),
            endorsement: endorsement(&mut tpm)?,
            key,
            turn: Mutex::new(()),
        };
        let pcrs = || PcrSelection::new(Hash::Sha256, config.seal_pcrs.iter().copied());
        Ok(Self {
            tpm: Arc::new(machine),
            seals: config.seal_key.then(pcrs),
        })
    }

    /// Whether the agent's key is to be kept by the TPM.
    pub(crate) fn seals_keys(&self) -> bool {
        self.seals.is_some()
    }

    /// Seals a private key: under a key of its own, which the TPM seals, since a TPM takes 128 bytes and no more.
    ///
    /// # Errors
    ///
    /// The TPM refuses.
    pub(crate) fn seal(&self, private_key: &[u8]) -> Result<Vec<u8>, AttesterError> {
        let wrapping = Key::<V4, Local>::generate(&SystemRandom).map_err(MintError::from)?;
        let key = mint_payload(&wrapping, private_key, SEALED_KEY, &SystemRandom)?;
        let secret = Secret::new(wrapping.to_paserk().as_bytes().to_vec());
        let pcrs = self.seals.clone().unwrap_or_default();
        let sealed = self.tpm.with(|tpm, _| tpm.seal(&secret, &pcrs))?;
        let sealed = SealedKey {
            sealed: Bytes(sealed.to_bytes()),
            key,
        };
        serde_json::to_vec(&sealed).map_err(|_| AttesterError::Damaged)
    }

    /// Opens what [`seal`](Self::seal) made.
    ///
    /// # Errors
    ///
    /// The TPM is another one, or its PCRs are not as they were.
    pub(crate) fn unseal(&self, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, AttesterError> {
        let SealedKey { sealed, key } =
            serde_json::from_slice(sealed).map_err(|_| AttesterError::Damaged)?;
        let sealed = Sealed::from_bytes(&sealed.0)?;
        let secret = self.tpm.with(|tpm, _| tpm.unseal(&sealed))?;
        let wrapping = std::str::from_utf8(secret.expose_secret()).ok();
        let wrapping = wrapping.and_then(|text| Key::<V4, Local>::from_paserk(text).ok());
        let wrapping = wrapping.ok_or(AttesterError::Damaged)?;
        let token = UntrustedToken::<V4, Local>::parse(&key);
        let opened = token.and_then(|token| token.asserting(SEALED_KEY.assertion).open(&wrapping));
        let opened = opened.map_err(|_| AttesterError::Damaged)?;
        Ok(Zeroizing::new(opened.payload().to_vec()))
    }

    /// What the gateway is shown of the TPM.
    ///
    /// # Errors
    ///
    /// The TPM refuses.
    pub(crate) async fn shown(&self, join_token: Option<String>) -> Result<ShowTpm, AttesterError> {
        self.ask(move |machine| {
            machine.with(|tpm, machine| {
                let certificates = tpm.endorsement_certificates()?.into_iter();
                let own = certificates.filter(|one| one.kind == machine.endorsement);
                Ok(ShowTpm {
                    join_token,
                    ek_certificates: own.map(|one| Bytes(one.der)).collect(),
                    ek_public: Bytes(tpm.endorsement_key(machine.endorsement)?.public),
                    ak_public: Bytes(machine.key.public().to_vec()),
                })
            })
        })
        .await
    }

    /// Has the TPM open the credential that the gateway made for it.
    ///
    /// # Errors
    ///
    /// It was made for another TPM or another key.
    pub(crate) async fn activate(&self, challenge: &TpmChallenge) -> Result<Secret, AttesterError> {
        let credential = Credential {
            id_object: challenge.credential.0.clone(),
            encrypted_secret: challenge.secret.0.clone(),
        };
        self.ask(move |machine| {
            machine.with(|tpm, machine| {
                tpm.activate_credential(&machine.key, machine.endorsement, &credential)
            })
        })
        .await
    }

    /// Quotes PCRs of the SHA-256 bank over what was asked with.
    ///
    /// # Errors
    ///
    /// The TPM refuses, or the event log cannot be read.
    pub(crate) async fn quote(
        &self,
        asked: Vec<u8>,
        pcrs: Vec<u8>,
    ) -> Result<QuoteEvidence, AttesterError> {
        self.ask(move |machine| machine.evidence(&asked, &pcrs))
            .await
    }

    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Machine) -> Result<T, AttesterError> + Send + 'static,
    ) -> Result<T, AttesterError> {
        let machine = Arc::clone(&self.tpm);
        let asked = tokio::task::spawn_blocking(move || question(&machine));
        asked.await.unwrap_or(Err(AttesterError::Stopping))
    }
}

impl Machine {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Tpm, &Self) -> Result<T, countersign_tpm::Error>,
    ) -> Result<T, AttesterError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut tpm = Tpm::open(&self.address)?;
        Ok(work(&mut tpm, self)?)
    }

    fn evidence(&self, data: &[u8], pcrs: &[u8]) -> Result<QuoteEvidence, AttesterError> {
        let selection = PcrSelection::new(Hash::Sha256, pcrs.iter().copied());
        let quote = self.with(|tpm, machine| tpm.quote(&machine.key, data, &selection))?;
        let values = quote.pcrs.0.into_iter();
        Ok(QuoteEvidence {
            attest: Bytes(quote.attest),
            signature: Bytes(quote.signature),
            pcrs: values
                .map(|value| (value.index, Bytes(value.digest)))
                .collect(),
            event_log: self.event_log()?,
        })
    }

    fn event_log(&self) -> Result<Option<Bytes>, AttesterError> {
        let read = |path: &PathBuf| {
            let unreadable = |source| AttesterError::EventLog {
                path: path.clone(),
                source,
            };
            std::fs::read(path).map(Bytes).map_err(unreadable)
        };
        self.event_log.as_ref().map(read).transpose()
    }
}

/// The kind of endorsement key that the TPM has a certificate for; one that each has where it has none.
fn endorsement(tpm: &mut Tpm) -> Result<EndorsementKind, AttesterError> {
    let certificates = tpm.endorsement_certificates()?;
    let certified = certificates.first().map(|certificate| certificate.kind);
    Ok(certified.unwrap_or(EndorsementKind::Rsa2048))
}

/// What the file of a sealed key holds.
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct SealedKey {
    /// The wrapping key, as the TPM keeps it.
    sealed: Bytes,
    /// The private key, under the wrapping key.
    key: String,
}

/// What the seal says that it is for.
const SEALED_KEY: Envelope<'static> = Envelope {
    footer: b"",
    assertion: b"countersign sealed agent key",
};
