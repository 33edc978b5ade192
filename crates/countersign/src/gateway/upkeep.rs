//! What a gateway does without being asked: follows changes of its state, shows renewed certificates, ends exceptions in
//! time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Gateway, behind, certificates, identity_keys};
use crate::audit::Event;

/// Runs until the gateway has stopped. What is open depends on it: if it fails, it begins again.
pub(super) async fn run(gateway: Arc<Gateway>) {
    while let Err(error) = tokio::spawn(keep_up(Arc::clone(&gateway))).await {
        tracing::error!(%error, "upkeep has failed and begins again");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn keep_up(gateway: Arc<Gateway>) {
    tokio::select! {
        () = gateway.custody.run(gateway.stopped.clone()) => {}
        () = follow_state(&gateway) => {}
        () = follow_renewals(&gateway) => {}
        () = end_exceptions(&gateway) => {}
        () = watch_audit(&gateway) => {}
        () = identity_keys::follow(&gateway) => {}
        () = behind::follow(&gateway) => {}
        () = watch_hardware(&gateway) => {}
        () = certificates::follow(&gateway) => {}
        () = certificates::follow_issued(&gateway) => {}
    }
}

/// Puts each change of grants, exceptions and agents in force, for streams that are open too.
async fn follow_state(gateway: &Gateway) {
    let mut changes = gateway.custody.state.changes();
    // What changed before is not missed.
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        if let Err(error) = gateway.take_grants().await {
            // The grants were checked when they were made; the ones before stay in force.
            tracing::error!(%error, "the policy cannot take the new grants");
        }
        if let Err(error) = gateway.take_exceptions().await {
            tracing::error!(%error, "a listener cannot take the new exceptions");
        }
        gateway.decide_again();
    }
}

/// Shows the newest certificate and bundle on every listener.
async fn follow_renewals(gateway: &Gateway) {
    let mut renewals = gateway.custody.authority.renewals();
    renewals.mark_changed();
    while renewals.changed().await.is_ok() {
        if let Err(error) = gateway.renew_credentials().await {
            tracing::error!(%error, "a listener keeps its certificate");
        }
    }
}

/// Tells of the tokens that hold keys, for as long as there are any.
async fn watch_hardware(gateway: &Gateway) {
    let custody = &gateway.custody;
    custody.hardware.watch(&custody.audit).await;
    std::future::pending().await
}

/// Ends the channels of an exception when its date comes.
async fn end_exceptions(gateway: &Gateway) {
    let mut looked = Timestamp::now();
    loop {
        let next = gateway.running().exceptions.next_end(looked);
        let left = next.and_then(|end| Duration::try_from(end.duration_since(looked)).ok());
        // A reload may bring a nearer end, and the clock may be set: look again within a second.
        tokio::time::sleep(left.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)).await;
        let now = Timestamp::now();
        // By what is in force now: an end that came and passed while we slept counts as well.
        let running = gateway.running();
        let mut ended = running.exceptions.ended_between(looked, now).peekable();
        if ended.peek().is_some() {
            gateway.decide_again();
        }
        // Whoever ended one before its time has told of it.
        for known in ended.filter(|known| known.ended_by.is_none()) {
            let (exception, owner) = (known.exception.id.clone(), known.exception.owner.clone());
            tracing::warn!(exception, owner, "an exception has ended");
            gateway.custody.audit.record(Event::ExceptionEnded {
                exception,
                owner,
                operator: None,
            });
        }
        looked = now;
    }
}

/// Says in `/readyz` when no stream would open because the audit trail cannot be written.
async fn watch_audit(gateway: &Gateway) {
    let mut looks = tokio::time::interval(LOOK_AGAIN);
    while !gateway.stopping.is_cancelled() {
        looks.tick().await;
        let now = gateway
            .custody
            .audit
            .ready()
            .map_err(|error| error.to_string());
        gateway.ready.send_if_modified(|ready| {
            let stops = gateway.stopping.is_cancelled();
            let changed = !stops && *ready != now;
            if changed {
                ready.clone_from(&now);
            }
            changed
        });
    }
    std::future::pending().await
}

const LOOK_AGAIN: Duration = Duration::from_secs(1);
