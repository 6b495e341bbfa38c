//! The synchronisation types of the crate, in one place so that a scheduler can stand in for them
//! (feature `shuttle`), and what to do when a thread panicked while it held a lock.

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, atomic};
#[cfg(feature = "shuttle")]
pub(crate) use shuttle::thread::yield_now;
#[cfg(all(debug_assertions, feature = "shuttle"))]
pub(crate) use shuttle::thread_local;
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard, RwLock, RwLockReadGuard, atomic};
#[cfg(not(feature = "shuttle"))]
pub(crate) use std::thread::yield_now;
#[cfg(all(debug_assertions, not(feature = "shuttle")))]
pub(crate) use std::thread_local;

#[cfg(feature = "shuttle")]
use shuttle::sync::RwLockWriteGuard;
#[cfg(not(feature = "shuttle"))]
use std::sync::RwLockWriteGuard;

/// What is behind a lock may be half changed after a panic, so the panic spreads to whoever comes next.
const PANICKED: &str = "no thread panicked while it held this lock";

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect(PANICKED)
}

pub(crate) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().expect(PANICKED)
}

pub(crate) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().expect(PANICKED)
}

pub(crate) fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).expect(PANICKED)
}
