//! A key ring whose keys come from the store, sealed, and take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_channel::profile::TokenVersion;
use countersign_paseto::{
    AnyKey, Key, KeyId, KeyRing, KeySet, Local, SystemRandom, V3, V4, Window,
};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::root_key::{RootKey, RootKeyError};
use crate::state::State;
use crate::store::{SealedSecret, SecretKind, StoreError};

/// A key ring of one kind and token version.
pub(crate) struct RotatingRing {
    kind: SecretKind,
    version: TokenVersion,
    schedule: Schedule,
    state: Arc<State>,
    root: Arc<RootKey>,
    ring: KeyRing,
    /// A version that no profile asks for has no keys.
    wanted: AtomicBool,
}

/// When keys take turns.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    /// How long a key mints.
    pub(crate) mints: SignedDuration,
    /// How much longer it is accepted: at least a token's lifetime.
    pub(crate) overlap: SignedDuration,
    /// How long before its first use a key is in the ring, so that every gateway has it by then.
    pub(crate) ahead: SignedDuration,
}

/// Why keys could not be loaded or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RotationError {
    /// A key could not be sealed or opened.
    #[error(transparent)]
    Root(#[from] RootKeyError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RotatingRing {
    /// Opens the ring's keys. It makes none until it is [wanted](Self::want).
    ///
    /// # Errors
    ///
    /// A sealed key does not open.
    pub(crate) fn load(
        (kind, version): (SecretKind, TokenVersion),
        schedule: Schedule,
        (state, root): (Arc<State>, Arc<RootKey>),
        secrets: &[SealedSecret],
    ) -> Result<Self, RootKeyError> {
        let mut keys = KeySet::new();
        let prefix = id_prefix(version);
        for secret in secrets
            .iter()
            .filter(|one| one.kind == kind && one.id.starts_with(prefix))
        {
            let text = root.open(kind, &secret.id, &secret.sealed)?;
            let key = read_key(version, &text).ok_or_else(|| RootKeyError::Unsealable {
                kind: kind.name(),
                id: secret.id.clone(),
            })?;
            keys = keys.with(key, schedule.window_of(secret));
        }
        let ring = KeyRing::new(keys);
        Ok(Self {
            kind,
            version,
            schedule,
            state,
            root,
            ring,
            wanted: AtomicBool::new(false),
        })
    }

    /// From now on the ring always has a key that mints.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn want(&self, now: Timestamp) -> Result<Vec<KeyId>, RotationError> {
        self.wanted.store(true, Ordering::Relaxed);
        self.rotate(now).await
    }

    /// The keys, to mint and verify with.
    pub(crate) fn keys(&self) -> &KeyRing {
        &self.ring
    }

    /// Adds the next key when it is time and drops those that nothing can name any more. Gives the ids of new keys.
    ///
    /// # Errors
    ///
    /// The store cannot be written; the ring stays as it is.
    pub(crate) async fn rotate(&self, now: Timestamp) -> Result<Vec<KeyId>, RotationError> {
        let mut added = Vec::new();
        while let Some(starts) = self.next_start(now) {
            added.push(self.add_key(starts, now).await?);
        }
        let keys = self.ring.keys();
        let ended: Vec<KeyId> = keys
            .windows()
            .filter(|(_, window)| window.accepted_until() <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in ended {
            self.state
                .remove_secret(self.kind, id.as_str(), now)
                .await?;
            self.ring
                .replace(KeySet::clone(&self.ring.keys()).retire(&id, now));
        }
        Ok(added)
    }

    /// When the next key begins, if it should be in the ring by now.
    fn next_start(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.wanted.load(Ordering::Relaxed) {
            return None;
        }
        let keys = self.ring.keys();
        if keys.current(now).is_none() {
            return Some(now);
        }
        let covered = keys.windows().map(|(_, window)| window.mints_until()).max();
        match covered {
            Some(until) if until > later(now, self.schedule.ahead) => None,
            next => next,
        }
    }

    async fn add_key(&self, starts: Timestamp, now: Timestamp) -> Result<KeyId, RotationError> {
        let (key, text) = new_key(self.version)?;
        let id = key.id();
        let secret = SealedSecret {
            kind: self.kind,
            id: id.as_str().to_owned(),
            sealed: self.root.seal(self.kind, id.as_str(), text.as_bytes())?,
            not_before: starts,
            not_after: Some(later(starts, self.schedule.mints + self.schedule.overlap)),
        };
        let window = self.schedule.window_of(&secret);
        self.state.put_secret(secret, now).await?;
        self.ring
            .replace(KeySet::clone(&self.ring.keys()).with(key, window));
        Ok(id)
    }
}

