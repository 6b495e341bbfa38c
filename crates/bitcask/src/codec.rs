//! Values as bytes, for [`Typed`](crate::Typed).

use std::error::Error;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a value could not be encoded or decoded.
pub type CodecError = Box<dyn Error + Send + Sync>;

/// Turns values of a type into bytes, and back.
///
/// ```
/// # use bitcask::{Bitcask, Codec, CodecError};
/// /// Numbers, in eight bytes each.
/// struct Fixed;
///
/// impl Codec<u64> for Fixed {
///     fn encode(&self, value: &u64) -> Result<Vec<u8>, CodecError> {
///         Ok(value.to_le_bytes().to_vec())
///     }
///
///     fn decode(&self, bytes: &[u8]) -> Result<u64, CodecError> {
///         Ok(u64::from_le_bytes(bytes.try_into()?))
///     }
/// }
/// # let dir = std::env::temp_dir().join(format!("bitcask-doc-codec-{}", std::process::id()));
/// # let db = Bitcask::open(&dir)?;
///
/// let visits = db.typed_with::<String, u64, _>("visits", Fixed);
/// visits.put("home", &3)?;
/// assert_eq!(visits.get("home")?, Some(3));
/// # drop(visits);
/// # drop(db);
/// # std::fs::remove_dir_all(&dir).ok();
/// # Ok::<(), bitcask::Error>(())
/// ```
pub trait Codec<V> {
    /// The bytes that stand for `value`.
    ///
    /// # Errors
    /// If there are none.
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError>;

    /// The value that `bytes` stand for. They may be any: stores outlive programs.
    ///
    /// # Errors
    /// If they stand for none.
    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError>;
}

/// Values in JSON: readable by everything, and by what the program becomes, if fields that come later have a default.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    fn encode(&self, value: &V) -> Result<Vec<u8>, CodecError> {
        Ok(serde_json::to_vec(value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<V, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
