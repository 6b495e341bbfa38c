"""The store for asyncio: its calls, to be awaited.

The engine has nothing async in it. Each call runs in a thread of a small pool that belongs to the store, so the
event loop never waits for a disk; calls that are under way together share a sync of the disk.

>>> import asyncio
>>> from bitcask import aio
>>> async def main():
...     async with aio.Bitcask("people") as db:
...         await db.put("ann", {"age": 31})
...         async for key, value in db.items():
...             print(key, value)
...         return await db.get("ann")
>>> asyncio.run(main())
ann {'age': 31}
{'age': 31}

A call that is cancelled is not undone: its thread finishes it, even behind a later call, or never begins it. Handing a call to a thread takes some 50 microseconds, a
get itself one or two; who reads much uses ``get_many``, or :attr:`Bitcask.sync_store` within one
``asyncio.to_thread``.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union

from . import _store
from ._report import Report, Stats
from ._store import Key, Ttl
from .errors import ClosedError, ForkedError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Batch", "Bitcask", "Snapshot", "open"]

T = TypeVar("T")

#: Threads of a store: more than a few only wait for each other.
_THREADS = 4


class _Pool:
    """The threads of a store."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bitcask-aio")
        # For what ends something, so that it waits behind nothing else.
        self._last = ThreadPoolExecutor(1, thread_name_prefix="bitcask-aio-last")
        self._process = os.getpid()
        self._is_shut_down = False

    async def call(self, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        if not self.is_here():
            # It has none of these threads, so the call would wait for ever.
            raise ForkedError("the store belongs to the parent of this process: open it here")
        if self._is_shut_down:
            raise ClosedError("the store is closed")
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _called, partial(function, *args, **kwargs))

    async def finish(self, function: Callable[[], None]) -> None:
        """Calls what ends something, also if the store is closed; to the end, if this is cancelled."""
        if not self.is_here():
            return
        loop = asyncio.get_running_loop()
        await asyncio.shield(loop.run_in_executor(self._last, function))

    def is_here(self) -> bool:
        """Whether the process was not forked since."""
        return self._process == os.getpid()

    def shut_down(self) -> None:
        if self.is_here():
            self._is_shut_down = True
            self._threads.shutdown(wait=False)


def _called(function: Callable[[], T]) -> T:
    try:
        return function()
    except StopIteration as e:
        # No future can hold one.
        raise RuntimeError("a StopIteration was raised") from e


class _Reads:
    """What a store and a snapshot have in common."""

    _pool: _Pool

    def _target(self) -> Any:
        raise NotImplementedError

    async def get(self, key: Key, default: Any = None) -> Any:
        """The value stored under ``key``, or ``default``."""
        return await self._pool.call(self._target().get, key, default)

    async def contains(self, key: Key) -> bool:
        """Whether there is such a key."""
        return await self._pool.call(self._target().__contains__, key)

    async def count(self) -> int:
        """How many keys there are."""
        return await self._pool.call(len, self._target())

    async def ttl(self, key: Key) -> Optional[float]:
        """Seconds until ``key`` expires; ``None`` if it does not."""
        return await self._pool.call(self._target().ttl, key)

    def keys(self) -> AsyncIterator[Any]:
        """All keys, on a snapshot."""
        return self._entries("keys")

    def values(self) -> AsyncIterator[Any]:
        """All values, on a snapshot."""
        return self._entries("values")

    def items(self) -> AsyncIterator[tuple[Any, Any]]:
        """All keys with their values, on a snapshot."""
        return self._entries("items")

    def __aiter__(self) -> AsyncIterator[Any]:
        return self.keys()

    def scan(
        self,
        prefix: Optional[Key] = None,
        *,
        start: Optional[Key] = None,
        end: Optional[Key] = None,
        reverse: bool = False,
        limit: Optional[int] = None,
    ) -> AsyncIterator[tuple[Any, Any]]:
        """As :meth:`bitcask.Bitcask.scan`."""
        return self._entries("items", prefix, start, end, reverse, limit)

    async def _entries(self, *args: Any) -> AsyncIterator[Any]:
        entries = await self._pool.call(self._target()._entries, *args)
        try:
            while taken := await self._pool.call(entries.take):
                for entry in taken:
                    yield entry
        finally:
            await self._pool.finish(entries.close)


