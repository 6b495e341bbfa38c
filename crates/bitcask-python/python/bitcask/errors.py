"""The exceptions of this package.

Each derives from :class:`Error`, and from the builtin that a user of Python would catch::

    Error
    +-- ClosedError          ValueError           the store, snapshot, ... is closed
    +-- ForkedError          RuntimeError         a forked child used what its parent opened
    +-- KeyNotFoundError     KeyError
    +-- InvalidError         ValueError           the call cannot succeed as it is
    +-- CodecError           ValueError
    |   +-- EncodeError      TypeError            the codec cannot hold this value
    |   +-- DecodeError                           the codec did not write this value
    +-- ReadOnlyError        io.UnsupportedOperation
    +-- LockedError          BlockingIOError, TimeoutError
    +-- NoStoreError         FileNotFoundError
    +-- StoreExistsError     FileExistsError
    +-- CorruptError         OSError
    +-- IoError              OSError
    +-- FullError            OSError              errno is ENOSPC
    +-- PoisonedError        OSError
    +-- UnsupportedError     NotImplementedError
    +-- ConflictError        TimeoutError
    +-- GoneError            LookupError
"""

from __future__ import annotations

import errno as _errno
import io as _io
import os as _os
from typing import Optional as _Optional

__all__ = [
    "ClosedError",
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
    "KeyNotFoundError",
    "LockedError",
    "NoStoreError",
    "PoisonedError",
    "ReadOnlyError",
    "StoreExistsError",
    "UnsupportedError",
]


class Error(Exception):
    """What all exceptions of this package are."""

    #: The file that it happened in, if it is about one.
    path: _Optional[str] = None
    #: The offset in that file.
    offset: _Optional[int] = None
    #: The key that was asked for, as bytes, if it is about one.
    key: _Optional[bytes] = None
    #: What to do about it.
    advice: str = ""


class KeyNotFoundError(Error, KeyError):
    """There is no such key. Its only argument is the key, as with a dict."""

    @property
    def key(self) -> _Optional[bytes]:  # type: ignore[override]
        """The key that was asked for."""
        key = self.args[0] if self.args else None
        return key.encode(errors="surrogatepass") if isinstance(key, str) else key


class InvalidError(Error, ValueError):
    """The call cannot succeed as it is: an option, a limit, an argument."""


class ClosedError(Error, ValueError):
    """The store is closed; or the snapshot, batch or transaction is over."""


class ForkedError(Error, RuntimeError):
    """A forked child used a store that its parent had opened. It has to open it itself: for reading
    only, if the parent goes on writing."""

    advice = "open the store in this process, with read_only=True if the parent has it open"


class ReadOnlyError(Error, _io.UnsupportedOperation):
    """The store is open for reading only."""

    advice = "open the store without read_only=True; one process at a time can"


class CodecError(Error, ValueError):
    """A value and the codec of the store do not fit together."""


class EncodeError(CodecError, TypeError):
    """The codec cannot hold this value. Nothing was stored."""

    advice = 'convert the value, or open the store with codec="pickle" or with (dumps, loads) of your own'


class DecodeError(CodecError):
    """What is stored was not written by this codec. The text says by which, as far as that is known."""


class LockedError(Error, BlockingIOError, TimeoutError):
    """Another process, or another handle of this one, has the store open; with ``timeout=``, for longer
    than that. Open it with ``read_only=True`` to read it all the same."""

    advice = "open it with read_only=True to read it all the same, or with timeout= to wait for it"


class NoStoreError(Error, FileNotFoundError):
    """There is no store in the directory, and none was to be created."""

    advice = "check the path, or open it without create=False and read_only=True to create a store"


class StoreExistsError(Error, FileExistsError):
    """There is a store in the directory, and a new one was asked for."""

    advice = "take another directory, or open it without must_be_new=True"


class UnsupportedError(Error, NotImplementedError):
    """The store was written by a newer version of this package."""


class CorruptError(Error, OSError):
    """A file is damaged. Damaged values are never given out, and nothing was changed: restore the file from
    a backup, or close the store and :func:`bitcask.repair` it."""


class IoError(Error, OSError):
    """The operating system refused something; ``errno`` and ``filename`` say what."""


class FullError(Error, OSError):
    """The disk is full, or the memory budget used up. Nothing was changed; ``errno`` is ``ENOSPC``."""


class PoisonedError(Error, OSError):
    """An earlier write or sync failed, so this handle writes nothing more: close the store and open it
    again, which recovers what is on the disk."""


class ConflictError(Error, TimeoutError):
    """Others changed what a transaction had read, as often as it was tried. It changed nothing."""


class GoneError(Error, LookupError):
    """History that was asked for was merged away."""


_CLASSES: dict[str, type[Error]] = {
    "Invalid": InvalidError,
    "Locked": LockedError,
    "Unsupported": UnsupportedError,
    "Corrupt": CorruptError,
    "Io": IoError,
    "Poisoned": PoisonedError,
    "Full": FullError,
    "Conflict": ConflictError,
    "Gone": GoneError,
}

#: What the engine says when a store is, or is not, where it should be.
_STORE_CLASSES: dict[str, type[Error]] = {
    "the directory holds no store": NoStoreError,
    "there is no such directory": NoStoreError,
    "the directory holds a store already": StoreExistsError,
}

_ERRNOS: dict[type[Error], int] = {
    LockedError: _errno.EAGAIN,
    NoStoreError: _errno.ENOENT,
    StoreExistsError: _errno.EEXIST,
    FullError: _errno.ENOSPC,
    CorruptError: _errno.EIO,
    IoError: _errno.EIO,
    PoisonedError: _errno.EIO,
    ConflictError: _errno.EAGAIN,
}


def of_engine(
    kind: str,
    text: str,
    cause: _Optional[str],
    errno: _Optional[int],
    path: _Optional[str],
    offset: _Optional[int],
    key: _Optional[bytes],
    advice: str,
) -> Error:
    """The exception for an error of the engine, which calls this."""
    cls = _CLASSES.get(kind, Error)
    if cls is InvalidError:
        starts = (known for known in _STORE_CLASSES if text.startswith(known))
        cls = next((_STORE_CLASSES[known] for known in starts), cls)
    if cause:
        text = f"{text}: {cause}"
    if issubclass(cls, OSError):
        number = errno or _ERRNOS.get(cls, _errno.EIO)
        # An OSError shows its filename behind its text.
        error: Error = cls(number, text.replace(f": {path}", "", 1))
        if path is not None:
            error.filename = path  # type: ignore[attr-defined]
    else:
        error = cls(text)
    error.path, error.offset, error.key = path, offset, key
    # What a class says is in Python's words.
    error.advice = cls.advice or advice
    if cls is LockedError and f"process {_os.getpid()} " in text:
        error.advice = "close the other handle of this process first; an iterator or a snapshot keeps one open, too"
    return error
