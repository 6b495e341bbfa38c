//! Commands on one string, or on several in a row.

use super::{ARGUMENTS, Done, On, Refusal};
use crate::redis::Current;

/// Redis has no longer strings unless it is told to. A command can ask for one with a few bytes.
const PADDED_LEN_MAX: u64 = 512 << 20;

pub(super) fn run(on: &mut On<'_, '_>, name: &str, args: &[Vec<u8>]) -> Done {
    match (name, args) {
        ("SET", [key, value, options @ ..]) => set(on, key, value, options),
        ("SETEX", [key, seconds, value]) => {
            let expires_ms = time(on, b"EX", seconds)?;
            on.put(key, value.clone(), Some(expires_ms))
        }
        ("PSETEX", [key, ms, value]) => {
            let expires_ms = time(on, b"PX", ms)?;
            on.put(key, value.clone(), Some(expires_ms))
        }
        ("SETNX", [key, value]) => set(on, key, value, &[b"NX".to_vec()]),
        ("GETSET", [key, value]) => on.put(key, value.clone(), None),
        ("MSET", pairs) => set_all(on, pairs),
        ("MSETNX", pairs) => {
            for pair in pairs.chunks(2) {
                if let [key, ..] = pair
                    && on.get(key)?.is_some()
                {
                    return Ok(());
                }
            }
            set_all(on, pairs)
        }
        ("GETDEL", [key]) => Ok(on.delete(key)?),
        ("GETEX", [key, options @ ..]) => get_and_expire(on, key, options),
        ("APPEND", [key, more]) => append(on, key, more),
        ("SETRANGE", [key, offset, part]) => set_range(on, key, offset, part),
        ("SETBIT", [key, offset, bit]) => set_bit(on, key, offset, bit),
        ("INCR", [key]) => add(on, key, Some(1)),
        ("DECR", [key]) => add(on, key, Some(-1)),
        ("INCRBY", [key, by]) => add(on, key, integer(by)),
        ("DECRBY", [key, by]) => add(on, key, integer(by).and_then(i64::checked_neg)),
        ("INCRBYFLOAT", [key, by]) => add_float(on, key, by),
        ("EXPIRE", [key, at, when @ ..]) => expire(on, key, (b"EX", at), when),
        ("PEXPIRE", [key, at, when @ ..]) => expire(on, key, (b"PX", at), when),
        ("EXPIREAT", [key, at, when @ ..]) => expire(on, key, (b"EXAT", at), when),
        ("PEXPIREAT", [key, at, when @ ..]) => expire(on, key, (b"PXAT", at), when),
        ("PERSIST", [key]) => change_expiry(on, key, None),
        _ => Err(ARGUMENTS),
    }
}

fn set(on: &mut On<'_, '_>, key: &[u8], value: &[u8], options: &[Vec<u8>]) -> Done {
    let mut expires_ms = None;
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match &*option.to_ascii_uppercase() {
            b"GET" => {}
            b"NX" if on.get(key)?.is_some() => return Ok(()),
            b"XX" if on.get(key)?.is_none() => return Ok(()),
            b"NX" | b"XX" => {}
            // What it compares with was the same, or it would not have been logged.
            b"IFEQ" | b"IFNE" | b"IFDEQ" | b"IFDNE" => {
                options.next().ok_or(ARGUMENTS)?;
            }
            b"KEEPTTL" => expires_ms = on.get(key)?.and_then(|current| current.expires_ms),
            unit @ (b"EX" | b"PX" | b"EXAT" | b"PXAT") => {
                let number = options.next().ok_or(ARGUMENTS)?;
                expires_ms = Some(time(on, unit, number)?);
            }
            _ => return Err(ARGUMENTS),
        }
    }
    on.put(key, value.to_vec(), expires_ms)
}

fn set_all(on: &mut On<'_, '_>, pairs: &[Vec<u8>]) -> Done {
    if pairs.is_empty() || !pairs.len().is_multiple_of(2) {
        return Err(ARGUMENTS);
    }
    for pair in pairs.chunks(2) {
        if let [key, value] = pair {
            on.put(key, value.clone(), None)?;
        }
    }
    Ok(())
}

fn get_and_expire(on: &mut On<'_, '_>, key: &[u8], options: &[Vec<u8>]) -> Done {
    match options {
        [] => Ok(()),
        [persist] if persist.eq_ignore_ascii_case(b"PERSIST") => change_expiry(on, key, None),
        [unit, number] => {
            let expires_ms = time(on, &unit.to_ascii_uppercase(), number)?;
            change_expiry(on, key, Some(expires_ms))
        }
        _ => Err(ARGUMENTS),
    }
}

fn expire(
    on: &mut On<'_, '_>,
    key: &[u8],
    (unit, number): (&[u8], &[u8]),
    conditions: &[Vec<u8>],
) -> Done {
    let expires_ms = time(on, unit, number)?;
    let Some(current) = on.get(key)? else { return Err(Refusal::OfOtherType) };
    let before = current.expires_ms;
    for condition in conditions {
        let holds = match &*condition.to_ascii_uppercase() {
            b"NX" => before.is_none(),
            b"XX" => before.is_some(),
            b"GT" => before.is_some_and(|before| expires_ms > before),
            b"LT" => before.is_none_or(|before| expires_ms < before),
            _ => return Err(ARGUMENTS),
        };
        if !holds {
            return Ok(());
        }
    }
    on.put(key, current.value, Some(expires_ms))
}

