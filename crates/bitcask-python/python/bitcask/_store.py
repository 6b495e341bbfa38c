"""The store, and what belongs to it, as far as it is not hot: the rest is in the extension."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from collections.abc import ItemsView as _ItemsView
from collections.abc import ValuesView as _ValuesView
from datetime import timedelta
from functools import wraps
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Callable, NoReturn, Optional, TypeVar, Union, overload

from . import _bitcask
from ._codec import Codec, resolve
from ._report import Report, Stats
from .errors import ConflictError, InvalidError, KeyNotFoundError, LockedError

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

#: A key. A ``str`` stands for its UTF-8.
Key = Union[str, bytes]
#: A time to live: seconds, or a ``timedelta``.
Ttl = Union[float, timedelta]
T = TypeVar("T")

_MISSING: Any = object()
#: The first pause of who waits for a store, and the longest, in seconds.
_PAUSE_MIN, _PAUSE_MAX = 0.005, 0.1


def whole_path(path: Union[str, os.PathLike[str]]) -> str:
    """A path that is the same after a ``chdir``. An empty one is more likely a mistake than the working directory."""
    path = os.fsdecode(path)
    if not path:
        raise InvalidError("the path is empty: for the working directory say \".\"")
    return os.path.abspath(path)


class _Items(_ItemsView[Any, Any]):
    """The entries of a snapshot that is taken when an iteration begins."""

    _mapping: Any

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        items: Iterator[tuple[Any, Any]] = self._mapping._entries("items")
        return items


class _Values(_ValuesView[Any]):
    """The same, without the keys."""

    _mapping: Any

    def __iter__(self) -> Iterator[Any]:
        values: Iterator[Any] = self._mapping._entries("values")
        return values

    def __contains__(self, value: object) -> bool:
        return any(value is found or value == found for found in self)


class _Reads(Mapping[Any, Any]):
    """What a store and a snapshot have in common."""

    if TYPE_CHECKING:
        # Of the extension.
        _entries: Any
        close: Any

    def __enter__(self) -> Self:
        len(self)  # Fails if it is closed.
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        self.close()

    def items(self) -> _Items:
        """A view of all entries. Each iteration over a store runs on a snapshot of its own, so it may change meanwhile.

        >>> db["a"] = 1
        >>> for key, value in db.items():
        ...     db[key] = value + 1
        >>> db["a"]
        2
        """
        return _Items(self)

    def values(self) -> _Values:
        """A view of all values, as :meth:`items`."""
        return _Values(self)

    def __reversed__(self) -> Iterator[Any]:
        keys: Iterator[Any] = self._entries("keys", reverse=True)
        return keys

    def scan(
        self,
        prefix: Optional[Key] = None,
        *,
        start: Optional[Key] = None,
        end: Optional[Key] = None,
        reverse: bool = False,
        limit: Optional[int] = None,
    ) -> Iterator[tuple[Any, Any]]:
        """Keys with their values, as they are now, or were for a snapshot: those that begin with ``prefix``; from
        ``start`` on, up to but without ``end``; at most ``limit`` of them; the last first with ``reverse``.

        ``start``, ``end`` and ``reverse`` need ``index="ordered"``. Without it, keys come in no order, and a prefix reads the
        whole store.

        >>> with Bitcask("ordered", index="ordered") as db:
        ...     db.update({"user:1": "ann", "user:2": "bob", "visit:1": "ann"})
        ...     list(db.scan("user:"))
        ...     list(db.scan(start="user:2", reverse=True, limit=1))
        [('user:1', 'ann'), ('user:2', 'bob')]
        [('visit:1', 'ann')]
        """
        items: Iterator[tuple[Any, Any]] = self._entries("items", prefix, start, end, reverse, limit)
        return items


class Bitcask(_Reads, _bitcask.Store, MutableMapping[Any, Any]):
    """A store in a directory: a dict that outlives the process.

    >>> with Bitcask("people") as db:
    ...     db["ann"] = {"age": 31}
    ...     db["ann"], "bob" in db, len(db)
    ({'age': 31}, False, 1)

    Any number of threads may use it at the same time. Other processes read beside it with ``read_only=True``; only one
    has it open to write.

    **Keys** are ``str`` or ``bytes``; a ``str`` stands for its UTF-8, so ``"a"`` and ``b"a"`` are one key. Keys are given
    out as ``str`` where they are UTF-8 and as ``bytes`` elsewhere; ``keys="bytes"`` or ``keys="str"`` gives one type always.

    **Values** go through the codec:

    - ``"json"``: what JSON can hold; bytes stay bytes. Tuples come back as lists.
    - ``"bytes"``, ``"str"``: only these.
    - ``"msgpack"``, if that package is installed.
    - ``"pickle"``: any object. Reading a pickle can run any code, so use it only for stores that nobody else can write.
    - ``(dumps, loads)``: functions of your own, to bytes and back.
    - ``"raw"``: exactly these bytes, without a check, to share with other programs.

    What one codec wrote is a ``DecodeError`` for another, never garbage.

    :param path: the directory.
    :param codec: how values are stored.
    :param keys: as what keys are given out: ``"auto"``, ``"bytes"`` or ``"str"``.
    :param read_only: beside whoever writes; see :meth:`refresh`.
    :param create: whether a store is made if there is none.
    :param must_be_new: whether one that is there is an error.
    :param timeout: seconds to wait for another process to close the store.
    :param durability: what a power loss can take: ``"always"`` nothing, seconds the last so many, ``"os"`` what the
        operating system had not written. The death of the process takes nothing at any level. Default: one second.
    :param index: ``"ordered"`` keeps the keys in order, for :meth:`scan` with ``start``, ``end`` and ``reverse``; costs some 14
        bytes of memory a key, and the key. Chosen at each opening.
    :param compression: ``"lz4"``, ``"zstd"``, ``("zstd", level)`` or ``None``.
    :param memory_budget: bytes that the index may take, before new keys are refused.
    :param max_file_size: bytes of a data file, 256 MiB if not given.
    :param verify_reads: whether each get checks the checksum.
    :param merge: whether merges run by themselves, or a dict: ``background`` (whether), ``dead_ratio_trigger`` (0.6) and
        ``dead_bytes_trigger`` (128 MiB) of a file that start one, ``dead_ratio_threshold`` (0.4) and
        ``dead_bytes_threshold`` (64 MiB) of those that take part, ``small_file_bytes`` (8 MiB),
        ``rate_bytes_per_second``, ``window_utc_hours`` (such as ``(22, 4)``) and ``check_interval`` (30 seconds).
    :param io: ``"mapped"``, ``"plain"``, or ``"auto"``.
    """

    def __new__(
        cls,
        path: Union[str, os.PathLike[str]],
        *,
        codec: Codec = "json",
        keys: str = "auto",
        read_only: bool = False,
        create: bool = True,
        must_be_new: bool = False,
        timeout: float = 0.0,
        durability: Union[str, float, timedelta] = 1.0,
        index: str = "hash",
        compression: Union[None, str, tuple[str, int]] = None,
        memory_budget: Optional[int] = None,
        max_file_size: Optional[int] = None,
        verify_reads: bool = True,
        merge: Union[bool, dict[str, Any]] = True,
        io: str = "auto",
    ) -> Bitcask:
        options = {
            "create": create,
            "must_be_new": must_be_new,
            "durability": durability,
            "index": index,
            "compression": compression,
            "memory_budget": memory_budget,
            "max_file_size": max_file_size,
            "verify_reads": verify_reads,
            "merge": merge,
            "io": io,
        }
        given = {name: value for name, value in options.items() if value is not None}
        name, dumps, loads = resolve(codec)
        path = whole_path(path)
        if not create and os.path.exists(os.path.join(path, "LOCK")):
            # A store that nothing was put into yet is its lock and nothing else.
            given["create"] = True
        waits_until = time.monotonic() + timeout
        pause = _PAUSE_MIN
        while True:
            try:
                return super().__new__(
                    cls, path, name, dumps, loads, keys, read_only, given
                )
            except LockedError:
                left = waits_until - time.monotonic()
                if left <= 0:
                    raise
            time.sleep(min(pause, left))
            pause = min(pause * 2, _PAUSE_MAX)

    @classmethod
    def open_read_only(cls, path: Union[str, os.PathLike[str]], **options: Any) -> Bitcask:
        """Opens a store to read it, beside the process that writes to it. Takes no lock and changes nothing.

        >>> with Bitcask("shared") as writer, Bitcask.open_read_only("shared") as reader:
        ...     writer["a"] = 1
        ...     before = reader.get("a")
        ...     reader.refresh()
        ...     before, reader.get("a")
        (None, 1)
        """
        return cls(path, read_only=True, **options)

    def __repr__(self) -> str:
        how = f"{self.path!r}, codec={self.codec!r}"
        if self.closed:
            return f"<Bitcask {how}, closed>"
        return f"<Bitcask {how}, {len(self):,} keys{', read-only' if self.read_only else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a store cannot be copied or pickled: pass its path, and open it there, read-only")

    def pop(self, key: Key, default: Any = _MISSING) -> Any:
        """Deletes ``key`` and gives its value, atomically; ``default`` if it is not there, or else a ``KeyError``.

        >>> db["a"] = 1
        >>> db.pop("a"), db.pop("a", None)
        (1, None)
        """
        try:
            return self._pop(key)
        except KeyNotFoundError:
            if default is _MISSING:
                raise
            return default

    def popitem(self) -> tuple[Any, Any]:
        """Deletes some key, and gives it with its value."""
        while True:
            entries = self._entries("keys")
            key = next(entries, _MISSING)
            entries.close()
            if key is _MISSING:
                raise KeyNotFoundError("the store is empty")
            try:
                return key, self._pop(key)
            except KeyNotFoundError:
                # Another thread was faster.
                pass

    def setdefault(self, key: Key, default: Any = None) -> Any:
        """The value under ``key``, which is ``default`` from now on if there was none. Atomic.

        >>> db.setdefault("a", 1), db.setdefault("a", 2)
        (1, 1)
        """
        while True:
            value = self.get(key, _MISSING)
            if value is not _MISSING:
                return value
            if self.add(key, default):
                return default

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Stores all entries of a mapping or of an iterable of pairs, in batches: far faster than one by one with
        ``durability="always"``. An error leaves what came before it; one of the store's, such as a key that is too long,
        takes up to a thousand changes with it.

        >>> db.update({"a": 1}, b=2)
        >>> db["a"] + db["b"]
        3
        """
        with self.batch() as batch:
            try:
                for key, value in _pairs(other, more):
                    batch.put(key, value)
                    if batch._is_enough():
                        batch.write()
            except BaseException:
                batch.write()
                raise

    def __ior__(self, other: Any) -> Bitcask:
        self.update(other)
        return self

    def clear(self) -> None:
        """Deletes all keys."""
        with self.batch() as batch:
            for key in self._entries("keys"):
                batch.delete(key)
                if batch._is_enough():
                    batch.write()

    def snapshot(self) -> Snapshot:
        """The store as it is now, to be read at leisure while writes go on.

        >>> db["a"] = 1
        >>> with db.snapshot() as snapshot:
        ...     db["a"] = 2
        ...     snapshot["a"], db["a"]
        (1, 2)
        """
        return Snapshot(self)

    def batch(self) -> Batch:
        """Changes that are made together, or not at all, after any crash; none of them if the block raises.

        >>> with db.batch() as batch:
        ...     batch.put("from", 90)
        ...     batch.put("to", 110)
        ...     batch.delete("pending")
        >>> db["from"], db["to"]
        (90, 110)
        """
        return Batch(self)

    @overload
    def transaction(self, function: None = None, *, retries: int = 100) -> Transaction: ...

    @overload
    def transaction(self, function: Callable[[Transaction], T], *, retries: int = 100) -> T: ...

    def transaction(
        self, function: Optional[Callable[[Transaction], T]] = None, *, retries: int = 100
    ) -> Union[T, Transaction]:
        """Runs ``function(tx)`` as a transaction: all its reads are of one moment, and its changes are made
        together, if all that it read is still so. If not, it runs again, up to ``retries`` times, and then it is a
        ``ConflictError``. If it raises, nothing is changed.

        >>> db.update({"ann": 100, "bob": 0})
        >>> def transfer(tx):
        ...     tx["ann"] -= 70
        ...     tx["bob"] += 70
        ...     return tx["ann"]
        >>> db.transaction(transfer)
        30

        Without a function it is a context manager, for one attempt:

        >>> with db.transaction() as tx:
        ...     tx["ann"] += 1
        """
        if function is None:
            return Transaction(self)
        for attempt in range(retries + 1):
            tx = Transaction(self)
            try:
                result = function(tx)
                if isinstance(result, (CoroutineType, GeneratorType)):
                    result.close()
                    raise TypeError("a transaction takes an ordinary function, not an async one or a generator")
            except BaseException:
                tx.rollback()
                raise
            if tx._is_over():
                return result
            try:
                tx.commit()
            except ConflictError:
                if attempt == retries:
                    raise
            else:
                return result
            # Others are to finish; and two that met are not to meet again.
            time.sleep(random.random() * min(2**attempt, 1000) * 1e-6 if attempt else 0)
        raise InvalidError("retries is 0 or more")

    def transactional(self, function: Callable[..., T]) -> Callable[..., T]:
        """A decorator: calls of the function are transactions, which it gets as its first argument.

        >>> @db.transactional
        ... def visit(tx, page):
        ...     tx[page] = tx.get(page, 0) + 1
        ...     return tx[page]
        >>> visit("home"), visit("home")
        (1, 2)
        """

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> T:
            return self.transaction(lambda tx: function(tx, *args, **kwargs))

        return call

    def merge(self) -> Report:
        """Gives back the space of values that were replaced or deleted. Reads and writes go on meanwhile.

        >>> db["a"] = "x" * 1000
        >>> del db["a"]
        >>> db.merge().reclaimed_bytes > 1000
        True
        """
        return Report(self._merge())

    def verify(self) -> Report:
        """Reads and checks everything from the disk. Damage is no exception: it is in the report.

        >>> db.verify().is_clean
        True
        """
        return Report(self._verify())

    def checkpoint(self, path: Union[str, os.PathLike[str]]) -> Report:
        """Makes a directory a backup of the store as it is now, which can be opened as a store of its own. By hard links,
        where it is on the same file system, so it takes hardly any time or space; made again in the same place, it is
        replaced in one step.

        >>> db["a"] = 1
        >>> report = db.checkpoint("backup")
        >>> with Bitcask("backup") as copy:
        ...     copy["a"]
        1
        """
        return Report(self._checkpoint(whole_path(path)))

    def stats(self) -> Stats:
        """Sizes, counters and latencies, as a dict. A notebook shows it as a table.

        >>> db["a"] = 1
        >>> stats = db.stats()
        >>> stats["keys"], stats["dead_bytes"]
        (1, 0)
        """
        return Stats(self._stats())


