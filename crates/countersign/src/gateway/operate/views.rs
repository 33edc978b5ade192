//! What an operator may look at.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use jiff::Timestamp;

use crate::gateway::{Gateway, ListenerRules};
use crate::identity::PublishedKeys;
use crate::operator::{
    Certificates, ExceptionInForce, ListenerStage, Refused, Residue, Service, Services, Sessions,
    Stages,
};

pub(super) async fn sessions(State(gateway): State<Arc<Gateway>>) -> Json<Sessions> {
    let sessions = gateway
        .live
        .channels()
        .iter()
        .map(|channel| channel.view())
        .collect();
    Json(Sessions { sessions })
}

pub(super) async fn refused(State(gateway): State<Arc<Gateway>>) -> Json<Refused> {
    Json(Refused {
        refused: gateway.live.refused(),
    })
}

pub(super) async fn services(State(gateway): State<Arc<Gateway>>) -> Json<Services> {
    let running = gateway.running();
    let services = running.services.all().into_iter().map(|service| Service {
        streams: gateway.live.streams_to(&service.name),
        ..service.view()
    });
    Json(Services {
        services: services.collect(),
    })
}

pub(super) async fn identity_keys(State(gateway): State<Arc<Gateway>>) -> Json<PublishedKeys> {
    Json(gateway.custody.identity.published(Timestamp::now()))
}

pub(super) async fn certificates(State(gateway): State<Arc<Gateway>>) -> Json<Certificates> {
    let certificates = Vec::clone(&gateway.shown.load());
    Json(Certificates { certificates })
}

pub(super) async fn stage(State(gateway): State<Arc<Gateway>>) -> Json<Stages> {
    let running = gateway.running();
    let listeners = running
        .listeners
        .iter()
        .map(|listener| one_stage(&gateway, listener));
    Json(Stages {
        listeners: listeners.collect(),
    })
}

fn one_stage(gateway: &Gateway, listener: &ListenerRules) -> ListenerStage {
    let now = Timestamp::now();
    let channels = gateway.live.channels();
    let here = || {
        channels
            .iter()
            .filter(|channel| channel.record.listener == listener.name)
    };
    let profile = listener.rules.profile();
    ListenerStage {
        listener: listener.name.clone(),
        address: listener.address.to_string(),
        stage: listener.rules.stage(),
        profile,
        agentless: listener.admits_agentless,
        channels: here().count(),
        classical_channels: here()
            .filter(|channel| channel.record.is_classical())
            .count(),
        exceptions: gateway
            .running()
            .exceptions
            .of_listener(&listener.name, now)
            .into_iter()
            .map(|exception| ExceptionInForce {
                id: exception.id,
                source: exception.network.map(|network| network.to_string()),
                sni: exception.sni,
                owner: exception.owner,
                reason: exception.reason,
                ends: exception.ends,
                ended: exception.ends <= now,
            })
            .collect(),
        residues: profile
            .residues()
            .iter()
            .map(|residue| Residue {
                what: residue.what.to_owned(),
                why: residue.why.to_owned(),
            })
            .collect(),
    }
}
