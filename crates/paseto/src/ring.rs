//! A ring of keys that is rotated while tokens are in flight.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::claims::{Claims, Verified};
use crate::error::{MintError, TokenError};
use crate::key::Key;
use crate::paserk::KeyId;
use crate::random::Random;
use crate::rules::Rules;
use crate::token::{self, Envelope, MAX_TOKEN_LEN, Parts, UntrustedToken};
use crate::v3::V3;
use crate::v4::V4;
use crate::version::{Local, Public, Secret};

/// A key ring: mints with the current key, verifies with the key that a token names.
///
/// Readers never wait: [`KeyRing::replace`] swaps the whole set of keys at once.
///
/// ```
/// use countersign_paseto::{Claims, Key, KeyRing, KeySet, Local, Rules, SystemRandom, V4, Window};
/// use jiff::{SignedDuration, Timestamp};
///
/// let now = Timestamp::now();
/// let hour = SignedDuration::from_hours(1);
/// let window = Window::new(now, now + hour, now + hour * 2);
/// let ring = KeyRing::new(KeySet::new().with(Key::<V4, Local>::generate(&SystemRandom)?, window));
///
/// let claims = Claims::new(()).subject("alice").expires_at(now + hour);
/// let token = ring.mint(&claims, b"sessions", now, &SystemRandom)?;
/// let verified = ring.verify::<()>(&token, b"sessions", &Rules::new(), now)?;
/// assert_eq!(verified.subject(), Some("alice"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct KeyRing {
    keys: ArcSwap<KeySet>,
}

impl KeyRing {
    /// A ring that starts with these keys.
    pub fn new(keys: KeySet) -> Self {
        Self {
            keys: ArcSwap::from_pointee(keys),
        }
    }

    /// The keys as they are now.
    pub fn keys(&self) -> Arc<KeySet> {
        self.keys.load_full()
    }

    /// Swaps all keys at once. Calls under way finish with the keys that they began with.
    pub fn replace(&self, keys: KeySet) {
        self.keys.store(Arc::new(keys));
    }

    /// Mints a token with the key that is current at `now`; the footer names it as `{"kid":"k4.lid.…"}`.
    ///
    /// # Errors
    ///
    /// [`MintError::NoCurrentKey`] when no key mints at `now`, and as [`Claims::mint`].
    pub fn mint<C: Serialize>(
        &self,
        claims: &Claims<C>,
        assertion: &[u8],
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<String, MintError> {
        let keys = self.keys.load();
        let (_, entry) = keys
            .current_entry(now)
            .ok_or(MintError::NoCurrentKey { now })?;
        entry.mint(&claims.to_json()?, assertion, now, random)
    }

    /// Verifies a token with the key that its footer names.
    ///
    /// # Errors
    ///
    /// [`TokenError::NoKeyId`], [`TokenError::UnknownKey`], [`TokenError::RetiredKey`], and as [`UntrustedToken::verify`].
    pub fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        assertion: &[u8],
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Verified<C>, TokenError> {
        let footer = Parts::split(token, MAX_TOKEN_LEN)?.footer()?;
        let id = KeyId::in_footer(&footer).ok_or(TokenError::NoKeyId)?;
        let keys = self.keys.load();
        let (id, entry) = keys.accepting(&id, now)?;
        let mut verified = entry.verify(token, assertion, rules, now)?;
        verified.key_id = Some(id.clone());
        Ok(verified)
    }
}

/// When a key mints and until when it is accepted.
///
/// A key is accepted from when it is in the ring, ahead of its first use, so that a peer whose clock runs ahead is
/// understood. The time from `mints_until` to `accepted_until` is the overlap: at least the lifetime of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    mints_from: Timestamp,
    mints_until: Timestamp,
    accepted_until: Timestamp,
}

impl Window {
    /// Mints from `mints_from` to before `mints_until`, is accepted to before `accepted_until`.
    pub fn new(mints_from: Timestamp, mints_until: Timestamp, accepted_until: Timestamp) -> Self {
        Self {
            mints_from,
            mints_until,
            accepted_until,
        }
    }

    /// Without an end: until it is retired.
    pub fn from(mints_from: Timestamp) -> Self {
        Self {
            mints_from,
            mints_until: Timestamp::MAX,
            accepted_until: Timestamp::MAX,
        }
    }

    /// When minting begins.
    pub fn mints_from(&self) -> Timestamp {
        self.mints_from
    }

    /// When minting has ended.
    pub fn mints_until(&self) -> Timestamp {
        self.mints_until
    }

    /// When the key is accepted no more.
    pub fn accepted_until(&self) -> Timestamp {
        self.accepted_until
    }

    fn mints_at(&self, now: Timestamp) -> bool {
        self.mints_from <= now && now < self.mints_until && now < self.accepted_until
    }
}

/// The keys of a ring, as a value: make the next one from the last, then [`KeyRing::replace`] it.
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    slots: HashMap<String, (KeyId, Slot)>,
}

impl KeySet {
    /// No keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more key. A retired key stays retired.
    #[must_use]
    pub fn with(mut self, key: impl Into<AnyKey>, window: Window) -> Self {
        let key = key.into();
        let id = key.id();
        let footer = id.to_footer();
        self.slots.entry(id.as_str().to_owned()).or_insert((
            id,
            Slot::Kept(Arc::new(Entry {
                key,
                footer,
                window,
            })),
        ));
        self
    }

    /// With the key `id` retired: accepted no more from now on, and told apart from a key that never was.
    #[must_use]
    pub fn retire(mut self, id: &KeyId, since: Timestamp) -> Self {
        self.slots.insert(
            id.as_str().to_owned(),
            (id.clone(), Slot::Retired { since }),
        );
        self
    }

