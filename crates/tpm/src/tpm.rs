//! An open TPM: sends commands, waits where it is busy, and closes again what was opened.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

use crate::address::Address;
use crate::command::{Code, Command, Entity, Response, refusal};
use crate::error::Error;
use crate::public::{Public, PublicKey};
use crate::response_code::ResponseCode;
use crate::session::{Authorization, Session, nonce};
use crate::transport::{Transport, connect};
use crate::wire::{Reader, Writer};
use crate::{algorithm, algorithm::Hash, kdf};

/// A TPM 2.0.
///
/// Every method leaves the TPM as it found it: keys and sessions that it opens, it closes, also where it fails.
/// All of them block.
pub struct Tpm {
    transport: Box<dyn Transport + Send>,
}

impl Tpm {
    /// Opens the TPM at `address`.
    ///
    /// A simulator is started where nobody has, and what a program that was killed left open in it is closed: it has no resource
    /// manager, and takes one connection at a time.
    ///
    /// # Errors
    ///
    /// When there is none, when it may not be used, and when it is broken.
    pub fn open(address: &Address) -> Result<Self, Error> {
        let transport = connect(address).map_err(|source| Error::Open {
            address: address.clone(),
            source,
        })?;
        let mut tpm = Self::over(transport);
        if !matches!(address, Address::Device(_)) {
            tpm.start()?;
            tpm.flush_leftovers()?;
        }
        Ok(tpm)
    }

    /// A TPM that was started, over a transport of your own.
    pub fn over(transport: Box<dyn Transport + Send>) -> Self {
        Self { transport }
    }

