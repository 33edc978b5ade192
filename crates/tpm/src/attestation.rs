//! Attestation keys: made in the TPM, tied to its endorsement key by a credential, good for quotes alone.

use std::fmt;

use crate::algorithm::{Hash, id};
use crate::command::{Code, Command};
use crate::endorsement::EndorsementKind;
use crate::error::Error;
use crate::public::{Public, attribute};
use crate::response_code::ResponseCode;
use crate::seal::Secret;
use crate::session::Authorization;
use crate::storage::Stored;
use crate::tpm::{EMPTY_SENSITIVE, SessionKind, Tpm};
use crate::wire::{Reader, Writer};

/// How an attestation key signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttestationScheme {
    /// ECDSA on P-256 with SHA-256: every TPM of a PC has it.
    #[default]
    EcdsaP256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384,
    /// RSASSA-PKCS1-v1_5 with 2048 bits and SHA-256.
    RsaSsa2048,
    /// RSASSA-PSS with 2048 bits and SHA-256.
    RsaPss2048,
}

impl AttestationScheme {
    const ALL: [Self; 4] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::RsaSsa2048,
        Self::RsaPss2048,
    ];

    /// The hash of its signatures, and of the PCR digest in its quotes.
    pub fn hash(self) -> Hash {
        match self {
            Self::EcdsaP384 => Hash::Sha384,
            Self::EcdsaP256 | Self::RsaSsa2048 | Self::RsaPss2048 => Hash::Sha256,
        }
    }

    pub(crate) fn template(self) -> Public {
        // Without `NO_DA` each unclean power-off after a quote counts as a failed try, and three of them lock the TPM.
        let attributes = attribute::FIXED_TPM
            | attribute::FIXED_PARENT
            | attribute::SENSITIVE_DATA_ORIGIN
            | attribute::USER_WITH_AUTH
            | attribute::NO_DA
            | attribute::RESTRICTED
            | attribute::SIGN;
        let (kind, scheme) = match self {
            Self::EcdsaP256 | Self::EcdsaP384 => (id::ECC, id::ECDSA),
            Self::RsaSsa2048 => (id::RSA, id::RSASSA),
            Self::RsaPss2048 => (id::RSA, id::RSAPSS),
        };
        let writer = Writer::new().u16(kind).u16(self.hash().id());
        let writer = writer.u32(attributes).sized(&[]).u16(id::NULL);
        let writer = writer.u16(scheme).u16(self.hash().id());
        let ecc = |writer: Writer, curve| writer.u16(curve).u16(id::NULL).sized(&[]).sized(&[]);
        let writer = match self {
            Self::EcdsaP256 => ecc(writer, id::P256),
            Self::EcdsaP384 => ecc(writer, id::P384),
            Self::RsaSsa2048 | Self::RsaPss2048 => writer.u16(2048).u32(0).sized(&[]),
        };
        Public::parse(&writer.finish()).expect("the templates are well formed")
    }
}

/// An attestation key, as it is kept outside of its TPM: its private part is encrypted by a key that never leaves the TPM.
#[derive(Clone)]
pub struct AttestationKey {
    pub(crate) stored: Stored,
    pub(crate) scheme: AttestationScheme,
}

impl AttestationKey {
    /// How it signs.
    pub fn scheme(&self) -> AttestationScheme {
        self.scheme
    }

    /// TPMT_PUBLIC, without a length before it.
    pub fn public(&self) -> &[u8] {
        &self.stored.public.bytes
    }

    /// Its name: the hash algorithm's number, then the hash of [`AttestationKey::public`].
    pub fn name(&self) -> Vec<u8> {
        self.stored.public.name()
    }

    /// The key as bytes to keep. They are of use to its TPM alone.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.stored.encode(Writer::new().raw(FORMAT)).finish()
    }

    /// Reads what [`AttestationKey::to_bytes`] wrote.
    ///
    /// # Errors
    ///
    /// [`Error::Saved`] when it is anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let parse = || {
            let mut reader = Reader::new(bytes);
            reader.expect(FORMAT)?;
            let stored = Stored::parse(&mut reader)?;
            reader.finish()?;
            let is_scheme = |scheme: &AttestationScheme| stored.public.is_from(&scheme.template());
            let scheme = AttestationScheme::ALL.into_iter().find(is_scheme);
            let scheme = scheme.ok_or(crate::wire::Malformed::Value)?;
            Ok(Self { stored, scheme })
        };
        parse().map_err(|source| Error::Saved { what: WHAT, source })
    }
}

