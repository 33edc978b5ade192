//! Authorizations: passwords, and sessions that prove and encrypt (Part 1, sections 17 to 19).
//!
//! What a session derives, it derives as both ends do: from a salt that only the TPM's storage key can open. So a listener on the bus
//! between processor and TPM reads neither what is sealed nor what is unsealed.

use aws_lc_rs::cipher::{
    AES_128, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey,
};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::{constant_time, hmac, rand};
use zeroize::Zeroizing;

use crate::algorithm::Hash;
use crate::command::{Command, Proof};
use crate::error::Error;
use crate::kdf::kdf_a;
use crate::wire::Writer;

/// How one handle of a command is authorized.
pub(crate) enum Authorization<'s> {
    /// The empty password.
    Password,
    /// A session.
    Session(&'s mut Session),
}

impl Authorization<'_> {
    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        match self {
            Self::Password => None,
            Self::Session(session) => Some(session),
        }
    }

    /// TPMS_AUTH_COMMAND.
    pub(crate) fn prove(&mut self, command: &Command) -> Vec<u8> {
        match self {
            Self::Password => {
                let password = Writer::new().u32(PASSWORD).sized(&[]);
                password.u8(CONTINUE).sized(&[]).finish()
            }
            Self::Session(session) => session.prove(command),
        }
    }

    /// Whether a response proves that it is the TPM's own.
    pub(crate) fn accepts(
        &mut self,
        proof: &Proof<'_>,
        response_hash: impl FnOnce(Hash) -> Vec<u8>,
    ) -> bool {
        match self {
            Self::Password => proof.hmac.is_empty(),
            Self::Session(session) => session.accepts(proof, &response_hash(session.hash)),
        }
    }
}

/// A session that is open in the TPM.
pub(crate) struct Session {
    pub(crate) handle: u32,
    hash: Hash,
    /// Empty in a policy session that neither proves nor encrypts.
    key: Zeroizing<Vec<u8>>,
    nonce_caller: Nonce,
    nonce_tpm: Vec<u8>,
    attributes: u8,
    is_open: bool,
}

impl Session {
    pub(crate) fn new(
        handle: u32,
        hash: Hash,
        salt: &[u8],
        nonce_caller: Nonce,
        nonce_tpm: Vec<u8>,
    ) -> Result<Self, Error> {
        let key = match salt {
            [] => Zeroizing::default(),
            _ => kdf_a(hash, salt, "ATH", &nonce_tpm, &nonce_caller, hash.length())?,
        };
        Ok(Self {
            handle,
            hash,
            key,
            nonce_caller,
            nonce_tpm,
            attributes: CONTINUE,
            is_open: true,
        })
    }

    /// The next command is the last: the TPM closes the session after its success.
    pub(crate) fn last(&mut self) -> &mut Self {
        self.attributes &= !CONTINUE;
        self
    }

    /// The first parameter of the next command crosses the bus encrypted.
    pub(crate) fn hiding_command(&mut self) -> &mut Self {
        self.attributes |= DECRYPT;
        self
    }

    /// The first parameter of the next response crosses the bus encrypted.
    pub(crate) fn hiding_response(&mut self) -> &mut Self {
        self.attributes |= ENCRYPT;
        self
    }

    /// Whether the TPM still holds it.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// A fresh nonce for a fresh command.
    pub(crate) fn begin(&mut self) -> Result<(), Error> {
        self.nonce_caller = nonce()?;
        Ok(())
    }

    pub(crate) fn encrypt(&self, parameters: &mut [u8]) -> Result<(), Error> {
        if self.attributes & DECRYPT == 0 {
            return Ok(());
        }
        let (key, iv) = self.cipher(&self.nonce_caller, &self.nonce_tpm)?;
        let key = EncryptingKey::cfb128(key).map_err(|_| Error::Cryptography)?;
        key.less_safe_encrypt(first(parameters), EncryptionContext::Iv128(iv))
            .map(drop)
            .map_err(|_| Error::Cryptography)
    }

