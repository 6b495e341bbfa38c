//! Collections of typed keys and values, several in one store: a thin layer over the store's own calls.
//!
//! A collection has a name, and its keys begin with it, encoded as the first part of a tuple (`key.rs`): so no
//! collection's keys are among another's, and within one they sort as their values do.

use std::fmt;
use std::marker::PhantomData;
use std::ops::{Bound, RangeBounds};

use crate::batch::WriteBatch;
use crate::codec::{Codec, Json};
use crate::db::Bitcask;
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::key::{Key, encode_bytes};
use crate::range::prefix_bounds;
use crate::transaction::Transaction;
use crate::value::Value;

/// What can stand for a key of type `K` in a call: the key, or `str` for `String` and `[u8]` for `Vec<u8>`.
pub trait AsKey<K> {
    /// Adds the bytes of the key to `bytes`.
    fn encode_as_key(&self, bytes: &mut Vec<u8>);
}

impl<K: Key> AsKey<K> for K {
    fn encode_as_key(&self, bytes: &mut Vec<u8>) {
        self.encode(bytes);
    }
}

impl AsKey<String> for str {
    fn encode_as_key(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.as_bytes());
    }
}

impl AsKey<Vec<u8>> for [u8] {
    fn encode_as_key(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self);
    }
}

/// What keys of type `K` can begin with: `str` for `String`, `[u8]` for `Vec<u8>`, and for a tuple the tuple of its
/// first parts, as in `(user,)` for `(user, time)`.
pub trait PrefixOf<K> {
    /// Adds the bytes that these keys begin with to `bytes`.
    fn encode_as_prefix(&self, bytes: &mut Vec<u8>);
}

impl PrefixOf<String> for str {
    fn encode_as_prefix(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.as_bytes());
    }
}

impl PrefixOf<Vec<u8>> for [u8] {
    fn encode_as_prefix(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self);
    }
}

macro_rules! prefixes {
    ($(($($part:ident $Part:ident)+) of ($($Rest:ident)+);)*) => {$(
        impl<$($Part: Key,)+ $($Rest: Key),+> PrefixOf<($($Part,)+ $($Rest),+)> for ($($Part,)+) {
            fn encode_as_prefix(&self, bytes: &mut Vec<u8>) {
                let ($($part,)+) = self;
                $($part.encode_part(bytes);)+
            }
        }
    )*};
}

// Before all that can follow.
prefixes! {
    (a A) of (B);
    (a A) of (B C);
    (a A) of (B C D);
    (a A) of (B C D E);
    (a A) of (B C D E F);
    (a A b B) of (C);
    (a A b B) of (C D);
    (a A b B) of (C D E);
    (a A b B) of (C D E F);
    (a A b B c C) of (D);
    (a A b B c C) of (D E);
    (a A b B c C) of (D E F);
    (a A b B c C d D) of (E);
    (a A b B c C d D) of (E F);
    (a A b B c C d D e E) of (F);
}

/// What gathers changes: a [`WriteBatch`], or a [`Transaction`].
pub trait Changes {
    /// Adds a put.
    ///
    /// # Errors
    /// As [`Transaction::put`].
    fn add_put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()>;

    /// Adds a deletion.
    ///
    /// # Errors
    /// As [`Transaction::delete`].
    fn add_delete(&mut self, key: Vec<u8>) -> Result<()>;
}

impl Changes for WriteBatch {
    fn add_put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.put(key, value);
        Ok(())
    }

    fn add_delete(&mut self, key: Vec<u8>) -> Result<()> {
        self.delete(key);
        Ok(())
    }
}

impl Changes for Transaction<'_> {
    fn add_put(&mut self, key: Vec<u8>, value: Vec<u8>) -> Result<()> {
        self.put(key, value)
    }

    fn add_delete(&mut self, key: Vec<u8>) -> Result<()> {
        self.delete(key)
    }
}

/// A collection of typed keys and values in a store, see [`Bitcask::typed`].
///
/// Calls that take a key take `str` for `String`, and `[u8]` for `Vec<u8>`. What a value or a key in the store does not
/// decode to is `Invalid`: somebody else wrote it, or an earlier version of the program. Damage to the files is `Corrupt`,
/// as ever.
pub struct Typed<K, V, C = Json> {
    db: Bitcask,
    name: String,
    prefix: Vec<u8>,
    codec: C,
    of: PhantomData<fn() -> (K, V)>,
}

impl Bitcask {
    /// The collection `name` of this store, its values in JSON. Collections of different names share the store without
    /// meeting; a plain key can meet them only if it begins with a collection's name and two zero bytes.
    ///
    /// Any number of `Typed` may be made of one name. Making one reads and writes nothing.
    ///
    /// ```
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-typed-{}", std::process::id()));
    /// # let db = bitcask::Bitcask::open(&dir)?;
    /// #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    /// struct User {
    ///     email: String,
    ///     logins: u32,
    /// }
    ///
    /// let users = db.typed::<String, User>("users");
    /// users.put("ann", &User { email: "ann@example.org".into(), logins: 1 })?;
    /// users.update("ann", |user| user.map(|user| User { logins: user.logins + 1, ..user }))?;
    /// assert_eq!(users.get("ann")?.unwrap().logins, 2);
    /// assert_eq!(users.get("bob")?, None);
    /// # drop(users);
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    pub fn typed<K, V>(&self, name: &str) -> Typed<K, V> {
        self.typed_with(name, Json)
    }

