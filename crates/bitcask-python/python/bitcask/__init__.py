"""A store that feels like a dict: embedded, crash-safe, fast.

>>> from bitcask import Bitcask
>>> db = Bitcask("data_directory")
>>> db.put("key1", "value1")
>>> db.put("key2", {"name": "test", "values": [1, 2, 3]})
>>> db.get("key1")
'value1'
>>> db.delete("key1")
True
>>> db.close()

:class:`Bitcask` is the store; :func:`open` opens one in the manner of ``dbm`` and ``shelve``. The exceptions are in
:mod:`bitcask.errors`, and here; :mod:`bitcask.aio` is for asyncio.
"""

from __future__ import annotations

import atexit as _atexit
import os as _os
from typing import Any as _Any
from typing import Union as _Union

from . import _bitcask
from ._bitcask import __version__
from ._codec import Codec
from ._report import Report, Stats
from ._store import Batch, Bitcask, Key, Snapshot, Transaction
from ._store import whole_path as _whole_path
from .errors import (
    ClosedError,
    CodecError,
    ConflictError,
    CorruptError,
    DecodeError,
    EncodeError,
    Error,
    ForkedError,
    FullError,
    GoneError,
    InvalidError,
    IoError,
    KeyNotFoundError,
    LockedError,
    NoStoreError,
    PoisonedError,
    ReadOnlyError,
    StoreExistsError,
    UnsupportedError,
)

__all__ = [
    "Batch",
    "Bitcask",
    "ClosedError",
    "Codec",
    "CodecError",
    "ConflictError",
    "CorruptError",
    "DecodeError",
    "EncodeError",
    "Error",
    "ForkedError",
    "FullError",
    "GoneError",
    "InvalidError",
    "IoError",
    "Key",
    "KeyNotFoundError",
    "LockedError",
    "NoStoreError",
    "PoisonedError",
    "ReadOnlyError",
    "Report",
    "Snapshot",
    "Stats",
    "StoreExistsError",
    "Transaction",
    "UnsupportedError",
    "__version__",
    "destroy",
    "open",
    "repair",
]

#: What ``dbm`` calls its exceptions.
error = Error


def open(
    path: _Union[str, _os.PathLike[str]],
    flag: str = "c",
    mode: int = 0o666,
    **options: _Any,
) -> Bitcask:
    """Opens a store in the manner of ``dbm.open`` and ``shelve.open``.

    ``flag`` is ``"r"`` to read only, ``"w"`` to write to a store that is there, ``"c"`` to create it if need be,
    and ``"n"`` for a new one in place of what is there. ``mode`` has no effect, because a store is a directory. The
    options are those of :class:`Bitcask`.

    >>> with open("people", "c") as db:
    ...     db["ann"] = {"age": 31}
    >>> with open("people", "r") as db:
    ...     db["ann"]
    {'age': 31}
    """
    if flag == "r":
        return Bitcask(path, read_only=True, **options)
    if flag == "w":
        return Bitcask(path, create=False, **options)
    if flag == "n":
        try:
            destroy(path)
        except NoStoreError:
            pass
        return Bitcask(path, **options)
    if flag == "c":
        return Bitcask(path, **options)
    raise InvalidError(f'flag is one of "r", "w", "c", "n", not {flag!r}')


def destroy(path: _Union[str, _os.PathLike[str]]) -> Report:
    """Removes the store in a directory, which nobody has open, for good; and the directory, if nothing else is
    in it. Files that are not the store's stay.

    >>> with Bitcask("doomed") as db:
    ...     db["a"] = 1
    >>> destroy("doomed").directory_removed
    True
    """
    return Report(_bitcask.destroy(_whole_path(path)))


def repair(path: _Union[str, _os.PathLike[str]]) -> Report:
    """Saves all that checks out of a damaged store, which nobody has open. The damaged files are kept, in
    ``quarantine``; the report says what was lost.

    >>> with Bitcask("sound") as db:
    ...     db["a"] = 1
    >>> repair("sound").is_clean
    True
    """
    return Report(_bitcask.repair(_whole_path(path)))


def __getattr__(name: str) -> _Any:
    # Not from the start: asyncio takes longer to load than all of this.
    if name == "aio":
        import importlib

        return importlib.import_module("bitcask.aio")
    raise AttributeError(f"module 'bitcask' has no attribute {name!r}")


if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(after_in_child=_bitcask.forked)
# Before the interpreter goes, and after what was registered later, which may still use a store.
_atexit.register(_bitcask.close_all)