    /// Starts a TPM that was switched on (TPM2_Startup); one that runs is left as it is. The firmware does this on a real machine.
    ///
    /// # Errors
    ///
    /// When it is broken.
    pub fn start(&mut self) -> Result<(), Error> {
        let command = Command::new(Code::Startup, vec![], Writer::new().u16(CLEAR));
        match self.run(command, &mut []) {
            Err(Error::Refused { code, .. }) if code == ResponseCode::INITIALIZE => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// Prepares a TPM for being switched off (TPM2_Shutdown). The kernel does this on a real machine.
    ///
    /// # Errors
    ///
    /// When it refuses.
    pub fn shut_down(&mut self) -> Result<(), Error> {
        let command = Command::new(Code::Shutdown, vec![], Writer::new().u16(CLEAR));
        self.run(command, &mut []).map(drop)
    }

    /// Sends one command, again where the TPM is busy, and reads its response.
    pub(crate) fn run(
        &mut self,
        mut command: Command,
        authorizations: &mut [Authorization<'_>],
    ) -> Result<Response, Error> {
        let code = command.code;
        let bytes = command.encode(authorizations)?;
        match self.exchange(code, &bytes) {
            Ok(response) => Response::decode(code, &response, authorizations),
            Err(Error::Refused { code: refused, .. }) if refused == ResponseCode::NEEDS_TEST => {
                self.test()?;
                let response = self.exchange(code, &bytes)?;
                Response::decode(code, &response, authorizations)
            }
            Err(Error::Refused { code: refused, .. }) if refused == ResponseCode::LOCKOUT => {
                let lockout = self.lockout()?;
                Err(Error::LockedOut {
                    command: code,
                    lockout,
                })
            }
            Err(error) => Err(error),
        }
    }

    /// The bytes of a success. A TPM that is busy has not begun, so the same bytes hold (Part 2, section 6.6.3).
    fn exchange(&mut self, command: Code, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let (mut attempts, mut waited) = (0, Duration::ZERO);
        let mut pause = FIRST_PAUSE;
        loop {
            let response = self.transport.transmit(bytes);
            let response = response.map_err(|source| Error::Transport { command, source })?;
            let refusal = refusal(&response);
            let refusal = refusal.map_err(|source| Error::Malformed { command, source })?;
            attempts += 1;
            match refusal {
                None => return Ok(response),
                Some(code) if !code.is_busy() => return Err(Error::Refused { command, code }),
                Some(code) if attempts == ATTEMPTS => {
                    return Err(Error::Busy {
                        command,
                        code,
                        attempts,
                        waited,
                    });
                }
                Some(_) => self.transport.pause(pause),
            }
            waited += pause;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn test(&mut self) -> Result<(), Error> {
        let untested_only = Writer::new().u8(0);
        let mut command = Command::new(Code::SelfTest, vec![], untested_only);
        let bytes = command.encode(&mut [])?;
        self.exchange(Code::SelfTest, &bytes).map(drop)
    }

    /// Does `work` with a loaded object and unloads it, whatever comes of it.
    pub(crate) fn with_loaded<T>(
        &mut self,
        handle: u32,
        work: impl FnOnce(&mut Self) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = work(self);
        if !is_transient(handle) {
            return outcome;
        }
        let flushed = self.flush(handle);
        outcome.and_then(|value| flushed.map(|()| value))
    }

    /// Does `work` with a session that proves and encrypts by a salt for `key`, and closes it, whatever comes of it.
    pub(crate) fn with_session<T>(
        &mut self,
        key: &Loaded,
        kind: SessionKind,
        work: impl FnOnce(&mut Self, &mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let PublicKey::Ecc { x, y } = &key.public.key else {
            return Err(Error::Cryptography);
        };
        let (salt, encrypted) = kdf::salt(x, y)?;
        let salted = Salted {
            key: key.handle,
            salt,
            encrypted,
        };
        let session = self.start_session(kind, Hash::Sha256, &salted)?;
        self.within(session, work)
    }

    /// Does `work` with a policy session that only carries a policy, and closes it, whatever comes of it.
    pub(crate) fn with_bare_policy<T>(
        &mut self,
        hash: Hash,
        work: impl FnOnce(&mut Self, &mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let session = self.start_session(SessionKind::Policy, hash, &Salted::none())?;
        self.within(session, work)
    }

    fn within<T>(
        &mut self,
        mut session: Session,
        work: impl FnOnce(&mut Self, &mut Session) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let outcome = work(self, &mut session);
        if !session.is_open() {
            return outcome;
        }
        let flushed = self.flush(session.handle);
        outcome.and_then(|value| flushed.map(|()| value))
    }

    fn start_session(
        &mut self,
        kind: SessionKind,
        hash: Hash,
        salted: &Salted,
    ) -> Result<Session, Error> {
        let nonce = nonce()?;
        let parameters = Writer::new().sized(&nonce).sized(&salted.encrypted);
        let parameters = parameters.u8(kind.number());
        let parameters = match salted.salt.is_empty() {
            true => parameters.u16(algorithm::id::NULL),
            false => parameters
                .u16(algorithm::id::AES)
                .u16(128)
                .u16(algorithm::id::CFB),
        };
        let handles = [salted.key, NULL].map(Entity::named_by_handle).to_vec();
        let command = Command::new(Code::StartAuthSession, handles, parameters.u16(hash.id()));
        let response = self.run(command, &mut [])?;
        let handle = response.new_handle()?;
        let nonce_tpm = response.read(|reader| Ok(reader.sized()?.to_vec()))?;
        Session::new(handle, hash, &salted.salt, nonce, nonce_tpm)
    }

    /// Unloads an object or closes a session.
    pub(crate) fn flush(&mut self, handle: u32) -> Result<(), Error> {
        let command = Command::new(Code::FlushContext, vec![], Writer::new().u32(handle));
        self.run(command, &mut []).map(drop)
    }

    /// The public area of a loaded or persistent object; nothing where there is none.
    pub(crate) fn read_public(&mut self, handle: u32) -> Result<Option<Public>, Error> {
        let command = Command::new(
            Code::ReadPublic,
            vec![Entity::named_by_handle(handle)],
            Writer::new(),
        );
        let response = match self.run(command, &mut []) {
            Err(Error::Refused { code, .. }) if code.kind() == ResponseCode::HANDLE => {
                return Ok(None);
            }
            outcome => outcome?,
        };
        let public = response.read(|reader| {
            let public = reader.sized()?.to_vec();
            let (_name, _qualified) = (reader.sized()?, reader.sized()?);
            Ok(public)
        })?;
        Ok(Public::parse(&public).ok())
    }

    /// Makes a primary object of `hierarchy` from a template (TPM2_CreatePrimary).
    pub(crate) fn create_primary(
        &mut self,
        hierarchy: Hierarchy,
        template: &Public,
    ) -> Result<Loaded, Error> {
        let parameters = Writer::new()
            .sized(&EMPTY_SENSITIVE)
            .sized(&template.bytes)
            .sized(&[])
            .u32(0);
        let entity = Entity::named_by_handle(hierarchy.handle());
        let command = Command::new(Code::CreatePrimary, vec![entity], parameters);
        let response = self.run(command, &mut [Authorization::Password]);
        let response = response.map_err(|error| hierarchy.explain(error))?;
        let handle = response.new_handle()?;
        let public = response.read(|reader| {
            let public = Public::parse(reader.sized()?)?;
            creation(reader)?;
            let _name = reader.sized()?;
            Ok(public)
        });
        match public {
            Ok(public) => Ok(Loaded { handle, public }),
            Err(error) => self.with_loaded(handle, |_| Err(error)),
        }
    }
}

impl fmt::Debug for Tpm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tpm").finish_non_exhaustive()
    }
}

/// A key that the TPM can use now.
pub(crate) struct Loaded {
    pub(crate) handle: u32,
    pub(crate) public: Public,
}

impl Loaded {
    pub(crate) fn entity(&self) -> Entity {
        self.public.entity(self.handle)
    }
}

/// What a session is for.
#[derive(Clone, Copy)]
pub(crate) enum SessionKind {
    Hmac,
    Policy,
}

impl SessionKind {
    fn number(self) -> u8 {
        match self {
            Self::Hmac => 0,
            Self::Policy => 1,
        }
    }
}

/// Whose a primary key is.
#[derive(Clone, Copy)]
pub(crate) enum Hierarchy {
    Owner,
    Endorsement,
}

impl Hierarchy {
    pub(crate) fn handle(self) -> u32 {
        match self {
            Self::Owner => 0x4000_0001,
            Self::Endorsement => 0x4000_000b,
        }
    }

    /// A hierarchy's authorization was wrong: it has a password.
    pub(crate) fn explain(self, error: Error) -> Error {
        let hierarchy = match self {
            Self::Owner => "owner",
            Self::Endorsement => "endorsement",
        };
        match error {
            Error::Refused { command, code }
                if [ResponseCode::BAD_AUTH, ResponseCode::AUTH_FAIL].contains(&code.kind()) =>
            {
                Error::HierarchyPassword { command, hierarchy }
            }
            error => error,
        }
    }
}

/// The salt of a session, and how it gets to the TPM.
struct Salted {
    key: u32,
    salt: Zeroizing<Vec<u8>>,
    encrypted: Vec<u8>,
}

impl Salted {
    fn none() -> Self {
        Self {
            key: NULL,
            salt: Zeroizing::default(),
            encrypted: Vec::new(),
        }
    }
}

/// What a response to TPM2_Create and TPM2_CreatePrimary says of the creation: data, hash, ticket.
pub(crate) fn creation(reader: &mut Reader<'_>) -> Result<(), crate::wire::Malformed> {
    let (_data, _hash) = (reader.sized()?, reader.sized()?);
    let (_tag, _hierarchy, _digest) = (reader.u16()?, reader.u32()?, reader.sized()?);
    Ok(())
}

fn is_transient(handle: u32) -> bool {
    handle >> 24 == 0x80
}

const CLEAR: u16 = 0;
/// TPM_RH_NULL.
const NULL: u32 = 0x4000_0007;
/// TPMS_SENSITIVE_CREATE with no password and no data.
pub(crate) const EMPTY_SENSITIVE: [u8; 4] = [0; 4];
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// With these pauses 13 seconds in all: a full self-test takes some TPMs several.
const ATTEMPTS: u32 = 32;
