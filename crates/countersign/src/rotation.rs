//! A key ring whose keys come from the store, sealed, and take turns.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use countersign_channel::profile::TokenVersion;
use countersign_paseto::{
    AnyKey, Generates, Holds, Key, KeyId, KeyRing, KeySet, Kind, Local, Secret, SystemRandom, V3,
    V4, V5, Window,
};
use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::root_key::{RootKey, RootKeyError};
use crate::state::State;
use crate::store::{SealedSecret, SecretKind, StoreError};

/// A key ring of one kind and form of key.
pub(crate) struct RotatingRing {
    kind: SecretKind,
    form: KeyForm,
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

/// What keys a ring holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyForm {
    /// `k3.local`.
    V3Local,
    /// `k4.local`.
    V4Local,
    /// `k4.secret`: signs `v4.public`.
    V4Secret,
    /// `k5.secret`: signs the draft `v5.public`.
    V5Secret,
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
        (kind, form): (SecretKind, KeyForm),
        schedule: Schedule,
        (state, root): (Arc<State>, Arc<RootKey>),
        secrets: &[SealedSecret],
    ) -> Result<Self, RootKeyError> {
        let mut keys = KeySet::new();
        let prefix = form.id_prefix();
        for secret in secrets
            .iter()
            .filter(|one| one.kind == kind && one.id.starts_with(prefix))
        {
            let text = root.open(kind, &secret.id, &secret.sealed)?;
            let key = form.read(&text).ok_or_else(|| RootKeyError::Unsealable {
                kind: kind.name(),
                id: secret.id.clone(),
            })?;
            keys = keys.with(key, schedule.window_of(secret));
        }
        let ring = KeyRing::new(keys);
        Ok(Self {
            kind,
            form,
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
        let added = match self.wanted.load(Ordering::Relaxed) {
            true => self.extend(now, now).await?,
            false => Vec::new(),
        };
        self.drop_ended(now).await?;
        Ok(added)
    }

    /// Adds the next key when it is time. Where none mints, the first one begins at `begins`: later than `now` if others
    /// mint until then.
    ///
    /// # Errors
    ///
    /// The store cannot be written; the ring stays as it is.
    pub(crate) async fn extend(
        &self,
        now: Timestamp,
        begins: Timestamp,
    ) -> Result<Vec<KeyId>, RotationError> {
        let mut added = Vec::new();
        while let Some(starts) = self.next_start(now, begins) {
            added.push(self.add_key(starts, now).await?);
        }
        Ok(added)
    }

    /// Drops the keys that nothing can name any more.
    ///
    /// # Errors
    ///
    /// The store cannot be written; what was not dropped stays.
    pub(crate) async fn drop_ended(&self, now: Timestamp) -> Result<(), RotationError> {
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
        Ok(())
    }

    /// Until when there is a key that mints, if there is one now.
    pub(crate) fn mints_until(&self, now: Timestamp) -> Option<Timestamp> {
        let keys = self.ring.keys();
        keys.current(now)?;
        keys.windows().map(|(_, window)| window.mints_until()).max()
    }

    /// When the next key begins, if it should be in the ring by now.
    fn next_start(&self, now: Timestamp, begins: Timestamp) -> Option<Timestamp> {
        let ahead = later(now, self.schedule.ahead);
        match self.mints_until(now) {
            Some(until) => (until <= ahead).then_some(until),
            None => (!self.waits_until(begins, now)).then_some(begins),
        }
    }

    /// Whether a key that begins by then is in the ring already.
    fn waits_until(&self, begins: Timestamp, now: Timestamp) -> bool {
        let keys = self.ring.keys();
        keys.windows()
            .any(|(_, window)| window.mints_from() <= begins && now < window.mints_until())
    }

    async fn add_key(&self, starts: Timestamp, now: Timestamp) -> Result<KeyId, RotationError> {
        let (key, text) = self.form.generate()?;
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
        let ring = |form| {
            let parts = (Arc::clone(state), Arc::clone(root));
            RotatingRing::load((kind, form), schedule, parts, secrets)
        };
        Ok(Self {
            v3: ring(KeyForm::V3Local)?,
            v4: ring(KeyForm::V4Local)?,
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

impl KeyForm {
    fn generate(self) -> Result<(AnyKey, Zeroizing<String>), RootKeyError> {
        match self {
            Self::V3Local => fresh::<V3, Local>(),
            Self::V4Local => fresh::<V4, Local>(),
            Self::V4Secret => fresh::<V4, Secret>(),
            Self::V5Secret => fresh::<V5, Secret>(),
        }
    }

    fn read(self, text: &[u8]) -> Option<AnyKey> {
        let text = std::str::from_utf8(text).ok()?;
        match self {
            Self::V3Local => read::<V3, Local>(text),
            Self::V4Local => read::<V4, Local>(text),
            Self::V4Secret => read::<V4, Secret>(text),
            Self::V5Secret => read::<V5, Secret>(text),
        }
    }

    const fn id_prefix(self) -> &'static str {
        match self {
            Self::V3Local => "k3.lid.",
            Self::V4Local => "k4.lid.",
            Self::V4Secret => "k4.pid.",
            Self::V5Secret => "k5.pid.",
        }
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

fn fresh<V: Generates<K>, K: Kind>() -> Result<(AnyKey, Zeroizing<String>), RootKeyError>
where
    AnyKey: From<Key<V, K>>,
{
    let key = Key::<V, K>::generate(&SystemRandom)?;
    let text = key.to_paserk();
    Ok((key.into(), text))
}

fn read<V: Holds<K>, K: Kind>(text: &str) -> Option<AnyKey>
where
    AnyKey: From<Key<V, K>>,
{
    Key::<V, K>::from_paserk(text).ok().map(AnyKey::from)
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.saturating_add(by).unwrap_or(Timestamp::MAX)
}
