//! Changes that depend on what is there: read, decide, and write only if it is still so.
//!
//! No lock is held while the caller decides. What was read is remembered by its sequence number; the change is
//! committed on the condition that this is still the key's newest record ([`Engine::commit_if`]), and if it is not, all begins
//! again. Whenever that happens somebody else's change was made, so there is always progress.

use crate::batch::Change;
use crate::db::Bitcask;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::expiry::Expiry;
use crate::read::{Current, Moment};
use crate::record::NEVER;
use crate::value::Value;

/// What becomes of a key.
#[derive(Clone, Copy)]
enum Next<'a> {
    Keep,
    Put(&'a [u8], u64),
    Delete,
}

impl Bitcask {
    /// Changes the value of `key` by a function of what it is, atomically; gives what it became. `None` stands for
    /// no value. The expiry stays as it was.
    ///
    /// The function may be called more than once, and no lock is held while it runs.
    ///
    /// ```
    /// # use bitcask::Bitcask;
    /// # let dir = std::env::temp_dir().join(format!("bitcask-doc-update-{}", std::process::id()));
    /// # let db = Bitcask::open(&dir)?;
    /// db.put(b"list", b"a")?;
    /// let list = db.update(b"list", |list| {
    ///     let mut list = list.unwrap_or_default().to_vec();
    ///     list.extend_from_slice(b",b");
    ///     Some(list)
    /// })?;
    /// assert_eq!(list.unwrap(), b"a,b");
    /// # drop(db);
    /// # std::fs::remove_dir_all(&dir).ok();
    /// # Ok::<(), bitcask::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn update(
        &self,
        key: &[u8],
        mut f: impl FnMut(Option<&[u8]>) -> Option<Vec<u8>>,
    ) -> Result<Option<Vec<u8>>> {
        let engine = self.engine()?;
        loop {
            let current = engine.current(key)?;
            let next = f(current.value.as_deref());
            let change = match &next {
                Some(value) => Next::Put(value, current.expires_ms),
                None => Next::Delete,
            };
            if engine.change_if(key, &current, change)? {
                return Ok(next);
            }
        }
    }

    /// Stores `new` under `key` if its value is `expected`, and says whether it was. `None` stands for no value.
    /// The expiry stays as it was.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn compare_and_swap(
        &self,
        key: &[u8],
        expected: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<bool> {
        let engine = self.engine()?;
        loop {
            let current = engine.current(key)?;
            if current.value.as_deref() != expected {
                return Ok(false);
            }
            let change = match new {
                Some(value) => Next::Put(value, current.expires_ms),
                None => Next::Delete,
            };
            if engine.change_if(key, &current, change)? {
                return Ok(true);
            }
        }
    }

    /// Stores `value` under `key` if there is nothing, and says whether it did.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_if_absent(&self, key: &[u8], value: &[u8]) -> Result<bool> {
        self.put_if_absent_with(key, value, Expiry::Never)
    }

    /// The same, to expire at some time.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_if_absent_with(
        &self,
        key: &[u8],
        value: &[u8],
        expiry: impl Into<Expiry>,
    ) -> Result<bool> {
        let engine = self.engine()?;
        let expires_ms = expiry.into().to_ms(&engine.dir.time);
        engine.change_if(key, &Current::absent(), Next::Put(value, expires_ms))
    }

    /// Stores `value` under `key` and gives what was there, atomically. The new value does not expire.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn get_and_set(&self, key: &[u8], value: &[u8]) -> Result<Option<Value>> {
        self.exchange(key, Next::Put(value, NEVER))
    }

    /// Deletes `key` and gives what was there, atomically.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn take(&self, key: &[u8]) -> Result<Option<Value>> {
        self.exchange(key, Next::Delete)
    }

    fn exchange(&self, key: &[u8], next: Next<'_>) -> Result<Option<Value>> {
        let engine = self.engine()?;
        loop {
            let current = engine.current(key)?;
            if engine.change_if(key, &current, next)? {
                return Ok(current.value);
            }
        }
    }

    /// Adds `n` to the number stored under `key`, in decimal digits, and gives the sum. No value counts as 0. The
    /// expiry stays as it was.
    ///
    /// # Errors
    /// `Invalid` if the value is not such a number, or the sum is no `i64`; as [`put`](Self::put).
    pub fn increment(&self, key: &[u8], n: i64) -> Result<i64> {
        let engine = self.engine()?;
        loop {
            let current = engine.current(key)?;
            let number =
                current.value.as_deref().map_or(Ok(0), |value| parse_number(key, value))?;
            let sum = number.checked_add(n).ok_or_else(|| {
                Error::invalid(format!("{number} + {n} is no 64-bit number")).of_key(key)
            })?;
            let digits = sum.to_string();
            let next = Next::Put(digits.as_bytes(), current.expires_ms);
            if engine.change_if(key, &current, next)? {
                return Ok(sum);
            }
        }
    }

    /// Has `key` expire, and says whether it is there. Writes its value anew.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn expire(&self, key: &[u8], expiry: impl Into<Expiry>) -> Result<bool> {
        let engine = self.engine()?;
        let expires_ms = expiry.into().to_ms(&engine.dir.time);
        loop {
            let current = engine.current(key)?;
            let Some(value) = current.value.as_deref() else { return Ok(false) };
            let next = match current.expires_ms == expires_ms {
                true => Next::Keep,
                false => Next::Put(value, expires_ms),
            };
            if engine.change_if(key, &current, next)? {
                return Ok(true);
            }
        }
    }

    /// Has `key` not expire, and says whether it is there.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn persist(&self, key: &[u8]) -> Result<bool> {
        self.expire(key, Expiry::Never)
    }

    /// When `key` expires; none if it is not there.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn expires_at(&self, key: &[u8]) -> Result<Option<Expiry>> {
        self.engine()?.dir.expires_at(key, Moment::NOW)
    }
}

fn parse_number(key: &[u8], value: &[u8]) -> Result<i64> {
    let number = str::from_utf8(value).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Error::invalid("the value is no 64-bit number").of_key(key))
}

impl Engine {
    fn current(&self, key: &[u8]) -> Result<Current> {
        self.dir.current(self.dir.hash(key), key, Moment::NOW)
    }

    /// Changes a key if it is as it was; false if it is not.
    fn change_if(&self, key: &[u8], current: &Current, next: Next<'_>) -> Result<bool> {
        let change = match next {
            Next::Put(value, expires_ms) => Change::put(key, value, expires_ms),
            Next::Delete if current.version != 0 => Change::Delete { key },
            // What was read was so at one moment, and that is all that is asked.
            Next::Delete | Next::Keep => return Ok(true),
        };
        self.check_limits(&change)?;
        let mut packed = None;
        let change = self.dir.pack(change, &mut packed);
        let hash = self.dir.hash(key);
        self.commit_if(&[change], &[hash], || {
            Ok(self.dir.version(&self.dir.files.guard(), hash, key)? == current.version)
        })
    }
}