    /// Without the key `id`, as if it had never been there.
    #[must_use]
    pub fn forget(mut self, id: &KeyId) -> Self {
        self.slots.remove(id.as_str());
        self
    }

    /// The id of the key that mints at `now`: of those whose window holds `now`, the one that began last.
    pub fn current(&self, now: Timestamp) -> Option<&KeyId> {
        self.current_entry(now).map(|(id, _)| id)
    }

    /// The keys that are in the ring and not retired, with their windows, in no order.
    pub fn windows(&self) -> impl Iterator<Item = (&KeyId, Window)> {
        self.slots.values().filter_map(|(id, slot)| match slot {
            Slot::Kept(entry) => Some((id, entry.window)),
            Slot::Retired { .. } => None,
        })
    }

    /// The public keys accepted at `now`, as PASERK text, to be published.
    pub fn published(&self, now: Timestamp) -> Vec<String> {
        let mut published: Vec<String> = self
            .slots
            .values()
            .filter_map(|(_, slot)| match slot {
                Slot::Kept(entry) if now < entry.window.accepted_until => {
                    entry.key.to_public_paserk()
                }
                _ => None,
            })
            .collect();
        published.sort();
        published
    }

    fn current_entry(&self, now: Timestamp) -> Option<(&KeyId, &Entry)> {
        self.slots
            .values()
            .filter_map(|(id, slot)| match slot {
                Slot::Kept(entry) if entry.key.mints() && entry.window.mints_at(now) => {
                    Some((id, &**entry))
                }
                _ => None,
            })
            .max_by_key(|(id, entry)| (entry.window.mints_from, *id))
    }

    fn accepting(&self, id: &str, now: Timestamp) -> Result<(&KeyId, &Entry), TokenError> {
        let (id, slot) = self.slots.get(id).ok_or_else(|| TokenError::UnknownKey {
            id: id.chars().take(SHOWN_ID_LEN).collect(),
        })?;
        let since = match slot {
            Slot::Kept(entry) if now < entry.window.accepted_until => return Ok((id, entry)),
            Slot::Kept(entry) => entry.window.accepted_until,
            Slot::Retired { since } => *since,
        };
        Err(TokenError::RetiredKey {
            id: id.as_str().to_owned(),
            since,
        })
    }
}

#[derive(Debug, Clone)]
enum Slot {
    Kept(Arc<Entry>),
    Retired { since: Timestamp },
}

#[derive(Debug)]
struct Entry {
    key: AnyKey,
    footer: String,
    window: Window,
}

impl Entry {
    fn mint(
        &self,
        payload: &[u8],
        assertion: &[u8],
        now: Timestamp,
        random: &dyn Random,
    ) -> Result<String, MintError> {
        let envelope = Envelope {
            footer: self.footer.as_bytes(),
            assertion,
        };
        match &self.key.0 {
            Held::V3Local(key) => token::mint(key, payload, envelope, random),
            Held::V4Local(key) => token::mint(key, payload, envelope, random),
            Held::V4Secret(key, _) => token::mint(key, payload, envelope, random),
            Held::V4Public(_) => Err(MintError::NoCurrentKey { now }),
        }
    }

    fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        assertion: &[u8],
        rules: &Rules,
        now: Timestamp,
    ) -> Result<Verified<C>, TokenError> {
        match &self.key.0 {
            Held::V3Local(key) => UntrustedToken::parse(token)?
                .asserting(assertion)
                .verify(key, rules, now),
            Held::V4Local(key) => UntrustedToken::parse(token)?
                .asserting(assertion)
                .verify(key, rules, now),
            Held::V4Secret(_, key) | Held::V4Public(key) => UntrustedToken::parse(token)?
                .asserting(assertion)
                .verify(key, rules, now),
        }
    }
}

/// A key of any version and kind that a ring can hold; made by `From`.
#[derive(Debug)]
pub struct AnyKey(Held);

#[derive(Debug)]
enum Held {
    V3Local(Key<V3, Local>),
    V4Local(Key<V4, Local>),
    V4Secret(Key<V4, Secret>, Key<V4, Public>),
    V4Public(Key<V4, Public>),
}

impl AnyKey {
    /// The id by which tokens name the key: its `lid`, or the `pid` of its public half.
    pub fn id(&self) -> KeyId {
        match &self.0 {
            Held::V3Local(key) => key.id(),
            Held::V4Local(key) => key.id(),
            Held::V4Secret(_, key) | Held::V4Public(key) => key.id(),
        }
    }

    fn mints(&self) -> bool {
        !matches!(self.0, Held::V4Public(_))
    }

    fn to_public_paserk(&self) -> Option<String> {
        match &self.0 {
            Held::V3Local(_) | Held::V4Local(_) => None,
            Held::V4Secret(_, key) | Held::V4Public(key) => Some(key.to_paserk().to_string()),
        }
    }
}

impl From<Key<V3, Local>> for AnyKey {
    fn from(key: Key<V3, Local>) -> Self {
        Self(Held::V3Local(key))
    }
}

impl From<Key<V4, Local>> for AnyKey {
    fn from(key: Key<V4, Local>) -> Self {
        Self(Held::V4Local(key))
    }
}

impl From<Key<V4, Secret>> for AnyKey {
    fn from(key: Key<V4, Secret>) -> Self {
        let public = key.public();
        Self(Held::V4Secret(key, public))
    }
}

impl From<Key<V4, Public>> for AnyKey {
    fn from(key: Key<V4, Public>) -> Self {
        Self(Held::V4Public(key))
    }
}

impl fmt::Display for AnyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(formatter)
    }
}

/// How much of a stranger's key id an error repeats: as long as a real one.
const SHOWN_ID_LEN: usize = 51;
