//! What models have in place of concurrent containers, of which a model checker sees nothing: a plain container behind a
//! lock of the checker's. It is one step where the real one is several, and orders more than that promises; what is
//! inside of `dashmap`, `crossbeam` and `std` is theirs to prove.

use loom::sync::{Mutex, MutexGuard, atomic::AtomicBool};
use std::borrow::Borrow;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As `crossbeam::queue::SegQueue`.
pub struct SegQueue<T> {
    queue: Mutex<VecDeque<T>>,
}

impl<T> Default for SegQueue<T> {
    fn default() -> Self {
        Self { queue: Mutex::new(VecDeque::new()) }
    }
}

impl<T> SegQueue<T> {
    /// An empty queue.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds to the end.
    pub fn push(&self, item: T) {
        lock(&self.queue).push_back(item);
    }

    /// Takes from the front.
    pub fn pop(&self) -> Option<T> {
        lock(&self.queue).pop_front()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        lock(&self.queue).is_empty()
    }
}

/// As `crossbeam::queue::ArrayQueue`.
pub struct ArrayQueue<T> {
    queue: Mutex<VecDeque<T>>,
    room: usize,
}

impl<T> ArrayQueue<T> {
    /// An empty queue for `room` items.
    pub fn new(room: usize) -> Self {
        Self { queue: Mutex::new(VecDeque::new()), room }
    }

    /// Adds to the end, or hands the item back if there is no room.
    ///
    /// # Errors
    /// The item.
    pub fn push(&self, item: T) -> Result<(), T> {
        let mut queue = lock(&self.queue);
        if queue.len() >= self.room {
            return Err(item);
        }
        queue.push_back(item);
        Ok(())
    }

    /// Takes from the front.
    pub fn pop(&self) -> Option<T> {
        lock(&self.queue).pop_front()
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        lock(&self.queue).is_empty()
    }
}

/// As `std::sync::OnceLock`, but two threads that find it empty may both make a value, of which one is kept: nobody waits
/// where the checker cannot see it.
pub struct OnceLock<T> {
    ready: AtomicBool,
    value: std::sync::OnceLock<T>,
}

impl<T> Default for OnceLock<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> OnceLock<T> {
    /// An empty one.
    pub fn new() -> Self {
        Self { ready: AtomicBool::new(false), value: std::sync::OnceLock::new() }
    }

    /// The value, if there is one.
    pub fn get(&self) -> Option<&T> {
        if self.ready.load(Ordering::Acquire) { self.value.get() } else { None }
    }

    /// Sets the value, if there is none.
    ///
    /// # Errors
    /// The value, if there is one already.
    pub fn set(&self, value: T) -> Result<(), T> {
        self.value.set(value)?;
        self.ready.store(true, Ordering::Release);
        Ok(())
    }

    /// The value, which `make` makes if there is none.
    pub fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.get() {
            return value;
        }
        let made = make();
        let value = self.value.get_or_init(|| made);
        self.ready.store(true, Ordering::Release);
        value
    }
}

/// As `dashmap::DashMap`, of one shard and in order.
pub struct DashMap<K, V> {
    entries: Mutex<BTreeMap<K, V>>,
}

impl<K, V> Default for DashMap<K, V> {
    fn default() -> Self {
        Self { entries: Mutex::new(BTreeMap::new()) }
    }
}

impl<K: Ord + Clone, V> DashMap<K, V> {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// The entry of a key, which is locked until the result is dropped.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Ref<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        let entries = lock(&self.entries);
        let key = entries.get_key_value(key)?.0.clone();
        Some(Ref { entries, key })
    }

    /// The same, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Ref<'_, K, V>>
    where
        K: Borrow<Q>,
    {
        self.get(key)
    }

    /// Whether a key is there.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        lock(&self.entries).contains_key(key)
    }

    /// The place of a key, which is locked until the result is dropped.
    pub fn entry(&self, key: K) -> Place<'_, K, V> {
        Place { entries: lock(&self.entries), key }
    }

    /// Sets the value of a key, and returns what it was.
    pub fn insert(&self, key: K, value: V) -> Option<V> {
        lock(&self.entries).insert(key, value)
    }

    /// Takes out a key.
    pub fn remove<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        lock(&self.entries).remove_entry(key)
    }

    /// Takes out a key if `which` says so.
    pub fn remove_if<Q: Ord + ?Sized>(&self, key: &Q, which: impl FnOnce(&K, &V) -> bool) -> Option<(K, V)>
    where
        K: Borrow<Q>,
    {
        let mut entries = lock(&self.entries);
        let (found, value) = entries.get_key_value(key)?;
        if which(found, value) { entries.remove_entry(key) } else { None }
    }

    /// Keeps those of which `keep` says so.
    pub fn retain(&self, keep: impl FnMut(&K, &mut V) -> bool) {
        lock(&self.entries).retain(keep);
    }

    /// Takes out everything.
    pub fn clear(&self) {
        lock(&self.entries).clear();
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        lock(&self.entries).len()
    }

    /// Copies of what is there, in order.
    pub fn iter(&self) -> impl Iterator<Item = Pair<K, V>>
    where
        V: Clone,
    {
        let pairs: Vec<_> =
            lock(&self.entries).iter().map(|(key, value)| Pair(key.clone(), value.clone())).collect();
        pairs.into_iter()
    }
}

/// A key and its value.
pub struct Pair<K, V>(K, V);

impl<K, V> Pair<K, V> {
    /// The key.
    pub fn key(&self) -> &K {
        &self.0
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.1
    }
}

/// An entry of a map that is locked.
pub struct Ref<'a, K, V> {
    entries: MutexGuard<'a, BTreeMap<K, V>>,
    key: K,
}

impl<K: Ord, V> Deref for Ref<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        #[expect(clippy::expect_used, reason = "the map is locked, and the key was in it")]
        self.entries.get(&self.key).expect("the entry of a locked map")
    }
}

impl<K: Ord, V> DerefMut for Ref<'_, K, V> {
    fn deref_mut(&mut self) -> &mut V {
        #[expect(clippy::expect_used, reason = "the map is locked, and the key was in it")]
        self.entries.get_mut(&self.key).expect("the entry of a locked map")
    }
}

/// The place of a key in a map that is locked.
pub struct Place<'a, K, V> {
    entries: MutexGuard<'a, BTreeMap<K, V>>,
    key: K,
}

impl<'a, K: Ord + Clone, V> Place<'a, K, V> {
    /// The value, which is the default if there was none.
    pub fn or_default(mut self) -> Ref<'a, K, V>
    where
        V: Default,
    {
        self.entries.entry(self.key.clone()).or_default();
        Ref { entries: self.entries, key: self.key }
    }

    /// Sets the value.
    pub fn insert(mut self, value: V) -> Ref<'a, K, V> {
        self.entries.insert(self.key.clone(), value);
        Ref { entries: self.entries, key: self.key }
    }
}

/// As `std::thread_local`, for statics of constants.
#[doc(hidden)]
#[macro_export]
macro_rules! model_thread_local {
    ($($(#[$attr:meta])* static $name:ident: $type:ty = const { $init:expr };)+) => {
        $(::loom::thread_local! { $(#[$attr])* static $name: $type = $init })+
    };
}