fn change_expiry(on: &mut On<'_, '_>, key: &[u8], expires_ms: Option<u64>) -> Done {
    let Some(current) = on.get(key)? else { return Err(Refusal::OfOtherType) };
    on.put(key, current.value, expires_ms)
}

/// A point in time. What is relative counts from now, as when Redis loads a log; it writes none itself.
fn time(on: &On<'_, '_>, unit: &[u8], number: &[u8]) -> Result<u64, Refusal> {
    let number = integer(number).ok_or(ARGUMENTS)?;
    let ms = match unit {
        b"EX" | b"EXAT" => number.saturating_mul(1000),
        b"PX" | b"PXAT" => number,
        _ => return Err(ARGUMENTS),
    };
    let base = match unit {
        b"EX" | b"PX" => on.sink.now_ms(),
        _ => 0,
    };
    Ok(base.saturating_add_signed(ms))
}

fn append(on: &mut On<'_, '_>, key: &[u8], more: &[u8]) -> Done {
    let Current { mut value, expires_ms } = or_new(on, key)?;
    value.extend_from_slice(more);
    on.put(key, value, expires_ms)
}

fn set_range(on: &mut On<'_, '_>, key: &[u8], offset: &[u8], part: &[u8]) -> Done {
    let offset = integer(offset).and_then(|offset| u64::try_from(offset).ok()).ok_or(ARGUMENTS)?;
    if part.is_empty() {
        return Ok(());
    }
    let Current { mut value, expires_ms } = or_new(on, key)?;
    let end = offset.saturating_add(part.len() as u64);
    pad(&mut value, end)?;
    let place = usize::try_from(offset).ok().and_then(|offset| value.get_mut(offset..));
    let place = place.and_then(|rest| rest.get_mut(..part.len())).ok_or(ARGUMENTS)?;
    place.copy_from_slice(part);
    on.put(key, value, expires_ms)
}

fn set_bit(on: &mut On<'_, '_>, key: &[u8], offset: &[u8], bit: &[u8]) -> Done {
    let offset = integer(offset).and_then(|offset| u64::try_from(offset).ok()).ok_or(ARGUMENTS)?;
    let Current { mut value, expires_ms } = or_new(on, key)?;
    pad(&mut value, offset / 8 + 1)?;
    let index = usize::try_from(offset / 8).ok();
    let byte = index.and_then(|index| value.get_mut(index)).ok_or(ARGUMENTS)?;
    let mask = 0x80 >> (offset % 8);
    match bit {
        b"1" => *byte |= mask,
        b"0" => *byte &= !mask,
        _ => return Err(ARGUMENTS),
    }
    on.put(key, value, expires_ms)
}

/// Zeros, up to a length.
fn pad(value: &mut Vec<u8>, len: u64) -> Done {
    if len <= value.len() as u64 {
        return Ok(());
    }
    if len > PADDED_LEN_MAX {
        return Err(Refusal::Strange("the value would be longer than 512 MiB"));
    }
    let len = usize::try_from(len).map_err(|_too_long| ARGUMENTS)?;
    value.resize(len, 0);
    Ok(())
}

fn add(on: &mut On<'_, '_>, key: &[u8], by: Option<i64>) -> Done {
    let by = by.ok_or(ARGUMENTS)?;
    let Current { value, expires_ms } = or_new(on, key)?;
    let before = if value.is_empty() { Some(0) } else { integer(&value) };
    let after = before.and_then(|before| before.checked_add(by));
    let after = after.ok_or(Refusal::Strange("the value is no number, or would grow too large"))?;
    on.put(key, after.to_string().into_bytes(), expires_ms)
}

/// Redis logs the result, by `SET`; this is for logs of others. Theirs may differ from ours in the last digits.
fn add_float(on: &mut On<'_, '_>, key: &[u8], by: &[u8]) -> Done {
    let Current { value, expires_ms } = or_new(on, key)?;
    let before = if value.is_empty() { Some(0.0) } else { float(&value) };
    let by = float(by).ok_or(ARGUMENTS)?;
    let after = before.map(|before| before + by).filter(|after| after.is_finite());
    let after = after.ok_or(Refusal::Strange("the value is no number, or would grow too large"))?;
    on.put(key, after.to_string().into_bytes(), expires_ms)
}

fn or_new(on: &mut On<'_, '_>, key: &[u8]) -> Result<Current, Refusal> {
    Ok(on.get(key)?.unwrap_or(Current { value: Vec::new(), expires_ms: None }))
}

fn integer(text: &[u8]) -> Option<i64> {
    // A plus is no number for Redis.
    str::from_utf8(text).ok()?.parse().ok().filter(|_| !text.starts_with(b"+"))
}

fn float(text: &[u8]) -> Option<f64> {
    str::from_utf8(text).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}
