//! Keys in a token: those that sign, and those that seal another key.

use aws_lc_rs::digest::{SHA384, digest};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::dsa::{HedgeType, SignAdditionalContext};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, ObjectClass};
use zeroize::Zeroizing;

use crate::connection::{Connection, Fault};
use crate::module::Module;
use crate::uri::KeyName;
use crate::worker::Worker;
use crate::{HsmError, KeyAlgorithm, Pkcs11Uri, PublicKey, Token};

/// A key that signs inside its token.
#[derive(Clone, Debug)]
pub struct SigningKey {
    token: Token,
    name: KeyName,
    public: PublicKey,
}

/// An AES-256 key that seals other keys inside its token.
#[derive(Clone, Debug)]
pub struct SealingKey {
    token: Token,
    name: KeyName,
}

impl Token {
    /// Finds a signing key and reads its public half.
    ///
    /// # Errors
    ///
    /// There is none of this name, it is of another kind, or the token is lost.
    pub fn signing_key(&self, uri: &Pkcs11Uri) -> Result<SigningKey, HsmError> {
        let name = uri.key.clone();
        let wanted = name.clone();
        let public = self.ask(move |worker| {
            worker.with(|module, connection| {
                let _calls = module.calls();
                connection.public_key(&wanted)
            })
        })?;
        Ok(SigningKey {
            token: self.clone(),
            name,
            public,
        })
    }

    /// Finds a key that seals.
    ///
    /// # Errors
    ///
    /// There is none of this name, the module has no AES-GCM, or the token is lost.
    pub fn sealing_key(&self, uri: &Pkcs11Uri) -> Result<SealingKey, HsmError> {
        let name = uri.key.clone();
        let wanted = name.clone();
        self.ask(move |worker| {
            worker.with(|module, connection| {
                let _calls = module.calls();
                connection.offers(KeyAlgorithm::Aes256.mechanism())?;
                connection.key(&wanted, ObjectClass::SECRET_KEY)
            })
        })?;
        let token = self.clone();
        Ok(SealingKey { token, name })
    }

    /// Makes a key that never leaves the token, called as the URI says.
    ///
    /// # Errors
    ///
    /// One is called so already, the module does not make such keys, or the token is lost.
    pub fn generate(&self, uri: &Pkcs11Uri, algorithm: KeyAlgorithm) -> Result<(), HsmError> {
        let name = uri.key.clone();
        self.ask(move |worker| {
            worker.with(|module, connection| {
                let _calls = module.calls();
                generate(connection, &name, algorithm)
            })
        })
    }
}

impl SigningKey {
    /// The public half.
    pub const fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// The token that it is in.
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Signs a message: Ed25519 in 64 bytes, ECDSA as r and s in 96, ML-DSA with an empty context. Blocks until the token
    /// has answered. The signature is the module's word: whoever sends it on verifies it first.
    ///
    /// # Errors
    ///
    /// The token is lost, busy or silent, or the module refuses.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, HsmError> {
        self.token.ask(self.signing(message.to_vec()))
    }

    /// The same from a task, which waits for as long as it wants to.
    ///
    /// # Errors
    ///
    /// As [`SigningKey::sign`].
    pub async fn sign_in_task(&self, message: Vec<u8>) -> Result<Vec<u8>, HsmError> {
        self.token.ask_in_task(self.signing(message)).await
    }

    fn signing(
        &self,
        message: Vec<u8>,
    ) -> impl FnOnce(&mut Worker) -> Result<Vec<u8>, HsmError> + Send + 'static {
        let (name, algorithm) = (self.name.clone(), self.public.algorithm());
        move |worker| {
            worker.with(|module, connection| sign(module, connection, &name, algorithm, &message))
        }
    }
}

impl SealingKey {
    /// The token that it is in.
    pub const fn token(&self) -> &Token {
        &self.token
    }

    /// Seals a secret: an initialization vector of 12 bytes, then AES-256-GCM with a tag of 16. What is `about` it opens only
    /// with the same words.
    ///
    /// # Errors
    ///
    /// The token is lost, busy or silent, or the module refuses.
    pub fn seal(&self, secret: &[u8], about: &[u8]) -> Result<Vec<u8>, HsmError> {
        let (name, about) = (self.name.clone(), about.to_vec());
        let secret = Zeroizing::new(secret.to_vec());
        self.token.ask(move |worker| {
            worker.with(|module, connection| seal(module, connection, &name, &secret, &about))
        })
    }

    /// Opens what [`SealingKey::seal`] made.
    ///
    /// # Errors
    ///
    /// [`HsmError::Unsealable`], or as there.
    pub fn open(&self, sealed: &[u8], about: &[u8]) -> Result<Zeroizing<Vec<u8>>, HsmError> {
        let (name, about, sealed) = (self.name.clone(), about.to_vec(), sealed.to_vec());
        self.token.ask(move |worker| {
            worker.with(|module, connection| open(module, connection, &name, &sealed, &about))
        })
    }
}

