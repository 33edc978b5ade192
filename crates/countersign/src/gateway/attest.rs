//! What is asked on an agent's channel: a TPM lets its machine in, and each access token takes a question that is good once.

use bytes::Bytes;
use http::Response;
use jiff::Timestamp;

use super::Gateway;
use super::control::{body, holder};
use super::live::LiveChannel;
use super::problem::Problem;
use crate::attestation::TpmRefusal;
use crate::attestation::wire::{ActivateTpm, Bytes as Encoded, Question, ShowTpm};
use crate::enrolment::{EnrolRefusal, EnrolRequest};

/// `POST /v1/enrol/tpm`: a credential that only this TPM can open, if the TPM is one to be trusted.
///
/// # Errors
///
/// What the agent is to be told.
pub(super) async fn show_tpm(
    gateway: &Gateway,
    channel: &LiveChannel,
    shown: ShowTpm,
) -> Result<Response<Bytes>, Problem> {
    // A path to verify and a key to encrypt to: as dear as a request that comes to nothing.
    channel.refused();
    let now = Timestamp::now();
    let (rules, snapshot) = (
        gateway.running().attestation.clone(),
        gateway.custody.state.snapshot(),
    );
    let (credential, open) = rules
        .credential(&shown, &snapshot.allowed_eks, now)
        .map_err(|refusal| tpm_refused(gateway, channel, refusal))?;
    channel.questions.ask_credential(open, now);
    Ok(body(&credential))
}

/// `POST /v1/enrol/tpm/activate`: lets the machine in, if its TPM opened the credential.
///
/// # Errors
///
/// What the agent is to be told.
pub(super) async fn activate_tpm(
    gateway: &Gateway,
    channel: &LiveChannel,
    proof: ActivateTpm,
) -> Result<Response<Bytes>, Problem> {
    let now = Timestamp::now();
    let open = channel
        .questions
        .take_credential(now)
        .ok_or(TpmRefusal::NotAsked)
        .map_err(|refusal| tpm_refused(gateway, channel, refusal))?;
    let proven = open
        .prove(&proof.mac.0, &proof.certificate_request.0)
        .map_err(|refusal| tpm_refused(gateway, channel, refusal))?;
    let request = EnrolRequest {
        join_token: proof.join_token.as_deref(),
        tpm: Some(&proven),
        certificate_request: &proof.certificate_request.0,
        agent_time: proof.now,
        peer: channel.record.peer_address,
        profile: channel.record.profile,
    };
    super::control::enrolled(gateway, request, now).await
}

/// `POST /v1/attest`: what the machine is to prove itself for, by a nonce that is good once.
///
/// # Errors
///
/// The channel has no agent's certificate.
pub(super) fn question(
    gateway: &Gateway,
    channel: &LiveChannel,
) -> Result<Response<Bytes>, Problem> {
    holder(channel)?;
    let nonce = channel.questions.ask_nonce(Timestamp::now());
    Ok(body(&Question {
        nonce: Encoded(nonce.to_vec()),
        pcrs: gateway.running().config.attestation.pcrs.clone(),
    }))
}

fn tpm_refused(gateway: &Gateway, channel: &LiveChannel, refusal: TpmRefusal) -> Problem {
    let refusal = EnrolRefusal::from(refusal);
    let peer = channel.record.peer_address;
    gateway
        .custody
        .enrolment
        .refused(&refusal, None, None, peer);
    gateway.metrics.enrolled(refusal.code());
    super::control::enrol_refused(&refusal)
}
