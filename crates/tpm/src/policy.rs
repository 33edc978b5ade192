//! Policies: their digests, and their fulfilment in a session (Part 1, section 19.7; Part 3, section 23).

use crate::algorithm::Hash;
use crate::command::{Code, Command, Entity};
use crate::error::Error;
use crate::pcr::{PcrSelection, PcrValues};
use crate::session::{Authorization, Session};
use crate::tpm::{Hierarchy, Tpm};
use crate::wire::Writer;

impl Tpm {
    /// PolicySecret: who knows the endorsement hierarchy's password, which is empty, may use the endorsement key.
    pub(crate) fn policy_secret(&mut self, session: &Session) -> Result<(), Error> {
        let handles = [Hierarchy::Endorsement.handle(), session.handle];
        let handles = handles.map(Entity::named_by_handle).to_vec();
        // No nonce, no command hash, no reference, no expiration.
        let parameters = Writer::new().sized(&[]).sized(&[]).sized(&[]).u32(0);
        let command = Command::new(Code::PolicySecret, handles, parameters);
        let outcome = self.run(command, &mut [Authorization::Password]);
        let outcome = outcome.map_err(|error| Hierarchy::Endorsement.explain(error));
        outcome.map(drop)
    }

    /// PolicyOR: what holds so far is one of `branches`.
    pub(crate) fn policy_or(
        &mut self,
        session: &Session,
        branches: &[Vec<u8>; 2],
    ) -> Result<(), Error> {
        let parameters = branches
            .iter()
            .fold(Writer::new().u32(2), |writer, branch| writer.sized(branch));
        let handle = Entity::named_by_handle(session.handle);
        let command = Command::new(Code::PolicyOr, vec![handle], parameters);
        self.run(command, &mut []).map(drop)
    }

    /// PolicyPCR: the PCRs are as they are now.
    pub(crate) fn policy_pcr(
        &mut self,
        session: &Session,
        selection: &PcrSelection,
    ) -> Result<(), Error> {
        let parameters = selection.encode(Writer::new().sized(&[]));
        let handle = Entity::named_by_handle(session.handle);
        let command = Command::new(Code::PolicyPcr, vec![handle], parameters);
        self.run(command, &mut []).map(drop)
    }
}

/// The digest of a policy that demands `values` of `selection`.
pub(crate) fn pcr_digest(selection: &PcrSelection, values: &PcrValues) -> Vec<u8> {
    let hash = Hash::Sha256;
    let command = POLICY_PCR.to_be_bytes();
    let selection = selection.encode(Writer::new()).finish();
    let start = vec![0; hash.length()];
    hash.of(&[&start, &command, &selection, &values.digest(hash)])
}

const POLICY_PCR: u32 = 0x17f;