class Bitcask(_Reads):
    """The store of :class:`bitcask.Bitcask`, with the same options, for asyncio.

    It is opened by ``async with``, by ``await``, or by :func:`open`, all of which do it in a thread.
    """

    def __init__(self, path: Union[str, os.PathLike[str]], **options: Any) -> None:
        self._open = partial(_store.Bitcask, path, **options)
        self._pool = _Pool()
        self._store: Optional[_store.Bitcask] = None
        # Held in a thread of the pool, or in one apart, while the store is opened or closed.
        self._lock = threading.Lock()
        self._is_over = False

    @property
    def sync_store(self) -> _store.Bitcask:
        """The store itself, for functions that run in a thread."""
        if self._store is None:
            raise ClosedError("the store is not open yet: use `async with`, or await it")
        return self._store

    def _target(self) -> _store.Bitcask:
        return self.sync_store

    def _open_once(self) -> None:
        with self._lock:
            if self._is_over:
                raise ClosedError("the store is closed")
            if self._store is None:
                self._store = self._open()

    def _close_once(self) -> None:
        with self._lock:
            self._is_over = True
            if self._store is not None:
                self._store.close()

    async def _opened(self) -> Bitcask:
        if self._store is None and not self._pool.is_here():
            # Made in the parent of this process, and not opened there.
            self._pool, self._lock = _Pool(), threading.Lock()
        if self._store is None or self._is_over:
            await self._pool.call(self._open_once)
        return self

    def __await__(self) -> Generator[Any, None, Bitcask]:
        return self._opened().__await__()

    async def __aenter__(self) -> Bitcask:
        return await self._opened()

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Makes everything durable and closes the store. Once more, it does nothing."""
        self._pool.shut_down()
        await self._pool.finish(self._close_once)

    @property
    def closed(self) -> bool:
        """Whether the store is not open."""
        return self._store is None or self._store.closed

    async def get_many(self, keys: Iterable[Key], default: Any = None) -> list[Any]:
        """The values stored under many keys, in one step."""
        return await self._pool.call(self.sync_store.get_many, list(keys), default)

    async def put(self, key: Key, value: Any, ttl: Optional[Ttl] = None) -> None:
        """Stores ``value`` under ``key``."""
        await self._pool.call(self.sync_store.put, key, value, ttl)

    async def add(self, key: Key, value: Any, ttl: Optional[Ttl] = None) -> bool:
        """Stores ``value`` under ``key`` if there is nothing, and says whether it did."""
        return await self._pool.call(self.sync_store.add, key, value, ttl)

    async def update(self, other: Any = (), /, **more: Any) -> None:
        """Stores all entries of a mapping, or of an iterable of pairs."""
        await self._pool.call(self.sync_store.update, other, **more)

    async def delete(self, key: Key) -> bool:
        """Deletes ``key``, and says whether it was there."""
        return await self._pool.call(self.sync_store.delete, key)

    async def pop(self, key: Key, *default: Any) -> Any:
        """Deletes ``key`` and gives its value."""
        return await self._pool.call(self.sync_store.pop, key, *default)

    async def setdefault(self, key: Key, default: Any = None) -> Any:
        """The value under ``key``, which is ``default`` from now on if there was none."""
        return await self._pool.call(self.sync_store.setdefault, key, default)

    async def incr(self, key: Key, by: int = 1) -> int:
        """Adds to a number, and gives the sum."""
        return await self._pool.call(self.sync_store.incr, key, by)

    async def expire(self, key: Key, ttl: Optional[Ttl]) -> bool:
        """Has ``key`` expire, and says whether it is there."""
        return await self._pool.call(self.sync_store.expire, key, ttl)

    async def persist(self, key: Key) -> bool:
        """Has ``key`` not expire, and says whether it is there."""
        return await self._pool.call(self.sync_store.persist, key)

    async def clear(self) -> None:
        """Deletes all keys."""
        await self._pool.call(self.sync_store.clear)

    def snapshot(self) -> Snapshot:
        """The store as it is now: ``async with db.snapshot() as snapshot``."""
        return Snapshot(self)

    def batch(self) -> Batch:
        """Changes that are made together: ``async with db.batch() as batch``. To add to it waits for nothing, so that is
        not awaited."""
        return Batch(self)

    async def transaction(
        self, function: Callable[[_store.Transaction], T], *, retries: int = 100
    ) -> T:
        """Runs ``function(tx)``, which is an ordinary function, as a transaction in a thread."""
        run: Callable[..., T] = self.sync_store.transaction
        return await self._pool.call(run, function, retries=retries)

    async def merge(self) -> Report:
        """Gives back the space of values that were replaced or deleted."""
        return await self._pool.call(self.sync_store.merge)

    async def verify(self) -> Report:
        """Reads and checks everything from the disk."""
        return await self._pool.call(self.sync_store.verify)

    async def checkpoint(self, path: Union[str, os.PathLike[str]]) -> Report:
        """Makes a directory a backup of the store as it is now."""
        return await self._pool.call(self.sync_store.checkpoint, path)

    async def sync(self) -> None:
        """Returns when everything written so far would survive a power loss."""
        await self._pool.call(self.sync_store.sync)

    async def refresh(self) -> None:
        """Catches up with the process that writes, if the store is open for reading only."""
        await self._pool.call(self.sync_store.refresh)

    async def stats(self) -> Stats:
        """Sizes, counters and latencies."""
        return await self._pool.call(self.sync_store.stats)


class Snapshot(_Reads):
    """The store as it was when the block began."""

    def __init__(self, db: Bitcask) -> None:
        self._db, self._pool = db, db._pool
        self._snapshot: Optional[_store.Snapshot] = None

    def _target(self) -> _store.Snapshot:
        if self._snapshot is None:
            raise ClosedError("the snapshot is not taken yet: use `async with`")
        return self._snapshot

    async def __aenter__(self) -> Snapshot:
        self._snapshot = await self._pool.call(self._db.sync_store.snapshot)
        return self

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if self._snapshot is not None:
            await self._pool.finish(self._snapshot.close)


class Batch:
    """Changes that are made together, when the block ends; none of them if it raises."""

    def __init__(self, db: Bitcask) -> None:
        self._pool, self._batch = db._pool, db.sync_store.batch()

    def put(self, key: Key, value: Any, ttl: Optional[Ttl] = None) -> None:
        """Stores ``value`` under ``key`` when the batch is written."""
        self._batch.put(key, value, ttl)

    def delete(self, key: Key) -> None:
        """Deletes ``key`` when the batch is written."""
        self._batch.delete(key)

    def __len__(self) -> int:
        return len(self._batch)

    async def __aenter__(self) -> Batch:
        return self

    async def __aexit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            if exc_type is None and not self._batch._is_over():
                await self._pool.call(self._batch.write)
        finally:
            # Not here: a write that was cancelled goes on, and would be waited for.
            await self._pool.finish(self._batch.discard)


def open(path: Union[str, os.PathLike[str]], **options: Any) -> Bitcask:
    """Opens a store for asyncio: to be awaited, or for ``async with``."""
    return Bitcask(path, **options)
