//! A ring of keys that is rotated while tokens are in flight.

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;

#[cfg(feature = "std")]
use arc_swap::ArcSwap;
use hashbrown::{HashMap, hash_map};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::claims::{Claims, Verified};
use crate::error::{MintError, TokenError};
use crate::key::{Key, Pairs};
use crate::paserk::{Identifies, KeyId};
use crate::random::Random;
use crate::rules::Rules;
use crate::token::{self, Envelope, MAX_TOKEN_LEN, Parts, UntrustedToken, VerifiedPayload};
use crate::version::{Local, Mints, Opens, Public, Secret};

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
///
/// Needs the feature `std`; without it a [`KeySet`] does the same, and the swap is yours.
#[cfg(feature = "std")]
#[derive(Debug)]
pub struct KeyRing {
    keys: ArcSwap<KeySet>,
}

#[cfg(feature = "std")]
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
        self.keys.load().mint(claims, assertion, now, random)
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
        self.keys.load().verify(token, assertion, rules, now)
    }
}

/// When a key mints and until when it is accepted.
///
/// A key is accepted from when it is in the ring, ahead of its first use, so that a peer whose clock runs ahead is
/// understood. The time from `mints_until` to `accepted_until` is the overlap: at least the lifetime of a token.
///
/// ```
/// use countersign_paseto::Window;
/// use jiff::{SignedDuration, Timestamp};
///
/// let (from, week) = (Timestamp::now(), SignedDuration::from_hours(7 * 24));
/// let tokens_live = SignedDuration::from_mins(10);
/// let window = Window::new(from, from + week, from + week + tokens_live);
/// assert!(window.mints_until() < window.accepted_until());
/// ```
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

/// The keys of a ring, as a value: make the next one from the last, then [`KeyRing::replace`](crate::KeyRing) it.
///
/// ```
/// use countersign_paseto::{Key, KeyRing, KeySet, Secret, SystemRandom, V4, Window};
/// use jiff::{SignedDuration, Timestamp};
///
/// let (now, day) = (Timestamp::now(), SignedDuration::from_hours(24));
/// let signing = Key::<V4, Secret>::generate(&SystemRandom)?;
/// let id = signing.public().id();
/// let ring = KeyRing::new(KeySet::new().with(signing, Window::new(now, now + day, now + day * 2)));
///
/// // The next key goes in before it signs, so that others who read what is published know it in time.
/// let next = Key::<V4, Secret>::generate(&SystemRandom)?;
/// let window = Window::new(now + day, now + day * 2, now + day * 3);
/// ring.replace(KeySet::clone(&ring.keys()).with(next, window));
/// assert_eq!(ring.keys().published(now).len(), 2);
///
/// // One that leaked is retired at once.
/// ring.replace(KeySet::clone(&ring.keys()).retire(&id, now));
/// assert_eq!(ring.keys().published(now).len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct KeySet {
    slots: HashMap<String, (KeyId, Slot)>,
    /// When each key that mints begins to, so that the current one is found without a look at all.
    minting: BTreeSet<(Timestamp, KeyId)>,
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
        if let hash_map::Entry::Vacant(slot) = self.slots.entry(id.as_str().to_owned()) {
            if key.0.mints() {
                self.minting.insert((window.mints_from, id.clone()));
            }
            let entry = Entry {
                key,
                footer,
                window,
            };
            slot.insert((id, Slot::Kept(Arc::new(entry))));
        }
        self
    }

    /// With the key `id` retired: accepted no more from now on, and told apart from a key that never was.
    #[must_use]
    pub fn retire(mut self, id: &KeyId, since: Timestamp) -> Self {
        self.minting.retain(|(_, minting)| minting != id);
        self.slots.insert(
            id.as_str().to_owned(),
            (id.clone(), Slot::Retired { since }),
        );
        self
    }

    /// Without the key `id`, as if it had never been there.
    #[must_use]
    pub fn forget(mut self, id: &KeyId) -> Self {
        self.minting.retain(|(_, minting)| minting != id);
        self.slots.remove(id.as_str());
        self
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
        let payload = claims.to_json()?;
        let (_, entry) = self
            .current_entry(now)
            .ok_or(MintError::NoCurrentKey { now })?;
        let envelope = Envelope {
            footer: entry.footer.as_bytes(),
            assertion,
        };
        let minted = entry.key.0.mint(&payload, envelope, random);
        minted.unwrap_or(Err(MintError::NoCurrentKey { now }))
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
        let (id, entry) = self.accepting(&id, now)?;
        let mut verified = entry.key.0.open(token, assertion)?.check(rules, now)?;
        verified.key_id = Some(id.clone());
        Ok(verified)
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

    /// The public keys accepted at `now`, those that mint later included, in the order of their windows.
    ///
    /// A verifier that keeps a copy for as long as a key is in the ring before it mints never meets one that it does
    /// not know.
    pub fn published(&self, now: Timestamp) -> Vec<PublishedKey> {
        let mut published: Vec<PublishedKey> = self
            .slots
            .values()
            .filter_map(|(id, slot)| match slot {
                Slot::Kept(entry) if now < entry.window.accepted_until => Some(PublishedKey {
                    id: id.clone(),
                    paserk: entry.key.0.published()?,
                    window: entry.window,
                }),
                _ => None,
            })
            .collect();
        published.sort_by(|a, b| (a.window.mints_from, &a.id).cmp(&(b.window.mints_from, &b.id)));
        published
    }

    fn current_entry(&self, now: Timestamp) -> Option<(&KeyId, &Entry)> {
        let last_first = self.minting.iter().rev();
        let mut begun = last_first.skip_while(|(from, _)| *from > now);
        begun.find_map(|(_, id)| match self.slots.get(id.as_str()) {
            Some((id, Slot::Kept(entry))) if entry.window.mints_at(now) => Some((id, &**entry)),
            _ => None,
        })
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

/// A public key as a ring gives it out: no secret in it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PublishedKey {
    /// What tokens name it by: PASERK `pid`.
    pub id: KeyId,
    /// The key as text: PASERK `public`.
    pub paserk: String,
    /// When it mints, and until when it is accepted.
    pub window: Window,
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

/// A key of any version and kind that a ring can hold; made by `From`.
pub struct AnyKey(Box<dyn Held>);

impl AnyKey {
    /// The id by which tokens name the key: its `lid`, or the `pid` of its public half.
    pub fn id(&self) -> KeyId {
        self.0.id()
    }
}

impl fmt::Debug for AnyKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "AnyKey({})", self.id())
    }
}

