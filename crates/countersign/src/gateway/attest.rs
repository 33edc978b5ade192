//! Evidence, on an agent's channel: a TPM lets its machine in, and quotes for each access token.

use bytes::Bytes;
use countersign_channel::Stage;
use countersign_policy::{Appraisal, AppraisalResult};
use http::{Response, StatusCode};
use jiff::Timestamp;

use super::Gateway;
use super::control::{body, holder};
use super::live::LiveChannel;
use super::problem::Problem;
use crate::attestation::wire::{ActivateTpm, Bytes as Encoded, Evidence, Question, ShowTpm};
use crate::attestation::{Appraised, Asked, TpmRefusal};
use crate::audit::Event;
use crate::enrolment::{EnrolRefusal, EnrolRequest};
use crate::store::Machine;

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

/// `POST /v1/attest`: what the machine is to quote, by a nonce that is good once.
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

/// What is found of the machine at the other end: by its evidence if a TPM vouches for it, else that nothing does.
///
/// # Errors
///
/// What the agent is to be told.
pub(super) async fn appraise(
    gateway: &Gateway,
    channel: &LiveChannel,
    evidence: Option<Evidence>,
    now: Timestamp,
) -> Result<Appraisal, Problem> {
    let snapshot = gateway.custody.state.snapshot();
    let name = channel.agent_name().unwrap_or_default();
    let Some(machine) = snapshot.machines.get(name) else {
        let software = Appraisal::software(now);
        check_stage(gateway, channel, &software)?;
        return Ok(software);
    };
    let evidence = evidence.ok_or_else(|| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "evidence_required",
            "a TPM vouches for this agent's machine: ask `POST /v1/attest` and quote",
        )
    })?;
    let appraised = quoted(gateway, channel, machine, &evidence, now)?;
    keep(gateway, machine, &appraised).await;
    measured(gateway, name, &appraised.appraisal)?;
    Ok(appraised.appraisal)
}

/// Whether a listener at this stage serves an agent of whose machine this was found.
///
/// # Errors
///
/// The stage is strict, nothing but its own word vouches for the machine, and the configuration does not name it.
pub(super) fn check_stage(
    gateway: &Gateway,
    channel: &LiveChannel,
    appraisal: &Appraisal,
) -> Result<(), Problem> {
    let software = appraisal.technology == countersign_attest::Technology::Software.name();
    if channel.record.stage != Stage::Strict || !software {
        return Ok(());
    }
    let name = channel.agent_name().unwrap_or_default();
    let running = gateway.running();
    let allowed = &running.config.attestation.software_in_strict;
    if allowed.iter().any(|one| one == name) {
        return Ok(());
    }
    let detail = format!(
        "nothing but its own word vouches for the machine of `{name}`, and the stage is strict: give the agent a TPM, or \
         name it in `attestation.software_in_strict`"
    );
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "software_refused",
        detail,
    ))
}

fn quoted(
    gateway: &Gateway,
    channel: &LiveChannel,
    machine: &Machine,
    evidence: &Evidence,
    now: Timestamp,
) -> Result<Appraised, Problem> {
    let name = &machine.agent;
    let refused = |reason: String| {
        gateway.metrics.appraised("refused");
        gateway.custody.audit.record(Event::EvidenceRefused {
            name: name.clone(),
            reason: reason.clone(),
            peer: channel.record.peer_address,
        });
        Problem::new(StatusCode::FORBIDDEN, "evidence_refused", reason)
    };
    let key = *holder(channel)?.key;
    let nonce = channel.questions.take_nonce(now);
    let asked = nonce.zip(channel.binding).map(|(nonce, binding)| Asked {
        nonce,
        binding,
        agent_key: key,
    });
    let asked = asked.ok_or_else(|| refused(NO_QUESTION.to_owned()))?;
    let running = gateway.running();
    let clock = gateway.custody.state.clock_of(machine);
    running
        .attestation
        .appraise(machine, clock.as_deref(), &asked, evidence, now)
        .map_err(|refusal| refused(refusal.to_string()))
}

/// Keeps what a machine showed where it is something new; the store is not written for each quote.
async fn keep(gateway: &Gateway, machine: &Machine, appraised: &Appraised) {
    let Appraised {
        appraisal,
        shown,
        clock,
    } = appraised;
    let state = &gateway.custody.state;
    state.note_clock(&machine.agent, clock.clone());
    let last = machine.shown.as_ref();
    if last.is_some_and(|last| last.state == shown.state) {
        return;
    }
    gateway.custody.audit.record(Event::MachineAppraised {
        name: machine.agent.clone(),
        result: appraisal.result.to_string(),
        reasons: appraisal.reasons.clone(),
    });
    if let Err(error) = state.note_shown(&machine.agent, shown.clone()).await {
        tracing::warn!(%error, agent = machine.agent, "what the machine showed was not kept");
    }
}

/// Whether something is expected of the machine, or the operator wrote down that nothing need be.
fn measured(gateway: &Gateway, name: &str, appraisal: &Appraisal) -> Result<(), Problem> {
    gateway.metrics.appraised(&appraisal.result.to_string());
    let accepted = gateway
        .running()
        .config
        .attestation
        .dangerous_accept_unmeasured;
    if appraisal.result != AppraisalResult::None || accepted {
        return Ok(());
    }
    let detail = format!(
        "nothing is expected of this machine yet: on the gateway run `countersign attest learn {name}` if what it shows now is right"
    );
    Err(Problem::new(StatusCode::FORBIDDEN, "unmeasured", detail))
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

const NO_QUESTION: &str =
    "the evidence answers no question that is open on this channel: ask `POST /v1/attest` anew";
