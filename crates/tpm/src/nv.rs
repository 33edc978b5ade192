//! What is kept in a TPM's memory (Part 3, section 31).

use crate::command::{Code, Command, Entity};
use crate::error::Error;
use crate::response_code::ResponseCode;
use crate::session::Authorization;
use crate::tpm::{Hierarchy, Tpm};
use crate::wire::Writer;

/// An index that is there, and what reading it takes.
struct Index {
    entity: Entity,
    reads_by_itself: bool,
    size: u16,
}

impl Tpm {
    /// The content of an index; nothing where it is not defined or was never written.
    pub(crate) fn read_index(&mut self, handle: u32) -> Result<Option<Vec<u8>>, Error> {
        let Some(index) = self.index(handle)? else {
            return Ok(None);
        };
        let mut content = Vec::new();
        for offset in (0..index.size).step_by(PIECE.into()) {
            let length = PIECE.min(index.size - offset);
            match self.read_piece(&index, offset, length) {
                Err(Error::Refused { code, .. }) if code.name() == Some("NV_UNINITIALIZED") => {
                    return Ok(None);
                }
                piece => content.extend(piece?),
            }
        }
        Ok(Some(content))
    }

    fn index(&mut self, handle: u32) -> Result<Option<Index>, Error> {
        let entity = Entity::named_by_handle(handle);
        let command = Command::new(Code::NvReadPublic, vec![entity], Writer::new());
        let response = match self.run(command, &mut []) {
            Err(Error::Refused { code, .. }) if code.kind() == ResponseCode::HANDLE => {
                return Ok(None);
            }
            outcome => outcome?,
        };
        response.read(|reader| {
            let mut public = crate::wire::Reader::new(reader.sized()?);
            let (_index, _hash) = (public.u32()?, public.u16()?);
            let attributes = public.u32()?;
            let _policy = public.sized()?;
            let size = public.u16()?;
            public.finish()?;
            let name = reader.sized()?.to_vec();
            Ok(Some(Index {
                entity: Entity { handle, name },
                reads_by_itself: attributes & AUTH_READ != 0,
                size,
            }))
        })
    }

    fn read_piece(&mut self, index: &Index, offset: u16, length: u16) -> Result<Vec<u8>, Error> {
        let reader = match index.reads_by_itself {
            true => index.entity.clone(),
            false => Entity::named_by_handle(Hierarchy::Owner.handle()),
        };
        let handles = vec![reader, index.entity.clone()];
        let parameters = Writer::new().u16(length).u16(offset);
        let command = Command::new(Code::NvRead, handles, parameters);
        let response = self.run(command, &mut [Authorization::Password])?;
        response.read(|reader| match reader.sized()? {
            piece if piece.len() == usize::from(length) => Ok(piece.to_vec()),
            _ => Err(crate::wire::Malformed::Value),
        })
    }
}

/// TPMA_NV_AUTHREAD (Part 2, section 13.4).
const AUTH_READ: u32 = 1 << 18;
/// Every TPM gives at least that much at once.
const PIECE: u16 = 512;
