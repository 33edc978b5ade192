//! Grants: who may reach which service.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use jiff::Timestamp;

use super::Refused;
use crate::audit::{Event, Operator};
use crate::config::principal_named;
use crate::gateway::Gateway;
use crate::operator::{Grant, GrantChanged, GrantRequest, Grants, Origin};
use crate::store::GrantRecord;

pub(super) async fn list(State(gateway): State<Arc<Gateway>>) -> Json<Grants> {
    let kept = gateway.custody.state.snapshot();
    let kept = kept.grants.iter().map(|grant| Grant {
        principal: grant.principal.clone(),
        service: grant.service.clone(),
        origin: Origin::Store,
        added_at: Some(grant.created_at),
    });
    let running = gateway.running();
    let configured = running.config.grants.iter().map(|grant| Grant {
        principal: grant.principal.clone(),
        service: grant.service.clone(),
        origin: Origin::Config,
        added_at: None,
    });
    let mut grants: Vec<_> = kept.chain(configured).collect();
    grants.sort_by(|a, b| (&a.principal, &a.service).cmp(&(&b.principal, &b.service)));
    Json(Grants { grants })
}

pub(super) async fn add(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Json(request): Json<GrantRequest>,
) -> Result<Json<GrantChanged>, Refused> {
    let (principal, service) = checked(&gateway, request)?;
    let grant = GrantRecord {
        principal: principal.clone(),
        service: service.clone(),
        created_at: Timestamp::now(),
        created_by: operator.uid,
    };
    let changed = gateway
        .custody
        .state
        .add_grant(grant)
        .await
        .map_err(|e| Refused::failed(&e))?;
    if changed {
        gateway.custody.audit.record(Event::GrantAdded {
            principal: principal.clone(),
            service: service.clone(),
            operator,
        });
    }
    Ok(Json(GrantChanged {
        service_known: known(&gateway, &service),
        principal,
        service,
        changed,
    }))
}

pub(super) async fn remove(
    State(gateway): State<Arc<Gateway>>,
    Extension(operator): Extension<Operator>,
    Query(request): Query<GrantRequest>,
) -> Result<Json<GrantChanged>, Refused> {
    let (principal, service) = checked(&gateway, request)?;
    let removed = gateway
        .custody
        .state
        .remove_grant(&principal, &service, Timestamp::now())
        .await
        .map_err(|e| Refused::failed(&e))?;
    let configured = gateway
        .running()
        .config
        .grants
        .iter()
        .any(|g| g.principal == principal && g.service == service);
    if !removed && configured {
        let detail = format!("the grant `{principal}` -> `{service}` stands in the configuration");
        return Err(Refused::invalid("configured-grant", detail)
            .with_hint("remove its [[grant]] from the gateway's file and reload it with SIGHUP"));
    }
    if removed {
        gateway.custody.audit.record(Event::GrantRemoved {
            principal: principal.clone(),
            service: service.clone(),
            operator,
        });
    }
    Ok(Json(GrantChanged {
        service_known: known(&gateway, &service),
        principal,
        service,
        changed: removed,
    }))
}

/// Whether a service of that name is configured. A grant may come before its service does, so that is told and not refused.
pub(super) fn known(gateway: &Gateway, service: &str) -> bool {
    let running = gateway.running();
    let services = running.services.all();
    services.iter().any(|one| one.name == service)
}

/// The grant as policy sees it: a bare name is an agent of this trust domain.
fn checked(gateway: &Gateway, request: GrantRequest) -> Result<(String, String), Refused> {
    let GrantRequest { principal, service } = request;
    let principal = principal_named(&principal, &gateway.trust_domain).ok_or_else(|| {
        let trust_domain = &gateway.trust_domain;
        let detail = format!("`{principal}` is no principal of `{trust_domain}`");
        Refused::invalid("invalid-principal", detail).with_hint(&format!(
            "name an agent, `spiffe://{trust_domain}/agent/NAME`, `cert:AUTHORITY/NAME`, `bearer:NAME`, or `anonymous`"
        ))
    })?;
    countersign_policy::Grant::new(&principal, &service)
        .map_err(|error| Refused::invalid("invalid-grant", error.to_string()))?;
    Ok((principal, service))
}
