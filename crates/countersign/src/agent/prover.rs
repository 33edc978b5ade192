//! What proves on a channel what the machine is: its TPM, or the hardware under a confidential guest.

use std::sync::Arc;

use countersign_attest::tpm::Binding;
use countersign_channel::binding::ChannelBinding;
use countersign_channel::identity::SpkiHash;

use super::attester::{Attester, AttesterError};
use super::dial::LinkError;
use super::evidence::{CommandError, EvidenceCommand};
use crate::attestation::wire::{Evidence, Question};

/// What vouches for the machine.
#[derive(Clone, Debug)]
pub(crate) enum Witness {
    Tpm(Arc<Attester>),
    Guest(Arc<EvidenceCommand>),
}

/// Answers on one channel what a machine is asked.
#[derive(Debug)]
pub(crate) struct Prover {
    pub(crate) witness: Witness,
    pub(crate) binding: ChannelBinding,
    /// The agent's key, as its certificate has it.
    pub(crate) key: SpkiHash,
}

impl Witness {
    /// The TPM, where it is one.
    pub(crate) fn tpm(&self) -> Option<&Attester> {
        match self {
            Self::Tpm(attester) => Some(attester),
            Self::Guest(_) => None,
        }
    }
}

impl Prover {
    /// Gets evidence for what the gateway asks, bound to this channel and to the agent's key.
    ///
    /// # Errors
    ///
    /// The TPM refuses, or the program for evidence gives none.
    pub(crate) async fn answer(&self, question: &Question) -> Result<Evidence, LinkError> {
        let nonce = question.nonce.0.as_slice();
        let binding = Binding {
            gateway_certificate: &self.binding.gateway_certificate,
            exporter: &self.binding.exporter,
            agent_key: self.key.as_bytes(),
            nonce: &nonce
                .try_into()
                .map_err(|_| AttesterError::Question(nonce.len()))?,
        };
        Ok(match &self.witness {
            Witness::Tpm(attester) => {
                let data = binding.qualifying_data();
                Evidence::Quote(attester.quote(data, question.pcrs.clone()).await?)
            }
            Witness::Guest(command) => {
                let (command, data) = (Arc::clone(command), binding.report_data());
                let asked = tokio::task::spawn_blocking(move || command.evidence(&data));
                Evidence::Guest(asked.await.unwrap_or(Err(CommandError::Stopping))?)
            }
        })
    }
}
