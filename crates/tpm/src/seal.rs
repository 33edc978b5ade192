//! Secrets that only this TPM gives back, while the machine is in a certain state if so wished (Part 1, section 27.7).

use std::fmt;

use zeroize::Zeroizing;

use crate::algorithm::{Hash, id};
use crate::attestation::bounded;
use crate::command::{Code, Command};
use crate::error::Error;
use crate::pcr::PcrSelection;
use crate::policy::pcr_digest;
use crate::public::{Public, attribute};
use crate::response_code::ResponseCode;
use crate::session::{Authorization, Session};
use crate::storage::Stored;
use crate::tpm::{Loaded, SessionKind, Tpm};
use crate::wire::{Malformed, Reader, Writer};

/// A secret: wiped when it is dropped, and never printed.
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the secret over.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret itself.
    pub fn expose_secret(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.sized().map(|bytes| Self::new(bytes.to_vec()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A sealed secret, as it is kept outside of its TPM: it is encrypted by a key that never leaves the TPM.
#[derive(Clone)]
pub struct Sealed {
    stored: Stored,
    /// Whose values the policy demands; empty where there is none.
    selection: PcrSelection,
}

impl Sealed {
    /// The PCRs that must have the values again that they had at sealing; empty where none must.
    pub fn pcrs(&self) -> &PcrSelection {
        &self.selection
    }

    /// The sealed secret as bytes to keep. They are of use to its TPM alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        let writer = self.selection.encode(Writer::new().raw(FORMAT));
        self.stored.encode(writer).finish()
    }

    /// Reads what [`Sealed::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Saved`] when it is anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let parse = || {
            let mut reader = Reader::new(bytes);
            reader.expect(FORMAT)?;
            let selection = PcrSelection::parse(&mut reader)?;
            let stored = Stored::parse(&mut reader)?;
            reader.finish()?;
            let sealed = Self { stored, selection };
            // A selection is read without the banks that are not known here, and would then say that fewer PCRs are demanded.
            match sealed.to_bytes() == bytes {
                true => Ok(sealed),
                false => Err(Malformed::Value),
            }
        };
        parse().map_err(|source| Error::Saved { what: WHAT, source })
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({})", self.selection)
    }
}

impl Tpm {
    /// Seals a secret of at most 128 bytes to this TPM, and to the values that the PCRs of `selection` have now; an empty selection
    /// demands none.
    ///
    /// The secret crosses the bus encrypted. Whoever could be this machine's user `tss` can unseal it: a sealed secret is safe
    /// against theft of the disk, not against the machine.
    ///
    /// # Errors
    ///
    /// [`Error::TooLong`], [`Error::NoPcrBank`], and when the TPM refuses.
    pub fn seal(&mut self, secret: &Secret, selection: &PcrSelection) -> Result<Sealed, Error> {
        bounded("the secret", secret.expose_secret(), MAX_SECRET)?;
        let template = match selection.is_empty() {
            true => template(attribute::USER_WITH_AUTH, &[]),
            false => template(0, &pcr_digest(selection, &self.pcrs(selection)?)),
        };
        let sensitive = Writer::new().sized(&[]).sized(secret.expose_secret());
        let sensitive = Zeroizing::new(sensitive.finish());
        let stored = self.with_storage_key(|tpm, parent| {
            tpm.with_session(parent, SessionKind::Hmac, |tpm, session| {
                let hidden = Authorization::Session(session.last().hiding_command());
                tpm.create(parent, &sensitive, &template, hidden)
            })
        })?;
        Ok(Sealed {
            stored,
            selection: selection.clone(),
        })
    }

    /// Gives back a sealed secret, which crosses the bus encrypted.
    ///
    /// # Errors
    ///
    /// [`Error::PcrsChanged`] when the machine is in another state, [`Error::Foreign`] when it was sealed by another TPM.
    pub fn unseal(&mut self, sealed: &Sealed) -> Result<Secret, Error> {
        let selection = &sealed.selection;
        let kind = match selection.is_empty() {
            true => SessionKind::Hmac,
            false => SessionKind::Policy,
        };
        self.with_stored(&sealed.stored, WHAT, |tpm, parent, object| {
            tpm.with_session(parent, kind, |tpm, session| {
                if !selection.is_empty() {
                    tpm.policy_pcr(session, selection)?;
                }
                tpm.unseal_within(object, session)
            })
        })
        .map_err(|error| explain(error, selection))
    }

    fn unseal_within(&mut self, object: &Loaded, session: &mut Session) -> Result<Secret, Error> {
        let command = Command::new(Code::Unseal, vec![object.entity()], Writer::new());
        let hidden = Authorization::Session(session.last().hiding_response());
        self.run(command, &mut [hidden])?.read(Secret::parse)
    }
}

fn explain(error: Error, selection: &PcrSelection) -> Error {
    match error {
        Error::Refused {
            command: Code::Unseal,
            code,
        } if code.kind() == ResponseCode::POLICY_FAIL || code.name() == Some("PCR_CHANGED") => {
            Error::PcrsChanged {
                pcrs: selection.to_string(),
            }
        }
        error => error,
    }
}

/// A data object without dictionary attack protection: nobody can guess a password that is not there.
fn template(authorization: u32, policy: &[u8]) -> Public {
    let attributes = attribute::FIXED_TPM | attribute::FIXED_PARENT | attribute::NO_DA;
    let bytes = Writer::new()
        .u16(id::KEYED_HASH)
        .u16(Hash::Sha256.id())
        .u32(attributes | authorization)
        .sized(policy)
        .u16(id::NULL)
        .sized(&[])
        .finish();
    Public::parse(&bytes).expect("the template is well formed")
}

const WHAT: &str = "sealed secret";
/// What saved secrets begin with: who wrote it, what it is, in which version.
const FORMAT: &[u8] = b"countersign-tpm sealed secret 1\n";
/// MAX_SYM_DATA (Part 2, section 11.1.15).
const MAX_SECRET: usize = 128;
