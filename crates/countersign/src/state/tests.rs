use std::future::Future;
use std::task::{Context, Waker};

use super::*;
use crate::store::SqliteStore;

async fn state() -> (tempfile::TempDir, Arc<State>) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("gateway.db"))
        .await
        .unwrap();
    let (state, _) = State::load(Arc::new(store)).await.unwrap();
    (folder, state)
}

fn grant(service: &str) -> GrantRecord {
    GrantRecord {
        principal: "anonymous".to_owned(),
        service: service.to_owned(),
        created_at: Timestamp::UNIX_EPOCH,
        created_by: 0,
    }
}

fn services(snapshot: &Snapshot) -> Vec<&str> {
    snapshot
        .grants
        .iter()
        .map(|grant| grant.service.as_str())
        .collect()
}

#[tokio::test]
async fn a_write_is_in_the_store_before_it_is_seen() {
    let (_folder, state) = state().await;
    let mut changes = state.changes();
    let before = state.snapshot();
    assert!(state.add_grant(grant("b")).await.unwrap());
    assert!(state.add_grant(grant("a")).await.unwrap());
    changes.changed().await.unwrap();
    let after = state.snapshot();
    assert_eq!(*changes.borrow_and_update(), after.revision);
    assert_eq!(
        (services(&before), services(&after)),
        (vec![], vec!["a", "b"])
    );
    let stored = state.store.load().await.unwrap();
    assert_eq!(
        (stored.revision, &stored.grants),
        (after.revision, &*after.grants)
    );
}

#[tokio::test]
async fn what_changes_nothing_is_no_revision() {
    let (_folder, state) = state().await;
    state.add_grant(grant("a")).await.unwrap();
    let mut changes = state.changes();
    changes.mark_unchanged();
    assert!(!state.add_grant(grant("a")).await.unwrap());
    let removed = state
        .remove_grant("anonymous", "b", Timestamp::UNIX_EPOCH)
        .await;
    assert!(!removed.unwrap());
    assert!(!changes.has_changed().unwrap());
    assert_eq!(state.snapshot().revision, 1);
}

#[tokio::test]
async fn a_write_whose_caller_went_away_is_finished() {
    let (_folder, state) = state().await;
    let mut changes = state.changes();
    {
        let mut abandoned = Box::pin(state.add_grant(grant("a")));
        let mut context = Context::from_waker(Waker::noop());
        assert!(abandoned.as_mut().poll(&mut context).is_pending());
    }
    changes.changed().await.unwrap();
    assert_eq!(services(&state.snapshot()), ["a"]);
}

#[tokio::test]
async fn writes_that_come_at_once_follow_each_other() {
    let (_folder, state) = state().await;
    let writes: Vec<_> = (0..50)
        .map(|number| {
            let state = Arc::clone(&state);
            tokio::spawn(async move { state.add_grant(grant(&format!("{number:02}"))).await })
        })
        .collect();
    for write in writes {
        assert!(write.await.unwrap().unwrap());
    }
    let snapshot = state.snapshot();
    assert_eq!((snapshot.revision, snapshot.grants.len()), (50, 50));
    assert_eq!(state.store.load().await.unwrap().grants, *snapshot.grants);
}

#[tokio::test]
async fn a_write_that_fails_changes_nothing() {
    let (_folder, state) = state().await;
    state.add_grant(grant("a")).await.unwrap();
    state.close().await.unwrap();
    assert!(state.add_grant(grant("b")).await.is_err());
    assert_eq!(services(&state.snapshot()), ["a"]);
}

#[tokio::test]
async fn nobody_of_that_name_is_not_admitted() {
    let (_folder, state) = state().await;
    let (snapshot, key) = (state.snapshot(), SpkiHash::from([7; 48]));
    let refused = snapshot
        .admit("laptop", &key, Timestamp::UNIX_EPOCH)
        .unwrap_err();
    assert_eq!(refused.to_string(), "no agent `laptop` is enrolled");
}
