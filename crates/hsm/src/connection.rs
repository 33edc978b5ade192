//! A session with a token, logged in, and the keys that were found in it.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::{Slot, TokenInfo};

use crate::module::{InUse, Module};
use crate::pin::Pin;
use crate::uri::{KeyName, TokenName};
use crate::{HsmError, KeyAlgorithm, PinRisk, PublicKey};

/// Which token, and where its PIN is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) module: PathBuf,
    pub(crate) token: TokenName,
    pub(crate) pin_source: Option<PathBuf>,
}

/// A session that may use the token's private keys.
pub(crate) struct Connection {
    /// Before `_in_use`: a session ends before its token counts as unused.
    session: Session,
    module: Arc<Module>,
    slot: Slot,
    token: String,
    found: HashMap<KeyName, ObjectHandle>,
    _in_use: InUse,
}

/// What went wrong, and whether a new session may mend it.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The session, the token or the library's state is gone.
    Lost(String),
    /// Anything else: it would be the same with a new session.
    Final(HsmError),
}

impl From<HsmError> for Fault {
    fn from(error: HsmError) -> Self {
        Self::Final(error)
    }
}

impl Connection {
    /// Finds the token, opens a session and logs in: with one try, and none where a wrong PIN would lock the token or
    /// was refused before. `refused` remembers the PIN that was.
    pub(crate) fn open(
        module: &Arc<Module>,
        address: &Address,
        refused: &mut Option<Pin>,
    ) -> Result<Self, HsmError> {
        let context = module.calls();
        let (slot, info) = find_token(&context, module, &address.token)?;
        let token = info.label().trim_end().to_owned();
        let failed = |error: Error| HsmError::Lost {
            token: token.clone(),
            cause: error.to_string(),
        };
        let in_use = module.in_use();
        let session = context.open_rw_session(slot).or_else(|_| {
            // A token that is write-protected signs all the same.
            context.open_ro_session(slot)
        });
        let session = session.map_err(failed)?;
        if info.login_required() {
            log_in(&session, (&token, &info), address, refused)?;
        }
        drop(context);
        Ok(Self {
            session,
            module: Arc::clone(module),
            slot,
            token,
            found: HashMap::new(),
            _in_use: in_use,
        })
    }

    /// The token's label.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// The session, to call with. Who calls holds [`Module::calls`].
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Whether the token is still there. Some modules answer for it and for the session from memory, so a key that is in
    /// use is looked at, too.
    pub(crate) fn look(&self) -> Result<(), Fault> {
        let context = self.module.calls();
        let looked = context.get_token_info(self.slot);
        let looked = looked.and_then(|_| self.session.get_session_info());
        looked.map_err(|error| self.fault(error))?;
        match self.found.values().next() {
            Some(key) => self.attributes(*key, &[AttributeType::Class]).map(drop),
            None => Ok(()),
        }
    }