fn sign(
    module: &Module,
    connection: &mut Connection,
    name: &KeyName,
    algorithm: KeyAlgorithm,
    message: &[u8],
) -> Result<Vec<u8>, Fault> {
    let _calls = module.calls();
    let key = connection.key(name, ObjectClass::PRIVATE_KEY)?;
    let session = connection.session();
    let signature = match algorithm {
        KeyAlgorithm::Ed25519 => {
            let pure = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519));
            session.sign(&pure, key, message)
        }
        // Not every module hashes for a signature, and all sign a hash.
        KeyAlgorithm::EcdsaP384 => {
            session.sign(&Mechanism::Ecdsa, key, digest(&SHA384, message).as_ref())
        }
        KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => {
            let pure = SignAdditionalContext::new(HedgeType::Preferred, None);
            session.sign(&Mechanism::MlDsa(pure), key, message)
        }
        KeyAlgorithm::Aes256 => {
            let why = "it seals, and does not sign".to_owned();
            return Err(connection.unfit(name, why).into());
        }
    };
    signature.map_err(|error| connection.fault(error))
}

fn seal(
    module: &Module,
    connection: &mut Connection,
    name: &KeyName,
    secret: &[u8],
    about: &[u8],
) -> Result<Vec<u8>, Fault> {
    let _calls = module.calls();
    let key = connection.key(name, ObjectClass::SECRET_KEY)?;
    let mut vector = [0; VECTOR];
    let drawn = SystemRandom::new().fill(&mut vector);
    drawn.map_err(|_| connection.unfit(name, "there is no randomness".to_owned()))?;
    let parameters = GcmParams::new(&mut vector, about, TAG_BITS.into());
    let parameters = parameters.map_err(|error| connection.fault(error))?;
    let sealed = connection
        .session()
        .encrypt(&Mechanism::AesGcm(parameters), key, secret)
        .map_err(|error| connection.fault(error))?;
    // A module that draws the vector itself has written it over ours.
    Ok([vector.as_slice(), &sealed].concat())
}

fn open(
    module: &Module,
    connection: &mut Connection,
    name: &KeyName,
    sealed: &[u8],
    about: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let _calls = module.calls();
    let key = connection.key(name, ObjectClass::SECRET_KEY)?;
    let unsealable = || HsmError::Unsealable {
        token: connection.token().to_owned(),
        key: name.to_string(),
    };
    let (vector, sealed) = sealed
        .split_first_chunk::<VECTOR>()
        .ok_or_else(unsealable)?;
    let mut vector = *vector;
    let parameters = GcmParams::new(&mut vector, about, TAG_BITS.into());
    let parameters = parameters.map_err(|error| connection.fault(error))?;
    let opened = connection
        .session()
        .decrypt(&Mechanism::AesGcm(parameters), key, sealed);
    opened.map(Zeroizing::new).map_err(|error| match &error {
        cryptoki::error::Error::Pkcs11(code, _) if refuses_sealed(code) => unsealable().into(),
        _ => connection.fault(error),
    })
}

/// What modules say of a tag that does not fit; SoftHSM says it with a general error.
fn refuses_sealed(code: &cryptoki::error::RvError) -> bool {
    use cryptoki::error::RvError;
    matches!(
        code,
        RvError::EncryptedDataInvalid | RvError::EncryptedDataLenRange | RvError::GeneralError
    )
}

fn generate(
    connection: &mut Connection,
    name: &KeyName,
    algorithm: KeyAlgorithm,
) -> Result<(), Fault> {
    connection.offers(algorithm.generation())?;
    connection.offers(algorithm.mechanism())?;
    if connection.has(name, algorithm.class())? {
        let (token, key) = (connection.token().to_owned(), name.to_string());
        return Err(HsmError::KeyExists { token, key }.into());
    }
    let named = || {
        let label = name.label.as_ref();
        let label = label.map(|label| Attribute::Label(label.as_bytes().to_vec()));
        label.into_iter().chain(name.id.clone().map(Attribute::Id))
    };
    let mut secret = vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
    ];
    secret.extend(named());
    let session = connection.session();
    let made = if algorithm == KeyAlgorithm::Aes256 {
        secret.extend([Attribute::Encrypt(true), Attribute::Decrypt(true)]);
        secret.push(algorithm.parameters());
        session
            .generate_key(&Mechanism::AesKeyGen, &secret)
            .map(drop)
    } else {
        secret.push(Attribute::Sign(true));
        let mut public = vec![Attribute::Token(true), Attribute::Private(false)];
        public.extend([Attribute::Verify(true), algorithm.parameters()]);
        public.extend(named());
        let mechanism = match algorithm {
            KeyAlgorithm::Ed25519 => Mechanism::EccEdwardsKeyPairGen,
            KeyAlgorithm::EcdsaP384 => Mechanism::EccKeyPairGen,
            _ => Mechanism::MlDsaKeyPairGen,
        };
        session
            .generate_key_pair(&mechanism, &public, &secret)
            .map(drop)
    };
    made.map_err(|error| connection.fault(error))
}

/// SP 800-38D section 8.2.2: 96 random bits, for far fewer than 2^32 secrets.
const VECTOR: usize = 12;
const TAG_BITS: u64 = 128;