    /// Called once [`Session::accepts`] has taken over the TPM's nonce.
    pub(crate) fn decrypt(&mut self, parameters: &mut [u8]) -> Result<(), Error> {
        let hidden = self.attributes & ENCRYPT != 0;
        self.attributes &= !(DECRYPT | ENCRYPT);
        if !hidden {
            return Ok(());
        }
        let (key, iv) = self.cipher(&self.nonce_tpm, &self.nonce_caller)?;
        let key = DecryptingKey::cfb128(key).map_err(|_| Error::Cryptography)?;
        key.decrypt(first(parameters), DecryptionContext::Iv128(iv))
            .map(drop)
            .map_err(|_| Error::Cryptography)
    }

    fn prove(&self, command: &Command) -> Vec<u8> {
        let nonces = [&self.nonce_caller[..], &self.nonce_tpm];
        let hmac = self.hmac(&command.hash(self.hash), nonces, self.attributes);
        let proof = Writer::new().u32(self.handle).sized(&self.nonce_caller);
        proof.u8(self.attributes).sized(&hmac).finish()
    }

    fn accepts(&mut self, proof: &Proof<'_>, response_hash: &[u8]) -> bool {
        let nonces = [proof.nonce, &self.nonce_caller];
        let expected = self.hmac(response_hash, nonces, proof.attributes);
        let accepted = constant_time::verify_slices_are_equal(&expected, proof.hmac).is_ok();
        if accepted {
            self.nonce_tpm = proof.nonce.to_vec();
            self.is_open = proof.attributes & CONTINUE != 0;
        }
        accepted
    }

    /// Part 1, section 17.6.5: the newer nonce first. Every entity here has an empty password, which adds nothing to the key.
    fn hmac(&self, hash: &[u8], nonces: [&[u8]; 2], attributes: u8) -> Vec<u8> {
        if self.key.is_empty() {
            return Vec::new();
        }
        let key = hmac::Key::new(self.hash.hmac_algorithm(), &self.key);
        let [newer, older] = nonces;
        let message = [hash, newer, older, &[attributes]].concat();
        hmac::sign(&key, &message).as_ref().to_vec()
    }

    /// Part 1, section 19.3: key and initialization vector for one parameter.
    fn cipher(
        &self,
        newer: &[u8],
        older: &[u8],
    ) -> Result<(UnboundCipherKey, FixedLength<IV>), Error> {
        let derived = kdf_a(self.hash, &self.key, "CFB", newer, older, KEY + IV)?;
        let (key, iv) = derived
            .split_first_chunk::<KEY>()
            .ok_or(Error::Cryptography)?;
        let key = UnboundCipherKey::new(&AES_128, key).map_err(|_| Error::Cryptography)?;
        let iv: [u8; IV] = iv.try_into().map_err(|_| Error::Cryptography)?;
        Ok((key, FixedLength::from(iv)))
    }
}

/// What the caller adds to a session, for each command anew.
pub(crate) type Nonce = [u8; 16];

/// A fresh nonce.
pub(crate) fn nonce() -> Result<Nonce, Error> {
    let mut nonce = Nonce::default();
    rand::fill(&mut nonce).map_err(|_| Error::Cryptography)?;
    Ok(nonce)
}

/// The content of the first parameter, a TPM2B: its length stays readable. Where a response is too short for one, nothing.
fn first(parameters: &mut [u8]) -> &mut [u8] {
    match parameters.split_first_chunk_mut() {
        Some((length, rest)) => {
            let length = u16::from_be_bytes(*length);
            rest.get_mut(..length.into()).unwrap_or_default()
        }
        None => &mut [],
    }
}

const PASSWORD: u32 = 0x4000_0009;
const CONTINUE: u8 = 0x01;
const DECRYPT: u8 = 0x20;
const ENCRYPT: u8 = 0x40;
const KEY: usize = 16;
const IV: usize = 16;
