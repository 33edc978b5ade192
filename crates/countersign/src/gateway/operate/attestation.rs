//! Machines and their hardware: which TPMs are let in, what machines show, what is expected of them.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use jiff::Timestamp;

use super::Refused;
use crate::attestation::{differences, name_of_ek};
use crate::audit::{Event, Operator};
use crate::gateway::Gateway;
use crate::operator::{
    AcceptRequest, AllowEkRequest, AllowedEk, AllowedEks, Attestation, EkForbidden, TpmJoinString,
};
use crate::state::Snapshot;
use crate::store::{self, Machine, Reference};

pub(super) async fn join_string(State(gateway): State<Arc<Gateway>>) -> Json<TpmJoinString> {
    let (address, _) = gateway.advertised();
    let join_string = gateway.custody.enrolment.join_string_for_tpms(address);
    Json(TpmJoinString {
        join_string: join_string.expose_secret().to_string(),
    })
}

pub(super) async fn list_eks(State(gateway): State<Arc<Gateway>>) -> Json<AllowedEks> {
    let snapshot = gateway.custody.state.snapshot();
    let mut eks: Vec<_> = snapshot.allowed_eks.values().map(view).collect();
    eks.sort_by(|one, other| one.name.cmp(&other.name));
    Json(AllowedEks { eks })
}

pub(super) async fn allow_ek(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Json(request): Json<AllowEkRequest>,
) -> Result<Json<AllowedEk>, Refused> {
    let ek_hash = ek_hash(&request.ek_hash)?;
    let name = request.name.unwrap_or_else(|| name_of_ek(&ek_hash));
    gateway
        .trust_domain
        .agent(&name)
        .map_err(|error| Refused::invalid("invalid-name", error.to_string()))?;
    let key = store::AllowedEk {
        ek_hash: ek_hash.clone(),
        name: name.clone(),
        created_at: Timestamp::now(),
        created_by: operator.uid,
    };
    let state = &gateway.custody.state;
    state
        .allow_ek(key.clone())
        .await
        .map_err(|error| Refused::failed(&error))?;
    gateway.custody.audit.record(Event::EkAllowed {
        ek_hash,
        name,
        operator,
    });
    Ok(Json(view(&key)))
}

pub(super) async fn forbid_ek(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Path(hash): Path<String>,
) -> Result<Json<EkForbidden>, Refused> {
    let ek_hash = ek_hash(&hash)?;
    let state = &gateway.custody.state;
    let forbidden = state.forbid_ek(&ek_hash, Timestamp::now()).await;
    if !forbidden.map_err(|error| Refused::failed(&error))? {
        let detail = format!("the endorsement key {ek_hash} is not listed");
        return Err(Refused::not_found("unknown-ek", detail)
            .with_hint("`countersign agents list-eks` shows those that are"));
    }
    gateway.custody.audit.record(Event::EkForbidden {
        ek_hash: ek_hash.clone(),
        operator,
    });
    Ok(Json(EkForbidden { ek_hash }))
}

pub(super) async fn show(
    State(gateway): State<Arc<Gateway>>,
    Path(name): Path<String>,
) -> Result<Json<Attestation>, Refused> {
    let snapshot = gateway.custody.state.snapshot();
    Ok(Json(standing(machine(&snapshot, &name)?)))
}

pub(super) async fn learn(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
) -> Result<Json<Attestation>, Refused> {
    let snapshot = gateway.custody.state.snapshot();
    let machine = machine(&snapshot, &name)?;
    if let Some(reference) = &machine.reference {
        let detail = format!(
            "what is expected of the machine of `{name}` stands since {}",
            reference.at
        );
        let hint = format!("to change it: `countersign attest accept {name} --reason WHY`");
        return Err(Refused::invalid("expected-already", detail).with_hint(&hint));
    }
    expect(&gateway, machine, "learned".to_owned(), operator).await
}

pub(super) async fn accept(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Path(name): Path<String>,
    Json(request): Json<AcceptRequest>,
) -> Result<Json<Attestation>, Refused> {
    if request.reason.trim().is_empty() {
        let detail = "a change that is accepted has a reason".to_owned();
        return Err(Refused::invalid("unaccounted-change", detail));
    }
    let snapshot = gateway.custody.state.snapshot();
    expect(
        &gateway,
        machine(&snapshot, &name)?,
        request.reason,
        operator,
    )
    .await
}

/// What the machine shows now is what is expected of it from here on.
async fn expect(
    gateway: &Gateway,
    machine: &Machine,
    reason: String,
    operator: Operator,
) -> Result<Json<Attestation>, Refused> {
    let name = &machine.agent;
    let shown = machine.shown.as_ref().ok_or_else(|| {
        let detail = format!("the machine of `{name}` has shown nothing yet");
        Refused::invalid("nothing-shown", detail)
            .with_hint("start its agent: it shows what it measured when it connects")
    })?;
    let changes = standing(machine).changes;
    let reference = Reference {
        state: shown.state.clone(),
        at: Timestamp::now(),
        by: operator.uid,
        reason: reason.clone(),
    };
    let state = &gateway.custody.state;
    state
        .expect_of_machine(name, reference)
        .await
        .map_err(|error| Refused::failed(&error))?;
    gateway.custody.audit.record(Event::ReferenceSet {
        name: name.clone(),
        reason,
        changes,
        operator,
    });
    let snapshot = state.snapshot();
    Ok(Json(standing(self::machine(&snapshot, name)?)))
}

fn standing(machine: &Machine) -> Attestation {
    let (shown, reference) = (machine.shown.as_ref(), machine.reference.as_ref());
    let compared = reference.zip(shown);
    Attestation {
        name: machine.agent.clone(),
        technology: machine.technology().to_owned(),
        ek_hash: machine.tpm().map(|tpm| tpm.ek_hash.clone()),
        vendor: machine.vendor().map(str::to_owned),
        shown_at: shown.map(|shown| shown.at),
        expected_since: reference.map(|reference| reference.at),
        reason: reference.map(|reference| reference.reason.clone()),
        changes: compared.map_or_else(Vec::new, |(reference, shown)| {
            differences(&machine.vouched_by, &reference.state, &shown.state)
        }),
    }
}

fn machine<'s>(snapshot: &'s Snapshot, name: &str) -> Result<&'s Machine, Refused> {
    if let Some(machine) = snapshot.machines.get(name) {
        return Ok(machine);
    }
    Err(match snapshot.agents.contains_key(name) {
        true => Refused::invalid(
            "no-hardware",
            format!("nothing but its own word vouches for the machine of `{name}`"),
        )
        .with_hint("give its agent a `[tpm]` and let it join by it, or an `[evidence]`"),
        false => Refused::not_found("unknown-agent", format!("there is no agent `{name}`"))
            .with_hint("`countersign agents list` shows every agent"),
    })
}

/// A SHA-256 in hexadecimal, in lower case.
fn ek_hash(text: &str) -> Result<String, Refused> {
    let hash = text.trim().to_ascii_lowercase();
    let holds = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    holds.then_some(hash).ok_or_else(|| {
        let detail =
            format!("`{text}` is no hash of an endorsement key, which has 64 hexadecimal digits");
        Refused::invalid("invalid-ek-hash", detail).with_hint(
            "a refused join prints the hash, and so does `countersign attest show` on the machine",
        )
    })
}

fn view(key: &store::AllowedEk) -> AllowedEk {
    AllowedEk {
        ek_hash: key.ek_hash.clone(),
        name: key.name.clone(),
        added_at: key.created_at,
    }
}
