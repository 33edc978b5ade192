//! What is found of the machine at the other end of an agent's channel, by the evidence that it shows for an access token.

use countersign_channel::Stage;
use countersign_policy::Appraisal;
use http::StatusCode;
use jiff::Timestamp;

use super::Gateway;
use super::control::holder;
use super::live::LiveChannel;
use super::problem::Problem;
use crate::attestation::wire::{Evidence, GuestEvidence, QuoteEvidence};
use crate::attestation::{Appraised, Asked};
use crate::audit::Event;
use crate::store::{KnownGuest, KnownTpm, Machine, Voucher};

/// What is found of the machine at the other end: by its evidence if hardware vouches for it, else that nothing does.
///
/// Once a machine has shown evidence, nothing less will do.
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
    let machine = snapshot.machines.get(name).map(AsRef::as_ref);
    let place = Place {
        gateway,
        channel,
        name,
    };
    let vouched_by = machine.map(|machine| (machine, &machine.vouched_by));
    match (vouched_by, evidence) {
        (Some((machine, Voucher::Tpm(tpm))), Some(Evidence::Quote(quote))) => {
            place.quoted((machine, tpm), &quote, now).await
        }
        (Some((_, Voucher::Tpm(_))), _) => Err(required("a TPM vouches", "quote")),
        (_, Some(Evidence::Guest(report))) => place.reported(machine, &report, now).await,
        (Some((_, Voucher::Guest(guest))), _) => {
            let by = format!("evidence of {} vouches", guest.technology);
            Err(required(&by, "show a report"))
        }
        (None, _) => {
            let software = Appraisal::software(now);
            check_stage(gateway, channel, &software)?;
            Ok(software)
        }
    }
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
        "nothing but its own word vouches for the machine of `{name}`, and the stage is strict: give the agent a TPM or \
         evidence of a confidential guest, or name it in `attestation.software_in_strict`"
    );
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "software_refused",
        detail,
    ))
}

/// Where evidence is shown, and by which agent.
struct Place<'a> {
    gateway: &'a Gateway,
    channel: &'a LiveChannel,
    name: &'a str,
}

impl Place<'_> {
    async fn quoted(
        &self,
        (machine, tpm): (&Machine, &KnownTpm),
        quote: &QuoteEvidence,
        now: Timestamp,
    ) -> Result<Appraisal, Problem> {
        let asked = self.asked(now)?;
        let state = &self.gateway.custody.state;
        let clock = state.clock_of(machine);
        let rules = self.gateway.running().attestation.clone();
        let appraised = rules
            .appraise((machine, tpm), clock.as_deref(), &asked, quote, now)
            .map_err(|refusal| self.refused(refusal.to_string()))?;
        if let Some(clock) = &appraised.clock {
            state.note_clock(self.name, clock.clone());
        }
        self.keep(Some(machine), &appraised, None).await;
        self.measured(appraised)
    }

    async fn reported(
        &self,
        machine: Option<&Machine>,
        report: &GuestEvidence,
        now: Timestamp,
    ) -> Result<Appraisal, Problem> {
        let asked = self.asked(now)?;
        let reference = machine.and_then(|machine| machine.reference.as_ref());
        let rules = self.gateway.running().attestation.clone();
        let (appraised, guest) = rules
            .guests
            .appraise(reference, &asked, report, now)
            .map_err(|refusal| self.refused(refusal.to_string()))?;
        self.keep(machine, &appraised, Some(guest)).await;
        self.measured(appraised)
    }

    /// What was asked on this channel, which it is not from here on.
    fn asked(&self, now: Timestamp) -> Result<Asked, Problem> {
        let agent_key = *holder(self.channel)?.key;
        let nonce = self.channel.questions.take_nonce(now);
        let asked = nonce
            .zip(self.channel.binding)
            .map(|(nonce, channel)| Asked {
                nonce,
                channel,
                agent_key,
            });
        asked.ok_or_else(|| self.refused(NO_QUESTION.to_owned()))
    }

    fn refused(&self, reason: String) -> Problem {
        self.gateway.metrics.appraised("refused");
        self.gateway.custody.audit.record(Event::EvidenceRefused {
            name: self.name.to_owned(),
            reason: reason.clone(),
            peer: self.channel.record.peer_address,
        });
        Problem::new(StatusCode::FORBIDDEN, "evidence_refused", reason)
    }

    /// Keeps what a machine showed where it is something new; the store is not written each time.
    async fn keep(
        &self,
        machine: Option<&Machine>,
        appraised: &Appraised,
        guest: Option<KnownGuest>,
    ) {
        let Appraised {
            appraisal, shown, ..
        } = appraised;
        let last = machine.and_then(|machine| machine.shown.as_ref());
        if last.is_some_and(|last| last.state == shown.state) {
            return;
        }
        let custody = &self.gateway.custody;
        custody.audit.record(Event::MachineAppraised {
            name: self.name.to_owned(),
            result: appraisal.result.to_string(),
            reasons: appraisal.reasons.clone(),
        });
        let kept = match guest.filter(|guest| !is_known(machine, guest)) {
            None => custody.state.note_shown(self.name, shown.clone()).await,
            Some(guest) => {
                let machine = Machine::guest(self.name, guest, shown.clone(), machine);
                custody.state.enter_guest(machine, shown.at).await.map(drop)
            }
        };
        if let Err(error) = kept {
            tracing::warn!(%error, agent = self.name, "what the machine showed was not kept");
        }
    }

    /// Whether something is expected of the machine, or the operator wrote down that nothing need be.
    fn measured(&self, appraised: Appraised) -> Result<Appraisal, Problem> {
        let result = appraised.appraisal.result.to_string();
        self.gateway.metrics.appraised(&result);
        let rules = &self.gateway.running().config.attestation;
        if appraised.is_expected || rules.dangerous_accept_unmeasured {
            return Ok(appraised.appraisal);
        }
        let name = self.name;
        let detail = format!(
            "nothing is expected of this machine yet: on the gateway run `countersign attest learn {name}` if what it shows now is right"
        );
        Err(Problem::new(StatusCode::FORBIDDEN, "unmeasured", detail))
    }
}

fn is_known(machine: Option<&Machine>, guest: &KnownGuest) -> bool {
    machine.is_some_and(|machine| machine.vouched_by == Voucher::Guest(guest.clone()))
}

fn required(by: &str, what: &str) -> Problem {
    let detail = format!("{by} for this agent's machine: ask `POST /v1/attest` and {what}");
    Problem::new(StatusCode::FORBIDDEN, "evidence_required", detail)
}

const NO_QUESTION: &str =
    "the evidence answers no question that is open on this channel: ask `POST /v1/attest` anew";