/// One ring for each version of token; those that no profile asks for stay empty.
pub(crate) struct VersionedRings {
    v3: RotatingRing,
    v4: RotatingRing,
}

impl VersionedRings {
    /// Opens the rings of one kind.
    ///
    /// # Errors
    ///
    /// A key in the store does not open.
    pub(crate) fn load(
        kind: SecretKind,
        schedule: Schedule,
        (state, root): (&Arc<State>, &Arc<RootKey>),
        secrets: &[SealedSecret],
    ) -> Result<Self, RootKeyError> {
        let ring = |version| {
            let parts = (Arc::clone(state), Arc::clone(root));
            RotatingRing::load((kind, version), schedule, parts, secrets)
        };
        Ok(Self {
            v3: ring(TokenVersion::V3)?,
            v4: ring(TokenVersion::V4)?,
        })
    }

    /// The ring of a version.
    pub(crate) fn of(&self, version: TokenVersion) -> &RotatingRing {
        match version {
            TokenVersion::V3 => &self.v3,
            TokenVersion::V4 => &self.v4,
        }
    }

    /// Makes sure that tokens of this version can be minted. Gives the ids of new keys.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn want(
        &self,
        version: TokenVersion,
        now: Timestamp,
    ) -> Result<Vec<KeyId>, RotationError> {
        self.of(version).want(now).await
    }

    /// Lets keys take turns. Gives the ids of new keys.
    ///
    /// # Errors
    ///
    /// The store cannot be written.
    pub(crate) async fn rotate(&self, now: Timestamp) -> Result<Vec<KeyId>, RotationError> {
        let mut added = self.v3.rotate(now).await?;
        added.extend(self.v4.rotate(now).await?);
        Ok(added)
    }
}

impl Schedule {
    fn window_of(&self, secret: &SealedSecret) -> Window {
        let ends = secret
            .not_after
            .unwrap_or(later(secret.not_before, self.mints + self.overlap));
        let mints_until = ends.saturating_sub(self.overlap).unwrap_or(ends);
        Window::new(secret.not_before, mints_until, ends)
    }
}

fn new_key(version: TokenVersion) -> Result<(AnyKey, Zeroizing<String>), RootKeyError> {
    Ok(match version {
        TokenVersion::V3 => {
            let key = Key::<V3, Local>::generate(&SystemRandom)?;
            let text = key.to_paserk();
            (key.into(), text)
        }
        TokenVersion::V4 => {
            let key = Key::<V4, Local>::generate(&SystemRandom)?;
            let text = key.to_paserk();
            (key.into(), text)
        }
    })
}

fn read_key(version: TokenVersion, text: &[u8]) -> Option<AnyKey> {
    let text = std::str::from_utf8(text).ok()?;
    match version {
        TokenVersion::V3 => Key::<V3, Local>::from_paserk(text).ok().map(AnyKey::from),
        TokenVersion::V4 => Key::<V4, Local>::from_paserk(text).ok().map(AnyKey::from),
    }
}

fn id_prefix(version: TokenVersion) -> &'static str {
    match version {
        TokenVersion::V3 => "k3.lid.",
        TokenVersion::V4 => "k4.lid.",
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