    /// Refuses what the module does not list.
    pub(crate) fn offers(
        &self,
        (mechanism, name): (cryptoki::mechanism::MechanismType, &'static str),
    ) -> Result<(), Fault> {
        let offered = self.module.calls().get_mechanism_list(self.slot);
        let offered = offered.map_err(|error| self.fault(error))?;
        match offered.contains(&mechanism) {
            true => Ok(()),
            false => Err(HsmError::Lacking {
                token: self.token.clone(),
                mechanism: name,
            })?,
        }
    }

    /// The one private or secret key of this name.
    pub(crate) fn key(
        &mut self,
        name: &KeyName,
        class: ObjectClass,
    ) -> Result<ObjectHandle, Fault> {
        if let Some(known) = self.found.get(name) {
            return Ok(*known);
        }
        let what = match class == ObjectClass::SECRET_KEY {
            true => "secret key",
            false => "private key",
        };
        let found = self.objects(name, class)?;
        let handle = match found.as_slice() {
            [one] => *one,
            [] => Err(self.no_key(name, what))?,
            several => Err(HsmError::SeveralKeys {
                token: self.token.clone(),
                key: name.to_string(),
                number: several.len(),
            })?,
        };
        self.found.insert(name.clone(), handle);
        Ok(handle)
    }

    /// The public half of a signing key: of the public object with the same name, else of the private one.
    pub(crate) fn public_key(&mut self, name: &KeyName) -> Result<PublicKey, Fault> {
        let private = self.key(name, ObjectClass::PRIVATE_KEY)?;
        let told = self.attributes(private, &KeyAlgorithm::TOLD_BY)?;
        let algorithm = KeyAlgorithm::of_signing(&told).map_err(|why| self.unfit(name, why))?;
        self.offers(algorithm.mechanism())?;
        let public = self.objects(name, ObjectClass::PUBLIC_KEY)?;
        for object in public.into_iter().chain([private]) {
            let values = self.attributes(object, &[value_attribute(algorithm)])?;
            let read = values.iter().find_map(|value| match value {
                Attribute::EcPoint(bytes) | Attribute::Value(bytes) => {
                    PublicKey::from_pkcs11(algorithm, bytes)
                }
                _ => None,
            });
            if let Some(key) = read {
                return Ok(key);
            }
        }
        Err(self.no_key(name, "public key"))?
    }

    /// Whether a key has this name already.
    pub(crate) fn has(&self, name: &KeyName, class: ObjectClass) -> Result<bool, Fault> {
        Ok(!self.objects(name, class)?.is_empty())
    }

    /// What to make of an error of the module.
    pub(crate) fn fault(&self, error: Error) -> Fault {
        match &error {
            Error::Pkcs11(code, _) if ends_session(code) => Fault::Lost(error.to_string()),
            _ => Fault::Final(HsmError::Failed {
                token: self.token.clone(),
                code: error.to_string(),
            }),
        }
    }

    pub(crate) fn unfit(&self, name: &KeyName, why: String) -> HsmError {
        HsmError::Unfit {
            token: self.token.clone(),
            key: name.to_string(),
            why,
        }
    }

    fn no_key(&self, name: &KeyName, what: &'static str) -> HsmError {
        HsmError::NoKey {
            token: self.token.clone(),
            what,
            key: name.to_string(),
        }
    }

    fn objects(&self, name: &KeyName, class: ObjectClass) -> Result<Vec<ObjectHandle>, Fault> {
        let mut template = vec![Attribute::Class(class)];
        let label = name.label.as_ref();
        template.extend(label.map(|label| Attribute::Label(label.as_bytes().to_vec())));
        template.extend(name.id.clone().map(Attribute::Id));
        let found = self.session.find_objects(&template);
        found.map_err(|error| self.fault(error))
    }

    fn attributes(
        &self,
        object: ObjectHandle,
        which: &[AttributeType],
    ) -> Result<Vec<Attribute>, Fault> {
        let read = self.session.get_attributes(object, which);
        read.map_err(|error| self.fault(error))
    }
}

/// Where the public value stands: an ML-DSA private object would give its secret as `CKA_VALUE`, but is sensitive.
fn value_attribute(algorithm: KeyAlgorithm) -> AttributeType {
    match algorithm {
        KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => AttributeType::Value,
        _ => AttributeType::EcPoint,
    }
}

/// What a module says when the session, the token or its own state is gone. A general error is among them, since network
/// HSMs say nothing better, and a new session does no harm.
fn ends_session(code: &RvError) -> bool {
    matches!(
        code,
        RvError::CryptokiNotInitialized
            | RvError::DeviceError
            | RvError::DeviceMemory
            | RvError::DeviceRemoved
            | RvError::FunctionFailed
            | RvError::GeneralError
            | RvError::KeyHandleInvalid
            | RvError::ObjectHandleInvalid
            | RvError::SessionClosed
            | RvError::SessionHandleInvalid
            | RvError::SlotIdInvalid
            | RvError::TokenNotPresent
            | RvError::TokenNotRecognized
            | RvError::UserNotLoggedIn
    )
}

fn find_token(
    context: &Pkcs11,
    module: &Module,
    wanted: &TokenName,
) -> Result<(Slot, TokenInfo), HsmError> {
    let failed = |error: Error| HsmError::Module {
        module: module.path().to_owned(),
        why: error.to_string(),
    };
    let slots = context.get_slots_with_initialized_token().map_err(failed)?;
    let mut present = Vec::new();
    let mut fitting = Vec::new();
    for slot in slots {
        // One that goes meanwhile is none.
        let Ok(info) = context.get_token_info(slot) else {
            continue;
        };
        present.push(format!("`{}`", info.label().trim_end()));
        if is_called(wanted, slot, &info) {
            fitting.push((slot, info));
        }
    }
    let (module, wanted) = (module.path().to_owned(), wanted.to_string());
    match (fitting.pop(), fitting.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(HsmError::SeveralTokens { module, wanted }),
        (None, _) => Err(HsmError::NoToken {
            module,
            wanted,
            present: match present.is_empty() {
                true => "none".to_owned(),
                false => present.join(", "),
            },
        }),
    }
}

fn is_called(wanted: &TokenName, slot: Slot, info: &TokenInfo) -> bool {
    let same = |wanted: &Option<String>, found: &str| {
        let found = found.trim_end();
        wanted.as_ref().is_none_or(|wanted| wanted == found)
    };
    same(&wanted.label, info.label())
        && same(&wanted.serial, info.serial_number())
        && same(&wanted.manufacturer, info.manufacturer_id())
        && same(&wanted.model, info.model())
        && wanted.slot.is_none_or(|wanted| wanted == slot.id())
}

fn log_in(
    session: &Session,
    (token, info): (&str, &TokenInfo),
    address: &Address,
    refused: &mut Option<Pin>,
) -> Result<(), HsmError> {
    let token = || token.to_owned();
    let Some(file) = &address.pin_source else {
        return Err(HsmError::NoPin { token: token() });
    };
    let pin = Pin::read(file)?;
    if let Some(risk) = risk(info, &pin, refused.as_ref()) {
        let token = token();
        return Err(HsmError::PinNotTried { token, risk });
    }
    let secret = pin.expose_secret();
    match session.login(UserType::User, Some(&secret)) {
        // Log-in is the token's, not the session's: another session in this process has logged in.
        Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {
            *refused = None;
            Ok(())
        }
        Err(Error::Pkcs11(code, _)) if refuses_pin(&code) => {
            *refused = Some(pin);
            let (token, code) = (token(), code_name(&code).to_owned());
            Err(HsmError::PinRefused { token, code })
        }
        Err(error) => Err(HsmError::Lost {
            token: token(),
            cause: error.to_string(),
        }),
    }
}

fn risk(info: &TokenInfo, pin: &Pin, refused: Option<&Pin>) -> Option<PinRisk> {
    let risks = [
        (info.user_pin_locked(), PinRisk::Locked),
        (info.user_pin_final_try(), PinRisk::FinalTry),
        (refused == Some(pin), PinRisk::RefusedBefore),
        (info.user_pin_count_low(), PinRisk::CountLow),
    ];
    let mut risks = risks.into_iter();
    risks.find_map(|(there, risk)| there.then_some(risk))
}

fn refuses_pin(code: &RvError) -> bool {
    code_name(code).starts_with("CKR_PIN")
}

fn code_name(code: &RvError) -> &'static str {
    match code {
        RvError::PinIncorrect => "CKR_PIN_INCORRECT",
        RvError::PinInvalid => "CKR_PIN_INVALID",
        RvError::PinLenRange => "CKR_PIN_LEN_RANGE",
        RvError::PinExpired => "CKR_PIN_EXPIRED",
        RvError::PinLocked => "CKR_PIN_LOCKED",
        _ => "another error",
    }
}
