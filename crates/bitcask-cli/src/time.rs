//! Times as files and reports have them: milliseconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcask::Expiry;

pub(crate) fn now_ms() -> u64 {
    ms(SystemTime::now())
}

/// None: never.
pub(crate) fn expires_ms(expiry: Expiry) -> Option<u64> {
    let Expiry::At(time) = expiry else { return None };
    Some(ms(time))
}

pub(crate) fn expiry(expires_ms: Option<u64>) -> Expiry {
    let time = expires_ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    time.map_or(Expiry::Never, Expiry::At)
}

fn ms(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