impl<V: Opens<Local> + Mints<Local> + Identifies> From<Key<V, Local>> for AnyKey {
    fn from(key: Key<V, Local>) -> Self {
        Self(Box::new(Symmetric(key)))
    }
}

impl<V: Opens<Public> + Mints<Secret> + Pairs + Identifies> From<Key<V, Secret>> for AnyKey {
    fn from(secret: Key<V, Secret>) -> Self {
        let public = secret.public();
        Self(Box::new(Signing { secret, public }))
    }
}

impl<V: Opens<Public> + Identifies> From<Key<V, Public>> for AnyKey {
    fn from(key: Key<V, Public>) -> Self {
        Self(Box::new(Verifying(key)))
    }
}

/// What a ring does with a key, whatever its version and kind.
trait Held: Send + Sync {
    fn id(&self) -> KeyId;

    fn open(&self, token: &str, assertion: &[u8]) -> Result<VerifiedPayload, TokenError>;

    /// The token, or `None` from a key that only verifies.
    fn mint(
        &self,
        _payload: &[u8],
        _envelope: Envelope<'_>,
        _random: &dyn Random,
    ) -> Option<Result<String, MintError>> {
        None
    }

    fn mints(&self) -> bool {
        false
    }

    fn published(&self) -> Option<String> {
        None
    }
}

struct Symmetric<V: Opens<Local>>(Key<V, Local>);

impl<V: Opens<Local> + Mints<Local> + Identifies> Held for Symmetric<V> {
    fn id(&self) -> KeyId {
        self.0.id()
    }

    fn open(&self, token: &str, assertion: &[u8]) -> Result<VerifiedPayload, TokenError> {
        UntrustedToken::parse(token)?
            .asserting_if_known(assertion)?
            .open(&self.0)
    }

    fn mint(
        &self,
        payload: &[u8],
        envelope: Envelope<'_>,
        random: &dyn Random,
    ) -> Option<Result<String, MintError>> {
        Some(token::mint_payload_if_known(
            &self.0, payload, envelope, random,
        ))
    }

    fn mints(&self) -> bool {
        true
    }
}

struct Signing<V: Pairs> {
    secret: Key<V, Secret>,
    public: Key<V, Public>,
}

impl<V: Opens<Public> + Mints<Secret> + Pairs + Identifies> Held for Signing<V> {
    fn id(&self) -> KeyId {
        self.public.id()
    }

    fn open(&self, token: &str, assertion: &[u8]) -> Result<VerifiedPayload, TokenError> {
        UntrustedToken::parse(token)?
            .asserting_if_known(assertion)?
            .open(&self.public)
    }

    fn mint(
        &self,
        payload: &[u8],
        envelope: Envelope<'_>,
        random: &dyn Random,
    ) -> Option<Result<String, MintError>> {
        Some(token::mint_payload_if_known(
            &self.secret,
            payload,
            envelope,
            random,
        ))
    }

    fn mints(&self) -> bool {
        true
    }

    fn published(&self) -> Option<String> {
        Some(self.public.to_paserk().to_string())
    }
}

struct Verifying<V: Opens<Public>>(Key<V, Public>);

impl<V: Opens<Public> + Identifies> Held for Verifying<V> {
    fn id(&self) -> KeyId {
        self.0.id()
    }

    fn open(&self, token: &str, assertion: &[u8]) -> Result<VerifiedPayload, TokenError> {
        UntrustedToken::parse(token)?
            .asserting_if_known(assertion)?
            .open(&self.0)
    }

    fn published(&self) -> Option<String> {
        Some(self.0.to_paserk().to_string())
    }
}

/// How much of a stranger's key id an error repeats: as long as a real one.
const SHOWN_ID_LEN: usize = 51;