def _pairs(other: Any, more: dict[str, Any]) -> Iterable[tuple[Key, Any]]:
    """The entries of what ``dict.update`` would take."""
    if isinstance(other, Mapping):
        yield from other.items()
    elif hasattr(other, "keys"):
        for key in other.keys():
            yield key, other[key]
    else:
        for key, value in other:
            yield key, value
    yield from more.items()


class Snapshot(_Reads, _bitcask.Snapshot, Mapping[Any, Any]):
    """A store as it was at one moment; see :meth:`Bitcask.snapshot`. A mapping that never changes. It ends with its
    ``with`` block, with :meth:`close`, or when it is collected."""

    def __repr__(self) -> str:
        return "<Snapshot, over>" if self.closed else f"<Snapshot, {len(self):,} keys>"


class Batch(_bitcask.Batch):
    """Changes that are made together; see :meth:`Bitcask.batch`. Of two changes to one key the later wins."""

    def __repr__(self) -> str:
        return "<Batch, over>" if self._is_over() else f"<Batch, {len(self):,} changes>"

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            if exc_type is None and not self._is_over():
                self.write()
        finally:
            self.discard()


class Transaction(_bitcask.Transaction):
    """Reads of one moment, and changes that are made only if what was read is still so; see
    :meth:`Bitcask.transaction`."""

    def __enter__(self) -> Transaction:
        return self

    def __exit__(
        self,
        exc_type: Optional[type[BaseException]],
        exc: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if exc_type is not None:
            self.rollback()
        elif not self._is_over():
            self.commit()

    #: Without it, Python would try whether 0, 1, 2 and so on are keys.
    __iter__ = None

    def scan(
        self,
        prefix: Optional[Key] = None,
        *,
        start: Optional[Key] = None,
        end: Optional[Key] = None,
        reverse: bool = False,
        limit: Optional[int] = None,
    ) -> Iterator[tuple[Any, Any]]:
        """As :meth:`Bitcask.scan`, with the changes of the transaction. Needs ``index="ordered"``. All within the bounds
        is read at once, whatever the limit, and counts as read, so a key that somebody adds there is a conflict."""
        items: Iterator[tuple[Any, Any]] = self._scan(prefix, start, end, reverse, limit)
        return items
