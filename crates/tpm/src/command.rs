//! Commands and responses as bytes (Part 1, section 18).

use std::fmt;

use zeroize::Zeroizing;

use crate::algorithm::Hash;
use crate::error::Error;
use crate::response_code::ResponseCode;
use crate::session::Authorization;
use crate::wire::{Malformed, Reader, Writer};

/// A command that this crate sends (Part 2, section 6.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "each is named as in Part 3, which describes it"
)]
pub enum Code {
    PcrReset,
    CreatePrimary,
    SelfTest,
    Startup,
    Shutdown,
    NvRead,
    ActivateCredential,
    PcrExtend,
    PolicySecret,
    Create,
    Load,
    Quote,
    Unseal,
    FlushContext,
    NvReadPublic,
    PolicyOr,
    ReadPublic,
    StartAuthSession,
    GetCapability,
    GetRandom,
    PcrRead,
    PolicyPcr,
    ReadClock,
}

impl Code {
    fn number(self) -> u32 {
        self.row().0
    }

    fn row(self) -> (u32, &'static str) {
        match self {
            Self::PcrReset => (0x13d, "TPM2_PCR_Reset"),
            Self::CreatePrimary => (0x131, "TPM2_CreatePrimary"),
            Self::SelfTest => (0x143, "TPM2_SelfTest"),
            Self::Startup => (0x144, "TPM2_Startup"),
            Self::Shutdown => (0x145, "TPM2_Shutdown"),
            Self::NvRead => (0x14e, "TPM2_NV_Read"),
            Self::ActivateCredential => (0x147, "TPM2_ActivateCredential"),
            Self::PcrExtend => (0x182, "TPM2_PCR_Extend"),
            Self::PolicySecret => (0x151, "TPM2_PolicySecret"),
            Self::Create => (0x153, "TPM2_Create"),
            Self::Load => (0x157, "TPM2_Load"),
            Self::Quote => (0x158, "TPM2_Quote"),
            Self::Unseal => (0x15e, "TPM2_Unseal"),
            Self::FlushContext => (0x165, "TPM2_FlushContext"),
            Self::NvReadPublic => (0x169, "TPM2_NV_ReadPublic"),
            Self::PolicyOr => (0x171, "TPM2_PolicyOR"),
            Self::ReadPublic => (0x173, "TPM2_ReadPublic"),
            Self::StartAuthSession => (0x176, "TPM2_StartAuthSession"),
            Self::GetCapability => (0x17a, "TPM2_GetCapability"),
            Self::GetRandom => (0x17b, "TPM2_GetRandom"),
            Self::PcrRead => (0x17e, "TPM2_PCR_Read"),
            Self::PolicyPcr => (0x17f, "TPM2_PolicyPCR"),
            Self::ReadClock => (0x181, "TPM2_ReadClock"),
        }
    }

    fn answers_with_handle(self) -> bool {
        matches!(
            self,
            Self::CreatePrimary | Self::Load | Self::StartAuthSession
        )
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().1)
    }
}

/// A handle with the name that authorizations are computed over (Part 1, section 16).
#[derive(Clone)]
pub(crate) struct Entity {
    pub(crate) handle: u32,
    pub(crate) name: Vec<u8>,
}

impl Entity {
    /// A hierarchy, a PCR or a session, whose name is its handle.
    pub(crate) fn named_by_handle(handle: u32) -> Self {
        let name = handle.to_be_bytes().to_vec();
        Self { handle, name }
    }
}

/// A command before it is authorized.
pub(crate) struct Command {
    pub(crate) code: Code,
    pub(crate) handles: Vec<Entity>,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
}

impl Command {
    pub(crate) fn new(code: Code, handles: Vec<Entity>, parameters: Writer) -> Self {
        let parameters = Zeroizing::new(parameters.finish());
        Self {
            code,
            handles,
            parameters,
        }
    }

