//! The storage root key, and what is kept outside of the TPM under it.

use crate::algorithm::{Hash, id};
use crate::command::{Code, Command, Response};
use crate::error::Error;
use crate::public::{Public, attribute};
use crate::response_code::ResponseCode;
use crate::session::Authorization;
use crate::tpm::{Hierarchy, Loaded, Tpm, creation};
use crate::wire::{Malformed, Reader, Writer};

/// An object outside of the TPM: its private part is encrypted by a key that never leaves it.
#[derive(Clone)]
pub(crate) struct Stored {
    /// The name of the storage root key, so that another one in its place is seen.
    parent: Vec<u8>,
    private: Vec<u8>,
    pub(crate) public: Public,
}

impl Stored {
    pub(crate) fn encode(&self, writer: Writer) -> Writer {
        let writer = writer.sized(&self.parent).sized(&self.private);
        writer.sized(&self.public.bytes)
    }

    pub(crate) fn parse(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            parent: reader.sized()?.to_vec(),
            private: reader.sized()?.to_vec(),
            public: Public::parse(reader.sized()?)?,
        })
    }
}

impl Tpm {
    /// Does `work` with the storage root key, for what is made new.
    pub(crate) fn with_storage_key<T>(
        &mut self,
        work: impl FnOnce(&mut Self, &Loaded) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let key = match self.persistent_storage_key()? {
            Some(key) => key,
            None => self.create_primary(Hierarchy::Owner, &template())?,
        };
        self.with_loaded(key.handle, |tpm| work(tpm, &key))
    }

    /// Does `work` with the storage root key that `stored` was made under, and with `stored` loaded.
    pub(crate) fn with_stored<T>(
        &mut self,
        stored: &Stored,
        what: &'static str,
        work: impl FnOnce(&mut Self, &Loaded, &Loaded) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let is_parent = |key: &Loaded| key.public.name() == stored.parent;
        let key = match self.persistent_storage_key()?.filter(is_parent) {
            Some(key) => key,
            None => self.create_primary(Hierarchy::Owner, &template())?,
        };
        self.with_loaded(key.handle, |tpm| {
            if !is_parent(&key) {
                return Err(Error::Foreign { what });
            }
            let loaded = tpm.load(&key, stored, what)?;
            tpm.with_loaded(loaded.handle, |tpm| work(tpm, &key, &loaded))
        })
    }

    /// Makes an object under `parent` (TPM2_Create). A secret in `sensitive` (TPMS_SENSITIVE_CREATE) needs a session that hides it.
    pub(crate) fn create(
        &mut self,
        parent: &Loaded,
        sensitive: &[u8],
        template: &Public,
        authorization: Authorization<'_>,
    ) -> Result<Stored, Error> {
        let parameters = Writer::new().sized(sensitive).sized(&template.bytes);
        let parameters = parameters.sized(&[]).u32(0);
        let command = Command::new(Code::Create, vec![parent.entity()], parameters);
        let response = self.run(command, &mut [authorization])?;
        let (private, public) = response.read(|reader| {
            let private = reader.sized()?.to_vec();
            let public = Public::parse(reader.sized()?)?;
            creation(reader)?;
            Ok((private, public))
        })?;
        if !public.is_from(template) {
            return Err(response.malformed(Malformed::Value));
        }
        let parent = parent.public.name();
        Ok(Stored {
            parent,
            private,
            public,
        })
    }

    fn load(
        &mut self,
        parent: &Loaded,
        stored: &Stored,
        what: &'static str,
    ) -> Result<Loaded, Error> {
        let parameters = Writer::new().sized(&stored.private);
        let parameters = parameters.sized(&stored.public.bytes);
        let command = Command::new(Code::Load, vec![parent.entity()], parameters);
        let response = match self.run(command, &mut [Authorization::Password]) {
            Err(Error::Refused { code, .. }) if code.kind() == ResponseCode::INTEGRITY => {
                return Err(Error::Foreign { what });
            }
            outcome => outcome?,
        };
        let handle = Response::new_handle(&response)?;
        let public = stored.public.clone();
        Ok(Loaded { handle, public })
    }

    /// What systemd and the installers of others leave, where it is from our template.
    fn persistent_storage_key(&mut self) -> Result<Option<Loaded>, Error> {
        let public = self.read_public(PERSISTENT)?;
        let public = public.filter(|public| public.is_from(&template()));
        Ok(public.map(|public| Loaded {
            handle: PERSISTENT,
            public,
        }))
    }
}

/// ECC P-256 with AES-128 (TCG TPM v2.0 Provisioning Guidance, section 7.5.1: the endorsement key's template, with user authorization and
/// without dictionary attack protection).
fn template() -> Public {
    let attributes = attribute::FIXED_TPM
        | attribute::FIXED_PARENT
        | attribute::SENSITIVE_DATA_ORIGIN
        | attribute::USER_WITH_AUTH
        | attribute::NO_DA
        | attribute::RESTRICTED
        | attribute::DECRYPT;
    let bytes = Writer::new()
        .u16(id::ECC)
        .u16(Hash::Sha256.id())
        .u32(attributes)
        .sized(&[])
        .u16(id::AES)
        .u16(128)
        .u16(id::CFB)
        .u16(id::NULL)
        .u16(id::P256)
        .u16(id::NULL)
        .sized(&[0; 32])
        .sized(&[0; 32])
        .finish();
    Public::parse(&bytes).expect("the template is well formed")
}

const PERSISTENT: u32 = 0x8100_0001;
