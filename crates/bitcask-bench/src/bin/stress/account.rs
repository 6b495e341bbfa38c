//! Is what was found in the store what the journals say must be there?

use std::collections::HashMap;

use bitcask::{Bitcask, Snapshot, Value};

use crate::journal::{Intent, Journal, Slot};
use crate::plan::{KeyId, Kind, Mark, wall_ms};
use crate::{Result, bank};

/// A store's time may be ahead of the wall clock, which may have been set back a little: this much.
const EARLY_MS: u64 = 1000;

/// The clock that the store asks goes in steps of up to 10 ms.
const LATE_MS: u64 = 10;

/// When something was read: not before, and not after.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub(crate) from_ms: u64,
    pub(crate) to_ms: u64,
}

impl Span {
    /// What `read` gives, and when that was.
    pub(crate) fn of<T>(read: impl FnOnce() -> T) -> (T, Self) {
        let from_ms = wall_ms();
        let result = read();
        (result, Self { from_ms, to_ms: wall_ms() })
    }
}

/// What is wrong, if this was found and the slot says what was last acknowledged.
pub(crate) fn check(id: KeyId, slot: Slot, found: Option<&[u8]>, span: Span) -> Result<()> {
    let Some(value) = found else {
        let expired = slot.expires_ms > 0 && slot.expires_ms <= span.to_ms + EARLY_MS;
        if id.is_absent_at(slot.version) || expired {
            return Ok(());
        }
        return Err(format!("{id:?} is missing, and {slot:?} was acknowledged").into());
    };
    let mark = Mark::of(id, value)?;
    if mark.version != slot.version || mark.expires_ms != slot.expires_ms {
        return Err(format!("{mark:?} was found, and {slot:?} acknowledged").into());
    }
    check_expiry(&mark, span)
}

/// What has expired does not show.
pub(crate) fn check_expiry(mark: &Mark, span: Span) -> Result<()> {
    if mark.expires_ms > 0 && mark.expires_ms + LATE_MS <= span.from_ms {
        return Err(format!("{mark:?} shows at {}, expired", span.from_ms).into());
    }
    Ok(())
}

/// What is wrong, if this was found at some time between two: when `floor` had been acknowledged, and when not more
/// than one version was under way behind `ceiling`.
pub(crate) fn check_between(
    id: KeyId,
    floor: Slot,
    ceiling: Slot,
    found: Option<&Mark>,
) -> Result<()> {
    let last = ceiling.version.max(floor.version) + 1;
    let possible = match found {
        Some(mark) => (floor.version..=last).contains(&mark.version),
        None => (floor.version..=last).any(|version| version == 0 || id.kind(version) != Kind::Put),
    };
    if possible {
        return Ok(());
    }
    Err(format!("{id:?}: {found:?} was found between {floor:?} and {ceiling:?}").into())
}

/// Compares all of the store with the journals; brings them up to date with what a kill had left open. Nobody writes
/// meanwhile.
pub(crate) fn audit(db: &Bitcask, journals: &[Journal]) -> Result<()> {
    let mut keys = 0;
    for journal in journals {
        settle(db, journal)?;
        for (index, slot) in (0..).zip(journal.slots()?) {
            let id = journal.id(index);
            let (found, span) = Span::of(|| db.get(&id.bytes()));
            let found = found?;
            check(id, slot, found.as_deref(), span)?;
            keys += u64::from(found.is_some());
        }
    }
    // Nothing besides: what was deleted and comes back under another name, so to speak.
    let (found, span) = Span::of(|| marks(&db.snapshot()?));
    let found = found?.len() as u64;
    if found > keys {
        return Err(
            format!("{found} keys are there by iterating, {keys} by asking: {span:?}").into()
        );
    }
    Ok(())
}

/// Finds out what became of the operation that a kill left open: all of it was done, or nothing.
fn settle(db: &Bitcask, journal: &Journal) -> Result<()> {
    let (intent, acknowledged) = (journal.intent()?, journal.acknowledged()?);
    if intent.op < acknowledged || intent.op == 0 {
        return Ok(());
    }
    let open = intent.op > acknowledged;
    let done = !open || is_done(db, journal, &intent)?;
    if !done {
        return Ok(());
    }
    for (index, &version) in (intent.start..).zip(&intent.versions) {
        let slot = journal.slot(index)?;
        if slot.version < version {
            let mut after = slot.after(journal.id(index), &intent, version);
            if open {
                // If nothing was there before and after, it may not have been done.
                after.doubtful = slot.doubtful.saturating_add(1);
            }
            journal.set(index, after)?;
        }
    }
    journal.acknowledge(intent.op)
}