    /// The bytes to send: the first parameter encrypted where a session says so, then each session's HMAC over it all.
    pub(crate) fn encode(
        &mut self,
        authorizations: &mut [Authorization<'_>],
    ) -> Result<Zeroizing<Vec<u8>>, Error> {
        for session in authorizations.iter_mut().filter_map(Authorization::session) {
            session.begin()?;
            session.encrypt(&mut self.parameters)?;
        }
        let area: Vec<u8> = authorizations
            .iter_mut()
            .flat_map(|authorization| authorization.prove(self))
            .collect();
        Ok(self.framed((!authorizations.is_empty()).then_some(area)))
    }

    /// cpHash (Part 1, section 16.7).
    pub(crate) fn hash(&self, algorithm: Hash) -> Vec<u8> {
        let code = self.code.number().to_be_bytes();
        let mut pieces: Vec<&[u8]> = vec![&code];
        pieces.extend(self.handles.iter().map(|entity| entity.name.as_slice()));
        pieces.push(&self.parameters);
        algorithm.of(&pieces)
    }

    fn framed(&self, area: Option<Vec<u8>>) -> Zeroizing<Vec<u8>> {
        let mut body = Writer::new();
        for entity in &self.handles {
            body = body.u32(entity.handle);
        }
        if let Some(area) = &area {
            body = body.u32(length(area)).raw(area);
        }
        let body = Zeroizing::new(body.raw(&self.parameters).finish());
        let tag = area.map_or(NO_SESSIONS, |_| SESSIONS);
        let header = Writer::new().u16(tag).u32(HEADER + length(&body));
        let bytes = header.u32(self.code.number()).raw(&body).finish();
        Zeroizing::new(bytes)
    }
}

/// A response that was a success, its HMACs checked and its first parameter decrypted.
pub(crate) struct Response {
    pub(crate) handle: Option<u32>,
    pub(crate) parameters: Zeroizing<Vec<u8>>,
    code: Code,
}

impl Response {
    /// Takes a response of any content apart.
    pub(crate) fn decode(
        code: Code,
        bytes: &[u8],
        authorizations: &mut [Authorization<'_>],
    ) -> Result<Self, Error> {
        let malformed = |source| Error::Malformed {
            command: code,
            source,
        };
        let with_sessions = !authorizations.is_empty();
        let parts = Parts::parse(code, bytes, with_sessions).map_err(malformed)?;
        let mut parameters = Zeroizing::new(parts.parameters.to_vec());
        let mut area = Reader::new(parts.area);
        for authorization in authorizations.iter_mut() {
            let proof = Proof::parse(&mut area).map_err(malformed)?;
            if !authorization.accepts(&proof, |hash| response_hash(hash, code, parts.parameters)) {
                return Err(Error::Altered { command: code });
            }
        }
        area.finish().map_err(malformed)?;
        for session in authorizations.iter_mut().filter_map(Authorization::session) {
            session.decrypt(&mut parameters)?;
        }
        Ok(Self {
            handle: parts.handle,
            parameters,
            code,
        })
    }

    /// Reads the parameters to their end.
    pub(crate) fn read<T>(
        &self,
        parse: impl FnOnce(&mut Reader<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Error> {
        let mut reader = Reader::new(&self.parameters);
        let parsed = parse(&mut reader).and_then(|value| reader.finish().map(|()| value));
        parsed.map_err(|source| self.malformed(source))
    }

    /// The handle of what was made.
    pub(crate) fn new_handle(&self) -> Result<u32, Error> {
        self.handle.ok_or_else(|| self.malformed(Malformed::Short))
    }

    pub(crate) fn malformed(&self, source: Malformed) -> Error {
        Error::Malformed {
            command: self.code,
            source,
        }
    }
}

/// The response code of any response; nothing for success.
pub(crate) fn refusal(bytes: &[u8]) -> Result<Option<ResponseCode>, Malformed> {
    let mut reader = Reader::new(bytes);
    let _tag = reader.u16()?;
    if reader.u32()? != length(bytes) {
        return Err(Malformed::Value);
    }
    let code = ResponseCode::new(reader.u32()?);
    if code.is_some() {
        reader.finish()?;
    }
    Ok(code)
}

struct Parts<'a> {
    handle: Option<u32>,
    parameters: &'a [u8],
    area: &'a [u8],
}

impl<'a> Parts<'a> {
    fn parse(code: Code, bytes: &'a [u8], with_sessions: bool) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u16()?;
        if reader.u32()? != length(bytes) || reader.u32()? != 0 {
            return Err(Malformed::Value);
        }
        if tag != (if with_sessions { SESSIONS } else { NO_SESSIONS }) {
            return Err(Malformed::Value);
        }
        let handle = match code.answers_with_handle() {
            true => Some(reader.u32()?),
            false => None,
        };
        let parameters = match with_sessions {
            true => {
                let size = reader.u32()?;
                reader.take(usize::try_from(size).map_err(|_| Malformed::Value)?)?
            }
            false => reader.rest(),
        };
        Ok(Self {
            handle,
            parameters,
            area: reader.rest(),
        })
    }
}

/// What a session says in a response (TPMS_AUTH_RESPONSE).
pub(crate) struct Proof<'a> {
    pub(crate) nonce: &'a [u8],
    pub(crate) attributes: u8,
    pub(crate) hmac: &'a [u8],
}

impl<'a> Proof<'a> {
    fn parse(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            nonce: reader.sized()?,
            attributes: reader.u8()?,
            hmac: reader.sized()?,
        })
    }
}

/// rpHash (Part 1, section 16.8), of a success.
fn response_hash(algorithm: Hash, code: Code, parameters: &[u8]) -> Vec<u8> {
    algorithm.of(&[&[0; 4], &code.number().to_be_bytes(), parameters])
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

const HEADER: u32 = 10;
const NO_SESSIONS: u16 = 0x8001;
const SESSIONS: u16 = 0x8002;
