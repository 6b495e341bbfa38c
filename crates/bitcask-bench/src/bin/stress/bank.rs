//! Accounts, money that transactions move between them, and tellers that count what they moved.
//!
//! The sum never changes, in whatever moment it is looked at. Each transfer also counts up its teller's tally, and
//! the teller writes down outside of the store what was acknowledged: so no transfer can be lost, or made twice.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use bitcask::{Bitcask, ErrorKind, Snapshot, Transaction, WriteBatch};
use bitcask_random::Random;

use crate::counts::Counts;
use crate::{Failure, Result, chores};

const ACCOUNTS: u64 = 24;
const BALANCE: u64 = 1000;
const PREFIX: &[u8] = b"account/";
/// One in so many transfers is followed by a pause.
const PAUSE_EVERY: u64 = 100;
/// Tellers of the bank.
pub(crate) const TELLERS: u64 = 2;

pub(crate) fn account(n: u64) -> Vec<u8> {
    format!("account/{n:03}").into_bytes()
}

fn tally(teller: u64) -> Vec<u8> {
    format!("tally/{teller}").into_bytes()
}

pub(crate) fn is_of_bank(key: &[u8]) -> bool {
    key.starts_with(PREFIX) || key.starts_with(b"tally/")
}

fn number(value: Option<&[u8]>) -> Result<u64> {
    let Some(value) = value else { return Ok(0) };
    Ok(str::from_utf8(value)?.parse()?)
}

/// Opens the accounts, all at once, unless they are there.
pub(crate) fn found(db: &Bitcask) -> Result<()> {
    if db.contains(&account(0))? {
        return Ok(());
    }
    let mut batch = WriteBatch::new();
    for n in 0..ACCOUNTS {
        batch.put(account(n), BALANCE.to_string());
    }
    Ok(db.write(&batch)?)
}

/// What a snapshot has in all accounts must be what was there in the beginning; nothing, before they were opened.
pub(crate) fn check_sum(snapshot: &Snapshot) -> Result<()> {
    let accounts: Vec<_> = (0..ACCOUNTS).map(account).collect();
    let mut balances = Balances::default();
    for (key, value) in accounts.iter().zip(snapshot.get_many(&accounts)?) {
        if let Some(value) = value {
            balances.set(key, &value)?;
        }
    }
    balances.check()
}

/// Balances as somebody sees them.
#[derive(Debug, Default)]
pub(crate) struct Balances(BTreeMap<Vec<u8>, u64>);

impl Balances {
    /// Takes note of a value, if it is a balance.
    pub(crate) fn set(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        if key.starts_with(PREFIX) {
            self.0.insert(key.to_owned(), number(Some(value))?);
        }
        Ok(())
    }

    pub(crate) fn check(&self) -> Result<()> {
        let sum: u64 = self.0.values().sum();
        if self.0.is_empty() || self.0.len() as u64 == ACCOUNTS && sum == ACCOUNTS * BALANCE {
            return Ok(());
        }
        Err(format!("{} accounts have {sum}, not {}", self.0.len(), ACCOUNTS * BALANCE).into())
    }
}

/// What a teller was told was done, in a file.
pub(crate) struct Till {
    file: File,
    teller: u64,
}

impl Till {
    pub(crate) fn open(dir: &Path, teller: u64) -> Result<Self> {
        let path = dir.join(format!("teller-{teller}"));
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len(8)?;
        Ok(Self { file, teller })
    }

    pub(crate) fn acknowledged(&self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn acknowledge(&self, count: u64) -> Result<()> {
        Ok(self.file.write_all_at(&count.to_le_bytes(), 0)?)
    }

    /// Compares with the store, of which the kill may have left one transfer open. Nobody writes meanwhile.
    pub(crate) fn audit(&self, db: &Bitcask) -> Result<()> {
        let (there, acknowledged) =
            (number(db.get(&tally(self.teller))?.as_deref())?, self.acknowledged()?);
        if there != acknowledged && there != acknowledged + 1 {
            let teller = self.teller;
            let what =
                format!("teller {teller} made {acknowledged} transfers, the store has {there}");
            return Err(what.into());
        }
        self.acknowledge(there)
    }

    /// What a snapshot has must not be less than what was acknowledged before it was taken.
    pub(crate) fn check_floor(&self, snapshot: &Snapshot, acknowledged: u64) -> Result<()> {
        let there = number(snapshot.get(&tally(self.teller))?.as_deref())?;
        if there < acknowledged {
            let what = format!("{acknowledged} transfers were acknowledged, and {there} show");
            return Err(what.into());
        }
        Ok(())
    }
}

/// A thread that makes transfers.
pub(crate) struct Teller<'a> {
    pub(crate) db: &'a Bitcask,
    pub(crate) till: &'a Till,
    pub(crate) random: Random,
    pub(crate) counts: &'a Counts,
}