fn is_done(db: &Bitcask, journal: &Journal, intent: &Intent) -> Result<bool> {
    let (mut old, mut new) = (Ok(()), Ok(()));
    for (index, &version) in (intent.start..).zip(&intent.versions) {
        let (id, slot) = (journal.id(index), journal.slot(index)?);
        let (found, span) = Span::of(|| db.get(&id.bytes()));
        let found = found?;
        let check = |slot| check(id, slot, found.as_deref(), span);
        old = old.and_then(|()| check(slot));
        new = new.and_then(|()| check(slot.after(id, intent, version)));
    }
    match (old, new) {
        (_, Ok(())) => Ok(true),
        (Ok(()), Err(_)) => Ok(false),
        (Err(old), Err(new)) => {
            Err(format!("a part of {intent:?} was done: not before it, {old}; not after it, {new}")
                .into())
        }
    }
}

/// All keys of workers that a snapshot has, checked one by one.
pub(crate) fn marks(snapshot: &Snapshot) -> Result<HashMap<KeyId, Mark>> {
    let mut marks = HashMap::new();
    for entry in snapshot {
        let (key, value): (Vec<u8>, Value) = entry?;
        match KeyId::parse(&key) {
            Some(id) => drop(marks.insert(id, Mark::of(id, &value)?)),
            None if bank::is_of_bank(&key) => {}
            None => return Err(format!("nobody put {}", key.escape_ascii()).into()),
        }
    }
    Ok(marks)
}

/// A snapshot that is a prefix of what workers did has no holes: who has an operation has all before it.
pub(crate) fn check_prefix(marks: &HashMap<KeyId, Mark>, journals: &[Journal]) -> Result<()> {
    for journal in journals {
        let own = marks.values().filter(|mark| mark.id.worker == journal.worker);
        let last = own.map(|mark| mark.op).max().unwrap_or(0);
        for (index, slot) in (0..).zip(journal.slots()?) {
            if slot.op <= last {
                let id = journal.id(index);
                check_between(id, slot, slot, marks.get(&id))
                    .map_err(|e| format!("operation {last} is there, one before it is not: {e}"))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: KeyId = KeyId { worker: 1, index: 2 };
    const SPAN: Span = Span { from_ms: 10_000, to_ms: 10_005 };

    fn version(kind: Kind, from: u64) -> u64 {
        (from..).find(|&version| ID.kind(version) == kind).unwrap()
    }

    fn mark(version: u64, expires_ms: u64) -> Mark {
        Mark { id: ID, version, since: version - 1, op: 1, expires_ms }
    }

    #[test]
    fn what_was_acknowledged_must_be_there() {
        let put = version(Kind::Put, 1);
        let slot = Slot { version: put, op: 1, ..Slot::default() };
        assert!(check(ID, slot, Some(&mark(put, 0).value()), SPAN).is_ok());
        assert!(check(ID, slot, None, SPAN).is_err());
        assert!(
            check(ID, Slot { version: put + 1, ..slot }, Some(&mark(put, 0).value()), SPAN)
                .is_err()
        );
        let deleted = Slot { version: version(Kind::Delete, 1), ..slot };
        assert!(check(ID, deleted, None, SPAN).is_ok());
        assert!(check(ID, deleted, Some(&mark(put, 0).value()), SPAN).is_err());
    }

    #[test]
    fn what_has_expired_must_not_show() {
        let version = version(Kind::Expiring, 1);
        let slot = |expires_ms| Slot { version, op: 1, expires_ms, doubtful: 0 };
        let show = |expires_ms| {
            check(ID, slot(expires_ms), Some(&mark(version, expires_ms).value()), SPAN).is_ok()
        };
        assert_eq!([show(9980), show(9990), show(9991)], [false, false, true]);
        assert!(check(ID, slot(10_004), None, SPAN).is_ok());
        assert!(check(ID, slot(20_000), None, SPAN).is_err());
    }

    #[test]
    fn a_version_lies_between_floor_and_ceiling() {
        let put = (1..).find(|&v| (v..v + 3).all(|v| ID.kind(v) == Kind::Put)).unwrap();
        let slot = |version| Slot { version, ..Slot::default() };
        let between = |found: Option<Mark>| {
            check_between(ID, slot(put), slot(put + 1), found.as_ref()).is_ok()
        };
        assert!(between(Some(mark(put, 0))) && between(Some(mark(put + 2, 0))));
        assert!(!between(Some(mark(put + 3, 0))) && !between(None));
        let before = Mark { version: put - 1, ..mark(put, 0) };
        assert!(!between(Some(before)));
    }
}
