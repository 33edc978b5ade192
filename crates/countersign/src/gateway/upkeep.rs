//! What a gateway does without being asked: follows changes of its state, shows renewed certificates, ends exceptions in
//! time.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::running::next_end;
use super::{Gateway, certificates, identity_keys};

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
        () = certificates::follow(&gateway) => {}
        () = certificates::follow_issued(&gateway) => {}
    }
}

/// Puts each change of grants and agents in force, for streams that are open too.
async fn follow_state(gateway: &Gateway) {
    let mut changes = gateway.custody.state.changes();
    // What changed before is not missed.
    changes.mark_changed();
    while changes.changed().await.is_ok() {
        if let Err(error) = gateway.take_grants().await {
            // The grants were checked when they were made; the ones before stay in force.
            tracing::error!(%error, "the policy cannot take the new grants");
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

/// Ends the channels of an exception when it ends.
async fn end_exceptions(gateway: &Gateway) {
    let mut looked = Timestamp::now();
    loop {
        let next = next_end(&gateway.running().config.exceptions, looked);
        let left = next.and_then(|end| Duration::try_from(end.duration_since(looked)).ok());
        // A reload may bring a nearer end, and the clock may be set: look again within a second.
        tokio::time::sleep(left.unwrap_or(LOOK_AGAIN).min(LOOK_AGAIN)).await;
        let now = Timestamp::now();
        // By what is configured now: an end that came and passed while we slept counts as well.
        if next_end(&gateway.running().config.exceptions, looked).is_some_and(|end| end <= now) {
            gateway.decide_again();
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