    /// The collection `name` of this store, its values as `codec` encodes them. See [`typed`](Self::typed).
    pub fn typed_with<K, V, C>(&self, name: &str, codec: C) -> Typed<K, V, C> {
        let mut prefix = Vec::new();
        encode_bytes(name.as_bytes(), &mut prefix);
        Typed { db: self.clone(), name: name.to_owned(), prefix, codec, of: PhantomData }
    }
}

impl<K: Key, V, C: Codec<V>> Typed<K, V, C> {
    /// The value stored under `key`, if there is one.
    ///
    /// # Errors
    /// `Invalid` if it does not decode; as [`Bitcask::get`].
    pub fn get<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<Option<V>> {
        let key = self.raw_key(key);
        let value = self.db.get(&key)?;
        value.map(|value| self.decode_value(&key, &value)).transpose()
    }

    /// Whether a value is stored under `key`. Does not decode it.
    ///
    /// # Errors
    /// As [`Bitcask::contains`].
    pub fn contains<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        self.db.contains(&self.raw_key(key))
    }

    /// Stores `value` under `key`, replacing what was there.
    ///
    /// # Errors
    /// `Invalid` if it cannot be encoded; as [`Bitcask::put`].
    pub fn put<Q: AsKey<K> + ?Sized>(&self, key: &Q, value: &V) -> Result<()> {
        self.put_with(key, value, Expiry::Never)
    }

    /// Stores `value` under `key`, to expire at some time, as [`Bitcask::put_with`].
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_with<Q: AsKey<K> + ?Sized>(
        &self,
        key: &Q,
        value: &V,
        expiry: impl Into<Expiry>,
    ) -> Result<()> {
        let key = self.raw_key(key);
        self.db.put_with(&key, &self.encode_value(&key, value)?, expiry)
    }

    /// Deletes `key`, and says whether it was there.
    ///
    /// # Errors
    /// As [`Bitcask::delete`].
    pub fn delete<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Result<bool> {
        self.db.delete(&self.raw_key(key))
    }

    /// Changes the value of `key` by a function of what it is, atomically; gives what it became. `None` stands for
    /// no value. The expiry stays as it was. The function may be called more than once.
    ///
    /// # Errors
    /// As [`get`](Self::get) and [`put`](Self::put).
    pub fn update<Q: AsKey<K> + ?Sized>(
        &self,
        key: &Q,
        mut f: impl FnMut(Option<V>) -> Option<V>,
    ) -> Result<Option<V>> {
        let key = self.raw_key(key);
        loop {
            let current = self.db.get(&key)?;
            let value = current.as_deref().map(|value| self.decode_value(&key, value));
            let next = f(value.transpose()?);
            let bytes = next.as_ref().map(|next| self.encode_value(&key, next)).transpose()?;
            if self.db.compare_and_swap(&key, current.as_deref(), bytes.as_deref())? {
                return Ok(next);
            }
        }
    }

    /// The value of `key` within a transaction.
    ///
    /// # Errors
    /// `Invalid` if it does not decode; as [`Transaction::get`].
    pub fn get_in<Q: AsKey<K> + ?Sized>(
        &self,
        transaction: &mut Transaction<'_>,
        key: &Q,
    ) -> Result<Option<V>> {
        let key = self.raw_key(key);
        let value = transaction.get(&key)?;
        value.map(|value| self.decode_value(&key, &value)).transpose()
    }

    /// Adds [`put`](Self::put) to a batch or a transaction.
    ///
    /// # Errors
    /// `Invalid` if the value cannot be encoded; as [`Transaction::put`].
    pub fn put_in<Q: AsKey<K> + ?Sized>(
        &self,
        changes: &mut impl Changes,
        key: &Q,
        value: &V,
    ) -> Result<()> {
        let key = self.raw_key(key);
        let value = self.encode_value(&key, value)?;
        changes.add_put(key, value)
    }

    /// Adds [`delete`](Self::delete) to a batch or a transaction.
    ///
    /// # Errors
    /// As [`Transaction::delete`].
    pub fn delete_in<Q: AsKey<K> + ?Sized>(
        &self,
        changes: &mut impl Changes,
        key: &Q,
    ) -> Result<()> {
        changes.add_delete(self.raw_key(key))
    }

    /// All keys with their values, as they are now, each once. In order with an ordered index. Without one they
    /// come in no order, and every key of the store is read for it. An entry that does not decode is an error in its
    /// place, and the iteration goes on; any other error ends it.
    pub fn iter(&self) -> impl Iterator<Item = Result<(K, V)>> {
        self.db.prefix(&self.prefix).map(|entry| self.decode_entry(entry))
    }

    /// All keys, as [`iter`](Self::iter). Values are not decoded.
    pub fn keys(&self) -> impl Iterator<Item = Result<K>> {
        let entries = self.db.prefix(&self.prefix);
        entries.map(|entry| self.decode_key(&entry?.0))
    }

    /// Keys with their values, in order, as they are now. Needs [`Index::Ordered`](crate::Index).
    ///
    /// # Errors
    /// As [`Bitcask::range`].
    pub fn range(
        &self,
        bounds: impl RangeBounds<K>,
    ) -> Result<impl DoubleEndedIterator<Item = Result<(K, V)>>> {
        let all = prefix_bounds(&self.prefix);
        let raw = |bound: Bound<&K>| bound.map(|key| self.raw_key(key));
        let from = match raw(bounds.start_bound()) {
            Bound::Unbounded => all.0,
            from => from,
        };
        let to = match raw(bounds.end_bound()) {
            Bound::Unbounded => all.1,
            to => to,
        };
        let range = self.db.range::<Vec<u8>>((from, to))?;
        Ok(range.map(|entry| self.decode_entry(entry)))
    }

    /// All keys that begin with `prefix`, with their values, as [`iter`](Self::iter).
    ///
    /// ```
    /// # use bitcask::{Index, Options};
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-typed-prefix-{}", std::process::id()));
    /// let db = Options::new().index(Index::Ordered).open(&dir)?;
    /// let visits = db.typed::<(String, u64), String>("visits");
    /// visits.put(&("ann".to_owned(), 20), &"garden".to_owned())?;
    /// visits.put(&("ann".to_owned(), 10), &"home".to_owned())?;
    /// visits.put(&("anna".to_owned(), 5), &"shop".to_owned())?;
    /// let pages: Vec<String> = visits
    ///     .prefix(&("ann".to_owned(),))
    ///     .map(|entry| Ok(entry?.1))
    ///     .collect::<bitcask::Result<_>>()?;
    /// assert_eq!(pages, ["home", "garden"]);
    /// # drop(visits);
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    pub fn prefix<P: PrefixOf<K> + ?Sized>(
        &self,
        prefix: &P,
    ) -> impl Iterator<Item = Result<(K, V)>> + use<'_, K, V, C, P> {
        let mut bytes = self.prefix.clone();
        prefix.encode_as_prefix(&mut bytes);
        self.db.prefix(&bytes).map(|entry| self.decode_entry(entry))
    }

    /// The bytes of `key` in the store: for a snapshot, say, or a batch.
    pub fn raw_key<Q: AsKey<K> + ?Sized>(&self, key: &Q) -> Vec<u8> {
        let mut bytes = self.prefix.clone();
        key.encode_as_key(&mut bytes);
        bytes
    }

    /// What all keys of this collection begin with in the store: to watch it, say, or to scan it.
    pub fn raw_prefix(&self) -> &[u8] {
        &self.prefix
    }

    /// What a key of the store and its value stand for in this collection.
    ///
    /// # Errors
    /// `Invalid` if they stand for nothing, or are not of this collection.
    pub fn decode(&self, key: &[u8], value: &[u8]) -> Result<(K, V)> {
        Ok((self.decode_key(key)?, self.decode_value(key, value)?))
    }

    fn decode_key(&self, key: &[u8]) -> Result<K> {
        let bytes = key.strip_prefix(self.prefix.as_slice());
        bytes.and_then(K::decode).ok_or_else(|| {
            let what = format!("this is no key of the collection {:?}", self.name);
            Error::invalid(what).of_key(key)
        })
    }

    fn decode_value(&self, key: &[u8], value: &[u8]) -> Result<V> {
        self.codec.decode(value).map_err(|e| {
            let what = format!("the value does not decode in the collection {:?}: {e}", self.name);
            Error::invalid(what).of_key(key)
        })
    }

    fn encode_value(&self, key: &[u8], value: &V) -> Result<Vec<u8>> {
        self.codec.encode(value).map_err(|e| {
            let what = format!("cannot encode a value of the collection {:?}: {e}", self.name);
            Error::invalid(what).of_key(key)
        })
    }

    fn decode_entry(&self, entry: Result<(Vec<u8>, Value)>) -> Result<(K, V)> {
        let (key, value) = entry?;
        self.decode(&key, &value)
    }
}

impl<K, V, C: Clone> Clone for Typed<K, V, C> {
    fn clone(&self) -> Self {
        let (name, prefix) = (self.name.clone(), self.prefix.clone());
        Self { db: self.db.clone(), name, prefix, codec: self.codec.clone(), of: PhantomData }
    }
}

impl<K, V, C> fmt::Debug for Typed<K, V, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Typed").field("name", &self.name).finish_non_exhaustive()
    }
}