impl Teller<'_> {
    pub(crate) fn run(&mut self, stop: &AtomicBool) -> Result<()> {
        let mut made = self.till.acknowledged()?;
        while !stop.load(Ordering::Relaxed) {
            if self.random.one_in(20) {
                self.look()?;
            } else if self.random.one_in(20) {
                self.give_up()?;
            } else if self.transfer(made)? {
                made += 1;
                self.till.acknowledge(made)?;
                self.counts.add("transfers", 1);
            }
            if self.random.one_in(PAUSE_EVERY) {
                let pause = chores::millis(&mut self.random, 0, 20);
                chores::wait(stop, pause);
            }
        }
        Ok(())
    }

    fn two(&mut self) -> (u64, u64) {
        // Few accounts half of the time, so that tellers meet.
        let accounts = if self.random.one_in(2) { 3 } else { ACCOUNTS };
        let from = self.random.below(accounts);
        (from, (from + self.random.between(1, accounts)) % accounts)
    }

    /// Whether it was made: not if others were faster too often.
    fn transfer(&mut self, made: u64) -> Result<bool> {
        let ((from, to), wanted) = (self.two(), self.random.below(100));
        let tally = tally(self.till.teller);
        let done = self.db.transaction(|tx| {
            let there = number(tx.get(&tally)?.as_deref())?;
            if there != made {
                return Err::<_, Failure>(
                    format!("{made} transfers made, and {there} there").into(),
                );
            }
            move_money(tx, from, to, wanted)?;
            tx.put(&*tally, (made + 1).to_string())?;
            Ok(())
        });
        match done {
            Ok(()) => Ok(true),
            Err(e) if is_conflict(&e) => {
                self.counts.add("given_up", 1);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// A transaction that fails changes nothing: the next sum would tell.
    fn give_up(&mut self) -> Result<()> {
        let db = self.db;
        let given_up: Result<()> = db.transaction(|tx| {
            tx.put(account(0), "999999")?;
            Err("given up".into())
        });
        if given_up.is_ok() { Err("a transaction that failed was made".into()) } else { Ok(()) }
    }

    fn look(&mut self) -> Result<()> {
        self.db.transaction(|tx| {
            let mut balances = Balances::default();
            for n in 0..ACCOUNTS {
                let value = tx.get(&account(n))?.ok_or("an account is missing")?;
                balances.set(&account(n), &value)?;
            }
            balances.check()
        })
    }
}

fn move_money(tx: &mut Transaction<'_>, from: u64, to: u64, wanted: u64) -> Result<()> {
    let payer = number(tx.get(&account(from))?.as_deref())?;
    let payee = number(tx.get(&account(to))?.as_deref())?;
    let amount = wanted.min(payer);
    tx.put(account(from), (payer - amount).to_string())?;
    tx.put(account(to), (payee + amount).to_string())?;
    Ok(())
}

fn is_conflict(failure: &Failure) -> bool {
    let error = failure.downcast_ref::<bitcask::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::Conflict)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_neither_comes_nor_goes() {
        let mut balances = Balances::default();
        balances.check().unwrap();
        for n in 0..ACCOUNTS {
            balances.set(&account(n), BALANCE.to_string().as_bytes()).unwrap();
        }
        balances.check().unwrap();
        balances.set(b"w0/000001", b"no number").unwrap();
        balances.set(&account(1), b"999").unwrap();
        assert!(balances.check().is_err());
        balances.set(&account(2), b"1001").unwrap();
        balances.check().unwrap();
    }
}