impl fmt::Debug for AttestationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttestationKey")
            .field("scheme", &self.scheme)
            .finish_non_exhaustive()
    }
}

/// A secret that only the TPM with a certain endorsement key opens, and only beside a certain attestation key (Part 1, section 24).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// What TPM2B_ID_OBJECT holds: an HMAC with its length, and the encrypted secret.
    pub id_object: Vec<u8>,
    /// What TPM2B_ENCRYPTED_SECRET holds: the seed, encrypted for the endorsement key.
    pub encrypted_secret: Vec<u8>,
}

impl Tpm {
    /// Makes an attestation key under the storage root key.
    ///
    /// # Errors
    ///
    /// When the TPM refuses, as it does for an algorithm that it does not know.
    pub fn create_attestation_key(
        &mut self,
        scheme: AttestationScheme,
    ) -> Result<AttestationKey, Error> {
        let stored = self.with_storage_key(|tpm, parent| {
            let template = scheme.template();
            tpm.create(parent, &EMPTY_SENSITIVE, &template, Authorization::Password)
        })?;
        Ok(AttestationKey { stored, scheme })
    }

    /// Opens a credential, which proves that the attestation key lives in the TPM that the endorsement key is of.
    ///
    /// The secret crosses the bus encrypted.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignCredential`] when it was made for another endorsement key or another attestation key.
    pub fn activate_credential(
        &mut self,
        key: &AttestationKey,
        endorsement: EndorsementKind,
        credential: &Credential,
    ) -> Result<Secret, Error> {
        for (what, bytes) in [
            ("the credential", &credential.id_object),
            (
                "the credential's encrypted seed",
                &credential.encrypted_secret,
            ),
        ] {
            bounded(what, bytes, MAX_CREDENTIAL)?;
        }
        let hash = Self::policy_hash(endorsement);
        self.with_stored(&key.stored, WHAT, |tpm, parent, key| {
            tpm.with_session(parent, SessionKind::Hmac, |tpm, session| {
                tpm.with_endorsement_key(endorsement, |tpm, endorsement_key| {
                    tpm.with_bare_policy(hash, |tpm, policy| {
                        tpm.satisfy_endorsement_policy(endorsement, policy)?;
                        let parameters = Writer::new().sized(&credential.id_object);
                        let parameters = parameters.sized(&credential.encrypted_secret);
                        let handles = vec![key.entity(), endorsement_key.entity()];
                        let command = Command::new(Code::ActivateCredential, handles, parameters);
                        let mut authorizations = [
                            Authorization::Session(session.last().hiding_response()),
                            Authorization::Session(policy.last()),
                        ];
                        tpm.run(command, &mut authorizations)?.read(Secret::parse)
                    })
                })
            })
        })
        .map_err(explain)
    }
}

/// A credential for others decrypts to nonsense, which shows in its HMAC or in its size.
fn explain(error: Error) -> Error {
    match error {
        Error::Refused {
            command: Code::ActivateCredential,
            code,
        } if [ResponseCode::INTEGRITY, ResponseCode::VALUE].contains(&code.kind())
            || ["SIZE", "ECC_POINT", "INSUFFICIENT"].contains(&code.name().unwrap_or_default()) =>
        {
            Error::ForeignCredential
        }
        error => error,
    }
}

pub(crate) fn bounded(what: &'static str, bytes: &[u8], limit: usize) -> Result<(), Error> {
    let length = bytes.len();
    match length <= limit {
        true => Ok(()),
        false => Err(Error::TooLong {
            what,
            length,
            limit,
        }),
    }
}

pub(crate) const WHAT: &str = "attestation key";
/// What saved keys begin with: who wrote it, what it is, in which version.
const FORMAT: &[u8] = b"countersign-tpm attestation key 1\n";
/// The seed for an RSA key of 4096 bits is the longest part.
const MAX_CREDENTIAL: usize = 512;
